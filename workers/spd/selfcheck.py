"""Everything on, through the components: the proof beside every answer that the masked model is the model (SPEC 2).

The remainder's output x Δᵀ = x Wᵀ − (x V) U is formed and the components are added back, as `coefficient` −1 and then
+1, so a broken V, U or hook shows.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from workers.spd.decomposition import Decomposition
from workers.spd.masks import SiteMask


def everything_on(decomposition: Decomposition) -> dict[str, SiteMask]:
    """Masks of the self-check alone."""
    V, U = decomposition.components.V, decomposition.components.U
    return {
        site: SiteMask(torch.cat([V[site]] * 2, dim=1), torch.cat([U[site]] * 2), _signs(V[site]))
        for site in decomposition.sites
    }


def beside(decomposition: Decomposition, masks: Mapping[str, SiteMask], rows: int) -> dict[str, SiteMask]:
    """These masks of `rows` conditions, with the self-check as one row more: it rides on a pass that runs anyway."""
    result: dict[str, SiteMask] = {}
    for site, check in everything_on(decomposition).items():
        mask = masks.get(site)
        if mask is None:
            coefficient = check.coefficient.new_zeros(rows + 1, 1, check.coefficient.shape[0])
            coefficient[rows] = check.coefficient
            result[site] = SiteMask(check.V, check.U, coefficient)
            continue
        both, own = check.coefficient.shape[0], mask.coefficient.shape[-1]
        n = mask.coefficient.shape[-2]
        coefficient = mask.coefficient.new_zeros(rows + 1, n, both + own)
        coefficient[:rows, :, both:] = mask.coefficient
        coefficient[rows, :, :both] = check.coefficient
        delta = None
        if mask.delta is not None:
            delta = torch.cat([mask.delta, torch.ones_like(mask.delta[:1])])
        result[site] = SiteMask(
            torch.cat([check.V, mask.V], dim=1), torch.cat([check.U, mask.U]), coefficient, delta
        )
    return result


def _signs(V: Tensor) -> Tensor:
    ones = V.new_ones(V.shape[1])
    return torch.cat([-ones, ones])
