"""Questions to the ablation engine, free of torch: one set of frozen objects from the API's checks to the passes.

Everything here is hashable, so a question is also the key of its cached answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from workers.spd.keys import ComponentKey

Mode = Literal["suppress", "keep_only"]
Remainder = Literal["on", "off"]
Regime = Literal["ci", "rounded", "stochastic", "adversarial"]

PGD_STEPS = 20
LEAST_STRENGTH, MOST_STRENGTH = -2.0, 3.0


@dataclass(frozen=True)
class Edit:
    """One component of a basket. `strength` from LEAST_STRENGTH to MOST_STRENGTH: to suppress, 1 removes it, below 0
    amplifies, above 1 reverses; `positions` None means all, but never before `start`.

    Where the decomposition leaves the first position to the target (an attention sink), `positions` None means all
    but the first; naming position 0 reaches it.
    """

    site: str
    index: int
    strength: float = 1.0
    positions: tuple[int, ...] | None = None
    start: int | None = None

    @property
    def key(self) -> ComponentKey:
        """The component's identity."""
        return ComponentKey(self.site, self.index)

    def rows(self, seq: int, first: int = 0) -> tuple[int, ...]:
        """The positions reached in a prompt of `seq` tokens whose first `first` positions are the target's own."""
        earliest = self.start or 0
        if self.positions is None:
            return tuple(range(max(first, earliest), seq))
        return tuple(position for position in self.positions if earliest <= position < seq)

    def scaled(self, factor: float) -> Edit:
        """The same edit with `factor` times its strength."""
        return replace(self, strength=self.strength * factor)

    def within(self, seq: int) -> Edit:
        """The same edit without positions past the end of a prompt of `seq` tokens."""
        if self.positions is None:
            return self
        return replace(self, positions=tuple(position for position in self.positions if position < seq))


@dataclass(frozen=True)
class Condition:
    """One basket under one mode (SPEC 17). `remainder` None means on for suppress, off for keep_only."""

    edits: tuple[Edit, ...] = ()
    mode: Mode = "suppress"
    remainder: Remainder | None = None

    @property
    def effective_remainder(self) -> Remainder:
        """Whether the remainder is on, the mode's default filled in."""
        return self.remainder or ("on" if self.mode == "suppress" else "off")

    @property
    def keeps_remainder(self) -> bool:
        return self.effective_remainder == "on"

    @property
    def only_suppresses(self) -> bool:
        """Whether everything but the edited components is the target's own."""
        return self.mode == "suppress" and self.keeps_remainder

    def scaled(self, factor: float) -> Condition:
        """The same basket with `factor` times its strengths."""
        return replace(self, edits=tuple(edit.scaled(factor) for edit in self.edits))

    def within(self, seq: int) -> Condition:
        """The same condition on the first `seq` tokens of its prompt."""
        return replace(self, edits=tuple(edit.within(seq) for edit in self.edits))


@dataclass(frozen=True)
class AblationQuery:
    """Conditions on one prompt, and what to report of each.

    top_k: top tokens per position, before and after; watch: token ids reported at every position; positions: those
    to report, None for all; answer: a token whose cross-entropy at the last position is reported; recompute: ignore
    cached answers and passes.
    """

    token_ids: tuple[int, ...]
    conditions: tuple[Condition, ...] = (Condition(),)
    top_k: int = 10
    watch: tuple[int, ...] = ()
    positions: tuple[int, ...] | None = None
    answer: int | None = None
    recompute: bool = False


@dataclass(frozen=True)
class RegimeSpec:
    """A mask regime (SPEC 11, 12). `selection` None: the causal importances are the lower bound of the masks, else the
    selection's strengths are; `threshold` serves `rounded`, `samples` and `seed` serve `stochastic`, `seed` and
    `steps` serve `adversarial`."""

    kind: Regime
    selection: tuple[Edit, ...] | None = None
    threshold: float = 0.0
    samples: int = 16
    seed: int = 0
    steps: int = PGD_STEPS


@dataclass(frozen=True)
class SweepStep:
    """One row of a sweep: its condition and how the row is labelled. `key` None: a whole basket."""

    condition: Condition
    key: str | None
    strength: float


@dataclass(frozen=True)
class SweepQuery:
    """Many conditions of one prompt, measured at `position` (None: the last).

    contrast: two tokens whose logit difference is measured; answer: a token whose cross-entropy is.
    """

    token_ids: tuple[int, ...]
    steps: tuple[SweepStep, ...]
    position: int | None = None
    watch: tuple[int, ...] = ()
    contrast: tuple[int, int] | None = None
    answer: int | None = None


def each_alone(edits: tuple[Edit, ...]) -> tuple[SweepStep, ...]:
    """Each of these edits suppressed by itself."""
    return tuple(SweepStep(Condition((edit,)), str(edit.key), edit.strength) for edit in edits)


def along(condition: Condition, strengths: tuple[float, ...]) -> tuple[SweepStep, ...]:
    """The same basket with its strengths scaled by each of these numbers (0–1)."""
    return tuple(SweepStep(condition.scaled(factor), None, factor) for factor in strengths)


@dataclass(frozen=True)
class CircuitQuery:
    """The circuit behind the logit of `token` (None: the likeliest) at `position`, less that of `against`; nodes are
    components whose causal importance passes `threshold`: of more than `nodes` of them (None: as many as fit), those
    with the largest first-order effects."""

    token_ids: tuple[int, ...]
    position: int
    token: int | None = None
    against: int | None = None
    threshold: float = 0.0
    nodes: int | None = None


@dataclass(frozen=True)
class AttributionQuery:
    """What each component contributes to log p of `token` (None: the likeliest) at `position`.

    exact, exact_groups: how many components and how many of `groups` (name, members) are suppressed for real, the
    largest first-order effects first; positions, sites: where those act (None: everywhere).
    """

    token_ids: tuple[int, ...]
    position: int
    token: int | None = None
    exact: int = 0
    exact_groups: int = 0
    groups: tuple[tuple[str, tuple[ComponentKey, ...]], ...] = ()
    positions: tuple[int, ...] | None = None
    sites: tuple[str, ...] | None = None
