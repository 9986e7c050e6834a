"""How far two decompositions of the same matrices hold the same directions (SPEC 28)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workers.spd.artifact import SeedAgreement
from workers.spd.method.components import Components


@torch.no_grad()
def agreement(
    one: Components,
    other: Components,
    chosen: Mapping[str, Bool[Tensor, " _C"]],
    others: Mapping[str, Bool[Tensor, " _D"]],
) -> SeedAgreement:
    """Of each component `chosen` of one the largest |cosine| with any of those (`others`) of the other at its site, a
    mean over all sites; sites where either has none are left out."""
    found: list[Float[Tensor, "3 _C"]] = []
    for site in one.sites:
        if not (chosen[site].any() and others[site].any()):
            continue
        reads = _cosines(one.V[site].T[chosen[site]], other.V[site].T[others[site]])
        writes = _cosines(one.U[site][chosen[site]], other.U[site][others[site]])
        found.append(torch.stack([pair.amax(1) for pair in (reads, writes, reads * writes)]))
    if not found:
        return SeedAgreement(reads=0.0, writes=0.0, both=0.0)
    V, U, both = torch.cat(found, dim=1).mean(1).tolist()
    return SeedAgreement(reads=V, writes=U, both=both)


def _cosines(ones: Float[Tensor, "_A d"], others: Float[Tensor, "_B d"]) -> Float[Tensor, "_A _B"]:
    unit = torch.nn.functional.normalize
    return (unit(ones.float(), dim=1) @ unit(others.float(), dim=1).T).abs()
