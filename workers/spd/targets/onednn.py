"""The matrix products of a frozen float32 model on a CPU.

PyTorch hands them to MKL or OpenBLAS, which on many a CPU run at half the speed of oneDNN, the other library in every
PyTorch for the CPU (docs/log.md has the figures); on others it is the slower one, so both are timed once a process.
`adopt` lets a model's large Linear and Conv1D modules use it: no copy of a weight, no other layout, the same sum in
another order. It is checked against PyTorch's own product once a module, and what does not agree, or is no float32 on a
CPU, stays as it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from types import MethodType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import has_torch_function
from transformers.pytorch_utils import Conv1D

LARGE = 2**14  # weights; below, a call costs more than the product
AGREES = 1e-4  # relative to the largest output
TRIED, TIMES = (64, 768, 1024), 7  # rows, d_in and d_out of the product that is timed, and how often
SLOWER = 1.3  # times PyTorch's own; nearer, the choice would change with what else a machine does, and numbers with it


@cache
def available() -> bool:
    """Whether this PyTorch has oneDNN and the product used here, and it is not the slower of the two here."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    return ratio() <= SLOWER


@torch.no_grad()
def ratio() -> float:
    """The time of a product by oneDNN as a multiple of PyTorch's own. They take turns, and the fastest of each counts,
    so that what else the machine does falls on neither."""
    rows, d_in, d_out = TRIED
    x, weight = torch.ones(1, rows, d_in), torch.ones(d_out, d_in)

    def seconds(work: Callable[[], object]) -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    try:
        pairs = [
            (seconds(lambda: product(x, weight, None)), seconds(lambda: x @ weight.T)) for _ in range(TIMES)
        ]
    except (RuntimeError, NotImplementedError):
        return float("inf")
    return min(one for one, _ in pairs) / min(other for _, other in pairs)


def product(
    x: Float[Tensor, "*batch d_in"],
    weight: Float[Tensor, "d_out d_in"],
    bias: Float[Tensor, " d_out"] | None,
) -> Float[Tensor, "*batch d_out"]:
    """x Wᵀ + b for W in whatever strides; float32 on a CPU, no gradients."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def times(
    x: Float[Tensor, "*batch d_in"], weight: Float[Tensor, "d_out d_in"]
) -> Float[Tensor, "*batch d_out"]:
    """x Wᵀ, by the faster of the two where both can; no gradients."""
    fits = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and weight.numel() >= LARGE
    return product(x, weight, None) if fits and available() and x.numel() else x @ weight.T


class _Product(torch.autograd.Function):
    """The same with a gradient for x: W is frozen."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        x: Float[Tensor, "*batch d_in"],
        weight: Float[Tensor, "d_out d_in"],
        bias: Float[Tensor, " d_out"] | None,
    ) -> Float[Tensor, "*batch d_out"]:
        ctx.weight = weight
        return product(x, weight, bias)

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad: Float[Tensor, "*batch d_out"]
    ) -> tuple[Float[Tensor, "*batch d_in"], None, None]:
        return product(grad.contiguous(), ctx.weight.T, None), None, None


def _linear(module: nn.Linear, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
    if has_torch_function((x,)):  # a torch function mode is to see PyTorch's own call
        return type(module).forward(module, x)
    if torch.is_grad_enabled() and x.requires_grad:
        return _Product.apply(x, module.weight, module.bias)  # type: ignore[return-value]
    return product(x, module.weight, module.bias)


def _conv1d(module: Conv1D, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
    if has_torch_function((x,)):
        return type(module).forward(module, x)
    if torch.is_grad_enabled() and x.requires_grad:
        return _Product.apply(x, module.weight.T, module.bias)  # type: ignore[return-value]
    return product(x, module.weight.T, module.bias)


@torch.no_grad()
def adopt(model: nn.Module, large: int = LARGE) -> int:
    """Let the large linear modules of a frozen model use it; how many do. Calling it again changes nothing."""
    if not available():
        return 0
    used = 0
    for module in model.modules():
        forward = {nn.Linear: _linear, Conv1D: _conv1d}.get(type(module))  # type: ignore[arg-type]
        if forward is None:
            continue
        weight: Any = module.weight
        frozen = not any(p.requires_grad for p in module.parameters())
        usable = isinstance(weight, Tensor) and weight.dtype == torch.float32 and weight.device.type == "cpu"
        if usable and frozen and weight.numel() >= large and _agrees(module, forward):
            # A bound method, so that a deep copy of the model multiplies with its own weights and not with these.
            module.forward = MethodType(forward, module)
            used += 1
    return used


def _agrees(module: Any, forward: Any) -> bool:
    d_in = module.weight.shape[1] if isinstance(module, nn.Linear) else module.weight.shape[0]
    x = torch.linspace(-1, 1, 3 * d_in).sin().reshape(1, 3, d_in)
    plain = type(module).forward(module, x)
    try:
        output = forward(module, x)
    except (RuntimeError, NotImplementedError):
        return False
    return bool((output - plain).abs().max() <= AGREES * plain.abs().max().clamp_min(1e-30))
