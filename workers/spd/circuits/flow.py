"""What feeds each node of a circuit: every pair of nodes that one piece of a frozen pass, or one attention, connects.

Within a piece (residual stream, neurons) positions do not mix, so one row of cotangents serves one component at *every*
position at a time: a site costs as many rows as it has nodes at its busiest position, not one per node. Attention is
taken apart by its own formula.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

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
    GraphError,
    Via,
    Written,
)
from workers.spd.circuits.records import Attended, Bias, FrozenPass, Linear, Scores, pull, push
from workers.spd.method.decomposition import Decomposition
from workers.spd.targets.onednn import times

ROWS = 32
TARGETS = 512


class Pool:
    """The largest edges so far, and how many there were. `gradient`: the output's by each target's reading."""

    def __init__(self, gradient: Float[Tensor, " targets"], most: int) -> None:
        self.gradient, self.most = gradient, most
        self.total, self.floor = 0, 0.0
        self.parts: list[Edges] = []
        self.held = 0

    def add(
        self,
        weight: Float[Tensor, "*batch t s"],
        target: Int[Tensor, "*batch t"],
        source: Int[Tensor, "*batch s"],
        via: Via,
    ) -> None:
        """Edges of every target and source; pairs that do not exist weigh 0."""
        self.total += int(torch.count_nonzero(weight))
        effect = weight * self.gradient[target][..., None]
        size = effect.abs()
        at = (size > self.floor).nonzero(as_tuple=True)
        if not len(at[0]):
            return
        kind = torch.full_like(at[0], int(via))
        self.parts.append(Edges(source[(*at[:-2], at[-1])], target[at[:-1]], kind, weight[at], effect[at]))
        self.held += len(kind)
        if self.held > 4 * self.most:
            self.largest()

    def largest(self) -> Edges:
        """The largest effects first."""
        if not self.parts:
            empty = self.gradient.new_zeros(0)
            return Edges(empty.long(), empty.long(), empty.long(), empty, empty)
        joined = Edges.joined(self.parts)
        best = joined.effect.abs().topk(min(self.most, len(joined.effect))).indices
        largest = joined.pick(best)
        if len(best) == self.most:
            self.floor = float(largest.effect[-1].abs())
        self.parts, self.held = [largest], len(best)
        return largest


class Flow:
    """One prompt's edges and origins. `gradient`: the output's by each node's inner activation, and 1 for itself."""

    def __init__(
        self,
        decomposition: Decomposition,
        recording: FrozenPass,
        alive: Mapping[str, Alive],
        written: Mapping[str, Written],
        gradient: Float[Tensor, " targets"],
        position: Int[Tensor, " nodes"],
        at: int,
        most: int,
    ) -> None:
        self.recording, self.alive, self.sites = recording, alive, set(decomposition.sites)
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
        self._arrivals: dict[Attended, list[tuple[Tensor, Tensor]]] = {}

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
    def value(self) -> float:
        """What the output reads."""
        return float(self._reads[self.count])

    def edges(self) -> tuple[Edges, int]:
        """The largest edges, and how many there are."""
        return self.pool.largest().to("cpu"), self.pool.total

    @torch.no_grad()
    def run(self, head: Linear, direction: Float[Tensor, " d_model"], bias: Float[Tensor, ""]) -> None:
        """Find all edges and origins of every node and of the output, `bias` + `direction` · what `head` reads."""
        for site, here in self.alive.items():
            linear = self.recording.linears[site]
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
        self._reads[self.count] += bias
        self._inputs[CONSTANT, self.count] += bias
        for attended in sorted(self._arrivals, key=self.recording.records.index):
            nodes, cotangents = (torch.cat(parts) for parts in zip(*self._arrivals[attended], strict=True))
            self._attention(attended, nodes, cotangents)

    @property
    def _seq(self) -> int:
        return next(iter(self.alive.values())).node.shape[1]

    # --- within a piece ---------------------------------------------------------------------------------------

    def _target(
        self,
        x: Float[Tensor, "*batch d_in"],
        cotangents: Float[Tensor, "slots ... d_in"],
        node: Int[Tensor, "slots seq"],
    ) -> None:
        """All that feeds these nodes, which read `x` in the directions `cotangents`."""
        used = node >= 0
        rows = x.detach().reshape(1, -1, x.shape[-1])
        self._reads[node[used]] = (rows * cotangents).sum(-1).expand_as(node)[used]
        typical = rows.norm(dim=-1) * cotangents.norm(dim=-1) / x.shape[-1] ** 0.5
        self._typical[node[used]] = typical.expand_as(node)[used]
        records = self.recording.reads(x)
        with torch.enable_grad():
            grads = pull(x, [record.leaf for record in records], cotangents)
        found = [
            (record, grad, self.recording.gates.get(record))
            for record, grad in zip(records, grads, strict=True)
            if grad is not None
        ]
        gated = any(gate is not None for _, _, gate in found)
        steers = gated and any(
            _beyond(grad, gate) for record, grad, gate in found if not isinstance(record, Bias)
        )
        for record, grad, gate in found:
            if isinstance(record, Attended):
                self._arrive(record, grad, node)
            elif not isinstance(record, Scores):  # those of no attention we know: the sum will not be whole
                grad = grad.reshape(grad.shape[0], -1, grad.shape[-1])
                if grad.shape[:2] != node.shape:
                    raise GraphError(
                        "This model moves its positions between matrices, which the circuit cannot show."
                    )
                if gate is None or not steers:
                    self._record(record, grad, node, Via.NEURONS if gated else Via.RESIDUAL)
                    continue
                self._record(record, grad * gate, node, Via.GATE)
                if _beyond(grad, gate):  # gate and up projection in one matrix
                    self._record(record, grad * ~gate, node, Via.NEURONS)

    def _record(
        self,
        record: Linear | Bias,
        grad: Float[Tensor, "slots seq d_out"],
        node: Int[Tensor, "slots seq"],
        via: Via,
    ) -> None:
        """What one record contributes to these nodes, which read its leaf in the directions `grad`."""
        total = (grad * record.leaf.detach().reshape(-1, record.leaf.shape[-1])).sum(-1)
        if isinstance(record, Bias):
            self._origin(CONSTANT, node, total)
        elif record.name in self.sites:
            from_nodes = self._edges(record.name, grad, node, via)
            if via != Via.GATE:
                self._origin(HERE, node, from_nodes)
                self._origin(REST, node, total - from_nodes)
        elif record.x is None:
            self._origin(EMBEDDING, node, total)
        elif (attended := self._attended(record.x)) is not None:
            self._origin(ATTENTION, node, total)
            self._carry(record, record.x, attended, grad, node)
        elif via != Via.GATE:
            self._origin(OTHER, node, total)

    def _origin(
        self, origin: int, node: Int[Tensor, "slots seq"], amount: Float[Tensor, "slots seq"]
    ) -> None:
        used = node >= 0
        self._inputs[origin, node[used]] += amount[used]

    def _edges(
        self, site: str, grad: Float[Tensor, "slots seq d_out"], node: Int[Tensor, "slots seq"], via: Via
    ) -> Float[Tensor, "slots seq"]:
        """Edges from a site at the same position; their sum for each target."""
        here = self.alive.get(site)
        if here is None:
            return grad.new_zeros(grad.shape[:2])
        weight = torch.einsum("tsd,wsd->stw", grad, self._written[site]) * (node >= 0).T[..., None]
        self.pool.add(weight, node.clamp_min(0).T, here.node.clamp_min(0).T, via)
        return weight.sum(-1).T

    def _attended(self, x: Float[Tensor, "*batch d_in"]) -> Attended | None:
        """The attention whose output is all that `x`, the input of an undecomposed matrix, is made of."""
        records = self.recording.reads(x)
        only = records[0] if len(records) == 1 else None
        return only if isinstance(only, Attended) else None

    def _carry(
        self,
        record: Linear,
        x: Float[Tensor, "*batch d_in"],
        attended: Attended,
        grad: Float[Tensor, "slots seq d_out"],
        node: Int[Tensor, "slots seq"],
    ) -> None:
        """Cotangents of what an attention's output matrix writes, taken to what it reads."""
        used = node >= 0
        before = grad.new_zeros(*grad.shape[:2], record.weight.shape[1])
        before[used] = times(grad[used], record.weight.T)
        with torch.enable_grad():
            (pulled,) = pull(x, [attended.z], before)
        if pulled is not None:
            self._arrive(attended, pulled, node, counted=True)

    def _arrive(
        self,
        attended: Attended,
        grad: Float[Tensor, "slots 1 heads seq d_head"],
        node: Int[Tensor, "slots seq"],
        *,
        counted: bool = False,
    ) -> None:
        """Cotangents of what an attention gives wait for their sources. `counted`: their origin is recorded already."""
        used = node >= 0
        rows = grad[:, 0].transpose(1, 2)[used]  # [targets, heads, d_head]
        nodes = node[used]
        if not counted:
            z = attended.z.detach()[0].transpose(0, 1)[self.position[nodes]]
            self._inputs[ATTENTION, nodes] += (rows * z).sum((-1, -2))
        self._arrivals.setdefault(attended, []).append((nodes, rows))

    # --- through an attention ---------------------------------------------------------------------------------

    def _attention(
        self, here: Attended, nodes: Int[Tensor, " t"], cotangents: Float[Tensor, "t heads d_head"]
    ) -> None:
        order = self.position[nodes].argsort(stable=True)
        nodes, cotangents = nodes[order], cotangents[order]
        at = self.position[nodes].contiguous()
        values = self._values(here)
        if values is not None:
            self._moved(here, nodes, at, cotangents, *values)
        queries = steering(self.recording, here.q, self.alive, self._written)
        if queries is not None:
            loss = without_query(here, queries).flatten(1)
            same = at[:, None] == queries.position[None]
            self.pool.add(cotangents.flatten(1) @ loss.T * same, nodes, queries.node, Via.QUERY)
        keys = steering(self.recording, here.k, self.alive, self._written)
        if keys is not None:
            self._keyed(here, nodes, at, cotangents, keys)

    def _by_node(
        self, here: Alive, pushed: Float[Tensor, "slots 1 heads seq d_head"]
    ) -> tuple[Int[Tensor, " s"], Float[Tensor, "s heads d_head"]]:
        return here.node[here.used], pushed[:, 0].transpose(1, 2)[here.used]

    def _values(self, here: Attended) -> tuple[Int[Tensor, " s"], Float[Tensor, "s heads d_head"]] | None:
        """What each source writes into the values. Sources are the components of the value matrix, or, where that is
        not decomposed, those that write what it reads. None where there are none."""
        linears = [record for record in self.recording.reads(here.v) if isinstance(record, Linear)]
        if len(linears) != 1 or linears[0].x is None:
            return None
        linear, x = linears[0], linears[0].x
        if linear.name in self.sites:
            if linear.name not in self.alive:
                return None
            with torch.enable_grad():
                pushed = push(here.v, linear.y, self._written[linear.name])
            return self._by_node(self.alive[linear.name], pushed)
        columns = self._columns(here.v, linear)
        parts = [
            self._written_values(here, linear, x, columns, record)
            for record in self.recording.reads(x)
            if isinstance(record, Linear) and record.name in self.alive
        ]
        if not parts:
            return None
        return torch.cat([nodes for nodes, _ in parts]), torch.cat([values for _, values in parts])

    def _written_values(
        self,
        here: Attended,
        linear: Linear,
        x: Float[Tensor, "*batch d_in"],
        columns: Int[Tensor, " columns"],
        writer: Linear,
    ) -> tuple[Int[Tensor, " s"], Float[Tensor, "s heads d_head"]]:
        """What a site's nodes write into the values through `linear`, an undecomposed value matrix that reads `x`."""
        alive = self.alive[writer.name]
        with torch.enable_grad():
            read = push(x, writer.y, self._written[writer.name])
        written = alive.inner.new_zeros(*alive.node.shape, linear.weight.shape[0])
        slot, place = alive.used.nonzero(as_tuple=True)
        rows = times(read.reshape(*alive.node.shape, -1)[slot, place], linear.weight[columns])
        written[slot[:, None], place[:, None], columns] = rows
        with torch.enable_grad():
            return self._by_node(alive, push(here.v, linear.y, written))

    def _columns(
        self, values: Float[Tensor, "1 heads seq d_head"], linear: Linear
    ) -> Int[Tensor, " columns"]:
        """Which of a matrix's outputs the values are made of, if it fuses them with queries."""
        with torch.enable_grad():
            (read,) = pull(values, [linear.y], torch.ones_like(values)[None])
        assert read is not None
        return read.reshape(-1, read.shape[-1]).abs().sum(0).nonzero()[:, 0]

    def _moved(
        self,
        here: Attended,
        nodes: Int[Tensor, " t"],
        at: Int[Tensor, " t"],
        cotangents: Float[Tensor, "t heads d_head"],
        sources: Int[Tensor, " s"],
        values: Float[Tensor, "s heads d_head"],
    ) -> None:
        """Edges through the values: Σ_heads pattern[n, m] · cotangent · value."""
        origin = self.position[sources]
        order = origin.argsort(stable=True)
        sources, values, origin = sources[order], values[order], origin[order].contiguous()
        total = torch.zeros(len(nodes), device=self.device)
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
            total[first:] += weight.sum(-1)
        self._inputs[ATTENDED].index_add_(0, nodes, total)
        self._inputs[ATTENTION].index_add_(0, nodes, -total)

    def _keyed(
        self,
        here: Attended,
        nodes: Int[Tensor, " t"],
        at: Int[Tensor, " t"],
        cotangents: Float[Tensor, "t heads d_head"],
        keys: Steering,
    ) -> None:
        """Edges through the keys: what the target would lose without the key."""
        v, z = here.v.detach()[0], here.z.detach()[0]
        share = without_key(here, keys)
        for first in range(0, len(nodes), TARGETS):
            part = slice(first, first + TARGETS)
            R, n = cotangents[part].transpose(0, 1), at[part]  # [heads, t, d_head]
            apart = R @ v[:, keys.position].transpose(-1, -2) - (R * z[:, n]).sum(-1, keepdim=True)
            self.pool.add((apart * share[:, n]).sum(0), nodes[part], keys.node, Via.KEY)


def _beyond(grad: Float[Tensor, "slots ... d_out"], gate: Bool[Tensor, " d_out"] | None) -> bool:
    """Whether a matrix's output is read otherwise than by an activation function."""
    return gate is None or bool(grad[..., ~gate].any())
