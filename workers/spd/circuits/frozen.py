"""One pass of a target as affine pieces between its matrices (docs/circuit.md).

While `Freezing` is active, what lies between two matrices is made affine in what it reads: a norm keeps the scale it
had, an activation function its slope act(x)/x, an attention its probabilities. The output of every matrix begins a
piece of its own, so a gradient within a piece is exact and costs no weight. Calls are seen as a torch function mode
sees them, in this thread alone: nothing is attached to a module and no architecture is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.autograd.graph import Node, get_gradient_edge
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
    """An attention in the pass. pattern: [heads, query, key]; z: the values mixed by it, a leaf."""

    q: Float[Tensor, "1 heads seq d_head"]
    k: Float[Tensor, "1 heads seq d_head"]
    v: Float[Tensor, "1 heads seq d_value"]
    pattern: Float[Tensor, "heads seq seq"]
    scale: float
    z: Float[Tensor, "1 heads seq d_value"]

    @property
    def leaf(self) -> Float[Tensor, "1 heads seq d_value"]:
        """Where a piece begins."""
        return self.z


@dataclass(eq=False)
class Bias:
    """The bias of a norm, a leaf."""

    y: Float[Tensor, "*batch d_model"]

    @property
    def leaf(self) -> Float[Tensor, "*batch d_model"]:
        """Where a piece begins."""
        return self.y


Record = Linear | Attended | Bias


class FrozenPass:
    """The pieces of a pass in order. `gates`: the records whose leaves an activation function reads."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.gates: set[Record] = set()
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


class Freezing(TorchFunctionMode):
    """Records a pass into `recording`. `unembedding` is not run: its logits are not needed.

    With `earlier`, a recording of the same prompt, what matrices write is taken from there, and the pieces are left as
    they are: gradients within them are the model's own.
    """

    def __init__(
        self,
        model: nn.Module,
        unembedding: Float[Tensor, "vocab d_model"],
        earlier: FrozenPass | None = None,
    ) -> None:
        super().__init__()
        self.recording = FrozenPass()
        self._earlier = None if earlier is None else earlier.linears
        self.unembedding = unembedding
        modules = [(name, module) for name, module in model.named_modules() if hasattr(module, "weight")]
        # A tensor's hash is its identity, and the model keeps these alive.
        self.matrices = {m.weight: name for name, m in modules if isinstance(m, nn.Linear | Conv1D)}
        self.tables = {m.weight: name for name, m in modules if isinstance(m, nn.Embedding)}
        self._model = model

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.linear and args[1] in self.matrices:
            return self._linear(self.matrices[args[1]], args[0], func, args, kwargs)
        if func in (torch.addmm, Tensor.addmm) and len(args) > 2 and args[2] in self.matrices:
            return self._linear(self.matrices[args[2]], args[1], func, args, kwargs)
        if func is F.embedding and args[1] in self.tables:
            return self._linear(self.tables[args[1]], None, func, args, kwargs)
        if func is F.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        if func is attend:
            return self._attention(*(one[:, None] for one in args), is_causal=True)[:, 0]
        if self._earlier is not None:
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
        self,
        name: str,
        x: Float[Tensor, "*batch d_in"] | None,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Float[Tensor, "*batch d_out"]:
        if any(isinstance(one, Linear) and one.name == name for one in self.recording.records):
            raise FreezeError(f"“{name}” runs more than once in a pass, which the circuit cannot show.")
        with torch.no_grad():
            weight = site_weight(self._model.get_submodule(name))
            if self._earlier is not None:
                y = self._earlier[name].y.detach()
            elif x is not None and weight is self.unembedding:
                y = x.new_zeros(*x.shape[:-1], weight.shape[0])
            elif x is not None:
                y = times(x.detach(), weight)
                bias = getattr(self._model.get_submodule(name), "bias", None)
                y = y if bias is None else y + bias
            else:
                y = func(*args, **kwargs).detach()
        y.requires_grad_()
        self.recording.add(Linear(name, x, y, weight))
        return y

    def _attention(
        self,
        q: Float[Tensor, "1 heads seq d_head"],
        k: Float[Tensor, "1 groups seq d_head"],
        v: Float[Tensor, "1 groups seq d_value"],
        attn_mask: Shaped[Tensor, "#*mask seq seq"] | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Float[Tensor, "1 heads seq d_value"]:
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
        self.recording.add(Attended(q, k, v, pattern[0], size, z))
        return z

    def _layer_norm(
        self,
        x: Float[Tensor, "*batch d_model"],
        shape: Sequence[int],
        weight: Float[Tensor, " d_model"] | None = None,
        bias: Float[Tensor, " d_model"] | None = None,
        eps: float = 1e-5,
    ) -> Float[Tensor, "*batch d_model"]:
        dims = tuple(range(-len(shape), 0))
        centred = x - x.mean(dims, keepdim=True)
        scale = (centred.detach().pow(2).mean(dims, keepdim=True) + eps).rsqrt()
        return self._biased(centred * (scale if weight is None else scale * weight), bias)

    def _rms_norm(
        self,
        x: Float[Tensor, "*batch d_model"],
        shape: Sequence[int],
        weight: Float[Tensor, " d_model"] | None = None,
        eps: float | None = None,
    ) -> Float[Tensor, "*batch d_model"]:
        dims = tuple(range(-len(shape), 0))
        eps = torch.finfo(x.dtype).eps if eps is None else eps
        scale = (x.detach().pow(2).mean(dims, keepdim=True) + eps).rsqrt()
        return x * (scale if weight is None else scale * weight)

    def _biased(
        self, y: Float[Tensor, "*batch d_model"], bias: Float[Tensor, " d_model"] | None
    ) -> Float[Tensor, "*batch d_model"]:
        if bias is None:
            return y
        leaf = bias.detach().expand_as(y).clone().requires_grad_()
        self.recording.add(Bias(leaf))
        return y + leaf

    def _activation(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Float[Tensor, "*batch d_mlp"]:
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

    def _gate(self, x: Float[Tensor, "*batch d_mlp"]) -> None:
        self.recording.gates.update(self.recording.reads(x))


def _for_each_head(
    x: Float[Tensor, "1 groups seq d_x"], q: Float[Tensor, "1 heads seq d_head"]
) -> Float[Tensor, "1 heads seq d_x"]:
    """Keys or values that groups of heads share, once for each head."""
    groups = q.shape[1] // x.shape[1]
    if groups == 1:
        return x
    return x[:, :, None].expand(-1, -1, groups, -1, -1).reshape(x.shape[0], q.shape[1], *x.shape[2:])


def frozen_pass(
    target: Target, tokens: Int[Tensor, "1 seq"], at: int, earlier: FrozenPass | None = None
) -> tuple[FrozenPass, Linear]:
    """The pass of one prompt, and its unembedding, which reads position `at` alone. With `earlier`, its recording, the
    same with the model's own gradients. Raises FreezeError."""
    unembedding = target.unembedding()
    mode = Freezing(target.model, unembedding, earlier)
    with torch.enable_grad(), mode:
        target.logits(tokens, torch.tensor([at], device=tokens.device))
    for record in mode.recording.records:
        if isinstance(record, Linear) and record.x is not None and record.weight is unembedding:
            return mode.recording, record
    raise FreezeError("This model writes its logits in a way that the circuit cannot read.")


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
