"""Many ablations of one prompt at once: every component of a selection alone, or strengths along a line.

Conditions are sorted by the block they begin in and run as the rows of a few passes; the unembedding runs at one
position. A sweep is an iterator that computes a batch at a time, so whoever drives it can report, pause or stop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workers.spd.ablation.engine import AblationEngine
from workers.spd.ablation.outputs import Rows, kl_rows
from workers.spd.answers import SweepBatch, SweepItem, SweepWatched, check_finite
from workers.spd.queries import SweepQuery

BATCH_BYTES = 96 * 2**20
BATCH_TOKENS = 256  # more in one pass gain little on a CPU, and a click waits for the pass that runs
MOST_ROWS = 64


def sweep(
    engine: AblationEngine, query: SweepQuery, *, batch_bytes: int = BATCH_BYTES
) -> Iterator[SweepBatch]:
    """Rows of all steps, a batch at a time, in no order but that of the blocks they begin in.

    What is measured at `query.position` depends on nothing behind it, so the prompt ends there. Raises NotFiniteError.
    """
    ids = query.token_ids if query.position is None else query.token_ids[: query.position + 1]
    seq = len(ids)
    clean = engine.clean(ids)
    engine.self_check(clean)
    before = engine.baseline(clean).rows.pick(slice(seq - 1, seq))
    measure = _Measure(before, query)
    conditions = [step.condition.within(seq) for step in query.steps]
    acting = [n for n, condition in enumerate(conditions) if engine.editor.acts(condition, seq)]
    idle = sorted(set(range(len(conditions))) - set(acting))
    if idle:
        yield measure.batch(idle, before.logits.expand(len(idle), -1))
    block = {n: engine.editor.touch(conditions[n], seq).block for n in acting}
    acting.sort(key=lambda n: (block[n], conditions[n].edits[0].site if conditions[n].edits else "", n))
    for numbers in _batches(acting, batch_rows(engine, seq, batch_bytes), block):
        first, logits = engine.logits(clean, [conditions[n] for n in numbers], last=1)
        assert first == seq - 1
        yield measure.batch(numbers, logits[:, 0])


def batch_rows(engine: AblationEngine, seq: int, batch_bytes: int) -> int:
    """How many prompts of `seq` tokens fit into one pass of a sweep."""
    components = engine.decomposition.components
    widest = max(max(components.V[site].shape[0], components.U[site].shape[1]) for site in components.sites)
    vocabulary = engine.target.card.model.vocabulary
    row = 4 * (6 * seq * widest + 8 * vocabulary)
    return max(1, min(MOST_ROWS, batch_bytes // row, max(1, BATCH_TOKENS // seq)))


def _batches(order: list[int], size: int, block: dict[int, int]) -> Iterator[list[int]]:
    """Runs of up to `size`; one that is already half full ends where the next block begins."""
    batch: list[int] = []
    for number in order:
        full = len(batch) >= size
        crosses = bool(batch) and block[number] != block[batch[0]] and len(batch) * 2 >= size
        if full or crosses:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


@dataclass(frozen=True)
class _Measure:
    """What a sweep measures of the logits at its position. `before`: the clean pass's, one row."""

    before: Rows
    query: SweepQuery

    @torch.inference_mode()
    def batch(self, numbers: Sequence[int], logits: Float[Tensor, "rows vocab"]) -> SweepBatch:
        """The rows of these steps, by their numbers."""
        after = Rows.of(logits)
        kl = kl_rows(self.before, after).tolist()
        check_finite([*kl, *self.before.entropy.tolist()])
        watch, contrast, answer = self.query.watch, self.query.contrast, self.query.answer
        measured = [*watch, *(contrast or ()), *(() if answer is None else (answer,))]
        now, was = _Tokens.of(after, measured), _Tokens.of(self.before, measured)
        first = len(watch)  # of the contrast
        items: list[SweepItem] = []
        for row, number in enumerate(numbers):
            step, z, z0 = self.query.steps[number], now.logit[row], was.logit[0]
            change = None if contrast is None else (z[first] - z[first + 1]) - (z0[first] - z0[first + 1])
            ce = None if answer is None else now.nats[row][-1] - was.nats[0][-1]
            items.append(
                SweepItem(number, step.key, step.strength, kl[row], now.watched(watch, row), change, ce)
            )
        return SweepBatch(items, was.watched(watch, 0))


@dataclass(frozen=True)
class _Tokens:
    """Of some tokens in each row: logit, probability 0–1 and −log p in nats."""

    logit: list[list[float]]
    probability: list[list[float]]
    nats: list[list[float]]

    @classmethod
    def of(cls, rows: Rows, tokens: Sequence[int]) -> _Tokens:
        logits = rows.logits[:, list(tokens)].double()
        normal = (rows.most.double() + rows.total.log())[:, None]
        return cls(logits.tolist(), (logits - normal).exp().tolist(), (normal - logits).tolist())

    def watched(self, tokens: Sequence[int], row: int) -> list[SweepWatched]:
        """The first ones, as they are reported."""
        return [
            SweepWatched(token, self.probability[row][i], self.logit[row][i])
            for i, token in enumerate(tokens)
        ]
