"""What changed at the output: KL, entropy, top tokens before and after, ranks, the cross-entropy of an answer.

Sums over the vocabulary run in float64 over float32 terms, so a KL is exact to about 1e-8 nats and two equal rows
differ by exactly 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workers.spd.answers import Entropy, MeanLogit, Output, OutputShift, PositionShift, check_finite
from workers.spd.queries import AblationQuery

MOST_TOP = 50
RUN = 256


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

    def pick(self, chosen: slice | Int[Tensor, " picked"]) -> Rows:
        """Some of the rows."""
        return Rows(self.logits[chosen], self.most[chosen], self.total[chosen], self.entropy[chosen])

    def followed_by(self, rest: Rows, first: int) -> Rows:
        """The rows before `first`, then all of `rest`."""
        if first == 0:
            return rest
        return Rows(
            *(torch.cat([mine[:first], other]) for mine, other in zip(self._parts, rest._parts, strict=True))
        )

    @property
    def _parts(
        self,
    ) -> tuple[
        Float[Tensor, "rows vocab"], Float[Tensor, " rows"], Float[Tensor, " rows"], Float[Tensor, " rows"]
    ]:
        return self.logits, self.most, self.total, self.entropy

    def nbytes(self) -> int:
        """Bytes held."""
        return sum(part.numel() * part.element_size() for part in self._parts)

    def log_probability(self, row: int, token: int) -> float:
        """Nats, of one token."""
        return float(self.logits[row, token]) - float(self.most[row]) - math.log(float(self.total[row]))


@dataclass(frozen=True)
class Baseline:
    """A clean pass's output. top: its `MOST_TOP` tokens with the largest logits at each position, in order."""

    rows: Rows
    top: Int[Tensor, "rows k"]

    @classmethod
    def of(cls, logits: Float[Tensor, "rows vocab"]) -> Baseline:
        rows = Rows.of(logits)
        return cls(rows, rows.logits.topk(min(MOST_TOP, rows.logits.shape[-1])).indices)


def _by_rows(
    z: Float[Tensor, "rows vocab"],
) -> Iterator[tuple[slice, tuple[Float[Tensor, "some vocab"], Float[Tensor, "some vocab"]]]]:
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
    """KL(before ‖ after) of each row, nats: log Z' − log Z − E_before[z' − z]. One row before serves all after."""
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
    baseline: Baseline,
    after: Rows,
    kl: Float[Tensor, " seq"],
    query: AblationQuery,
    piece: Callable[[int], str],
) -> list[PositionShift]:
    """The reported positions of an answer. `after` and `kl` hold all positions of the prompt.

    Raises NotFiniteError.
    """
    positions = list(range(len(kl))) if query.positions is None else list(query.positions)
    before, before_top = baseline.rows, baseline.top
    if query.positions is not None:
        at = torch.tensor(positions, dtype=torch.long, device=kl.device)
        before, after, kl, before_top = before.pick(at), after.pick(at), kl[at], before_top[at]
    k = min(query.top_k, before.logits.shape[-1])
    first, second = before_top[:, :k].tolist(), after.logits.topk(k).indices.tolist()
    tables = _Table(before), _Table(after)
    nats, entropies = kl.tolist(), [Entropy(*pair) for pair in zip(*_entropies(before, after), strict=True)]
    results: list[PositionShift] = []
    for row, position in enumerate(positions):
        union = list(dict.fromkeys([*first[row], *second[row]]))
        tokens = [*union, *query.watch]
        outputs = tables[0].outputs(row, tokens, first[row]), tables[1].outputs(row, tokens, second[row])
        lines = [
            OutputShift(token, piece(token), *pair) for token, *pair in zip(tokens, *outputs, strict=True)
        ]
        top = sorted(lines[: len(union)], key=lambda line: -line.baseline.logit)
        mean = MeanLogit(*(float(table.z[row].mean(dtype=np.float64)) for table in tables))
        results.append(PositionShift(position, nats[row], top, lines[len(union) :], entropies[row], mean))
    return results


def _entropies(before: Rows, after: Rows) -> tuple[list[float], list[float]]:
    entropies = before.entropy.tolist(), after.entropy.tolist()
    check_finite([*entropies[0], *entropies[1]])
    return entropies


class _Table:
    """Logits as numpy, where counting larger ones is cheap, whatever device they were computed on."""

    def __init__(self, rows: Rows) -> None:
        self.z = rows.logits.cpu().numpy()
        self.most, self.total = rows.most.tolist(), rows.total.tolist()

    def outputs(self, row: int, tokens: Sequence[int], top: Sequence[int]) -> list[Output]:
        """Of these tokens; those in `top` (the largest, in order) need no count."""
        z, most, total = self.z[row], self.most[row], self.total[row]
        logits = z[list(tokens)].tolist() if tokens else []
        rank: dict[int, int] = {}
        last, place = math.inf, 0
        for at, (token, logit) in enumerate(zip(top, z[list(top)].tolist(), strict=True)):
            if logit < last:
                last, place = logit, at
            rank[token] = place + 1
        outputs: list[Output] = []
        for token, logit in zip(tokens, logits, strict=True):
            if token not in rank:
                rank[token] = int(np.count_nonzero(z > z[token])) + 1
            outputs.append(Output(math.exp(logit - most) / total, logit, rank[token]))
        return outputs
