"""Short greedy continuations, before and after an ablation that acts throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from workers.spd.ablation.edits import Condition
from workers.spd.ablation.engine import AblationEngine

MOST = 20


@dataclass(frozen=True)
class Continuation:
    """Token ids and their probabilities, 0–1, each given what stands before it in its own row."""

    token_ids: list[int]
    probabilities: list[float]


@dataclass(frozen=True)
class Continuations:
    """stopped: why there are fewer tokens than asked for, or None."""

    baseline: Continuation
    ablated: Continuation
    stopped: str | None


@torch.inference_mode()
def continuations(
    engine: AblationEngine, token_ids: Sequence[int], condition: Condition, tokens: int
) -> Continuations:
    """The `tokens` likeliest next tokens one by one, of the target and of the ablated model, as two rows of one pass.

    An edit at all positions, or from one on, acts at the new ones too; an edit at named positions does not.
    """
    assert 1 <= tokens <= MOST
    ids = torch.tensor([list(token_ids)] * 2, device=engine.target.device)
    cache = engine.passes.new_cache()
    room = engine.target.card.model.context_length - len(token_ids)
    rows: tuple[Continuation, Continuation] = (Continuation([], []), Continuation([], []))
    done = 0
    for _ in range(min(tokens, room)):
        start = done if cache is not None else 0
        edits = engine.editor.site_edits(condition, start, ids.shape[1])
        logits = engine.passes.whole(ids[:, start:], engine.editor.masks([{}, edits]), cache)[:, -1].double()
        done = ids.shape[1]
        best = logits.argmax(-1)
        probability = logits.softmax(-1).gather(1, best[:, None])[:, 0].tolist()
        for row, token, p in zip(rows, best.tolist(), probability, strict=True):
            row.token_ids.append(token)
            row.probabilities.append(p)
        ids = torch.cat([ids, best[:, None]], dim=1)
    stopped = None if room >= tokens else "The model's context is full."
    return Continuations(*rows, stopped)
