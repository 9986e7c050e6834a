"""How the output answers to every node: one sweep from the end of a pass to its start.

The gradients are the model's own, but for queries and keys. A sharp attention hardly answers to a small change of its
scores, though it falls apart without them; so a component of a query or key matrix counts with what its removal does
to what the attention gives, which has a closed form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workers.spd.circuits.nodes import Alive, Written
from workers.spd.circuits.records import Attended, Bias, FrozenPass, Linear, Record, Scores, pull, push
from workers.spd.method.components import Components
from workers.spd.targets.onednn import times


@dataclass(frozen=True)
class Steering:
    """The nodes that write an attention's queries, or its keys. rows: what they write there, [nodes, heads, d_head]."""

    site: str
    node: Int[Tensor, " nodes"]
    position: Int[Tensor, " nodes"]
    rows: Float[Tensor, "nodes heads d_head"]


def steering(
    recording: FrozenPass,
    tensor: Float[Tensor, "1 heads seq d_head"],
    alive: Mapping[str, Alive],
    written: Mapping[str, Written],
) -> Steering | None:
    """The nodes behind the queries or keys `tensor` of an attention; None where that matrix has none."""
    linears = [record for record in recording.reads(tensor) if isinstance(record, Linear)]
    if len(linears) != 1 or linears[0].name not in alive:
        return None
    site = linears[0].name
    here = alive[site]
    with torch.enable_grad():
        pushed = push(tensor, linears[0].y, written[site])
    position = here.used.nonzero()[:, 1]
    return Steering(site, here.node[here.used], position, pushed[:, 0].transpose(1, 2)[here.used])


def without_key(here: Attended, keys: Steering) -> Float[Tensor, "heads seq nodes"]:
    """f with z(n) − z'(n) = f · (v_m − z(n)), where z' is what the attention gives at n without this node's key at m.

    Its score falls by δ, so its probability a becomes a e^−δ / (1 − a + a e^−δ): f = a (1 − e^−δ) / (1 − a + a e^−δ).
    """
    part = torch.einsum("hnd,shd->hns", here.q.detach()[0], keys.rows) * here.scale
    score = here.lost(part, columns=keys.position)
    a = here.pattern[:, :, keys.position]
    down, up = torch.exp(-score.clamp_min(0)), torch.exp(score.clamp_max(0))
    # Both fractions are the same; each is used where it cannot overflow.
    return torch.where(score >= 0, a * (1 - down), a * (up - 1)) / torch.where(
        score >= 0, 1 - a + a * down, (1 - a) * up + a
    ).clamp_min(1e-12)


def without_query(here: Attended, queries: Steering) -> Float[Tensor, "nodes heads d_head"]:
    """z(n) − z'(n), where z' is what the attention gives at the node's position without its query."""
    part = torch.einsum("hmd,shd->hsm", here.k.detach()[0], queries.rows) * here.scale
    score = here.lost(part, rows=queries.position)
    changed = (here.pattern[:, queries.position].log() - score).softmax(-1)
    z = here.z.detach()[0][:, queries.position]
    return (z - changed @ here.v.detach()[0]).transpose(0, 1)


