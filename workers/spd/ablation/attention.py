"""Attention patterns of chosen heads, before and after an ablation.

A torch function mode sees the calls of a pass, in this thread alone: fused attention, whose softmax(q kᵀ) is computed
again beside it, and the softmax of a model's own attention code. Nothing is attached to a model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from workers.spd.ablation.engine import AblationEngine
from workers.spd.ablation.passes import Touch
from workers.spd.answers import HeadPatterns
from workers.spd.queries import Condition
from workers.spd.targets.induction import attend

DIGITS = 6
SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)


Pattern = Float[Tensor, "batch heads query key"]


class PatternsError(Exception):
    """Patterns that cannot be shown; the message is a plain sentence."""


class Watching(TorchFunctionMode):
    """Keeps the patterns of some attentions of a pass over `seq` tokens. seen: how many attentions it met."""

    def __init__(self, layers: frozenset[int], batch: int, seq: int) -> None:
        super().__init__()
        self.patterns: dict[int, Pattern] = {}
        self.seen = 0
        self._layers, self._batch, self._seq = layers, batch, seq

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            self._add(lambda: _pattern(*args, **kwargs))
        elif func is attend:
            self._add(lambda: _pattern(args[0][:, None], args[1][:, None]))
        elif func in SOFTMAX and self._square(result):
            # An attention sink (gpt-oss) stands behind the keys.
            self._add(lambda: result[..., : self._seq].reshape(self._batch, -1, self._seq, self._seq))
        return result

    def _square(self, probabilities: Float[Tensor, ...]) -> bool:
        """Whether these are of queries over keys, and not, say, of tokens over experts."""
        shape, n = probabilities.shape, self._seq
        heads = len(shape) == 4 or (len(shape) == 3 and shape[0] > self._batch)
        return heads and shape[-2] == n and shape[-1] in (n, n + 1)

    def _add(self, pattern: Callable[[], Pattern]) -> None:
        if self.seen in self._layers:
            self.patterns[self.seen] = pattern()
        self.seen += 1


def _pattern(
    query: Float[Tensor, "batch heads query d_head"],
    key: Float[Tensor, "batch groups key d_head"],
    value: Float[Tensor, "batch groups key d_value"] | None = None,
    attn_mask: Shaped[Tensor, "#batch #heads query key"] | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = True,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Pattern:
    """softmax(q kᵀ · scale) of a call of fused attention; keys shared by groups of heads are repeated."""
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if attn_mask is None and is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        barred = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, float("-inf")) if barred else scores + attn_mask
    return scores.softmax(-1)


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
    for layer, _ in heads:
        if not 0 <= layer < len(passes.blocks):
            raise PatternsError(f"There is no layer {layer}; the model has {len(passes.blocks)}, from 0.")
    clean = engine.clean(token_ids)
    masks = engine.editor.masks([Condition(), condition], 0, len(token_ids))
    watching = Watching(frozenset(layer for layer, _ in heads), 2, len(token_ids))
    with watching:
        passes.resumed(clean, masks, Touch(0, 0), batch=2)
    if watching.seen != len(passes.blocks):
        raise PatternsError("This model has no attention pattern in every layer, so there is none to show.")
    result: list[HeadPatterns] = []
    for layer, head in heads:
        both = watching.patterns[layer]
        if head is not None and not 0 <= head < both.shape[1]:
            raise PatternsError(f"Layer {layer} has {both.shape[1]} heads; there is no head {head}.")
        for one in range(both.shape[1]) if head is None else [head]:
            result.append(HeadPatterns(layer, one, _triangle(both[0, one]), _triangle(both[1, one])))
    return result


def _triangle(pattern: Float[Tensor, "seq seq"]) -> list[list[float]]:
    return [[round(value, DIGITS) for value in row[: at + 1]] for at, row in enumerate(pattern.tolist())]
