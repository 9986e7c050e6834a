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

from workers.spd.circuits.frozen import Attended, Bias, FrozenPass, Linear, leaf_of, pull, push
from workers.spd.circuits.nodes import Alive
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
    found: FrozenPass, tensor: Tensor, alive: Mapping[str, Alive], written: Mapping[str, Tensor]
) -> Steering | None:
    """The nodes behind the queries or keys `tensor` of an attention; None where that matrix has none."""
    linears = [record for record in found.reads(tensor) if isinstance(record, Linear)]
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
    score = torch.einsum("hnd,shd->hns", here.q.detach()[0], keys.rows) * here.scale
    a = here.pattern[:, :, keys.position]
    down, up = torch.exp(-score.clamp_min(0)), torch.exp(score.clamp_max(0))
    # Both fractions are the same; each is used where it cannot overflow.
    return torch.where(score >= 0, a * (1 - down), a * (up - 1)) / torch.where(
        score >= 0, 1 - a + a * down, (1 - a) * up + a
    ).clamp_min(1e-12)


def without_query(here: Attended, queries: Steering) -> Float[Tensor, "nodes heads d_head"]:
    """z(n) − z'(n), where z' is what the attention gives at the node's position without its query."""
    score = torch.einsum("hmd,shd->hsm", here.k.detach()[0], queries.rows) * here.scale
    changed = (here.pattern[:, queries.position].log() - score).softmax(-1)
    z = here.z.detach()[0][:, queries.position]
    return (z - changed @ here.v.detach()[0]).transpose(0, 1)


class Influence:
    """∂output/∂(what a site writes) and, of each node, ∂output/∂(inner activation). The output is `direction` · what
    `head` reads, in a recording with the model's own gradients."""

    def __init__(
        self,
        found: FrozenPass,
        head: Linear,
        direction: Float[Tensor, " d_model"],
        components: Components,
        alive: Mapping[str, Alive],
        written: Mapping[str, Tensor],
    ) -> None:
        self._found, self._alive, self._written = found, alive, written
        self._V, self._U = components.V, components.U
        self._towards: dict[int, Tensor] = {}
        self._finite: dict[str, Tensor] = {}
        with torch.no_grad():
            self._sweep(head, direction)

    @torch.no_grad()
    def slopes(self, site: str) -> Float[Tensor, "slots seq"]:
        """∂output/∂(inner activation) of a site's nodes."""
        y = self._found.linears[site].y
        got = self._towards.get(id(y))
        here = self._alive[site]
        if got is None:
            return torch.zeros_like(here.inner)
        slope = (got.reshape(-1, y.shape[-1]) @ self._U[site].detach().T).gather(1, here.place.T).T
        return slope + self._finite.get(site, 0.0)

    def _sweep(self, head: Linear, direction: Tensor) -> None:
        assert head.x is not None
        records = self._found.records
        first = min((self._found.linears[site] for site in self._alive), key=records.index)
        self._add(head.x, direction.expand_as(head.x))
        for record in reversed(records[records.index(first) + 1 :]):
            got = self._towards.get(id(leaf_of(record)))
            if got is None or record is head or isinstance(record, Bias):
                continue
            if isinstance(record, Attended):
                self._attention(record, got[0])
            elif record.x is not None:
                towards = times(got, record.weight.T)
                if record.name in self._finite:
                    here = self._alive[record.name]
                    V = self._V[record.name].detach().T[here.place]
                    more = torch.einsum("ts,tsd->sd", self._finite[record.name], V)
                    towards = towards + more.reshape(towards.shape)
                self._add(record.x, towards)

    def _attention(self, here: Attended, cotangent: Float[Tensor, "heads seq d_head"]) -> None:
        q, k, v, z = (tensor.detach()[0] for tensor in (here.q, here.k, here.v, here.z))
        apart = cotangent @ v.transpose(-1, -2) - (cotangent * z).sum(-1, keepdim=True)  # g(n) · (v_m − z_n)
        scores = here.pattern * apart * here.scale
        towards_q, towards_k = scores @ k, scores.transpose(-1, -2) @ q
        self._add(here.q, towards_q[None])
        self._add(here.k, towards_k[None])
        self._add(here.v, (here.pattern.transpose(-1, -2) @ cotangent)[None])
        keys = steering(self._found, here.k, self._alive, self._written)
        if keys is not None:
            gone = (without_key(here, keys) * apart[:, :, keys.position]).sum((0, 1))
            self._correct(keys, gone, towards_k)
        queries = steering(self._found, here.q, self._alive, self._written)
        if queries is not None:
            at = cotangent[:, queries.position].transpose(0, 1)
            self._correct(queries, (without_query(here, queries) * at).sum((-1, -2)), towards_q)

    def _correct(self, nodes: Steering, gone: Float[Tensor, " nodes"], towards: Tensor) -> None:
        """Let these nodes count with what their removal does, instead of to first order."""
        at = towards[:, nodes.position].transpose(0, 1)
        first_order = (nodes.rows * at).sum((-1, -2))
        here = self._alive[nodes.site]
        inner = here.inner[here.used]
        safe = torch.where(inner.abs() < 1e-6, torch.ones_like(inner), inner)
        change = torch.where(inner.abs() < 1e-6, torch.zeros_like(inner), (gone - first_order) / safe)
        before = self._finite.setdefault(nodes.site, torch.zeros_like(here.inner))
        before[here.used] += change

    def _add(self, tensor: Tensor, cotangent: Tensor) -> None:
        leaves = [leaf_of(record) for record in self._found.reads(tensor)]
        if not leaves:
            return
        with torch.enable_grad():
            found = pull(tensor, leaves, cotangent.reshape(1, *tensor.shape))
        for leaf, got in zip(leaves, found, strict=True):
            if got is not None:
                before = self._towards.get(id(leaf))
                self._towards[id(leaf)] = got[0] if before is None else before + got[0]