class Influence:
    """∂output/∂(what a site writes) and, of each node, ∂output/∂(inner activation). The output is `direction` · what
    `head` reads, in a recording with the model's own gradients."""

    def __init__(
        self,
        recording: FrozenPass,
        head: Linear,
        direction: Float[Tensor, " d_model"],
        components: Components,
        alive: Mapping[str, Alive],
        written: Mapping[str, Written],
    ) -> None:
        self._recording, self._alive, self._written = recording, alive, written
        self._V, self._U = components.V, components.U
        self._cotangents: dict[Record, Tensor] = {}  # ∂output/∂leaf
        self._corrections: dict[str, Float[Tensor, "slots seq"]] = {}
        with torch.no_grad():
            self._sweep(head, direction)

    @torch.no_grad()
    def slopes(self, site: str) -> Float[Tensor, "slots seq"]:
        """∂output/∂(inner activation) of a site's nodes."""
        linear, here = self._recording.linears[site], self._alive[site]
        cotangent = self._cotangents.get(linear)
        if cotangent is None:
            return torch.zeros_like(here.inner)
        rows = cotangent.reshape(-1, linear.y.shape[-1])
        slope = (rows @ self._U[site].detach().T).gather(1, here.place.T).T
        return slope + self._corrections.get(site, 0.0)

    def _sweep(self, head: Linear, direction: Float[Tensor, " d_model"]) -> None:
        assert head.x is not None
        records, linears = self._recording.records, self._recording.linears
        first = min(records.index(linears[site]) for site in self._alive)
        self._add(head.x, direction.expand_as(head.x))
        for record in reversed(records[first + 1 :]):
            cotangent = self._cotangents.get(record)
            if cotangent is None or record is head or isinstance(record, Bias | Scores):
                continue
            if isinstance(record, Attended):
                self._attention(record, cotangent[0])
            elif record.x is not None:
                self._linear(record, record.x, cotangent)

    def _linear(
        self, record: Linear, x: Float[Tensor, "*batch d_in"], cotangent: Float[Tensor, "*batch d_out"]
    ) -> None:
        read = times(cotangent, record.weight.T)
        if record.name in self._corrections:
            V = self._V[record.name].detach().T[self._alive[record.name].place]
            correction = torch.einsum("ts,tsd->sd", self._corrections[record.name], V)
            read = read + correction.reshape(read.shape)
        self._add(x, read)

    def _attention(self, here: Attended, cotangent: Float[Tensor, "heads seq d_head"]) -> None:
        q, k, v, z = (tensor.detach()[0] for tensor in (here.q, here.k, here.v, here.z))
        apart = cotangent @ v.transpose(-1, -2) - (cotangent * z).sum(-1, keepdim=True)  # g(n) · (v_m − z_n)
        scores = here.pattern * apart * here.slope
        towards_q, towards_k = scores @ k, scores.transpose(-1, -2) @ q
        self._add(here.q, towards_q[None])
        self._add(here.k, towards_k[None])
        self._add(here.v, (here.pattern.transpose(-1, -2) @ cotangent)[None])
        keys = steering(self._recording, here.k, self._alive, self._written)
        if keys is not None:
            loss = (without_key(here, keys) * apart[:, :, keys.position]).sum((0, 1))
            self._correct(keys, loss, towards_k)
        queries = steering(self._recording, here.q, self._alive, self._written)
        if queries is not None:
            at = cotangent[:, queries.position].transpose(0, 1)
            self._correct(queries, (without_query(here, queries) * at).sum((-1, -2)), towards_q)

    def _correct(
        self, nodes: Steering, loss: Float[Tensor, " nodes"], towards: Float[Tensor, "heads seq d_head"]
    ) -> None:
        """Let these nodes count with `loss`, what their removal takes from the output, instead of to first order."""
        at = towards[:, nodes.position].transpose(0, 1)
        first_order = (nodes.rows * at).sum((-1, -2))
        here = self._alive[nodes.site]
        inner = here.inner[here.used]
        safe = torch.where(inner.abs() < 1e-6, torch.ones_like(inner), inner)
        change = torch.where(inner.abs() < 1e-6, torch.zeros_like(inner), (loss - first_order) / safe)
        correction = self._corrections.setdefault(nodes.site, torch.zeros_like(here.inner))
        correction[here.used] += change

    def _add(self, tensor: Float[Tensor, "*batch d"], cotangent: Float[Tensor, "*batch d"]) -> None:
        """Take a cotangent of a tensor of the pass to the leaves that it reads."""
        records = self._recording.reads(tensor)
        if not records:
            return
        with torch.enable_grad():
            pulled = pull(tensor, [record.leaf for record in records], cotangent.reshape(1, *tensor.shape))
        for record, part in zip(records, pulled, strict=True):
            if part is not None:
                before = self._cotangents.get(record)
                self._cotangents[record] = part[0] if before is None else before + part[0]
