"""What a pass is cut into (docs/circuit.md): matrices, attentions and biases, each with a leaf that begins a piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

CLOSE = 1 - 1e-6
EVERY = slice(None)
Places = slice | Int[Tensor, " places"]


class FreezeError(Exception):
    """A pass that cannot be taken apart; the message is a plain sentence."""


@dataclass(eq=False)
class Linear:
    """A matrix in the pass: x, what it reads (None where it reads ids); y, what it writes, a leaf."""

    name: str
    x: Float[Tensor, "*batch d_in"] | None
    y: Float[Tensor, "*batch d_out"]
    weight: Float[Tensor, "d_out d_in"]

    @property
    def leaf(self) -> Float[Tensor, "*batch d_out"]:
        """Where a piece begins."""
        return self.y


@dataclass(eq=False)
class Attended:
    """An attention in the pass. pattern: [heads, query, key]; z: the values mixed by it, a leaf.

    A score is scale · q · k, or with a cap (Gemma 2) cap · tanh(scale · q · k / cap), each plus what does not depend on
    q and k.
    """

    q: Float[Tensor, "1 heads seq d_head"]
    k: Float[Tensor, "1 heads seq d_head"]
    v: Float[Tensor, "1 heads seq d_value"]
    pattern: Float[Tensor, "heads seq seq"]
    scale: float
    z: Float[Tensor, "1 heads seq d_value"]
    cap: float | None = None

    @property
    def leaf(self) -> Float[Tensor, "1 heads seq d_value"]:
        """Where a piece begins."""
        return self.z

    @property
    def slope(self) -> Float[Tensor, "heads seq seq"] | float:
        """The derivative of the scores by q · k."""
        return self.scale if self.cap is None else self.scale * (1 - self._capped.pow(2))

    def lost(
        self, part: Float[Tensor, "heads rows columns"], rows: Places = EVERY, columns: Places = EVERY
    ) -> Float[Tensor, "heads rows columns"]:
        """What scores at these queries and keys lose when `part` of scale · q · k is gone."""
        if self.cap is None:
            return part
        capped = self._capped[:, rows][:, :, columns]
        return self.cap * (capped - (capped.atanh() - part / self.cap).tanh())

    @property
    def _capped(self) -> Float[Tensor, "heads seq seq"]:
        """tanh(scale · q · k / cap), never so near 1 that its inverse is infinite."""
        assert self.cap is not None
        q, k = self.q.detach()[0], self.k.detach()[0]
        return (q @ k.transpose(-1, -2) * (self.scale / self.cap)).tanh().clamp(-CLOSE, CLOSE)


@dataclass(eq=False)
class Scores:
    """What a model's own attention code makes of queries and keys on the way to its pattern, a leaf: their product,
    that under a tanh, or the pattern."""

    q: Float[Tensor, "1 heads seq d_head"]
    k: Float[Tensor, "1 heads seq d_head"]
    leaf: Float[Tensor, ...]
    scale: float = 1.0
    cap: float | None = None


@dataclass(eq=False)
class Bias:
    """The bias of a norm, or another constant that is added, a leaf."""

    y: Float[Tensor, "*batch d_model"]

    @property
    def leaf(self) -> Float[Tensor, "*batch d_model"]:
        """Where a piece begins."""
        return self.y


Record = Linear | Attended | Bias | Scores


class FrozenPass:
    """The pieces of a pass in order. `gates`: which columns of a matrix's output an activation function reads."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.gates: dict[Record, Bool[Tensor, " d_out"]] = {}
        self._behind: dict[
            Node, frozenset[int]
        ] = {}  # places in `records` of the leaves behind an autograd node

    def add(self, record: Record) -> None:
        """Append a record, whose leaf requires a gradient."""
        # The node lives as long as it is a key here, so the graphs built on the leaf meet this very one.
        self._behind[get_gradient_edge(record.leaf).node] = frozenset([len(self.records)])
        self.records.append(record)

    @property
    def linears(self) -> dict[str, Linear]:
        return {record.name: record for record in self.records if isinstance(record, Linear)}

    def reads(self, tensor: Float[Tensor, ...]) -> list[Record]:
        """The records whose leaves a tensor of the pass is made of, in order."""
        if not tensor.requires_grad:
            return []
        return [self.records[place] for place in sorted(self._reached(get_gradient_edge(tensor).node))]

    def gate(self, x: Float[Tensor, "*batch d_mlp"]) -> None:
        """An activation function reads `x`."""
        linears = [record for record in self.reads(x) if isinstance(record, Linear)]
        if not linears:
            return
        pulled = pull(x, [record.leaf for record in linears], torch.ones_like(x)[None])
        for record, read in zip(linears, pulled, strict=True):
            if read is not None:
                columns = (read != 0).reshape(-1, read.shape[-1]).any(0)
                self.gates[record] = columns | self.gates.get(record, columns)

    def _reached(self, start: Node) -> frozenset[int]:
        """Places of the records behind a node of the autograd graph, worked out once for each node."""
        stack, behind = [start], self._behind
        while stack:
            node = stack[-1]
            if node in behind:
                stack.pop()
                continue
            nodes = [one for one, _ in node.next_functions if one is not None]
            missing = [one for one in nodes if one not in behind]
            if missing:
                stack += missing
                continue
            behind[node] = frozenset[int]().union(*(behind[one] for one in nodes))
        return behind[start]


# --- within a piece -----------------------------------------------------------------------------------------------


def pull(
    output: Float[Tensor, "*output"],
    leaves: Sequence[Float[Tensor, ...]],
    cotangents: Float[Tensor, "rows ..."],
) -> list[Float[Tensor, "rows ..."] | None]:
    """How each row of cotangents of `output` reads the leaves: [rows, *leaf.shape]; None where it does not."""
    rows = cotangents.reshape(cotangents.shape[0], *output.shape)
    return list(
        torch.autograd.grad(
            output, list(leaves), rows, retain_graph=True, allow_unused=True, is_grads_batched=True
        )
    )


def push(
    output: Float[Tensor, "*output"], leaf: Float[Tensor, "*leaf"], tangents: Float[Tensor, "rows ..."]
) -> Float[Tensor, "rows ..."]:
    """What rows added at a leaf add to `output`. The transpose of `pull`, by its derivative."""
    rows = tangents.reshape(tangents.shape[0], *leaf.shape)
    probe = torch.zeros_like(output, requires_grad=True)
    (read,) = torch.autograd.grad(output, leaf, probe, create_graph=True, retain_graph=True)
    return torch.autograd.grad(read, probe, rows, is_grads_batched=True)[0]
