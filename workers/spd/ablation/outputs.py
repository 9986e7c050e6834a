"""What changed at the output: KL, entropy, top tokens before and after, ranks, the cross-entropy of an answer.

Sums over the vocabulary run in float64 over float32 terms, so a KL is exact to about 1e-8 nats and two equal rows
differ by exactly 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

MOST_TOP = 50
RUN = 256


@dataclass(frozen=True)
class OutputStat:
    """One token at one position: probability 0–1, logit, rank from 1 (1 + the tokens with a larger logit)."""

    probability: float
    logit: float
    rank: int


@dataclass(frozen=True)
class ShiftRow:
    token_id: int
    baseline: OutputStat
    ablated: OutputStat


@dataclass(frozen=True)
class Entropy:
    """Of the whole distribution, nats."""

    baseline: float
    ablated: float


@dataclass(frozen=True)
class PositionResult:
    """kl: KL(baseline ‖ ablated), nats; top: union of the top k before and after, by baseline probability."""

    position: int
    kl: float
    top: list[ShiftRow]
    watched: list[ShiftRow]
    entropy: Entropy | None = None


@dataclass(frozen=True)
class Rows:
    """Rows of logits with what is worked out from them once.

    logits: [rows, vocab]; most: the largest, [rows]; total: Σ exp(z − most), float64 [rows]; entropy: nats, [rows].
    """

    logits: Float[Tensor, "rows vocab"]
    most: Float[Tensor, " rows"]
    total: Float[Tensor, " rows"]
    entropy: Float[Tensor, " rows"]

    @classmethod
    def of(cls, logits: Float[Tensor, "rows vocab"]) -> Rows:
        z = logits.float()
        most = z.amax(-1)
        total, spread = (
            most.new_empty(len(z), dtype=torch.float64),
            most.new_empty(len(z), dtype=torch.float64),
        )
        for rows, (shifted, weights) in _by_rows(z):
            torch.sub(z[rows], most[rows, None], out=shifted)
            torch.exp(shifted, out=weights)
            total[rows] = exact_sum(weights)
            spread[rows] = exact_sum(weights.mul_(shifted))
        return cls(z, most, total, total.log() - spread / total)

    def pick(self, chosen: slice | Tensor) -> Rows:
        """Some of the rows."""
        return Rows(self.logits[chosen], self.most[chosen], self.total[chosen], self.entropy[chosen])

    def nbytes(self) -> int:
        """How much memory its numbers take."""
        return sum(part.numel() * part.element_size() for part in vars(self).values())

    def log_probability(self, row: int, token: int) -> float:
        """Nats, of one token."""
        return float(self.logits[row, token]) - float(self.most[row]) - math.log(float(self.total[row]))


def _by_rows(z: Float[Tensor, "rows vocab"]) -> Iterator[tuple[slice, tuple[Tensor, Tensor]]]:
    """Slices of rows with two buffers of their shape that are used again: on a CPU a row at a time, which stays in its
    cache and touches no fresh memory (a third of the time of whole [rows, vocab] steps); elsewhere all at once."""
    step = 1 if z.device.type == "cpu" else max(1, len(z))
    buffers = torch.empty_like(z[:step]), torch.empty_like(z[:step])
    for first in range(0, len(z), step):
        yield slice(first, first + step), buffers


def exact_sum(values: Float[Tensor, "rows vocab"]) -> Float[Tensor, " rows"]:
    """Σ over the vocabulary, float64: runs of 256 in float32, which are fast, and their sums in float64."""
    whole = values.shape[-1] // RUN * RUN
    runs = values[:, :whole].unflatten(-1, (-1, RUN)).sum(-1).double().sum(-1)
    return runs + values[:, whole:].double().sum(-1)


def kl_rows(before: Rows, after: Rows) -> Float[Tensor, " rows"]:
    """KL(before ‖ after) a row, nats: log Z' − log Z − E_before[z' − z]. One row before serves all after."""
    change = torch.empty_like(after.total)
    for rows, (weights, moved) in _by_rows(after.logits):
        was = before.pick(rows) if len(before.logits) > 1 else before
        torch.sub(was.logits, was.most[:, None], out=weights[: len(was.logits)]).exp_()
        torch.sub(after.logits[rows], was.logits, out=moved)
        change[rows] = exact_sum(moved.mul_(weights[: len(was.logits)]))
    change /= before.total
    normal = (after.total / before.total).log() + (after.most.double() - before.most.double())
    return (normal - change).clamp_min(0)


def shifts(
    positions: Sequence[int],
    before: Rows,
    after: Rows,
    kl: Float[Tensor, " rows"],
    top_k: int,
    watch: Sequence[int],
    *,
    before_top: Int[Tensor, "rows k"] | None = None,
) -> list[PositionResult]:
    """A result for each row; `positions` are the places in the prompt the rows stand for."""
    k = min(top_k, before.logits.shape[-1])
    first = (before.logits.topk(k).indices if before_top is None else before_top[:, :k]).tolist()
    second = after.logits.topk(k).indices.tolist()
    tables = (_Table(before), _Table(after))
    nats = kl.tolist()
    entropies = before.entropy.tolist(), after.entropy.tolist()
    results: list[PositionResult] = []
    for row, position in enumerate(positions):
        union = list(dict.fromkeys([*first[row], *second[row]]))
        tokens = [*union, *watch]
        was = tables[0].stats(row, tokens, first[row])
        now = tables[1].stats(row, tokens, second[row])
        lines = [ShiftRow(token, b, a) for token, b, a in zip(tokens, was, now, strict=True)]
        top = sorted(lines[: len(union)], key=lambda line: -line.baseline.logit)
        entropy = Entropy(entropies[0][row], entropies[1][row])
        results.append(PositionResult(position, nats[row], top, lines[len(union) :], entropy))
    return results


class _Table:
    """Logits as numpy, where counting what is larger is cheap, on whatever device they were made."""

    def __init__(self, rows: Rows) -> None:
        self.z = rows.logits.cpu().numpy()
        self.most, self.total = rows.most.tolist(), rows.total.tolist()

    def stats(self, row: int, tokens: Sequence[int], top: Sequence[int]) -> list[OutputStat]:
        """Of these tokens; those in `top` (the largest, in order) need no count."""
        z, most, total = self.z[row], self.most[row], self.total[row]
        logits = z[list(tokens)].tolist() if tokens else []
        rank: dict[int, int] = {}
        last, place = math.inf, 0
        for at, (token, logit) in enumerate(zip(top, z[list(top)].tolist(), strict=True)):
            if logit < last:
                last, place = logit, at
            rank[token] = place + 1
        found: list[OutputStat] = []
        for token, logit in zip(tokens, logits, strict=True):
            if token not in rank:
                rank[token] = int(np.count_nonzero(z > z[token])) + 1
            found.append(OutputStat(math.exp(logit - most) / total, logit, rank[token]))
        return found
