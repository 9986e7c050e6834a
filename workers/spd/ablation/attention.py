"""Attention patterns of chosen heads, before and after an ablation.

Models of `transformers` call a named attention function; ours is its `sdpa` one, which beside computing the same
output records softmax(q kᵀ) of the layers that a ContextVar names. Our own modules have a `pattern` method.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from workers.spd.ablation.engine import AblationEngine
from workers.spd.ablation.passes import Touch
from workers.spd.answers import HeadPatterns
from workers.spd.queries import Condition
from workers.spd.targets.target import Target

NAME = "unweave_sdpa"
DIGITS = 6


Pattern = Float[Tensor, "batch heads query key"]


@dataclass
class _Recording:
    """The layers whose patterns a pass is to record, and those recorded."""

    layers: frozenset[int]
    patterns: dict[int, Pattern] = field(default_factory=dict)


_recording: ContextVar[_Recording | None] = ContextVar("unweave_patterns", default=None)


class PatternsError(Exception):
    """Patterns that cannot be shown; the message is a plain sentence."""


def attach(target: Target) -> bool:
    """Let the model's attention record its patterns on request. False where it does not go through `sdpa`."""
    model = target.transformer
    if model is None:
        return any(hasattr(module, "pattern") for module in target.model.modules())
    if not hasattr(sys.modules[type(model).__module__], "ALL_ATTENTION_FUNCTIONS"):
        return (
            False  # Falcon: an attention of its own that asks for “sdpa” by name, and would compute otherwise
        )
    if model.config._attn_implementation == "sdpa":
        ALL_ATTENTION_FUNCTIONS.register(NAME, _recording_sdpa)
        ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)
        model.config._attn_implementation = NAME
    return model.config._attn_implementation == NAME


def _recording_sdpa(
    module: nn.Module,
    query: Float[Tensor, "batch heads query d_head"],
    key: Float[Tensor, "batch groups key d_head"],
    value: Float[Tensor, "batch groups key d_value"],
    attention_mask: Shaped[Tensor, "batch ... query key"] | None,
    **kwargs: Any,
) -> tuple[Float[Tensor, "batch query heads d_value"], None]:
    recording, layer = _recording.get(), getattr(module, "layer_idx", None)
    if recording is not None and layer in recording.layers:
        recording.patterns[layer] = _pattern(query, key, attention_mask, kwargs.get("scaling"))
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


def _pattern(
    query: Float[Tensor, "batch heads query d_head"],
    key: Float[Tensor, "batch groups key d_head"],
    mask: Shaped[Tensor, "batch ... query key"] | None,
    scaling: float | None,
) -> Pattern:
    """softmax(q kᵀ · scaling); keys shared by groups of heads are repeated."""
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if mask is None:
        n, m = scores.shape[-2:]
        mask = torch.ones(n, m, dtype=torch.bool, device=scores.device).tril(m - n)
    scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1)


@contextmanager
def _recorded(target: Target, blocks: Sequence[nn.Module], layers: frozenset[int]) -> Iterator[_Recording]:
    """Within this block, passes of this context record the patterns of these layers. Modules with a `pattern` method
    of their own are given the arguments of their forward, by hooks that live as long as the block."""
    recording = _Recording(layers)
    token = _recording.set(recording)
    try:
        with ExitStack() as stack:
            for layer in layers if target.transformer is None else ():
                for module in blocks[layer].modules():
                    if hasattr(module, "pattern"):
                        hook = module.register_forward_pre_hook(_ask(layer), with_kwargs=True)
                        stack.callback(hook.remove)
            yield recording
    finally:
        _recording.reset(token)


def _ask(layer: int) -> Callable[[nn.Module, tuple[Any, ...], Mapping[str, Any]], None]:
    def record(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        recording = _recording.get()
        if recording is not None and layer in recording.layers:
            pattern = module.pattern(*args, **kwargs)  # type: ignore[operator]
            recording.patterns[layer] = pattern if pattern.ndim == 4 else pattern[:, None]

    return record


@torch.inference_mode()
def patterns(
    engine: AblationEngine,
    token_ids: tuple[int, ...],
    condition: Condition,
    heads: Sequence[tuple[int, int | None]],
) -> list[HeadPatterns]:
    """Patterns of these (layer, head) pairs, head None meaning all of the layer, rounded to six digits. Raises
    PatternsError for one that does not exist or cannot be seen."""
    passes = engine.passes
    if not attach(engine.target):
        raise PatternsError("This model's attention cannot be looked into: it does not run through sdpa.")
    for layer, _ in heads:
        if not 0 <= layer < len(passes.blocks):
            raise PatternsError(f"There is no layer {layer}; the model has {len(passes.blocks)}, from 0.")
    clean = engine.clean(token_ids)
    masks = engine.editor.masks([Condition(), condition], 0, len(token_ids))
    with _recorded(engine.target, passes.blocks, frozenset(layer for layer, _ in heads)) as recording:
        passes.resumed(clean, masks, Touch(0, 0), batch=2)
    result: list[HeadPatterns] = []
    for layer, head in heads:
        both = recording.patterns[layer]
        if head is not None and not 0 <= head < both.shape[1]:
            raise PatternsError(f"Layer {layer} has {both.shape[1]} heads; there is no head {head}.")
        for one in range(both.shape[1]) if head is None else [head]:
            result.append(HeadPatterns(layer, one, _triangle(both[0, one]), _triangle(both[1, one])))
    return result


def _triangle(pattern: Float[Tensor, "seq seq"]) -> list[list[float]]:
    return [[round(value, DIGITS) for value in row[: at + 1]] for at, row in enumerate(pattern.tolist())]
