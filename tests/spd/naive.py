"""The reference every pass is held against: a deep copy of the model, its weights really edited, run whole."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import ExitStack
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from tests.spd import tiny
from workers.spd.method.decomposition import Decomposition
from workers.spd.queries import Condition
from workers.spd.targets.masks import site_weight

Masks = dict[str, tuple[Tensor, Tensor]]  # site → m [seq, C] and m_Δ [seq, 1]


def masks_of(decomposition: Decomposition, condition: Condition, seq: int) -> Masks:
    """m and m_Δ of every component at every position, spelled out one by one."""
    found: Masks = {}
    first = 1 if decomposition.first_unmasked else 0
    keeps = condition.remainder or ("on" if condition.mode == "suppress" else "off")
    for site in decomposition.sites:
        index = decomposition.components.index[site]
        strength = torch.zeros(seq, len(index))
        for edit in condition.edits:
            if edit.site == site:
                rows = range(first, seq) if edit.positions is None else edit.positions
                for row in rows:
                    if row >= (edit.start or 0):
                        strength[row, index.index(edit.index)] += edit.strength
        mask = strength if condition.mode == "keep_only" else 1 - strength
        delta = torch.full((seq, 1), 1.0 if keeps == "on" else 0.0)
        if not (condition.mode == "suppress" and keeps == "on"):
            mask[:first], delta[:first] = 1, 1
        found[site] = mask, delta
    return found


def edited_logits(decomposition: Decomposition, ids: list[int], masks: Masks) -> Tensor:
    """Logits [seq, vocab] of a copy whose sites hold m_Δ (W − Σ V U) + Σ m_c V_c U_c: in the weight itself where all
    positions share it, else position by position in a hook on the copy.

    In float64, so that what is measured is the engine's rounding and not the reference's."""
    model = _copy(decomposition.target.model)
    with ExitStack() as undo:
        for site, (mask, delta) in masks.items():
            module = model.get_submodule(site)
            weights = _weights(decomposition, site, mask, delta)
            if all(torch.equal(weight, weights[0]) for weight in weights):
                undo.callback(setattr, module, "weight", module.weight)
                tiny.edited_weight(module, weights[0] - site_weight(module))
            else:
                undo.callback(module.register_forward_hook(_by_position(weights)).remove)
        with torch.no_grad():
            out = model(torch.tensor([ids]))
    return getattr(out, "logits", out)[0]


_copies: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()


def _copy(model: nn.Module) -> nn.Module:
    """A copy in float64, made once, that runs as its authors wrote it: what the engine does to a model's `forward`s is
    taken off."""
    if model not in _copies:
        _copies[model] = copy.deepcopy(model).double()
        for module in _copies[model].modules():
            module.__dict__.pop("forward", None)
    return _copies[model]


def _weights(decomposition: Decomposition, site: str, mask: Tensor, delta: Tensor) -> list[Tensor]:
    V, U = decomposition.components.V[site].double(), decomposition.components.U[site].double()
    W, mask = decomposition.target.weight(site).double(), mask.double()
    remainder = W - (V @ U).T
    return [
        float(d) * remainder + ((V * m) @ U).T if not bool((m == 1).all() and d == 1) else W.clone()
        for m, d in zip(mask, delta, strict=True)
    ]


def _by_position(weights: list[Tensor]):
    def replace(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x = args[0]
        bias = getattr(module, "bias", None)
        rows = []
        for row, weight in enumerate(weights):
            read = weight @ x[0, row] if x.is_floating_point() else weight[:, int(x[0, row])]
            rows.append(read if bias is None else read + bias)
        return torch.stack(rows)[None]

    return replace


def close(found: Tensor, wanted: Tensor, relative: float = 1e-5) -> None:
    """Every position's logits within `relative` of the largest logit there."""
    scale = wanted.abs().amax(-1, keepdim=True).clamp_min(1e-6)
    off = float(((found - wanted).abs() / scale).max())
    assert off <= relative, f"off by {off:.2e}"


def site_masks(found: Mapping[str, Tensor], delta: Mapping[str, Tensor]) -> Masks:
    """m [1, seq, C] and m_Δ [1, seq, 1] of a batch of one, as masks."""
    return {site: (found[site][0], delta[site][0]) for site in found}
