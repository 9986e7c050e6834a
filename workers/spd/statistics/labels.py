"""Automatic labels: the tokens a component fires on, and how well they predict where else it fires (SPEC 23).

Over a corpus that a decomposition is of, the tokens are chosen on every other window and scored on the rest. A
decomposition of prompts keeps the tokens of its training prompts, scored on everything else that is harvested.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST_TOKENS = 5
LEAST_COUNT = 2
BAR = 1.5


@dataclass(frozen=True)
class LabelScore:
    """How often the label's tokens occur on held-out text (`guesses`), with the component firing there (`hits`), and
    how often it fires at all (`fires`), over `positions` positions."""

    hits: int
    guesses: int
    fires: int
    positions: int

    @property
    def precision(self) -> float | None:
        return self.hits / self.guesses if self.guesses else None

    @property
    def recall(self) -> float | None:
        return self.hits / self.fires if self.fires else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall, 0–1; None where it never fires."""
        return 2 * self.hits / (self.guesses + self.fires) if self.fires else None

    @property
    def balanced_accuracy(self) -> float | None:
        """Mean of the shares of firing and of silent positions that are told right; 0.5 is chance."""
        silent = self.positions - self.fires
        if not self.fires or not silent:
            return None
        return (self.hits / self.fires + 1 - (self.guesses - self.hits) / silent) / 2


def chosen_tokens(tokens: np.ndarray, counts: np.ndarray, totals: np.ndarray, fires: int) -> np.ndarray:
    """At most MOST_TOKENS tokens, each added because it raises F1 most; the most frequent first.

    tokens: those a component fired on at least once; counts: how often; totals: how often each occurs; fires: how
    often it fired on any.
    """
    usable = counts >= LEAST_COUNT
    tokens, counts, totals = tokens[usable], counts[usable], totals[usable]
    chosen: list[int] = []
    hits = guesses = 0
    best = 0.0
    while len(chosen) < min(MOST_TOKENS, len(tokens)):
        f1 = 2 * (hits + counts) / (guesses + totals + fires)
        f1[chosen] = -1
        place = int(f1.argmax())
        if f1[place] <= best:
            break
        best = float(f1[place])
        hits, guesses = hits + int(counts[place]), guesses + int(totals[place])
        chosen.append(place)
    return tokens[sorted(chosen, key=lambda place: -int(counts[place]))]


def writes_bar(vocabulary: int, width: int) -> float:
    """The cosine with a row of the unembedding from which a direction is said to write a token: BAR times the largest
    that a random direction of this width is expected to have with so many tokens, √(2 ln V / d)."""
    return BAR * math.sqrt(2 * math.log(max(2, vocabulary)) / width)


def label_text(fires_on: Sequence[str], writes: Sequence[str], *, alive: bool) -> str:
    """A label in words, from tokens (and for `writes`, names of slices) as they are shown."""
    if not alive:
        return "dead on the run's prompts"
    fires = "fires on " + ", ".join(fires_on) if fires_on else "fires weakly"
    return fires + (f" · writes {', '.join(writes)}" if writes else "")
