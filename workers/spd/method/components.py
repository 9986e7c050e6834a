"""The rank-1 components of every site."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workers.spd.method.resizing import Moments, append, take


class Components(nn.Module):
    """V: [d_in, C], the read directions of a site in columns; U: [C, d_out], its write directions in rows.

    `index` keeps each component's index as trained, so that a key survives pruning.
    """

    def __init__(
        self,
        V: Mapping[str, Float[Tensor, "d_in C"]],
        U: Mapping[str, Float[Tensor, "C d_out"]],
        index: Mapping[str, list[int]],
    ) -> None:
        super().__init__()
        self.sites = list(V)
        self.V_list = nn.ParameterList([nn.Parameter(V[site].detach().clone()) for site in self.sites])
        self.U_list = nn.ParameterList([nn.Parameter(U[site].detach().clone()) for site in self.sites])
        self.index = {site: list(index[site]) for site in self.sites}

    @property
    def V(self) -> dict[str, Float[Tensor, "d_in C"]]:
        return dict(zip(self.sites, self.V_list, strict=True))

    @property
    def U(self) -> dict[str, Float[Tensor, "C d_out"]]:
        return dict(zip(self.sites, self.U_list, strict=True))

    def count(self) -> int:
        """Components over all sites."""
        return sum(len(index) for index in self.index.values())

    @torch.no_grad()
    def keep(self, kept: Mapping[str, list[int]], moments: Moments | None = None) -> None:
        """Drop all components but these places (not indices) of each site. Adam's `moments` follow."""
        moments = moments or Moments()
        for place, site in enumerate(self.sites):
            take(self.V_list, str(place), 1, kept[site], moments)
            take(self.U_list, str(place), 0, kept[site], moments)
            self.index[site] = [self.index[site][at] for at in kept[site]]

    @torch.no_grad()
    def grow(
        self,
        V: Mapping[str, Float[Tensor, "d_in added"]],
        U: Mapping[str, Float[Tensor, "added d_out"]],
        index: Mapping[str, list[int]],
        moments: Moments | None = None,
    ) -> None:
        """Add these components at the sites named, behind the present ones, under their indices. Adam's `moments`
        follow."""
        moments = moments or Moments()
        for site in V:
            place = self.sites.index(site)
            append(self.V_list, str(place), V[site], 1, moments)
            append(self.U_list, str(place), U[site], 0, moments)
            self.index[site] += index[site]
