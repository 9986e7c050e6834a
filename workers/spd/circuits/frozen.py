"""One pass of a target as affine pieces between its matrices (docs/circuit.md).

While `Freezing` is active, what lies between two matrices is made affine in what it reads: a norm keeps the scale it
had, an activation function its slope act(x)/x, an attention its probabilities. The output of every matrix begins a
piece of its own, so a gradient within a piece is exact and costs no weight. Calls are seen as a torch function mode
sees them, in this thread alone: nothing is attached to a module and no architecture is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from transformers.pytorch_utils import Conv1D

from workers.spd.targets.induction import attend
from workers.spd.targets.masks import site_weight
from workers.spd.targets.onednn import times
from workers.spd.targets.target import Target

SLOPES = (F.gelu, F.silu, F.relu, F.leaky_relu, F.elu, F.relu6, F.mish, F.hardswish, torch.relu)
SWITCHES = (
    torch.tanh, Tensor.tanh, F.tanh, torch.sigmoid, Tensor.sigmoid, F.sigmoid, torch.erf, Tensor.erf,
)  # fmt: skip
CONSTANTS = (torch.rsqrt, Tensor.rsqrt, F.softmax, torch.softmax, Tensor.softmax)


class FreezeError(Exception):
    """A pass that cannot be taken apart; the message is a plain sentence."""


@dataclass(eq=False)
class Linear:
    """A matrix in the pass: x, what it reads, [… seq d_in] (None where it reads ids); y, what it writes, a leaf."""

    name: str
    x: Tensor | None
    y: Tensor
    weight: Float[Tensor, "d_out d_in"]

    @property
    def written(self) -> Float[Tensor, "seq d_out"]:
        return self.y.detach().reshape(-1, self.y.shape[-1])


@dataclass(eq=False)
class Attended:
    """An attention in the pass. q, k, v: [1, heads, seq, d_head]; pattern: [heads, query, key]; z: v mixed, a leaf."""

    q: Tensor
    k: Tensor
    v: Tensor
    pattern: Float[Tensor, "heads seq seq"]
    scale: float
    z: Tensor


@dataclass(eq=False)
class Bias:
    """The bias of a norm, a leaf."""

    y: Tensor


Record = Linear | Attended | Bias


@dataclass
class FrozenPass:
    """The pieces of a pass in order. `gates`: the leaves that an activation function reads."""

    records: list[Record] = field(default_factory=list)
    leaves: dict[int, Record] = field(default_factory=dict)
    gates: set[int] = field(default_factory=set)
    _sources: dict[Any, frozenset[int]] = field(default_factory=dict)
    _kept: list[Tensor] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Keep a record under its leaf."""
        self.records.append(record)
        self.leaves[id(leaf_of(record))] = record

    @property
    def linears(self) -> dict[str, Linear]:
        return {record.name: record for record in self.records if isinstance(record, Linear)}

    @property
    def attentions(self) -> list[Attended]:
        return [record for record in self.records if isinstance(record, Attended)]

    def reads(self, tensor: Tensor) -> list[Record]:
        """The records whose leaves a tensor of the pass is made of, in order."""
        if id(tensor) in self.leaves:
            return [self.leaves[id(tensor)]]
        found = self._reached(tensor.grad_fn)
        return [record for record in self.records if id(leaf_of(record)) in found]

    def _reached(self, start: Any) -> frozenset[int]:
        """Ids of the leaves behind a node of the autograd graph, worked out once a node."""
        stack, done = [start], self._sources
        while stack:
            node = stack[-1]
            if node is None or node in done:
                stack.pop()
                continue
            variable = getattr(node, "variable", None)
            if variable is not None:
                done[node] = frozenset([id(variable)])
                continue
            behind = [one for one, _ in node.next_functions if one is not None]
            missing = [one for one in behind if one not in done]
            if missing:
                stack += missing
                continue
            done[node] = frozenset().union(*(done[one] for one in behind))
        return frozenset() if start is None else done[start]


def leaf_of(record: Record) -> Tensor:
    """Where a piece begins."""
    return record.z if isinstance(record, Attended) else record.y


