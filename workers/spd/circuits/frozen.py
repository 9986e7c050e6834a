"""One pass of a target as affine pieces between its matrices (docs/circuit.md).

While `Freezing` is active, what lies between two matrices is made affine in what it reads: a norm keeps the scale it
had, an activation function its slope act(x)/x, an attention its probabilities. The output of every matrix begins a
piece of its own, so a gradient within a piece is exact and costs no weight. Calls are seen as a torch function mode
sees them, in this thread alone: nothing is attached to a module and no architecture is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from transformers.pytorch_utils import Conv1D

from workers.spd.circuits.records import (
    Attended,
    Bias,
    FreezeError,
    FrozenPass,
    Linear,
    Scores,
    pull,
)
from workers.spd.targets.induction import attend
from workers.spd.targets.masks import site_weight
from workers.spd.targets.onednn import times
from workers.spd.targets.target import Target

SLOPES = (
    F.gelu, F.silu, F.relu, F.leaky_relu, F.elu, F.relu6, F.mish, F.hardswish, torch.relu,
    torch.square, Tensor.square,
)  # fmt: skip
SWITCHES = (
    torch.tanh, Tensor.tanh, F.tanh, torch.sigmoid, Tensor.sigmoid, F.sigmoid, torch.erf, Tensor.erf,
)  # fmt: skip
SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)
CONSTANTS = (torch.rsqrt, Tensor.rsqrt, *SOFTMAX)
TANH = (torch.tanh, Tensor.tanh, F.tanh)
PRODUCTS = (torch.matmul, Tensor.matmul, torch.bmm, Tensor.bmm)
SUMS = (torch.add, Tensor.add)
IN_PLACE: dict[Any, Any] = {
    Tensor.add_: torch.add, Tensor.mul_: torch.mul, Tensor.div_: torch.div,
}  # fmt: skip


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
        if func in IN_PLACE and args[0].is_leaf and args[0].requires_grad:
            return self.__torch_function__(IN_PLACE[func], types, args, kwargs)
        if func in PRODUCTS:
            return self._product(args[0], args[1], func)
        if func in (torch.baddbmm, Tensor.baddbmm):
            return self._summed(*args, **kwargs)
        if (func in TANH or func in SOFTMAX) and (scores := self._scores(args[0])) is not None:
            return self._scored(scores, func, args, kwargs)
        if self._earlier is not None:
            return func(*args, **kwargs)
        if func in SUMS:
            return self._sum(*args, **kwargs)
        if func is F.layer_norm:
            return self._layer_norm(*args, **kwargs)
        if func is F.rms_norm:
            return self._rms_norm(*args, **kwargs)
        if func in SLOPES:
            return self._activation(func, args, kwargs)
        if func in SWITCHES or func in CONSTANTS:
            if func in SWITCHES:
                self.recording.gate(args[0])
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
                added = func not in PRODUCTS  # else the module's own code adds it
                bias = getattr(self._model.get_submodule(name), "bias", None) if added else None
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

    # --- an attention in a model's own code -----------------------------------------------------------------------

    def _product(self, a: Float[Tensor, ...], b: Float[Tensor, ...], func: Any) -> Float[Tensor, ...]:
        """A matrix of the model that is no call of `linear`, queries times keys, or a pattern times values."""
        whole = b._base  # of a view
        name = None if whole is None else self.matrices.get(whole)
        if whole is not None and name is not None and b.shape == whole.shape[::-1]:
            return self._linear(name, a, func, (a, b), {})
        if not (a.requires_grad and b.requires_grad):
            return func(a, b)
        scores = self._scores(a)
        if scores is not None:
            return self._mixed(scores, a, b)
        if a.shape[:-1] != (*b.shape[:-2], b.shape[-1]):
            return func(a, b)  # not of every token with every token
        with torch.no_grad():
            product = func(a, b)
        return self._step(product, _heads(a), _heads(b.transpose(-1, -2)))

    def _summed(
        self,
        input: Float[Tensor, "#heads #seq seq"],
        batch1: Float[Tensor, "heads seq d_head"],
        batch2: Float[Tensor, "heads d_head seq"],
        *,
        beta: float = 1,
        alpha: float = 1,
    ) -> Float[Tensor, "heads seq seq"]:
        return input * beta + self._product(batch1, batch2, torch.bmm) * alpha

    def _scores(self, x: Float[Tensor, ...]) -> Scores | None:
        """The scores that are all that `x` is made of."""
        records = self.recording.reads(x)
        only = records[0] if len(records) == 1 else None
        return only if isinstance(only, Scores) else None

    def _scored(
        self, before: Scores, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Float[Tensor, ...]:
        """Scores under a tanh, or their softmax."""
        with torch.no_grad():
            y = func(*args, **kwargs)
        factor = _factor(args[0], before, y != 0)
        cap = None if func in SOFTMAX and before.cap is None else factor
        return self._step(y, before.q, before.k, before.scale * factor, cap)

    def _step(
        self,
        y: Float[Tensor, ...],
        q: Float[Tensor, "1 heads seq d_head"],
        k: Float[Tensor, "1 heads seq d_head"],
        scale: float = 1.0,
        cap: float | None = None,
    ) -> Float[Tensor, ...]:
        y = y.detach().requires_grad_()
        self.recording.add(Scores(q, k, y, scale, cap))
        return y

    def _mixed(
        self, scores: Scores, pattern: Float[Tensor, ...], v: Float[Tensor, ...]
    ) -> Float[Tensor, ...]:
        """What an attention gives."""
        with torch.no_grad():
            z = torch.matmul(pattern, v)
            rows = pattern.reshape(-1, *pattern.shape[-2:])
        leaf = _heads(z).requires_grad_()
        q, k, v = scores.q, _for_each_head(scores.k, scores.q), _for_each_head(_heads(v), scores.q)
        self.recording.add(Attended(q, k, v, rows, scores.scale, leaf, scores.cap))
        return leaf.reshape(z.shape)

    # --- norms and activation functions ---------------------------------------------------------------------------

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

    def _sum(self, a: Any, b: Any, **kwargs: Any) -> Shaped[Tensor, ...]:
        """A constant that is added to what matrices write (fixed position embeddings) is an origin of its own."""
        for stream, constant in ((a, b), (b, a)):
            if (
                isinstance(stream, Tensor)
                and stream.requires_grad
                and isinstance(constant, Tensor)
                and constant.ndim
                and not constant.requires_grad
                and not kwargs
                and self._scores(stream) is None
            ):
                return self._biased(stream, constant)
        return torch.add(a, b, **kwargs)

    def _biased(self, y: Float[Tensor, ...], bias: Float[Tensor, ...] | None) -> Float[Tensor, ...]:
        if bias is None:
            return y
        leaf = bias.detach().expand(torch.broadcast_shapes(y.shape, bias.shape)).clone().requires_grad_()
        self.recording.add(Bias(leaf))
        return y + leaf

    def _activation(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Float[Tensor, "*batch d_mlp"]:
        x = args[0]
        self.recording.gate(x)
        kwargs = {name: value for name, value in kwargs.items() if name != "inplace"}
        with torch.no_grad():
            y = func(x, *args[1:], **kwargs)
            near = x.abs() < 1e-4
            step = torch.where(near, torch.full_like(x, 1e-2), x)
            slope = torch.where(near, func(step, *args[1:], **kwargs), y) / step
            rest = y - slope * x
        return x * slope + rest


def _for_each_head(
    x: Float[Tensor, "1 groups seq d_x"], q: Float[Tensor, "1 heads seq d_head"]
) -> Float[Tensor, "1 heads seq d_x"]:
    """Keys or values that groups of heads share, once for each head."""
    groups = q.shape[1] // x.shape[1]
    if groups == 1:
        return x
    return x[:, :, None].expand(-1, -1, groups, -1, -1).reshape(x.shape[0], q.shape[1], *x.shape[2:])


def _heads(x: Float[Tensor, "*heads seq d_head"]) -> Float[Tensor, "1 heads seq d_head"]:
    return x.reshape(1, -1, *x.shape[-2:])


def _factor(x: Float[Tensor, "*scores"], scores: Scores, where: Bool[Tensor, "*scores"]) -> float:
    """By what number `x` grows with the scores that it is made of."""
    with torch.enable_grad():
        (read,) = pull(x, [scores.leaf], torch.ones_like(x)[None])
    assert read is not None
    factors = read.reshape(where.shape)[where] if read.numel() == where.numel() else read.flatten()
    if not torch.allclose(factors, factors[:1]):
        raise FreezeError("This model's attention changes its scores in a way that the circuit cannot show.")
    return float(factors[0])


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
