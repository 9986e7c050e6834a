"""What suppressing a group does to prompts that nobody looked at while the run was made (SPEC 27).

The list was written without the model. A seed draws from it, the same number of every kind; what is drawn is asked
once, when the run is final. What was asked of one run is known to the next.
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

LOOKED_AT = 11
"""The draw that the settings of later runs were chosen by; other draws leave its prompts out."""
ALSO_LOOKED_AT = {
    "The largest planet in the solar system is", "The Colosseum is in the city of",
    "The language spoken in Brazil is", "The children were playing in the", "The capital of Egypt is",
    "The Statue of Liberty stands in New", "import matplotlib.pyplot as", "The currency of Japan is the",
}  # fmt: skip
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
    """`count` prompts, as many of each kind, none that was looked at before."""
    known = set[str]() if seed == LOOKED_AT else {*drawn(LOOKED_AT), *ALSO_LOOKED_AT}
    lists = [[prompt for prompt in prompts if prompt not in known] for prompts in kinds().values()]
    generator = random.Random(seed)
    return [prompt for prompts in lists for prompt in generator.sample(prompts, count // len(lists))]


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
