"""What happens at a site during one forward pass, carried by a ContextVar and never by the module.

    y = s · (m_Δ · x Wᵀ + ((x V) ⊙ (m − m_Δ)) U) + b          (SPEC 1 to 3)

with s = 1 but for modules that scale what they look up, such as Gemma's embedding.

Two threads, or two requests, that run the same model at once each see their own plan.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

SiteInput = Float[Tensor, "batch seq d_in"] | Int[Tensor, "#batch seq"]
"""What a site reads; an embedding reads token ids, or position ids that are the same for the whole batch."""


@runtime_checkable
class SiteChange(Protocol):
    """What a site gives instead of the target's output."""

    def applied(
        self,
        module: nn.Module,
        x: Float[Tensor, "*#batch d_in"] | Int[Tensor, "*#batch"],
        output: Float[Tensor, "*#batch d_out"],
    ) -> Float[Tensor, "*#batch d_out"]:
        """From what the site reads and what the target gives."""
        ...


@dataclass(frozen=True)
class SiteMask:
    """How one site differs from the target in a pass. `C` may be all of a site's components or a chosen few.

    coefficient: m − m_Δ, broadcast over batch and position; delta: m_Δ, or None for 1 everywhere (then the target's
    own output is kept bit for bit).
    """

    V: Float[Tensor, "d_in C"]
    U: Float[Tensor, "C d_out"]
    coefficient: Float[Tensor, "*positions #C"]
    delta: Float[Tensor, "*positions 1"] | None = None

    def applied(
        self,
        module: nn.Module,
        x: Float[Tensor, "*#batch d_in"] | Int[Tensor, "*#batch"],
        output: Float[Tensor, "*#batch d_out"],
    ) -> Float[Tensor, "*#batch d_out"]:
        """What the site gives under this mask, from what it reads and what the target gives."""
        change = ((inner_activation(x, self.V) * self.coefficient) @ self.U).to(output.dtype) * scale_of(
            module
        )
        if self.delta is None:
            return output + change
        bias = getattr(module, "bias", None)
        delta = self.delta.to(output.dtype)
        if bias is not None:  # the bias is never masked: what δ takes from it is put back
            change = torch.addcmul(change, 1 - delta, bias.to(output.dtype))
        return torch.addcmul(change, output, delta)


_masks: ContextVar[Mapping[str, SiteChange] | None] = ContextVar("unweave_masks", default=None)
_inputs: ContextVar[dict[str, SiteInput] | None] = ContextVar("unweave_inputs", default=None)
_only: ContextVar[frozenset[str] | None] = ContextVar("unweave_only", default=None)
_shape: ContextVar[tuple[int, int] | None] = ContextVar("unweave_shape", default=None)


@contextmanager
def of_shape(tokens: Int[Tensor, "batch seq"]) -> Iterator[None]:
    """Within this block a forward pass reads `tokens`, so that a site whose input a model flattens to
    [batch · seq, d_in] (OPT) still knows its rows."""
    token = _shape.set((tokens.shape[0], tokens.shape[1]))
    try:
        yield
    finally:
        _shape.reset(token)


class _Recorded(Exception):
    """All that was asked for is recorded: the rest of the pass is not needed."""


@contextmanager
def masked(masks: Mapping[str, SiteChange]) -> Iterator[None]:
    """Within this block, forward passes of this thread (or task) run with these masks."""
    token = _masks.set(masks)
    try:
        yield
    finally:
        _masks.reset(token)


@contextmanager
def recorded(only: Sequence[str] | None = None) -> Iterator[dict[str, SiteInput]]:
    """Within this block, forward passes note what each site reads.

    With `only`, just these attached sites are noted, and the block ends as soon as they are: the layers after the last
    of them are not computed.
    """
    inputs: dict[str, SiteInput] = {}
    token, wanted = _inputs.set(inputs), _only.set(None if only is None else frozenset(only))
    try:
        yield inputs
    except _Recorded:
        pass
    finally:
        _inputs.reset(token)
        _only.reset(wanted)


def site_weight(module: nn.Module) -> Float[Tensor, "d_out d_in"]:
    """The weight as W [d_out, d_in], whatever way round the module keeps it. A view, not a copy."""
    if isinstance(module, nn.Linear):
        return module.weight
    if isinstance(module, Conv1D):
        return module.weight.T
    if isinstance(module, nn.Embedding):
        return module.weight.T
    raise TypeError(f"{type(module).__name__} cannot be decomposed; Linear, Conv1D and Embedding can.")


