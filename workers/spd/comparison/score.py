"""The selectivity score, and what a table of rows says of each method (docs/evidence.md)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from workers.spd.comparison.stored import (
    Asked,
    EvaluationRow,
    Interval,
    MethodSummary,
    TextEffect,
)

RESAMPLES = 10_000
COVERAGE = 0.95


def damage(asked: Iterable[Asked | TextEffect | None]) -> float:
    """Mean over the kinds of bystanders that were asked, each a mean relative change of at most 1."""
    changes = [one.change if isinstance(one, Asked) else one.damage for one in asked if one is not None]
    return float(np.mean(changes)) if changes else 0.0


def interval(values: Sequence[float], seed: int) -> Interval:
    """Mean over facts with the percentile bootstrap's interval: facts are drawn with replacement."""
    data = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(len(data), size=(RESAMPLES, len(data)))
    low, high = np.quantile(data[drawn].mean(1), [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Interval(mean=float(data.mean()), low=float(low), high=float(high))


def summarise(
    rows: Sequence[EvaluationRow], methods: Sequence[str], seed: int, first: str
) -> list[MethodSummary]:
    """Every method at every budget, `first` compared with each of the others on the facts both have."""
    table: dict[tuple[str, int], dict[str, EvaluationRow]] = {}
    for row in rows:
        table.setdefault((row.method, row.budget), {})[row.fact] = row
    budgets = sorted({row.budget for row in rows})
    result: list[MethodSummary] = []
    for method in methods:
        for budget in budgets:
            own = table.get((method, budget), {})
            if own:
                result.append(_summary(method, budget, own, table.get((first, budget), {}), seed, first))
    return result


def _summary(
    method: str,
    budget: int,
    own: dict[str, EvaluationRow],
    other: dict[str, EvaluationRow],
    seed: int,
    first: str,
) -> MethodSummary:
    rows = [own[fact] for fact in sorted(own)]
    behind = verdict = None
    shared = sorted(own.keys() & other.keys())
    if method != first and shared:
        behind = interval([other[fact].score - own[fact].score for fact in shared], seed)
        verdict = "wins" if behind.low > 0 else "loses" if behind.high < 0 else "level"
    texts = [row.text for row in rows if row.text is not None]
    return MethodSummary(
        method=method, budget=budget, facts=len(rows),
        score=interval([row.score for row in rows], seed),
        forgets=interval([row.forgets for row in rows], seed),
        trained=interval([row.trained for row in rows], seed),
        others=_mean(row.others.change for row in rows if row.others),
        reverse=_mean(row.reverse.change for row in rows if row.reverse),
        elsewhere=_mean(row.elsewhere.change for row in rows if row.elsewhere),
        text=_mean(text.damage for text in texts),
        kl=_mean(text.kl for text in texts),
        ce_change=_mean(text.ce_change for text in texts),
        behind=behind, verdict=verdict,
    )  # fmt: skip


def _mean(values: Iterable[float]) -> float | None:
    data = list(values)
    return float(np.mean(data)) if data else None
