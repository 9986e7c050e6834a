"""Causal importances of a prompt as sparse columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from workers.spd.method.decomposition import Decomposition, Importances

DIGITS = 6


@dataclass(frozen=True)
class SparseImportances:
    """Columns of equal length; `site` indexes the artefact's sites, `component` is the index as trained. `cached`: the
    pass they come from was kept from before."""

    site: list[int]
    position: list[int]
    component: list[int]
    ci: list[float]
    inner_activation: list[float]
    below_threshold: int
    cached: bool = False


@dataclass(frozen=True)
class Trace:
    """One component at every position of a prompt, where its CI is 0 too."""

    ci: list[float]
    inner_activation: list[float]


def trace(found: Importances, row: int, site: str, place: int) -> Trace:
    """The trace of the component at `place` (not index) of a site, rounded to six digits."""
    ci, inner = found.g[site][row, :, place].detach(), found.inner[site][row, :, place].detach()
    return Trace(
        np.round(ci.double().cpu().numpy(), DIGITS).tolist(),
        significant(inner.double().cpu().numpy(), DIGITS).tolist(),
    )


def sparse_importances(
    decomposition: Decomposition, inputs: Mapping[str, Tensor], threshold: float
) -> list[SparseImportances]:
    """Sparse causal importances of each prompt of a clean pass, rounded to six digits."""
    found = decomposition.importances(inputs)
    batch = next(iter(found.g.values())).shape[0]
    return [sparse_row(decomposition, found, row, threshold) for row in range(batch)]


def sparse_row(
    decomposition: Decomposition, found: Importances, row: int, threshold: float
) -> SparseImportances:
    """One prompt's importances above `threshold`: in site order, then position, then component."""
    limit, left, index = max(threshold, 0.0), 0, decomposition.components.index
    sites: list[Tensor] = []
    places: list[Tensor] = []
    components: list[Tensor] = []
    ci: list[Tensor] = []
    inner: list[Tensor] = []
    for number, site in enumerate(decomposition.sites):
        g = found.g[site][row].detach()
        above = (g > limit).nonzero()
        if limit > 0:
            left += int((g > 0).sum()) - above.shape[0]
        if above.shape[0]:
            at = (above[:, 0], above[:, 1])
            sites.append(torch.full((above.shape[0],), number))
            places.append(above[:, 0])
            components.append(torch.tensor(index[site], device=g.device)[above[:, 1]])
            ci.append(g[at])
            inner.append(found.inner[site][row].detach()[at])
    if not sites:
        return SparseImportances([], [], [], [], [], left)
    return SparseImportances(
        torch.cat(sites).tolist(), torch.cat(places).tolist(), torch.cat(components).tolist(),
        np.round(_numpy(ci), DIGITS).tolist(), significant(_numpy(inner), DIGITS).tolist(), left,
    )  # fmt: skip


def _numpy(parts: list[Tensor]) -> np.ndarray:
    return torch.cat(parts).double().cpu().numpy()


def significant(values: np.ndarray, digits: int) -> np.ndarray:
    """Rounded to this many significant digits, as the nearest double to that decimal."""
    size = np.abs(values)
    power = digits - 1 - np.floor(np.log10(np.where(size > 0, size, 1.0)))
    power = np.clip(power, -300, 300)
    up, down = 10.0 ** np.maximum(power, 0), 10.0 ** np.maximum(-power, 0)
    return np.rint(values * up / down) * down / up
