"""Causal importances of a prompt as sparse columns."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workers.spd.answers import SparseImportances, Trace
from workers.spd.method.decomposition import Decomposition, Importances

DIGITS = 6
SiteInput = Float[Tensor, "batch seq d_in"] | Int[Tensor, "batch seq"]


def component_trace(importances: Importances, row: int, site: str, column: int) -> Trace:
    """The component in this column (not: of this index) of a site in one prompt, rounded to six digits."""
    ci, inner = (values[site][row, :, column].detach() for values in (importances.g, importances.inner))
    return Trace(
        np.round(ci.double().cpu().numpy(), DIGITS).tolist(),
        significant(inner.double().cpu().numpy(), DIGITS).tolist(),
    )


def sparse_importances(
    decomposition: Decomposition, inputs: Mapping[str, SiteInput], threshold: float
) -> list[SparseImportances]:
    """Sparse causal importances of each prompt of a clean pass, rounded to six digits."""
    importances = decomposition.importances(inputs)
    batch = next(iter(importances.g.values())).shape[0]
    return [sparse_row(decomposition, importances, row, threshold) for row in range(batch)]


def sparse_row(
    decomposition: Decomposition, importances: Importances, row: int, threshold: float
) -> SparseImportances:
    """One prompt's importances above `threshold`: in site order, then position, then component."""
    limit, left, index = max(threshold, 0.0), 0, decomposition.components.index
    sites, positions, components, ci, inner = ([] for _ in range(5))
    for number, site in enumerate(decomposition.sites):
        g = importances.g[site][row].detach()
        above = (g > limit).nonzero()
        if limit > 0:
            left += int((g > 0).sum()) - above.shape[0]
        if above.shape[0]:
            at = (above[:, 0], above[:, 1])
            sites.append(torch.full((above.shape[0],), number))
            positions.append(above[:, 0])
            components.append(torch.tensor(index[site], device=g.device)[above[:, 1]])
            ci.append(g[at])
            inner.append(importances.inner[site][row].detach()[at])
    if not sites:
        return SparseImportances([], [], [], [], [], left)
    return SparseImportances(
        torch.cat(sites).tolist(), torch.cat(positions).tolist(), torch.cat(components).tolist(),
        np.round(_numpy(ci), DIGITS).tolist(), significant(_numpy(inner), DIGITS).tolist(), left,
    )  # fmt: skip


def _numpy(parts: list[Float[Tensor, " _"]]) -> np.ndarray:
    return torch.cat(parts).double().cpu().numpy()


def significant(values: np.ndarray, digits: int) -> np.ndarray:
    """Rounded to this many significant digits, as the nearest double to that decimal."""
    size = np.abs(values)
    power = digits - 1 - np.floor(np.log10(np.where(size > 0, size, 1.0)))
    power = np.clip(power, -300, 300)
    up, down = 10.0 ** np.maximum(power, 0), 10.0 ** np.maximum(-power, 0)
    return np.rint(values * up / down) * down / up
