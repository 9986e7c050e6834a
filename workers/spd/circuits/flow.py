"""What feeds each node of a circuit: every pair of nodes that one piece of a frozen pass, or one attention, connects.

Within a piece (residual stream, neurons) positions do not mix, so one row of cotangents serves one component at *every*
position at a time: a site costs as many rows as it has nodes at its busiest position, not one a node. Attention is
taken apart by its own formula.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workers.spd.circuits.frozen import Attended, Bias, FrozenPass, Linear, Record, leaf_of, pull, push
from workers.spd.circuits.influence import Steering, steering, without_key, without_query
from workers.spd.circuits.nodes import (
    ATTENDED,
    ATTENTION,
    CONSTANT,
    EMBEDDING,
    HERE,
    ORIGINS,
    OTHER,
    REST,
    Alive,
    Edges,
    Via,
)
from workers.spd.method.decomposition import Decomposition
from workers.spd.targets.onednn import times

ROWS = 32
TARGETS = 512


class Pool:
    """The largest edges so far, and how many there were."""

    def __init__(self, gradient: Float[Tensor, " targets"], most: int) -> None:
        self.gradient, self.most = gradient, most
        self.total, self.floor = 0, 0.0
        self.parts: list[tuple[Tensor, ...]] = []
        self.held = 0

    def add(self, weight: Float[Tensor, "... t s"], target: Tensor, source: Tensor, via: Via) -> None:
        """weight of every target [..., t] and source [..., s]; pairs that are not there weigh 0."""
        self.total += int(torch.count_nonzero(weight))
        effect = weight * self.gradient[target][..., None]
        size = effect.abs()
        at = (size > self.floor).nonzero(as_tuple=True)
        if not len(at[0]):
            return
        kind = torch.full_like(at[0], int(via))
        self.parts.append((source[(*at[:-2], at[-1])], target[at[:-1]], kind, weight[at], effect[at]))
        self.held += len(kind)
        if self.held > 4 * self.most:
            self.columns()

    def columns(self) -> tuple[Tensor, ...]:
        """source, target, via, weight, effect; the largest effect first."""
        if not self.parts:
            empty = self.gradient.new_zeros(0)
            return (empty.long(), empty.long(), empty.long(), empty, empty)
        joined = tuple(torch.cat(column) for column in zip(*self.parts, strict=True))
        best = joined[-1].abs().topk(min(self.most, len(joined[-1]))).indices
        joined = tuple(column[best] for column in joined)
        if len(best) == self.most:
            self.floor = float(joined[-1][-1].abs())
        self.parts, self.held = [joined], len(best)
        return joined


class Flow:
    """One prompt's edges and origins. `gradient`: the output's by each node's inner activation, and 1 for itself."""

    def __init__(
        self,
        decomposition: Decomposition,
        found: FrozenPass,
        alive: Mapping[str, Alive],
        written: Mapping[str, Tensor],
        gradient: Float[Tensor, " targets"],
        position: Int[Tensor, " nodes"],
        at: int,
        most: int,
    ) -> None:
        self.found, self.alive, self.sites = found, alive, set(decomposition.sites)
        self.device = decomposition.target.device
        self._at = at
        self.count = len(position)
        self.position = torch.cat([position, torch.tensor([at])]).to(self.device)
        self.pool = Pool(gradient.to(self.device), most)
        self._inputs = torch.zeros(len(ORIGINS), self.count + 1, device=self.device)
        self._reads = torch.zeros(self.count + 1, device=self.device)
        self._typical = torch.zeros(self.count + 1, device=self.device)
        self._V = {site: decomposition.components.V[site].detach() for site in alive}
        self._written = written
        self._arriving: dict[int, list[tuple[Tensor, Tensor]]] = {}

    @property
    def inputs(self) -> Float[Tensor, "origins targets"]:
        return self._inputs.cpu()

    @property
    def reads(self) -> Float[Tensor, " targets"]:
        return self._reads.cpu()

    @property
    def typical(self) -> Float[Tensor, " targets"]:
        """What a random direction of the same length would read there: rounding is small beside this."""
        return self._typical.cpu()

    @property
    def value(self) -> Tensor:
        return self._reads[self.count].cpu()

    def edges(self) -> tuple[Edges, int]:
        """The kept edges, and how many there are."""
        return Edges(*(column.cpu() for column in self.pool.columns())), self.pool.total

    @torch.no_grad()
    def run(self, head: Linear, direction: Float[Tensor, " d_model"]) -> None:
        """Find them all."""
        for site, here in self.alive.items():
            linear = self.found.linears[site]
            if linear.x is None:  # an embedding reads the token itself
                nodes = here.node[here.used]
                self._reads[nodes] = self._inputs[EMBEDDING, nodes] = here.inner[here.used]
                continue
            for first in range(0, here.node.shape[0], ROWS):
                part = slice(first, first + ROWS)
                V = self._V[site].T[here.place[part]] * here.used[part][..., None]
                self._target(linear.x, V, here.node[part])
        assert head.x is not None
        node = torch.full((1, self._seq), -1, dtype=torch.long, device=self.device)
        node[0, self._at] = self.count
        self._target(head.x, direction.expand(1, 1, -1), node)
        for place, arriving in sorted(self._arriving.items()):
            record = self.found.records[place]
            assert isinstance(record, Attended)
            nodes, cotangents = (torch.cat(parts) for parts in zip(*arriving, strict=True))
            self._attention(record, nodes, cotangents)

    @property
    def _seq(self) -> int:
        return next(iter(self.alive.values())).node.shape[1]

    # --- within a piece ---------------------------------------------------------------------------------------

    def _target(self, x: Tensor, cotangents: Tensor, node: Int[Tensor, "slots seq"]) -> None:
        """All that feeds these nodes, whose reading directions in `x` are `cotangents` [slots, seq, d_in]."""
        used = node >= 0
        to = node.clamp_min(0)
        read = (x.detach().reshape(1, -1, x.shape[-1]) * cotangents).sum(-1)
        self._reads[node[used]] = read.expand_as(node)[used] if read.shape[1] > 1 else read[0, 0]
        typical = x.detach().reshape(1, -1, x.shape[-1]).norm(dim=-1) * cotangents.norm(dim=-1)
        typical = typical / x.shape[-1] ** 0.5
        self._typical[node[used]] = typical.expand_as(node)[used] if read.shape[1] > 1 else typical[0, 0]
        records = self.found.reads(x)
        with torch.enable_grad():
            grads = pull(x, [leaf_of(record) for record in records], cotangents)
        gated = [id(leaf_of(record)) in self.found.gates for record in records]
        for record, grad, gate in zip(records, grads, gated, strict=True):
            if grad is None:
                continue
            steers = gate and not all(gated)
            if isinstance(record, Attended):
                self._arrive(record, grad, node)
                continue
            grad = grad.reshape(grad.shape[0], -1, grad.shape[-1])
            y = record.y.detach().reshape(-1, record.y.shape[-1])
            total = (grad * y).sum(-1)
            through = self._through(record)
            if isinstance(record, Bias):
                self._origin(CONSTANT, node, total)
            elif record.name in self.sites:
                known = self._edges(record.name, grad, to, used, self._via(gate, any(gated), steers))
                if not steers:
                    self._origin(HERE, node, known)
                    self._origin(REST, node, total - known)
            elif record.x is None:
                self._origin(EMBEDDING, node, total)
            elif through is not None:
                self._origin(ATTENTION, node, total)
                self._carry(record, through, grad, node)
            elif not steers:
                self._origin(OTHER, node, total)

    def _via(self, gate: bool, neurons: bool, steers: bool) -> Via:
        if steers:
            return Via.GATE
        return Via.NEURONS if gate or neurons else Via.RESIDUAL

    def _origin(self, origin: int, node: Tensor, amount: Tensor) -> None:
        used = node >= 0
        self._inputs[origin, node[used]] += amount[used]

    def _edges(self, site: str, grad: Tensor, to: Tensor, used: Tensor, via: Via) -> Tensor:
        """Edges from a site at the same position; their sum a target, [slots, seq]."""
        here = self.alive.get(site)
        if here is None:
            return grad.new_zeros(grad.shape[:2])
        weight = torch.einsum("tsd,wsd->stw", grad, self._written[site]) * used.T[..., None]
        self.pool.add(weight, to.T, here.node.clamp_min(0).T, via)
        return weight.sum(-1).T

    def _through(self, record: Record) -> Attended | None:
        """The attention whose output an undecomposed matrix reads, and nothing else."""
        if not isinstance(record, Linear) or record.x is None or record.name in self.sites:
            return None
        behind = self.found.reads(record.x)
        only = behind[0] if len(behind) == 1 else None
        return only if isinstance(only, Attended) else None

    def _carry(self, record: Linear, attended: Attended, grad: Tensor, node: Tensor) -> None:
        """Cotangents of what an attention's output matrix writes, taken to what it reads."""
        assert record.x is not None
        used = node >= 0
        before = grad.new_zeros(*grad.shape[:2], record.weight.shape[1])
        before[used] = times(grad[used], record.weight.T)
        with torch.enable_grad():
            (taken,) = pull(record.x, [attended.z], before)
        if taken is not None:
            self._arrive(attended, taken, node, counted=True)

    def _arrive(self, attended: Attended, grad: Tensor, node: Tensor, *, counted: bool = False) -> None:
        """Cotangents of what an attention gives, [slots, 1, heads, seq, d_head], wait for their sources."""
        used = node >= 0
        rows = grad[:, 0].transpose(1, 2)[used]  # [targets, heads, d_head]
        nodes = node[used]
        if not counted:
            z = attended.z.detach()[0].transpose(0, 1)[self.position[nodes]]
            self._inputs[ATTENTION, nodes] += (rows * z).sum((-1, -2))
        self._arriving.setdefault(self.found.records.index(attended), []).append((nodes, rows))

    # --- through an attention ---------------------------------------------------------------------------------

    def _attention(self, here: Attended, nodes: Tensor, cotangents: Float[Tensor, "t heads d_head"]) -> None:
        order = self.position[nodes].argsort(stable=True)
        nodes, cotangents = nodes[order], cotangents[order]
        at = self.position[nodes].contiguous()
        sources, values = self._values(here)
        if sources is not None and values is not None:
            self._moved(here, nodes, at, cotangents, sources, values)
        queries = steering(self.found, here.q, self.alive, self._written)
        if queries is not None:
            gone = without_query(here, queries).flatten(1)
            same = at[:, None] == queries.position[None]
            self.pool.add(cotangents.flatten(1) @ gone.T * same, nodes, queries.node, Via.QUERY)
        keys = steering(self.found, here.k, self.alive, self._written)
        if keys is not None:
            self._keyed(here, nodes, at, cotangents, keys)

    def _only_linear(self, tensor: Tensor) -> Linear | None:
        linears = [record for record in self.found.reads(tensor) if isinstance(record, Linear)]
        return linears[0] if len(linears) == 1 else None

    def _by_node(
        self, here: Alive, pushed: Float[Tensor, "slots 1 heads seq d_head"]
    ) -> tuple[Tensor, Tensor]:
        return here.node[here.used], pushed[:, 0].transpose(1, 2)[here.used]

    def _values(self, here: Attended) -> tuple[Tensor | None, Tensor | None]:
        """What each source writes into the values: node [s], [s, heads, d_head]. Sources are the components of the
        value matrix, or, where that is not decomposed, those that write what it reads."""
        linear = self._only_linear(here.v)
        if linear is None or linear.x is None:
            return None, None
        if linear.name in self.sites:
            if linear.name not in self.alive:
                return None, None
            with torch.enable_grad():
                return self._by_node(
                    self.alive[linear.name], push(here.v, linear.y, self._written[linear.name])
                )
        columns = self._columns(here.v, linear)
        weight = linear.weight[columns]
        nodes, parts = [], []
        for record in self.found.reads(linear.x):
            if isinstance(record, Linear) and record.name in self.alive:
                writer = self.alive[record.name]
                with torch.enable_grad():
                    read = push(linear.x, record.y, self._written[record.name])
                written = writer.inner.new_zeros(*writer.node.shape, linear.weight.shape[0])
                slot, place = writer.used.nonzero(as_tuple=True)
                rows = times(read.reshape(*writer.node.shape, -1)[slot, place], weight)
                written[slot[:, None], place[:, None], columns] = rows
                with torch.enable_grad():
                    found = self._by_node(writer, push(here.v, linear.y, written))
                nodes.append(found[0])
                parts.append(found[1])
        return (torch.cat(nodes), torch.cat(parts)) if nodes else (None, None)

    def _columns(self, tensor: Tensor, linear: Linear) -> Tensor:
        """Which of a matrix's outputs a tensor is made of: the values' of a matrix that fuses them with queries."""
        with torch.enable_grad():
            (read,) = pull(tensor, [linear.y], torch.ones_like(tensor)[None])
        assert read is not None
        return read.reshape(-1, read.shape[-1]).abs().sum(0).nonzero()[:, 0]

    def _moved(
        self, here: Attended, nodes: Tensor, at: Tensor, cotangents: Tensor, sources: Tensor, values: Tensor
    ) -> None:
        """Edges through the values: Σ_heads pattern[n, m] · cotangent · value."""
        origin = self.position[sources]
        order = origin.argsort(stable=True)
        sources, values, origin = sources[order], values[order], origin[order].contiguous()
        known = torch.zeros(len(nodes), device=self.device)
        places, counts = origin.unique_consecutive(return_counts=True)
        start = 0
        for place, n in zip(places.tolist(), counts.tolist(), strict=True):
            first = int(torch.searchsorted(at, place))
            part = slice(start, start + n)
            start += n
            if first == len(at):
                continue
            attention = here.pattern[:, at[first:], place].T[..., None]
            weight = times((cotangents[first:] * attention).flatten(1), values[part].flatten(1))
            self.pool.add(weight, nodes[first:], sources[part], Via.ATTENTION)
            known[first:] += weight.sum(-1)
        self._inputs[ATTENDED].index_add_(0, nodes, known)
        self._inputs[ATTENTION].index_add_(0, nodes, -known)

    def _keyed(self, here: Attended, nodes: Tensor, at: Tensor, cotangents: Tensor, keys: Steering) -> None:
        """Edges through the keys: what the target would lose with the key gone."""
        v, z = here.v.detach()[0], here.z.detach()[0]
        gone = without_key(here, keys)
        for first in range(0, len(nodes), TARGETS):
            part = slice(first, first + TARGETS)
            R, n = cotangents[part].transpose(0, 1), at[part]  # [heads, t, d_head]
            apart = R @ v[:, keys.position].transpose(-1, -2) - (R * z[:, n]).sum(-1, keepdim=True)
            self.pool.add((apart * gone[:, n]).sum(0), nodes[part], keys.node, Via.KEY)
