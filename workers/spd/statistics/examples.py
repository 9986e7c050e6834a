"""Which firings of a component are shown, by quantile of CI, and what it does at the tokens around them."""

from __future__ import annotations

import numpy as np

from workers.spd.statistics.config import HarvestConfig
from workers.spd.statistics.counts import Counts, Firings
from workers.spd.statistics.store import Ragged
from workers.spd.statistics.text import SOURCES, Window

BANDS = ((0.9, 1.01), (0.5, 0.9), (0.1, 0.5))
"""Quantiles of a component's firings, ranked by CI and then by the size of the inner activation; QUANTILES names them
after “top”, the very strongest."""


class Examples:
    """Chosen firings, sorted by component and quantile, with room for the tokens around each.

    tokens, ci, activation: [examples, 2 · context + 1]; `length` of each row are used, `at` is the firing's own place
    in it, `start` its first position in the window.
    """

    def __init__(self, firings: Firings, quantile: np.ndarray, context: int) -> None:
        self.component, self.window, self.position = firings.component, firings.window, firings.position
        self.quantile, self.context = quantile, context
        count, width = len(firings), 2 * context + 1
        self.tokens = np.zeros((count, width), np.int32)
        self.ci = np.zeros((count, width), np.float16)
        self.activation = np.zeros((count, width), np.float16)
        self.length = np.zeros(count, np.int64)
        self.start = np.zeros(count, np.int32)
        self.source = np.zeros(count, np.int8)
        self._order = np.argsort(self.window, kind="stable")
        self._sorted = self.window[self._order]

    def of_window(self, number: int) -> list[int]:
        """The examples that lie in a window."""
        first, last = np.searchsorted(self._sorted, [number, number + 1])
        return self._order[first:last].tolist()

    def fill(self, place: int, window: Window, ci: np.ndarray, activation: np.ndarray) -> None:
        """Note what a component does at the tokens around one example; ci, activation: [seq], of the whole window."""
        at = int(self.position[place])
        first, last = max(0, at - self.context), min(len(window.ids), at + self.context + 1)
        length = last - first
        self.tokens[place, :length] = window.ids[first:last]
        self.ci[place, :length] = ci[first:last]
        self.activation[place, :length] = np.clip(activation[first:last], -65_000, 65_000)
        self.length[place], self.start[place] = length, first
        self.source[place] = SOURCES.index(window.source)

    def ragged(self, components: int) -> Ragged:
        """As a list of records a component."""
        used = np.arange(self.tokens.shape[1]) < self.length[:, None]
        inner = np.r_[0, np.cumsum(self.length)].astype(np.int64)

        def values(table: np.ndarray) -> Ragged:
            return Ragged(inner, {"": table[used]})

        return Ragged.of(
            np.bincount(self.component, minlength=components).tolist(),
            {
                "quantile": self.quantile.astype(np.int8), "source": self.source, "window": self.window,
                "start": self.start, "at": (self.position - self.start).astype(np.int32),
                "tokens": values(self.tokens), "ci": values(self.ci), "activation": values(self.activation),
            },
        )  # fmt: skip


def chosen_examples(counts: Counts, config: HarvestConfig) -> Examples:
    """The strongest firings (one per window) and, of the even sample, some of each band; none twice, and where possible
    not two of one window."""
    top, sample = counts.top.rows, counts.sample.rows
    count = counts.components
    starts = np.searchsorted(top.component, np.arange(count + 1))
    sampled = np.searchsorted(sample.component, np.arange(count + 1))
    rows: list[Firings] = []
    quantiles: list[np.ndarray] = []
    for component in np.unique(top.component).tolist():
        best = np.arange(int(starts[component]), int(starts[component + 1]))[: config.examples]
        rows.append(top.pick(best))
        quantiles.append(np.zeros(len(best), np.int64))
        shown = set(zip(top.window[best].tolist(), top.position[best].tolist(), strict=True))
        here = sample.pick(np.arange(int(sampled[component]), int(sampled[component + 1])))
        order = np.lexsort((np.abs(here.activation), here.ci))
        share = np.empty(len(here))
        share[order] = (np.arange(len(here)) + 0.5) / max(1, len(here))
        for band, (low, high) in enumerate(BANDS, start=1):
            inside = np.flatnonzero((share >= low) & (share < high))
            chosen = _spread(here, inside, shown, config.examples)
            rows.append(here.pick(chosen))
            quantiles.append(np.full(len(chosen), band))
    if not rows:
        return Examples(Firings.none(), np.empty(0, np.int64), config.context)
    return Examples(Firings.joined(rows), np.concatenate(quantiles), config.context)


def _spread(here: Firings, inside: np.ndarray, shown: set[tuple[int, int]], most: int) -> np.ndarray:
    """Up to `most` of a band, in the sample's order, from as many windows as there are; the strongest first."""
    fresh: list[int] = []
    again: list[int] = []
    windows: set[int] = set()
    for place in inside.tolist():
        where = int(here.window[place]), int(here.position[place])
        if where in shown:
            continue
        (again if where[0] in windows else fresh).append(place)
        windows.add(where[0])
    chosen = np.array((fresh + again)[:most], np.int64)
    return chosen[np.lexsort((-np.abs(here.activation[chosen]), -here.ci[chosen]))]
