"""The proof beside every answer that the masked model is the model (SPEC 2): everything on, through the components;
and, once at load, a component of every site taken out by its mask against one taken out of the weight itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from workers.spd.ablation.outputs import Rows, kl_rows
from workers.spd.ablation.passes import CleanPass, Passes
from workers.spd.method.decomposition import Decomposition
from workers.spd.targets.masks import SiteMask, inner_activation, masked, scale_of, site_weight, with_weight


@dataclass(frozen=True)
class EverythingOn(SiteMask):
    """The remainder's output x Δᵀ = x Wᵀ − (x V) U is formed, and the components are added back to it."""

    def applied(
        self,
        module: nn.Module,
        x: Float[Tensor, "*#batch d_in"] | Int[Tensor, "*#batch"],
        output: Float[Tensor, "*#batch d_out"],
    ) -> Float[Tensor, "*#batch d_out"]:
        components = (inner_activation(x, self.V) @ self.U).to(output.dtype) * scale_of(module)
        return (output - components) + components


def everything_on(decomposition: Decomposition) -> dict[str, SiteMask]:
    """Masks of the self-check."""
    V, U = decomposition.components.V, decomposition.components.U
    return {site: EverythingOn(V[site], U[site], V[site].new_ones(1)) for site in decomposition.sites}


def self_check(decomposition: Decomposition, passes: Passes, clean: CleanPass, before: Rows) -> float:
    """KL(target ‖ everything on), nats: the larger of that at the last position and that at the position whose state
    after the last block differs most, relative to its size.

    The unembedding is a third of a small model's pass, and runs at these two positions only; a target whose passes
    cannot be resumed is compared at all of them.
    """
    masks = everything_on(decomposition)
    seq = len(clean.token_ids)
    if not (passes.resumes and clean.outputs):
        logits = passes.resumed(clean, masks, passes.origin)[0]
        return float(kl_rows(before, Rows.of(logits)).max())
    last = torch.tensor([seq - 1], device=clean.logits.device)
    logits, state = passes.with_state(clean, masks, last)
    was = clean.outputs[-1][0]
    worst = ((state[0] - was).norm(dim=-1) / was.norm(dim=-1).clamp_min(1e-30)).argmax()[None]
    nats = kl_rows(before.pick(last), Rows.of(logits[0]))
    if int(worst) != seq - 1:
        there = passes.from_state(clean, state, worst)
        nats = torch.cat([nats, kl_rows(before.pick(worst), Rows.of(there[0]))])
    return float(nats.max())


class EditError(Exception):
    """A site whose masks do not do what an edited weight does; the message is a plain sentence."""


EDIT_AGREES = 1e-2  # of what the edit changes: what is wrong is wrong by a factor, rounding is far below this


@dataclass(frozen=True)
class _Compared(SiteMask):
    """One component, suppressed by its mask and in a copy of the weight; the pass itself continues unchanged."""

    name: str = ""

    def applied(
        self,
        module: nn.Module,
        x: Float[Tensor, "*#batch d_in"] | Int[Tensor, "*#batch"],
        output: Float[Tensor, "*#batch d_out"],
    ) -> Float[Tensor, "*#batch d_out"]:
        ids = not x.is_floating_point()
        weight = site_weight(module) - (self.V @ self.U).T.to(output.dtype)
        kept_as = weight if isinstance(module, nn.Linear) else weight.T
        edited = with_weight(module, kept_as)(x)
        own = with_weight(module, module.weight)(x)  # type: ignore[arg-type]
        masked_output = super().applied(module, x, output)
        allowed = EDIT_AGREES * (edited - own).abs().max() + 1e-5 * output.abs().max()
        if not bool((masked_output - edited).abs().max() <= allowed):
            what = "token ids" if ids else "its inputs"
            raise EditError(
                f"Suppressing a component of “{self.name}” is not what the model computes when the component is taken "
                f"out of its weight ({type(module).__name__} does more than multiply {what}), so no answer about this "
                "decomposition would be right. Decompose the model again without that site."
            )
        return output


@torch.no_grad()
def check_edits(decomposition: Decomposition, token_ids: Sequence[int], seed: int = 0) -> None:
    """One random component of every site, suppressed on a short prompt, against the same with the weight really
    edited. Raises EditError, which names the site."""
    generator = torch.Generator().manual_seed(seed)
    masks: dict[str, SiteMask] = {}
    for site in decomposition.sites:
        V, U = decomposition.components.V[site], decomposition.components.U[site]
        if isinstance(decomposition.target.model.get_submodule(site), nn.Embedding):
            # A component that reads none of these tokens would compare nothing with nothing.
            read = V[torch.tensor(list(token_ids), device=V.device)].abs().amax(0).nonzero()[:, 0]
        else:
            read = torch.arange(V.shape[1], device=V.device)
        if len(read):
            place = read[torch.randint(len(read), (1,), generator=generator)]
            masks[site] = _Compared(V[:, place], U[place], -V.new_ones(1), name=site)
    with masked(masks):
        decomposition.target.logits(torch.tensor([list(token_ids)], device=decomposition.target.device))
