"""Parameters that lose or gain entries during a run, and Adam's moments, which do the same.

Pruning and growing replace a parameter by one of another shape. Each replacement is one of three pure functions of a
tensor (`taken`, `widened`, `appended`), applied to the parameter and to the moments kept for it. New entries have
moments of 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

Resize = Callable[[Float[Tensor, "..."]], Float[Tensor, "..."]]
MOMENTS = ("exp_avg", "exp_avg_sq")


class Moments:
    """Adam's state of each parameter; a parameter that is replaced hands its moments on to its successor."""

    def __init__(self, state: Mapping[Any, Mapping[str, Float[Tensor, ...]]] | None = None) -> None:
        self._of = {parameter: dict(entry) for parameter, entry in (state or {}).items()}
        self.step = next((entry["step"] for entry in self._of.values()), None)

    def replaced(self, old: nn.Parameter, new: nn.Parameter, change: Resize) -> None:
        """`new` takes the place of `old`; its moments are those of `old`, changed in the same way."""
        entry = self._of.pop(old, None)
        if entry is not None:
            self._of[new] = {name: change(entry[name]) for name in MOMENTS}

    def of(self, parameter: nn.Parameter) -> dict[str, Float[Tensor, ...]]:
        """The state Adam continues from; moments of 0 for a parameter that had none."""
        assert self.step is not None, "Adam has taken no step yet"
        entry = self._of.get(parameter)
        moments = {name: torch.zeros_like(parameter) if entry is None else entry[name] for name in MOMENTS}
        return {"step": self.step.clone(), **moments}


def taken(value: Float[Tensor, ...], dim: int, places: list[int]) -> Float[Tensor, ...]:
    """Only the entries at these places along a dimension."""
    return value.index_select(dim, torch.tensor(places, dtype=torch.long, device=value.device))


def widened(value: Float[Tensor, ...], dim: int, places: list[int], size: int) -> Float[Tensor, ...]:
    """`size` entries along a dimension: the present ones at these places, 0 elsewhere."""
    shape = list(value.shape)
    shape[dim] = size
    index = torch.tensor(places, dtype=torch.long, device=value.device)
    return value.new_zeros(shape).index_copy(dim, index, value)


def appended(value: Float[Tensor, ...], more: Float[Tensor, ...], dim: int) -> Float[Tensor, ...]:
    """More entries behind the present ones along a dimension."""
    return torch.cat([value, more.to(value)], dim=dim)


def take(owner: nn.Module, name: str, dim: int, places: list[int], moments: Moments) -> None:
    """Replace a parameter by its entries at these places."""
    _replace(owner, name, lambda value: taken(value, dim, places), moments)


def widen(owner: nn.Module, name: str, dim: int, places: list[int], size: int, moments: Moments) -> None:
    """Replace a parameter by a larger one, 0 where it is new."""
    _replace(owner, name, lambda value: widened(value, dim, places, size), moments)


def append(owner: nn.Module, name: str, more: Float[Tensor, ...], dim: int, moments: Moments) -> None:
    """Replace a parameter by itself with `more` behind it."""
    old: nn.Parameter = getattr(owner, name)
    new = nn.Parameter(appended(old.detach(), more.detach(), dim), requires_grad=old.requires_grad)
    setattr(owner, name, new)
    moments.replaced(old, new, lambda value: appended(value, torch.zeros_like(more), dim))


def _replace(owner: nn.Module, name: str, change: Resize, moments: Moments) -> None:
    old: nn.Parameter = getattr(owner, name)
    new = nn.Parameter(change(old.detach()), requires_grad=old.requires_grad)
    setattr(owner, name, new)
    moments.replaced(old, new, change)
