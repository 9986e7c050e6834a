"""Short greedy continuations, before and after an ablation that acts throughout."""

from __future__ import annotations

import torch

from workers.spd.ablation.engine import AblationEngine
from workers.spd.answers import Continuations, ContinuedToken
from workers.spd.queries import Condition

MOST = 20


@torch.inference_mode()
def continuations(
    engine: AblationEngine, token_ids: tuple[int, ...], condition: Condition, tokens: int
) -> Continuations:
    """The `tokens` likeliest next tokens one by one, of the target and of the ablated model, as two rows of one pass.

    An edit at all positions, or from one on, acts at the new ones too; an edit at named positions does not.
    """
    assert 1 <= tokens <= MOST
    ids = torch.tensor([token_ids] * 2, device=engine.target.device)
    cache = engine.passes.new_cache()
    room = engine.target.card.model.context_length - len(token_ids)
    baseline: list[ContinuedToken] = []
    ablated: list[ContinuedToken] = []
    done = 0
    for _ in range(min(tokens, room)):
        start = done if cache is not None else 0
        masks = engine.editor.masks([Condition(), condition], start, ids.shape[1])
        logits = engine.passes.whole(ids[:, start:], masks, cache)[:, -1].double()
        done = ids.shape[1]
        best = logits.argmax(-1)
        probability = logits.softmax(-1).gather(1, best[:, None])[:, 0].tolist()
        for row, token, p in zip((baseline, ablated), best.tolist(), probability, strict=True):
            row.append(ContinuedToken(token, engine.piece(token), p))
        ids = torch.cat([ids, best[:, None]], dim=1)
    stopped = None if room >= tokens else "The model's context is full."
    return Continuations(baseline, ablated, stopped)
