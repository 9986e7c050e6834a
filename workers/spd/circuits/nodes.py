"""What a circuit is made of: nodes, edges, and the kinds of origin and of path."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workers.spd.method.decomposition import Decomposition, Importances

MOST_NODES = 8_192
ORIGINS = ("here", "attended", "embedding", "rest", "attention", "other", "constant")
HERE, ATTENDED, EMBEDDING, REST, ATTENTION, OTHER, CONSTANT = range(len(ORIGINS))


class Via(IntEnum):
    """The path of an edge. The last three steer: they give what the target would lose without the source, and are no
    part of what it is made of."""

    RESIDUAL = 0
    NEURONS = 1
    ATTENTION = 2
    GATE = 3
    QUERY = 4
    KEY = 5


class GraphError(Exception):
    """A circuit that cannot be drawn; the message is a plain sentence."""


@dataclass(frozen=True)
class Nodes:
    """Columns. site indexes the decomposition's sites, component is the index as trained; effect: of the whole node on
    the output, to first order; inputs: what its inner activation is made of, a row for each of `ORIGINS`."""

    site: Int[Tensor, " nodes"]
    component: Int[Tensor, " nodes"]
    position: Int[Tensor, " nodes"]
    ci: Float[Tensor, " nodes"]
    inner: Float[Tensor, " nodes"]
    effect: Float[Tensor, " nodes"]
    inputs: Float[Tensor, "origins nodes"]


@dataclass(frozen=True)
class Edges:
    """Columns, the largest effect first. target = number of nodes: the output; weight: in the target's own unit."""

    source: Int[Tensor, " edges"]
    target: Int[Tensor, " edges"]
    via: Int[Tensor, " edges"]
    weight: Float[Tensor, " edges"]
    effect: Float[Tensor, " edges"]

    @classmethod
    def joined(cls, parts: Sequence[Edges]) -> Edges:
        """All edges of several sets, one after the other."""
        return cls(*(torch.cat(columns) for columns in zip(*(part._columns for part in parts), strict=True)))

    def pick(self, chosen: Int[Tensor, " picked"]) -> Edges:
        """Some of the edges."""
        return Edges(*(column[chosen] for column in self._columns))

    def to(self, device: str) -> Edges:
        """The same on a device."""
        return Edges(*(column.to(device) for column in self._columns))

    @property
    def _columns(
        self,
    ) -> tuple[
        Int[Tensor, " edges"],
        Int[Tensor, " edges"],
        Int[Tensor, " edges"],
        Float[Tensor, " edges"],
        Float[Tensor, " edges"],
    ]:
        return self.source, self.target, self.via, self.weight, self.effect


@dataclass(frozen=True)
class Alive:
    """The nodes of one site in slots; node is −1 where a position has fewer.

    place: the column of the slot's component; inner: its inner activation.
    """

    node: Int[Tensor, "slots seq"]
    place: Int[Tensor, "slots seq"]
    inner: Float[Tensor, "slots seq"]

    @property
    def used(self) -> Bool[Tensor, "slots seq"]:
        return self.node >= 0


Written = Float[Tensor, "slots seq d_out"]  # what each node of a site writes


@dataclass(frozen=True)
class Chosen:
    """Which components in use are nodes. in_use: how many there are; where: {site: [seq, C]}; kept_effect: the chosen
    ones' share of the absolute first-order effects of all in use, 0–1."""

    in_use: int
    where: dict[str, Bool[Tensor, "seq C"]]
    kept_effect: float = 1.0


def choose_nodes(
    importances: Importances,
    threshold: float,
    most: int,
    effects: Callable[[], Mapping[str, Float[Tensor, "seq C"]]],
) -> Chosen:
    """Every component in use where no more than `most` are, else those with the largest effects. Raises GraphError
    where there are none."""
    above = {site: g[0].detach() > max(threshold, 0.0) for site, g in importances.g.items()}
    in_use = sum(int(where.sum()) for where in above.values())
    if not in_use:
        raise GraphError(
            f"No component passes a causal importance of {threshold:g} on this prompt. Lower it."
        )
    if in_use <= most:
        return Chosen(in_use, above)
    found = effects()
    size = {site: torch.zeros_like(importances.g[site][0]) for site in above}
    for site, effect in found.items():
        size[site][: len(effect)] = effect.abs()
    size = {site: size[site] * where for site, where in above.items()}
    every = torch.cat([one.flatten() for one in size.values()])
    least = every.topk(most).values[-1].clamp_min(torch.finfo(every.dtype).tiny)
    where = {site: one >= least for site, one in size.items()}
    kept = sum(float(one[where[site]].sum()) for site, one in size.items())
    return Chosen(in_use, where, kept / max(float(every.sum()), 1e-30))


def alive_nodes(
    decomposition: Decomposition, importances: Importances, chosen: Chosen
) -> tuple[dict[str, Alive], Nodes]:
    """The nodes of one prompt (the first row of `importances`), in site order, then position, then component. Their
    effects and inputs are still 0."""
    alive: dict[str, Alive] = {}
    columns: dict[str, list[Tensor]] = {name: [] for name in ("site", "component", "position", "ci", "inner")}
    count = 0
    for number, site in enumerate(decomposition.sites):
        g, inner = (
            importances.g[site][0].detach().clone(),
            importances.inner[site][0].detach().clone().float(),
        )
        at, place = chosen.where[site].nonzero(as_tuple=True)
        if not len(at):
            continue
        seq, n = g.shape[0], len(at)
        first_of = torch.searchsorted(at, at)  # `at` is sorted: where its run begins
        slot = torch.arange(n, device=at.device) - first_of
        shape = (int(slot.max()) + 1, seq)
        node = torch.full(shape, -1, dtype=torch.long, device=at.device)
        places, amount = torch.zeros(shape, dtype=torch.long, device=at.device), inner.new_zeros(shape)
        node[slot, at] = torch.arange(count, count + n, device=at.device)
        places[slot, at], amount[slot, at] = place, inner[at, place]
        alive[site] = Alive(node, places, amount)
        count += n
        columns["site"].append(torch.full((n,), number))
        columns["component"].append(
            torch.tensor(decomposition.components.index[site], device=at.device)[place]
        )
        columns["position"].append(at)
        columns["ci"].append(g[at, place])
        columns["inner"].append(inner[at, place])
    joined = {name: torch.cat([part.cpu() for part in parts]) for name, parts in columns.items()}
    return alive, Nodes(**joined, effect=torch.zeros(count), inputs=torch.zeros(len(ORIGINS), count))