def scale_of(module: nn.Module) -> float:
    """s of a site: what its module multiplies its product by."""
    return getattr(module, "_unweave_scale", 1.0)


def inner_activation(
    x: Float[Tensor, "*batch d_in"] | Int[Tensor, "*batch"], V: Float[Tensor, "d_in C"]
) -> Float[Tensor, "*batch C"]:
    """x · V; token ids read rows of V (an embedding's one-hot input)."""
    if not x.is_floating_point():
        return V[x]
    return (x if torch.is_autocast_enabled(x.device.type) else x.to(V.dtype)) @ V


def attach(model: nn.Module, sites: list[str]) -> None:
    """Let the named modules obey `masked` and `recorded`. Calling it again for a site changes nothing.

    Raises TypeError for a module that cannot be decomposed.
    """
    for name in sites:
        module = model.get_submodule(name)
        if getattr(module, "_unweave_site", None) is None:
            module._unweave_scale = measured_scale(module)  # type: ignore[assignment]
            module._unweave_site = name  # type: ignore[assignment]
            module.register_forward_hook(_hook(name))


def _hook(name: str):
    def apply(
        module: nn.Module,
        args: tuple[Float[Tensor, "... d_in"] | Int[Tensor, ...], ...],
        output: Float[Tensor, "... d_out"],
    ) -> Float[Tensor, "... d_out"] | None:
        x, shape = args[0], _shape.get()
        flat = False
        if shape is not None and x.is_floating_point() and x.ndim == 2 and len(x) == shape[0] * shape[1]:
            x, output, flat = x.unflatten(0, shape), output.unflatten(0, shape), True
        inputs = _inputs.get()
        only = _only.get()
        if inputs is not None and (only is None or name in only):
            inputs[name] = x
            if only is not None and len(inputs) == len(only):
                raise _Recorded
        masks = _masks.get()
        mask = None if masks is None else masks.get(name)
        if mask is None:
            return None
        masked = mask.applied(module, x, output)
        return masked.flatten(0, 1) if flat else masked

    return apply


# --- modules that are not plain -----------------------------------------------------------------------------------

PLAIN = (nn.Linear.forward, Conv1D.forward, nn.Embedding.forward)
ROWS = 64
AGREES = 1e-5  # relative to the largest output


def with_weight(module: nn.Module, weight: Float[Tensor, "rows columns"]) -> nn.Module:
    """A copy of a site's module that holds `weight` (laid out as the module keeps its own) and obeys nothing of ours.
    All else is shared, and the module itself is left as it is: other threads may be running it."""
    own = copy.copy(module)
    own.__dict__.pop("forward", None)
    own._parameters = {**module._parameters, "weight": weight}  # type: ignore[assignment]
    own._forward_hooks, own._forward_pre_hooks = OrderedDict(), OrderedDict()
    return own


@torch.no_grad()
def measured_scale(module: nn.Module) -> float:
    """s with module(x) = s · x Wᵀ + b, measured where the module's class has a `forward` of its own. Raises TypeError
    where no s does it, or where the module is of another kind."""
    W = site_weight(module)
    name = type(module).__name__
    if getattr(module, "max_norm", None) is not None:
        raise TypeError(f"{name} changes its rows when they are read (max_norm).")
    if type(module).forward in PLAIN:
        return 1.0
    bias = getattr(module, "bias", None)
    if isinstance(module, nn.Embedding):
        x = torch.linspace(0, W.shape[1] - 1, min(ROWS, W.shape[1]), device=W.device).long()[None]
        product = W.T[x]
    else:
        x = torch.linspace(-9, 9, 3 * W.shape[1], device=W.device).sin().add(1).to(W.dtype).reshape(1, 3, -1)
        product = x @ W.T
    ones = torch.ones((), dtype=W.dtype, device=W.device).expand(module.weight.shape)  # type: ignore[union-attr,arg-type]
    try:
        one, output = with_weight(module, ones)(x), with_weight(module, module.weight)(x)  # type: ignore[arg-type]
        plain = torch.ones_like(product) if not x.is_floating_point() else (x @ torch.ones_like(W).T)
        if bias is not None:
            one, output = one - bias, output - bias
        scale = float((one.double().sum(-1) / plain.double().sum(-1)).median())
        off = (output - scale * product).abs().max() - AGREES * output.abs().max()
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError):
        off = torch.ones(())
        scale = 1.0
    if not bool(off <= 0):
        raise TypeError(
            f"{name} computes something else than its weight times what it reads, so a component of the weight cannot "
            "be taken out exactly."
        )
    return 1.0 if abs(scale - 1) < AGREES else scale
