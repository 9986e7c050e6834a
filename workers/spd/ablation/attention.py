"""Attention patterns of chosen heads, before and after an ablation.

Models of `transformers` call a named attention function; ours is its `sdpa` one, which beside computing the same
output notes softmax(q kᵀ) for the layers a ContextVar asks for. Our own modules with a `pattern` method are asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from workers.spd.ablation.edits import Condition
from workers.spd.ablation.engine import AblationEngine
from workers.spd.ablation.passes import Touch

NAME = "unweave_sdpa"


@dataclass
class _Wanted:
    layers: frozenset[int]
    found: dict[int, Tensor] = field(default_factory=dict)


_wanted: ContextVar[_Wanted | None] = ContextVar("unweave_patterns", default=None)


class PatternsError(Exception):
    """Patterns that cannot be had; the message is a plain sentence."""


@dataclass(frozen=True)
class HeadPattern:
    """Attention probabilities of a head, [query, key]: rows sum to 1."""

    layer: int
    head: int
    baseline: Float[Tensor, "seq seq"]
    ablated: Float[Tensor, "seq seq"]


def attach(model: nn.Module) -> bool:
    """Let the model's attention note its patterns where asked. False where it does not go through `sdpa`."""
    if not isinstance(model, PreTrainedModel):
        return any(hasattr(module, "pattern") for module in model.modules())
    if model.config._attn_implementation == "sdpa":
        ALL_ATTENTION_FUNCTIONS.register(NAME, _noting)
        ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)
        model.config._attn_implementation = NAME
    return model.config._attn_implementation == NAME


def _noting(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    wanted = _wanted.get()
    layer = getattr(module, "layer_idx", None)
    if wanted is not None and layer in wanted.layers:
        wanted.found[layer] = _pattern(query, key, attention_mask, kwargs.get("scaling"))
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


def _pattern(query: Tensor, key: Tensor, mask: Tensor | None, scaling: float | None) -> Tensor:
    """softmax(q kᵀ · scaling): [batch, heads, query, key]; keys shared by groups of heads are repeated."""
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if mask is None:
        n, m = scores.shape[-2:]
        mask = torch.ones(n, m, dtype=torch.bool, device=scores.device).tril(m - n)
    scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1)


@contextmanager
def _asking_own(blocks: Sequence[nn.Module], wanted: _Wanted):
    """For modules with a `pattern` method of their own: ask it what the module itself is asked."""
    with ExitStack() as stack:
        for layer in wanted.layers:
            for module in blocks[layer].modules():
                if hasattr(module, "pattern"):
                    # The hook is there for one pass; what it notes goes where this context's ContextVar says.
                    hook = module.register_forward_pre_hook(_ask(layer), with_kwargs=True)
                    stack.callback(hook.remove)
        yield


def _ask(layer: int):
    def note(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        wanted = _wanted.get()
        if wanted is not None and layer in wanted.layers:
            found = module.pattern(*args, **kwargs)  # type: ignore[operator]
            wanted.found[layer] = found if found.ndim == 4 else found[:, None]

    return note


@torch.inference_mode()
def patterns(
    engine: AblationEngine,
    token_ids: Sequence[int],
    condition: Condition,
    heads: Sequence[tuple[int, int | None]],
) -> list[HeadPattern]:
    """Patterns of these (layer, head) pairs, head None meaning all of the layer. Raises PatternsError for one that is
    not there or cannot be seen."""
    passes = engine.passes
    if not attach(engine.target.model):
        raise PatternsError("This model's attention cannot be looked into: it does not run through sdpa.")
    for layer, _ in heads:
        if not 0 <= layer < len(passes.blocks):
            raise PatternsError(f"There is no layer {layer}; the model has {len(passes.blocks)}, from 0.")
    wanted = _Wanted(frozenset(layer for layer, _ in heads))
    clean = engine.clean(token_ids)
    edits = engine.editor.site_edits(condition, 0, len(token_ids))
    own = not isinstance(engine.target.model, PreTrainedModel)
    token = _wanted.set(wanted)
    try:
        with _asking_own(passes.blocks if own else [], _Wanted(frozenset()) if not own else wanted):
            passes.resumed(clean, engine.editor.masks([{}, edits]), Touch(0, 0), batch=2)
    finally:
        _wanted.reset(token)
    found = []
    for layer, head in heads:
        both = wanted.found[layer]
        if head is not None and not 0 <= head < both.shape[1]:
            raise PatternsError(f"Layer {layer} has {both.shape[1]} heads; there is no head {head}.")
        for one in range(both.shape[1]) if head is None else [head]:
            found.append(HeadPattern(layer, one, both[0, one], both[1, one]))
    return found
