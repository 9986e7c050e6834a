"""Everything on, through the components: the proof beside every answer that the masked model is the model (SPEC 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workers.spd.ablation.outputs import Rows, kl_rows
from workers.spd.ablation.passes import CleanPass, Passes
from workers.spd.method.decomposition import Decomposition
from workers.spd.targets.masks import SiteMask, inner_activation


@dataclass(frozen=True)
class EverythingOn(SiteMask):
    """The remainder's output x Δᵀ = x Wᵀ − (x V) U is formed, and the components are added back to it."""

    def applied(self, module: nn.Module, x: Tensor, output: Tensor) -> Tensor:
        components = (inner_activation(x, self.V) @ self.U).to(output.dtype)
        return (output - components) + components


def everything_on(decomposition: Decomposition) -> dict[str, SiteMask]:
    """Masks of the self-check."""
    V, U = decomposition.components.V, decomposition.components.U
    return {site: EverythingOn(V[site], U[site], V[site].new_ones(())) for site in decomposition.sites}


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
    found = kl_rows(before.pick(last), Rows.of(logits[0]))
    if int(worst) != seq - 1:
        there = passes.from_state(clean, state, worst)
        found = torch.cat([found, kl_rows(before.pick(worst), Rows.of(there[0]))])
    return float(found.max())
