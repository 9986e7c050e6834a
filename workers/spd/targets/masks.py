"""What happens at a site during one forward pass, carried by a ContextVar and never by the module.

    y = m_Δ · x Wᵀ + ((x V) ⊙ (m − m_Δ)) U + b          (SPEC 1 to 3)

Two threads, or two requests, that run the same model at once each see their own plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


@dataclass(frozen=True)
class SiteMask:
    """How one site differs from the target in a pass. `C` may be all of a site's components or a chosen few.

    V: [d_in, C], U: [C, d_out]; coefficient: m − m_Δ, [..., C], broadcast over batch and position;
    delta: m_Δ, [..., 1], or None for 1 everywhere (then the target's own output is kept bit for bit).
    """

    V: Tensor
    U: Tensor
    coefficient: Tensor
    delta: Tensor | None = None

    def applied(self, module: nn.Module, x: Tensor, output: Tensor) -> Tensor:
        """What the site gives under this mask, from what it reads and what the target gives."""
        change = ((inner_activation(x, self.V) * self.coefficient) @ self.U).to(output.dtype)
        if self.delta is None:
            return output + change
        bias = getattr(module, "bias", None)
        delta = self.delta.to(output.dtype)
        if bias is not None:  # the bias is never masked: what δ takes from it is put back
            change = torch.addcmul(change, 1 - delta, bias.to(output.dtype))
        return torch.addcmul(change, output, delta)


_masks: ContextVar[Mapping[str, SiteMask] | None] = ContextVar("unweave_masks", default=None)
_inputs: ContextVar[dict[str, Tensor] | None] = ContextVar("unweave_inputs", default=None)


@contextmanager
def masked(masks: Mapping[str, SiteMask]) -> Iterator[None]:
    """Within this block, forward passes of this thread (or task) run with these masks."""
    token = _masks.set(masks)
    try:
        yield
    finally:
        _masks.reset(token)


@contextmanager
def recorded() -> Iterator[dict[str, Tensor]]:
    """Within this block, forward passes note what each site reads: {site: [batch, seq, d_in]}.

    An embedding reads token ids: [batch, seq] int64.
    """
    inputs: dict[str, Tensor] = {}
    token = _inputs.set(inputs)
    try:
        yield inputs
    finally:
        _inputs.reset(token)


def site_weight(module: nn.Module) -> Tensor:
    """The weight as W [d_out, d_in], whatever way round the module keeps it. A view, not a copy."""
    if isinstance(module, nn.Linear):
        return module.weight
    if isinstance(module, Conv1D):
        return module.weight.T
    if isinstance(module, nn.Embedding):
        return module.weight.T
    raise TypeError(f"{type(module).__name__} cannot be decomposed; Linear, Conv1D and Embedding can.")


def inner_activation(x: Tensor, V: Tensor) -> Tensor:
    """x · V: [..., d_in] × [d_in, C] → [..., C]; token ids read rows of V (an embedding's one-hot input)."""
    return x @ V if x.is_floating_point() else V[x]


def attach(model: nn.Module, sites: list[str]) -> None:
    """Let the named modules obey `masked` and `recorded`. Calling it again for a site changes nothing."""
    for name in sites:
        module = model.get_submodule(name)
        site_weight(module)  # refuses what cannot be decomposed
        if getattr(module, "_unweave_site", None) is None:
            module._unweave_site = name  # type: ignore[assignment]
            module.register_forward_hook(_hook(name))


def _hook(name: str):
    def apply(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        x = args[0]
        inputs = _inputs.get()
        if inputs is not None:
            inputs[name] = x
        masks = _masks.get()
        mask = None if masks is None else masks.get(name)
        if mask is None:
            return None
        return mask.applied(module, x, output)

    return apply
