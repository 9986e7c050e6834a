"""What suppressing a group does to prompts that nobody looked at while the run was made (SPEC 27).

The list was written without the model. A seed draws from it, the same number of every kind; what is drawn is asked
once, when the run is final.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from workers.spd.keys import ComponentKey
from workers.spd.method.decomposition import Decomposition
from workers.spd.method.losses import kl_divergence
from workers.spd.prompts.batches import answer_column, clean_batch
from workers.spd.statistics.needed import suppressed
from workers.spd.targets.tokenizer import PromptTokenizer

LIST = Path(__file__).parents[1] / "texts" / "bystanders.txt"
ROWS = 20


@dataclass(frozen=True)
class BystanderEffects:
    """Of the target's first choice on each prompt: the mean and the largest |p′/p − 1|, shares, and where that is; and
    the mean KL(target ‖ suppressed) at the last position, nats."""

    prompts: int
    mean_change: float
    largest_change: float
    largest_on: str
    mean_kl: float


def kinds() -> dict[str, list[str]]:
    """The list, {kind: prompts}."""
    result: dict[str, list[str]] = {}
    kind = ""
    for line in LIST.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            kind = line[2:]
        elif line:
            result.setdefault(kind, []).append(line)
    return result


def drawn(seed: int, count: int = 60) -> list[str]:
    """`count` prompts, as many of each kind."""
    lists = kinds()
    generator = random.Random(seed)
    return [prompt for prompts in lists.values() for prompt in generator.sample(prompts, count // len(lists))]


@torch.no_grad()
def bystander_effects(
    decomposition: Decomposition,
    prompts: Sequence[str],
    keys: Sequence[ComponentKey],
    tokenizer: PromptTokenizer,
    *,
    bos: bool,
) -> BystanderEffects:
    """These components suppressed together, the remainder on, at all masked positions."""
    changes: list[float] = []
    kls: list[float] = []
    for first in range(0, len(prompts), ROWS):
        ids = [tokenizer.encode(prompt, bos=bos) for prompt in prompts[first : first + ROWS]]
        batch = clean_batch(decomposition.target, ids, "answer")
        rows, at = torch.arange(len(ids), device=batch.tokens.device), answer_column(batch)
        before = batch.log_probs[rows, at]
        logits = suppressed(decomposition, batch, [keys])[0, rows, at]
        choice = before.argmax(-1, keepdim=True)
        ratio = (torch.log_softmax(logits, -1) - before).gather(1, choice)[:, 0].exp()
        changes += (ratio - 1).abs().tolist()
        kls += kl_divergence(before, logits).tolist()
    worst = max(range(len(changes)), key=changes.__getitem__)
    return BystanderEffects(
        len(changes), sum(changes) / len(changes), changes[worst], prompts[worst], sum(kls) / len(kls)
    )
