"""Causal importance functions: activations of all sites in, causal importances of all sites out.

A function computes γ; `lower` and `upper` are the leaky hard sigmoids that turn γ into the g that feeds the masks and
the g that feeds the sparsity loss (arXiv 2506.20790; SPEC 4, 10).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from workers.spd.config import CIConfig, TransformerCI
from workers.spd.method.ci_networks import Room, Valid, gamma_of
from workers.spd.method.resizing import Moments, append, take
from workers.spd.targets.masks import SiteInput

LEAK = 0.01
CLOSED = -1.0


class _Lower(torch.autograd.Function):
    """0 below 0, x up to 1, 1 above; below 0 only gradients that would raise x pass, at LEAK."""

    @staticmethod
    def forward(ctx, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:  # type: ignore[override]
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx, grad: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        below = LEAK * grad.clamp_max(0)
        return torch.where(x <= 0, below, torch.where(x <= 1, grad, torch.zeros_like(grad)))


def lower(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The lower leaky hard sigmoid: feeds the masks (SPEC 4)."""
    return _Lower.apply(x)  # type: ignore[return-value]


def upper(x: Float[Tensor, "*shape"], slope_above: float = LEAK) -> Float[Tensor, "*shape"]:
    """The upper leaky hard sigmoid: feeds the sparsity loss (SPEC 4)."""
    return torch.where(
        x > 1, 1 + slope_above * (x - 1), x.relu()
    )  # relu: gradient 0 at 0, as the table has it


