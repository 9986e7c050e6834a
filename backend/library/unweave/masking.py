"""Masks in somebody's own forward pass of the same model."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from backend.schemas.workbench import AblationRequest
from unweave.errors import UnweaveError
from workers.spd.keys import ComponentKey
from workers.spd.queries import Condition, Edit
from workers.spd.targets.masks import site_weight

if TYPE_CHECKING:
    from workers.spd.ablation.engine import AblationEngine


@contextmanager
def masked(engine: AblationEngine, model: nn.Module, request: AblationRequest) -> Generator[None]:
    """Within this block `model` runs under the request's condition, at whatever length and batch, with or without a
    cache. Prompts of a batch must be padded on the right. Raises UnweaveError for another model."""
    inner: nn.Module = getattr(model, "_model", model)  # nnsight wraps the model
    condition = _condition(engine, request)
    sites = (
        [edit.site for edit in condition.edits] if condition.only_suppresses else engine.decomposition.sites
    )
    modules = {site: _module(engine, inner, site) for site in dict.fromkeys(sites)}
    before = 0

    def begin(_module: nn.Module, _args: Any, kwargs: dict[str, Any]) -> None:
        """Note how many tokens came before: what a cache holds."""
        nonlocal before
        cache = kwargs.get("past_key_values")
        before = 0 if cache is None else int(cache.get_seq_length())

    def hook(site: str) -> Any:
        def apply(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            x = args[0]
            stop = before + x.shape[1]
            mask = engine.editor.masks([condition], before, stop)[site]
            return mask.applied(module, x.to(mask.V.dtype) if x.is_floating_point() else x, output)

        return apply

    with ExitStack() as stack:
        stack.callback(inner.register_forward_pre_hook(begin, with_kwargs=True).remove)
        for site, module in modules.items():
            stack.callback(module.register_forward_hook(hook(site)).remove)
        yield


def _condition(engine: AblationEngine, request: AblationRequest) -> Condition:
    edits: list[Edit] = []
    for item in request.components:
        key = ComponentKey.parse(item.key)
        if (key.site, key.index) not in engine.editor.column:
            raise UnweaveError(f"There is no component {item.key} in this decomposition.")
        positions = None if item.positions is None else tuple(item.positions)
        edits.append(Edit(key.site, key.index, item.strength, positions, item.start))
    return Condition(tuple(edits), request.mode, request.remainder)


def _module(engine: AblationEngine, model: nn.Module, site: str) -> nn.Module:
    """The module of a site in somebody's model. Raises UnweaveError where it does not hold the same weights."""
    try:
        module = model.get_submodule(site)
        theirs = site_weight(module).detach()
    except (AttributeError, TypeError):
        raise UnweaveError(f"This model has no module “{site}” of the kind that was decomposed.") from None
    ours = engine.target.weight(site)
    rounding = 2 * torch.finfo(theirs.dtype).eps * ours.abs().max()
    if theirs.shape != ours.shape or (theirs.to(ours) - ours).abs().max() > rounding:
        raise UnweaveError(
            f"“{site}” holds other weights than {engine.target.card.model.name}, which was decomposed; its components "
            "would mean nothing in it."
        )
    return module
