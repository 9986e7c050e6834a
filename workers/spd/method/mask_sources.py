"""Mask sources: from causal importances to the masks of one pass (SPEC 1, 7, 8).

A source r in [0, 1] per component, and a last one for the remainder, turn importances g into the stochastic masks
m = g + (1 − g)·r and m_Δ = r_Δ. Training, evidence and the regimes of a prompt all use `stochastic_masks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workers.spd.config import Shared
from workers.spd.targets.masks import SiteMask

SourceKind = Literal["uniform", "level", "adversarial"]
Route = Literal["site", "layer", "position"]
Sources = dict[str, Float[Tensor, "... C_and_remainder"]]
"""{site: sources of its components, and last of its remainder}"""
Masks = Mapping[str, Float[Tensor, "batch seq _C"]]
Remainders = Mapping[str, Float[Tensor, "batch seq 1"]]


def uniform(
    shape: tuple[int, ...],
    generator: torch.Generator,
    rows: Int[Tensor, " rows"] | None = None,
    *,
    device: torch.device | str = "cpu",
    dim: int = 0,
) -> Float[Tensor, ...]:
    """U(0, 1) of this shape, or of it only these `rows` along `dim`, which is that of the prompts of all processes.

    A process on a CPU draws the numbers of all and takes its own. On a GPU nothing is drawn that is not used, and
    nothing is copied: each row has a counter-based generator of its own there, seeded by one number that `generator`
    gives and by the row's place, so any number of processes draw the same.
    """
    if torch.device(device).type == "cpu":
        r = torch.rand(*shape, generator=generator)
        return r if rows is None else r.index_select(dim, rows)
    return uniform_by_row(shape, generator, rows, device=device, dim=dim)


def uniform_by_row(
    shape: tuple[int, ...],
    generator: torch.Generator,
    rows: Int[Tensor, " rows"] | None = None,
    *,
    device: torch.device | str,
    dim: int = 0,
) -> Float[Tensor, ...]:
    """See `uniform`."""
    key = int(torch.randint(2**62, (), generator=generator))
    places = list(range(shape[dim])) if rows is None else rows.tolist()
    r = torch.empty(len(places), *shape[:dim], *shape[dim + 1 :], device=device)
    own = torch.Generator(device)
    for row, place in zip(r, places, strict=True):
        own.manual_seed(key + place)
        row.uniform_(generator=own)
    return r.movedim(0, dim)


def draw(
    kinds: Sequence[SourceKind],
    shape: tuple[int, ...],
    generator: torch.Generator,
    rows: Int[Tensor, " rows"] | None = None,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "passes ..."]:
    """Sources r in [0, 1] for several passes (SPEC 7). `uniform`: r ~ U(0, 1); `level`: one λ ~ U(0, 1) a pass, each r
    ~ Bernoulli(λ). `shape`: of all prompts; `rows`: those that are wanted."""
    r = uniform((len(kinds), *shape), generator, rows, device=device, dim=1)
    levels = torch.rand(len(kinds), generator=generator)
    for place, kind in enumerate(kinds):
        assert kind != "adversarial", "adversarial sources are kept, not drawn"
        if kind == "level":
            r[place] = (r[place] < float(levels[place])).float()
    return r


def random_sources(
    g: Mapping[str, Float[Tensor, "batch seq C"]], generator: torch.Generator, shared: Shared = "nothing"
) -> Sources:
    """Uniform sources for importances of these shapes, drawn on the CPU so that a seed means the same everywhere.

    [batch, seq, C + 1]; shared over the batch [seq, C + 1], over batch and positions [1, C + 1].
    """

    def shape(value: Float[Tensor, "batch seq C"]) -> tuple[int, ...]:
        batch, seq, C = value.shape
        return {"nothing": (batch, seq, C + 1), "batch": (seq, C + 1), "batch_and_positions": (1, C + 1)}[
            shared
        ]

    return {site: torch.rand(*shape(value), generator=generator).to(value) for site, value in g.items()}


def stochastic_masks(
    g: Mapping[str, Float[Tensor, "... seq C"]], sources: Mapping[str, Float[Tensor, "... C_and_remainder"]]
) -> tuple[dict[str, Float[Tensor, "... seq C"]], dict[str, Float[Tensor, "... seq 1"]]]:
    """m = g + (1 − g)·r of every site, and its remainder's m_Δ = r_Δ (SPEC 7). Leading dimensions broadcast."""
    mask = {site: g[site] + (1 - g[site]) * r[..., :-1] for site, r in sources.items()}
    return mask, {site: r[..., -1:].expand(*mask[site].shape[:-1], 1) for site, r in sources.items()}


def site_mask(
    V: Float[Tensor, "d_in C"],
    U: Float[Tensor, "C d_out"],
    mask: Float[Tensor, "... C"],
    delta: Float[Tensor, "... 1"],
    replaced: Bool[Tensor, "... 1"] | None = None,
) -> SiteMask:
    """The mask of one site: m and m_Δ where `replaced`, the target's own weights (all ones) elsewhere (SPEC 1, 2)."""
    coefficient = mask - delta
    if replaced is not None:
        coefficient = coefficient * replaced
        delta = torch.where(replaced, delta, torch.ones_like(delta))
    return SiteMask(V, U, coefficient, delta)


def routed(
    sites: list[str],
    groups: Mapping[str, int],
    route: Route,
    valid: Bool[Tensor, "batch seq"],
    generator: torch.Generator,
) -> dict[str, Bool[Tensor, "batch seq 1"]]:
    """Which sites (or layers, or positions) a partial pass replaces, drawn anew for each prompt of the batch (SPEC 8).

    The number is uniform from 1 to all, then a random subset of that size; `groups` maps a site to its layer.
    Positions are chosen among the `valid` ones (on the CPU), the same at every site.
    """
    batch, seq = valid.shape
    if route == "position":
        count = 1 + (torch.rand(batch, generator=generator) * valid.sum(1)).long()
        order = torch.rand(batch, seq, generator=generator).masked_fill(~valid, 2.0)
        chosen = (order.argsort(dim=1).argsort(dim=1) < count[:, None]) & valid
        return dict.fromkeys(sites, chosen[..., None])
    names = [groups[site] if route == "layer" else place for place, site in enumerate(sites)]
    order = sorted(set(names))
    count = torch.randint(1, len(order) + 1, (batch, 1), generator=generator)
    rank = torch.rand(batch, len(order), generator=generator).argsort(dim=1).argsort(dim=1)
    chosen = rank < count  # [batch, groups]
    place_of = {name: place for place, name in enumerate(order)}
    return {
        site: chosen[:, place_of[name], None, None].expand(batch, seq, 1)
        for site, name in zip(sites, names, strict=True)
    }