class Freezing(TorchFunctionMode):
    """Records a pass into `found`. `unembedding` is not run: its logits are not needed.

    With `known`, an earlier recording of the same prompt, what matrices write is taken from there, and the pieces are
    left as they are: gradients within them are the model's own.
    """

    def __init__(self, model: nn.Module, unembedding: Tensor, known: FrozenPass | None = None) -> None:
        super().__init__()
        self.found = FrozenPass()
        self._known = None if known is None else known.linears
        self.unembedding = unembedding
        self.matrices: dict[int, str] = {}
        self.tables: dict[int, str] = {}
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear | Conv1D):
                self.matrices[id(module.weight)] = name
            elif isinstance(module, nn.Embedding):
                self.tables[id(module.weight)] = name
        self._model = model

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.linear and id(args[1]) in self.matrices:
            return self._linear(self.matrices[id(args[1])], args[0], func, args, kwargs)
        if func in (torch.addmm, Tensor.addmm) and len(args) > 2 and id(args[2]) in self.matrices:
            return self._linear(self.matrices[id(args[2])], args[1], func, args, kwargs)
        if func is F.embedding and id(args[1]) in self.tables:
            return self._linear(self.tables[id(args[1])], None, func, args, kwargs)
        if func is F.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        if func is attend:
            return self._attention(*(one[:, None] for one in args), is_causal=True)[:, 0]
        if self._known is not None:
            return func(*args, **kwargs)
        if func is F.layer_norm:
            return self._layer_norm(*args, **kwargs)
        if func is F.rms_norm:
            return self._rms_norm(*args, **kwargs)
        if func in SLOPES:
            return self._activation(func, args, kwargs)
        if func in SWITCHES or func in CONSTANTS:
            if func in SWITCHES:
                self._gate(args[0])
            return func(*args, **kwargs).detach()
        return func(*args, **kwargs)

    def _linear(
        self, name: str, x: Tensor | None, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor:
        if any(isinstance(one, Linear) and one.name == name for one in self.found.records):
            raise FreezeError(f"“{name}” runs more than once in a pass, which the circuit cannot show.")
        with torch.no_grad():
            weight = site_weight(self._model.get_submodule(name))
            if self._known is not None:
                y = self._known[name].y.detach()
            elif x is not None and weight is self.unembedding:
                y = x.new_zeros(*x.shape[:-1], weight.shape[0])
            elif x is not None:
                y = times(x.detach(), weight)
                bias = getattr(self._model.get_submodule(name), "bias", None)
                y = y if bias is None else y + bias
            else:
                y = func(*args, **kwargs).detach()
        y.requires_grad_()
        self.found.add(Linear(name, x, y, weight))
        return y

    def _attention(
        self, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
        is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
    ) -> Tensor:  # fmt: skip
        k, v = _for_each_head(k, q), _for_each_head(v, q)
        size: float = q.shape[-1] ** -0.5 if scale is None else scale
        with torch.no_grad():
            scores = q @ k.transpose(-1, -2) * size
            if attn_mask is None and is_causal:
                attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
            if attn_mask is not None:
                barred = attn_mask.dtype == torch.bool
                scores = scores.masked_fill(~attn_mask, float("-inf")) if barred else scores + attn_mask
            pattern = scores.softmax(-1)
            z = pattern @ v
        z.requires_grad_()
        self.found.add(Attended(q, k, v, pattern[0], size, z))
        return z

    def _layer_norm(
        self, x: Tensor, shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:  # fmt: skip
        dims = tuple(range(-len(shape), 0))
        centred = x - x.mean(dims, keepdim=True)
        scale = (centred.detach().pow(2).mean(dims, keepdim=True) + eps).rsqrt()
        return self._biased(centred * (scale if weight is None else scale * weight), bias)

    def _rms_norm(
        self, x: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
    ) -> Tensor:
        dims = tuple(range(-len(shape), 0))
        eps = torch.finfo(x.dtype).eps if eps is None else eps
        scale = (x.detach().pow(2).mean(dims, keepdim=True) + eps).rsqrt()
        return x * (scale if weight is None else scale * weight)

    def _biased(self, y: Tensor, bias: Tensor | None) -> Tensor:
        if bias is None:
            return y
        leaf = bias.detach().expand_as(y).clone().requires_grad_()
        self.found.add(Bias(leaf))
        return y + leaf

    def _activation(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        x = args[0]
        self._gate(x)
        kwargs = {name: value for name, value in kwargs.items() if name != "inplace"}
        with torch.no_grad():
            y = func(x, *args[1:], **kwargs)
            near = x.abs() < 1e-4
            step = torch.where(near, torch.full_like(x, 1e-2), x)
            slope = torch.where(near, func(step, *args[1:], **kwargs), y) / step
            rest = y - slope * x
        return x * slope + rest

    def _gate(self, x: Tensor) -> None:
        if x.requires_grad:
            self.found.gates |= {id(leaf_of(one)) for one in self.found.reads(x)}


def _for_each_head(x: Tensor, q: Tensor) -> Tensor:
    """Keys or values that groups of heads share, once for each head."""
    groups = q.shape[1] // x.shape[1]
    if groups == 1:
        return x
    return x[:, :, None].expand(-1, -1, groups, -1, -1).reshape(x.shape[0], q.shape[1], *x.shape[2:])


def frozen_pass(
    target: Target, tokens: Int[Tensor, "1 seq"], at: int, known: FrozenPass | None = None
) -> tuple[FrozenPass, Linear]:
    """The pass of one prompt, and its unembedding, which reads position `at` alone. With `known`, its recording, the
    same with the model's own gradients. Raises FreezeError."""
    unembedding = target.unembedding()
    mode = Freezing(target.model, unembedding, known)
    with torch.enable_grad(), mode:
        target.logits(tokens, torch.tensor([at], device=tokens.device))
    found = mode.found
    head = next(
        (r for r in found.records if isinstance(r, Linear) and r.x is not None and r.weight is unembedding), None
    )  # fmt: skip
    if head is None:
        raise FreezeError("This model writes its logits in a way that the circuit cannot read.")
    return found, head


# --- within a piece -----------------------------------------------------------------------------------------------


def pull(
    output: Tensor, leaves: Sequence[Tensor], cotangents: Float[Tensor, "rows ..."]
) -> list[Tensor | None]:
    """How each row of cotangents of `output` reads the leaves: [rows, *leaf.shape]; None where it does not."""
    rows = cotangents.reshape(cotangents.shape[0], *output.shape)
    return list(
        torch.autograd.grad(
            output, list(leaves), rows, retain_graph=True, allow_unused=True, is_grads_batched=True
        )
    )


def push(output: Tensor, leaf: Tensor, tangents: Float[Tensor, "rows ..."]) -> Float[Tensor, "rows ..."]:
    """What rows added at a leaf add to `output`: [rows, *output.shape]. The transpose of `pull`, by its derivative."""
    rows = tangents.reshape(tangents.shape[0], *leaf.shape)
    probe = torch.zeros_like(output, requires_grad=True)
    (read,) = torch.autograd.grad(output, leaf, probe, create_graph=True, retain_graph=True)
    return torch.autograd.grad(read, probe, rows, is_grads_batched=True)[0]
