"""How far two decompositions of the same matrices hold the same directions (SPEC 28)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workers.spd.method.components import Components


@dataclass(frozen=True)
class Agreement:
    """Mean over the components of the largest |cosine| with any component of the other decomposition at the same site:
    of read directions, of write directions, and of the rank-1 matrices."""

    V: float
    U: float
    both: float


@torch.no_grad()
def agreement(
    one: Components,
    other: Components,
    chosen: Mapping[str, Bool[Tensor, " _C"]],
    others: Mapping[str, Bool[Tensor, " _D"]],
) -> Agreement:
    """Of the components `chosen` of one with those (`others`) of the other, a mean over all sites; sites where either
    has none are left out."""
    found: list[Float[Tensor, "3 _C"]] = []
    for site in one.sites:
        if not (chosen[site].any() and others[site].any()):
            continue
        reads = _cosines(one.V[site].T[chosen[site]], other.V[site].T[others[site]])
        writes = _cosines(one.U[site][chosen[site]], other.U[site][others[site]])
        found.append(torch.stack([pair.amax(1) for pair in (reads, writes, reads * writes)]))
    if not found:
        return Agreement(0.0, 0.0, 0.0)
    V, U, both = torch.cat(found, dim=1).mean(1).tolist()
    return Agreement(V, U, both)


def _cosines(ones: Float[Tensor, "_A d"], others: Float[Tensor, "_B d"]) -> Float[Tensor, "_A _B"]:
    unit = torch.nn.functional.normalize
    return (unit(ones.float(), dim=1) @ unit(others.float(), dim=1).T).abs()