class CIFunctions(nn.Module):
    """The causal importance functions of all sites behind one door.

    sites: {site: (d_in, C)} in model order. `scale` holds what inner activations are divided by (their data RMS),
    or, for functions that read the site's input, what that is divided by; `gates` are 0 for components that are closed.
    """

    def __init__(
        self, sites: Mapping[str, tuple[int, int]], config: CIConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.sites, self.config = list(sites), config
        self._sizes = [C for _, C in sites.values()]
        self.scales = nn.ParameterList(
            [
                nn.Parameter(torch.ones(C if config.reads == "inner" else 1), requires_grad=False)
                for _, C in sites.values()
            ]
        )
        self.gates = nn.ParameterList(
            [nn.Parameter(torch.ones(C), requires_grad=False) for _, C in sites.values()]
        )
        reads = [C if config.reads == "inner" else d_in for d_in, C in sites.values()]
        counts = [C for _, C in sites.values()]
        if isinstance(config, TransformerCI):
            reads, counts = [sum(reads)], [sum(counts)]
        self._reads = reads
        self.gammas = nn.ModuleList(
            [gamma_of(a, C, config, generator) for a, C in zip(reads, counts, strict=True)]
        )

    def forward(
        self,
        inner: Mapping[str, Float[Tensor, "#batch seq _C"]],
        inputs: Mapping[str, SiteInput] | None = None,
        valid: Valid | None = None,
    ) -> dict[str, Float[Tensor, "#batch seq _C"]]:
        """γ of every site, before the sigmoids.

        inner: x · V of each site; inputs: needed where `reads` is "input"; valid: real
        tokens, so that no γ of theirs depends on padding to the right of them; None: all.
        """
        source = inner if self.config.reads == "inner" else inputs
        assert source is not None, "these causal importance functions read the sites' inputs"
        read = [source[site] / scale for site, scale in zip(self.sites, self.scales, strict=True)]
        if isinstance(self.config, TransformerCI):
            sizes = [inner[site].shape[-1] for site in self.sites]
            joined = self.gammas[0](torch.cat(read, dim=-1), valid)
            gammas = list(joined.split(sizes, dim=-1))
        else:
            gammas = [gamma(x, valid) for gamma, x in zip(self.gammas, read, strict=True)]
        return {
            site: gamma.masked_fill(gate == 0, CLOSED)
            for site, gamma, gate in zip(self.sites, gammas, self.gates, strict=True)
        }

    @torch.no_grad()
    def close(self, site: str, place: int) -> None:
        """Turn a component off for good: its γ is CLOSED everywhere, and no gradient reaches it."""
        self.gates[self.sites.index(site)][place] = 0

    @torch.no_grad()
    def set_scale(
        self,
        inner: Mapping[str, Float[Tensor, "batch seq _C"]],
        inputs: Mapping[str, SiteInput],
        valid: Bool[Tensor, "batch seq"],
    ) -> None:
        """Take the RMS (or the largest magnitude) over the valid positions as the unit."""
        for place, site in enumerate(self.sites):
            read = inner[site] if self.config.reads == "inner" else inputs[site]
            dims = (0,) if self.config.reads == "inner" else (0, 1)
            self.scales[place].copy_(self._unit(read[valid], dims))

    def _unit(self, read: Float[Tensor, "positions n"], dims: tuple[int, ...]) -> Float[Tensor, ...]:
        value = read.abs().amax(dims) if self.config.scale == "peak" else read.pow(2).mean(dims).sqrt()
        return value.clamp_min(1e-6)

    @torch.no_grad()
    def units(self, inner: Float[Tensor, "positions C"]) -> Float[Tensor, " C"]:
        """The units of inner activations, as `set_scale` takes them."""
        return self._unit(inner, (0,))

    @torch.no_grad()
    def keep(self, kept: Mapping[str, list[int]], moments: Moments | None = None) -> None:
        """Drop all components but these places of each site; the others' γ stays the same. Adam's `moments` follow."""
        moments = moments or Moments()
        inner = self.config.reads == "inner"
        if isinstance(self.config, TransformerCI):
            flat: list[int] = []
            offset = 0
            for site, size in zip(self.sites, self._sizes, strict=True):
                flat += [offset + place for place in kept[site]]
                offset += size
            self.gammas[0].keep(flat if inner else None, flat, moments)  # type: ignore[union-attr]
        else:
            for site, gamma in zip(self.sites, self.gammas, strict=True):
                gamma.keep(kept[site] if inner else None, kept[site], moments)  # type: ignore[union-attr]
        for place, site in enumerate(self.sites):
            take(self.gates, str(place), 0, kept[site], moments)
            if inner:
                take(self.scales, str(place), 0, kept[site], moments)
        self._sizes = [len(kept[site]) for site in self.sites]

    @torch.no_grad()
    def grow(
        self,
        added: Mapping[str, int],
        scales: Mapping[str, Float[Tensor, " _added"]],
        generator: torch.Generator,
        moments: Moments | None = None,
    ) -> None:
        """Add so many components at the sites named, behind the present ones. Their γ starts near `start`; the others'
        γ stays the same until they learn to read the new ones.

        scales: the units of the new inner activations (not used where inputs are read). Adam's
        `moments` follow.
        """
        moments = moments or Moments()
        inner = self.config.reads == "inner"
        more = [added.get(site, 0) for site in self.sites]
        rooms = [Room(list(range(size)), size + n) for size, n in zip(self._sizes, more, strict=True)]
        if isinstance(self.config, TransformerCI):
            old: list[int] = []
            offset = 0
            for room in rooms:
                old += [offset + place for place in room.old]
                offset += room.size
            rooms_of = [Room(old, offset)]
        else:
            rooms_of = rooms
        for gamma, room, reads in zip(self.gammas, rooms_of, self._reads, strict=True):
            if not room.added:
                continue
            a = room.size if inner else reads
            new = gamma_of(a, room.added, self.config, generator).to(self.gates[0].device)
            gamma.grow(room if inner else None, room, new, moments)  # type: ignore[union-attr]
        for place, (site, n) in enumerate(zip(self.sites, more, strict=True)):
            if n:
                append(self.gates, str(place), torch.ones(n), 0, moments)
            if n and inner:
                append(self.scales, str(place), scales[site], 0, moments)
        self._sizes = [room.size for room in rooms]

    def parameter_count(self) -> int:
        """Trained parameters of all functions."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)
