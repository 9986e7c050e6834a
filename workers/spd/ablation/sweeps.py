"""Many ablations of one prompt at once: every component of a selection alone, or strengths along a line.

Conditions are sorted by the block they begin in and run as the rows of a few passes; the unembedding runs at one
position. A sweep is an iterator that computes a batch at a time, so whoever drives it can report, pause or stop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from workers.spd.ablation.edits import Condition, Edit
from workers.spd.ablation.engine import AblationEngine
from workers.spd.ablation.outputs import Rows, kl_rows

BATCH_BYTES = 96 * 2**20
BATCH_TOKENS = 256  # more a pass gain little on a CPU, and a click waits for the pass that runs
MOST_ROWS = 64


@dataclass(frozen=True)
class WatchedShift:
    """A watched token at the sweep's position: probability 0–1 and logit, before and after."""

    token_id: int
    baseline_probability: float
    baseline_logit: float
    probability: float
    logit: float


@dataclass(frozen=True)
class SweepRow:
    """One condition of a sweep, by its number. kl: KL(baseline ‖ ablated), nats; contrast: the change of the logit
    difference of two tokens; ce: the change of −log p(answer), nats."""

    number: int
    kl: float
    watched: tuple[WatchedShift, ...]
    contrast: float | None
    ce: float | None


def alone(edits: Sequence[Edit]) -> list[Condition]:
    """Each of these edits by itself."""
    return [Condition((edit,)) for edit in edits]


def along(condition: Condition, strengths: Sequence[float]) -> list[Condition]:
    """The same basket, its strengths scaled by each of these numbers (0–1)."""
    return [
        replace(condition, edits=tuple(replace(e, strength=e.strength * s) for e in condition.edits))
        for s in strengths
    ]


def sweep(
    engine: AblationEngine,
    token_ids: Sequence[int],
    conditions: Sequence[Condition],
    *,
    position: int | None = None,
    watch: Sequence[int] = (),
    contrast: tuple[int, int] | None = None,
    answer: int | None = None,
    batch_bytes: int = BATCH_BYTES,
) -> Iterator[list[SweepRow]]:
    """Rows of all conditions, a batch at a time, in no order but that of the blocks they begin in.

    What is measured at `position` (None: the last) depends on nothing behind it, so the prompt ends there.
    """
    ids = list(token_ids if position is None else token_ids[: position + 1])
    seq = len(ids)
    clean = engine.clean(ids)
    engine.self_check(clean)
    before = engine.baseline(clean)[0].pick(slice(seq - 1, seq))
    trimmed = [_until(condition, seq) for condition in conditions]
    acting = [n for n, condition in enumerate(trimmed) if engine.acts(condition, seq)]
    measure = _Measure(before, tuple(watch), contrast, answer)
    idle = sorted(set(range(len(trimmed))) - set(acting))
    if idle:
        yield measure.rows(idle, before.logits.expand(len(idle), -1))
    touch = {n: engine.editor.touch(trimmed[n], seq) for n in acting}
    acting.sort(key=lambda n: (touch[n].block, trimmed[n].edits[0].site if trimmed[n].edits else "", n))
    size = batch_rows(engine, seq, batch_bytes)
    for batch in _batches(acting, size, {n: touch[n].block for n in acting}):
        first, logits = engine.logits(clean, [trimmed[n] for n in batch], last=1)
        assert first == seq - 1
        yield measure.rows(batch, logits[:, 0])


def batch_rows(engine: AblationEngine, seq: int, batch_bytes: int) -> int:
    """How many prompts of `seq` tokens fit into one pass of a sweep."""
    widest = max(max(V.shape[0], U.shape[1]) for V, U in _shapes(engine))
    vocabulary = engine.target.card.model.vocabulary
    row = 4 * (6 * seq * widest + 8 * vocabulary)
    return max(1, min(MOST_ROWS, batch_bytes // row, max(1, BATCH_TOKENS // seq)))


def _shapes(engine: AblationEngine) -> list[tuple[Tensor, Tensor]]:
    components = engine.decomposition.components
    return [(components.V[site], components.U[site]) for site in components.sites]


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


def _until(condition: Condition, seq: int) -> Condition:
    edits = tuple(
        edit
        if edit.positions is None
        else replace(edit, positions=tuple(p for p in edit.positions if p < seq))
        for edit in condition.edits
    )
    return replace(condition, edits=edits)


@dataclass(frozen=True)
class _Measure:
    before: Rows
    watch: tuple[int, ...]
    contrast: tuple[int, int] | None
    answer: int | None

    @torch.inference_mode()
    def rows(self, numbers: Sequence[int], logits: Tensor) -> list[SweepRow]:
        after = Rows.of(logits)
        kl = kl_rows(self.before, after).tolist()
        asked = [*self.watch, *(self.contrast or ()), *(() if self.answer is None else (self.answer,))]
        z = after.logits[:, asked].double()
        z0 = self.before.logits[:, asked].double()
        normal = (after.most.double() + after.total.log())[:, None]
        normal0 = (self.before.most.double() + self.before.total.log())[:, None]
        p, p0 = (z - normal).exp().tolist(), (z0 - normal0).exp().tolist()[0]
        nats, nats0 = (normal - z).tolist(), (normal0 - z0).tolist()[0]
        logit, logit0 = z.tolist(), z0.tolist()[0]
        w = len(self.watch)
        found = []
        for row, number in enumerate(numbers):
            watched = tuple(
                WatchedShift(token, p0[i], logit0[i], p[row][i], logit[row][i])
                for i, token in enumerate(self.watch)
            )
            contrast = None
            if self.contrast is not None:
                contrast = (logit[row][w] - logit[row][w + 1]) - (logit0[w] - logit0[w + 1])
            ce = None if self.answer is None else nats[row][-1] - nats0[-1]
            found.append(SweepRow(number, kl[row], watched, contrast, ce))
        return found
