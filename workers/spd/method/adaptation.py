"""Growing a decomposition to what the data need (SPEC 24): where a site's remainder matters, and along which
directions.

The remainder Δ = W − (V U)ᵀ is what a site's components leave over. What matters of it is what the output loses when it
alone is off; what new components must do is what it does to the data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workers.spd.method.decomposition import Decomposition, mean_counted
from workers.spd.method.mask_sources import site_mask
from workers.spd.prompts.batches import Batch
from workers.spd.targets.masks import inner_activation

NOISE = 1e-6
LINES = 10


@dataclass(frozen=True)
class Growth:
    """One site that grew: `added` components, `count` then there; KL with its remainder alone off, nats, before and
    after."""

    site: str
    added: int
    count: int
    before: float
    after: float


@dataclass(frozen=True)
class Adaptation:
    """What one adaptation did: components dropped a site (those that lost some), and the sites that grew."""

    step: int
    dropped: dict[str, int]
    grown: list[Growth]

    @property
    def pruned(self) -> int:
        return sum(self.dropped.values())

    @property
    def added(self) -> int:
        return sum(growth.added for growth in self.grown)

    @property
    def summary(self) -> str:
        """In a few words."""
        return (
            f"Step {self.step}: {len(self.grown)} {_sites(len(self.grown))} grew by {self.added} components, "
            f"{self.pruned} dead ones were dropped"
        )


@torch.no_grad()
def remainder_kl(
    decomposition: Decomposition,
    batch: Batch,
    sites: list[str],
    check_stop: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """KL(target ‖ masked) with one site's remainder alone off, everything else on: {site: nats at the counted
    positions}."""
    V, U = decomposition.components.V, decomposition.components.U
    here = batch.masked(decomposition.first_unmasked)[..., None]
    result: dict[str, float] = {}
    for site in sites:
        check_stop()
        off = torch.zeros(here.shape, dtype=V[site].dtype, device=here.device)
        ones = torch.ones(V[site].shape[1], dtype=V[site].dtype, device=here.device)
        masks = {site: site_mask(V[site], U[site], ones, off, here)}
        result[site] = float(mean_counted(decomposition.kl(batch, masks)[0], batch.counted))
    return result


@torch.no_grad()
def remainder_directions(
    W: Float[Tensor, "d_out d_in"],
    V: Float[Tensor, "d_in C"],
    U: Float[Tensor, "C d_out"],
    x: Float[Tensor, "batch seq d_in"] | Int[Tensor, "batch seq"],
    valid: Bool[Tensor, "batch seq"],
    count: int,
) -> tuple[Float[Tensor, "d_in added"], Float[Tensor, "added d_out"]]:
    """Up to `count` components that take over most of what the remainder writes for these inputs, in squared error.

    With X the valid inputs and P the projection on their span, U are the leading right singular vectors B of X Δᵀ and
    V = P Δᵀ B, so X V U is the best approximation of X Δᵀ of that rank and nothing at right angles to the data is read.
    V's columns get the mean length of those there are (1 where there are none). In float64.
    """
    weight, reads, writes = W.double(), V.double(), U.double()
    inputs = x[valid]
    if inputs.is_floating_point():
        inputs = inputs.double()
        written = inputs @ weight.T - (inputs @ reads) @ writes
    else:
        written = weight.T[inputs] - inner_activation(inputs, reads) @ writes
    _, values, right = torch.linalg.svd(written, full_matrices=False)
    added = min(count, int((values > NOISE * values.amax().clamp_min(1e-30)).sum()))
    B = right[:added].T
    if inputs.is_floating_point():
        new = torch.linalg.pinv(inputs, rtol=NOISE) @ (written @ B)
    else:
        new = weight.new_zeros(weight.shape[1], added)
        new[inputs] = written @ B
    length = reads.norm(dim=0).mean() if reads.shape[1] else weight.new_ones(())
    ratio = new.norm(dim=0).clamp_min(1e-30) / length.clamp_min(1e-30)
    return (new / ratio).to(V), (B.T * ratio[:, None]).to(U)


def adaptation_notes(adaptations: list[Adaptation], below: float, positions: int = 1) -> list[str]:
    """One sentence per site that grew, at most LINES and then a count; one per step that dropped."""
    where = "nowhere reached" if positions == 1 else f"at fewer than {positions} positions reached"
    lines: list[str] = []
    for done in adaptations:
        lines += [
            f"{growth.site} grew by {growth.added} to {growth.count} components at step {done.step}: its remainder "
            f"carried {growth.before:.2g} nats, then {growth.after:.2g}."
            for growth in done.grown
        ]
    if len(lines) > LINES:
        added = sum(done.added for done in adaptations)
        more = len(lines) - LINES
        lines = [
            *lines[:LINES],
            f"{more} more {'growth' if more == 1 else 'growths'} like these; {added} components were added in all.",
        ]
    for done in adaptations:
        if done.dropped:
            lines.append(
                f"At step {done.step}, {done.pruned} components at {len(done.dropped)} {_sites(len(done.dropped))} "
                f"were dropped: their importance {where} {below:g} on the training data."
            )
    if not lines:
        lines = ["C: auto changed nothing: no component was dead and no remainder mattered."]
    return lines


def _sites(count: int) -> str:
    return "site" if count == 1 else "sites"
