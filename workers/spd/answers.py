"""Answers of the ablation engine, free of torch: the same objects from the engine to the wire.

Plain frozen dataclasses: the engine builds tens of thousands for an answer. As fields of the API's shapes they forbid
unknown keys, and NaN and infinity.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from workers.spd.queries import Regime

SHIFT_BYTES = 500  # of an OutputShift with its two Outputs, measured


class NotFiniteError(ArithmeticError):
    """A number of an answer is NaN or infinite; the message is a plain sentence."""

    def __init__(self) -> None:
        super().__init__("The model gave numbers that are not finite, so there is nothing to show.")


def check_finite(values: Iterable[float]) -> None:
    """Raises NotFiniteError where a value is NaN or infinite."""
    if not all(map(math.isfinite, values)):
        raise NotFiniteError


class _Strict:
    """How pydantic reads a dataclass that derives from this."""

    __slots__ = ()
    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Output(_Strict):
    """One token at one position in one condition; rank 1 is the most probable."""

    probability: float
    logit: float
    rank: int


@dataclass(frozen=True, slots=True)
class OutputShift(_Strict):
    token_id: int
    token: str
    baseline: Output
    ablated: Output


@dataclass(frozen=True, slots=True)
class Entropy(_Strict):
    """Of the whole next-token distribution, nats."""

    baseline: float
    ablated: float


@dataclass(frozen=True, slots=True)
class MeanLogit(_Strict):
    """Over the vocabulary: a logit less this one is centred, and does not move where all logits do."""

    baseline: float
    ablated: float


@dataclass(frozen=True, slots=True)
class PositionShift(_Strict):
    position: int
    kl: Annotated[float, Field(description="KL(baseline ‖ ablated), nats")]
    top: Annotated[
        list[OutputShift], Field(description="union of the top k before and after, by baseline probability")
    ]
    watched: list[OutputShift]
    entropy: Entropy | None = None
    mean_logit: MeanLogit | None = None


@dataclass(frozen=True, slots=True)
class AnswerShift(_Strict):
    """Cross-entropy −log p of a token at the last position, nats."""

    token_id: int
    token: str
    baseline_ce: float
    ablated_ce: float


@dataclass(frozen=True, slots=True)
class SelfCheck(_Strict):
    """With nothing selected the decomposed model must equal the target: the largest KL over positions, nats.

    `of` prompt: on this prompt; probe: on a few tokens when the model was loaded, since this prompt's is still to come.
    """

    max_kl: float
    of: Literal["prompt", "probe"] = "prompt"


@dataclass(frozen=True, slots=True)
class AblationResult:
    """One condition against the target. kl: KL(baseline ‖ ablated) at every position, reported or not, nats; max_kl:
    the largest of them; `cached`: the answer, or the pass it is read from, was computed for an earlier question.

    The self-check costs a pass. An answer that has something to show does not wait for it: see `SelfCheck.of`.
    """

    positions: list[PositionShift]
    kl: list[float]
    max_kl: float
    self_check: SelfCheck
    answer: AnswerShift | None = None
    cached: bool = False

    def nbytes(self) -> int:
        """About how much memory it takes."""
        shifts = sum(len(place.top) + len(place.watched) + 1 for place in self.positions)
        return 1_000 + SHIFT_BYTES * shifts + 40 * len(self.kl)


@dataclass(frozen=True, slots=True)
class SweepWatched(_Strict):
    token_id: int
    probability: float
    logit: float


@dataclass(frozen=True, slots=True)
class SweepItem(_Strict):
    """One condition of a sweep. `key` is null for a whole basket; changes are ablated − baseline."""

    number: int
    key: str | None
    strength: float
    kl: Annotated[float, Field(description="KL(baseline ‖ ablated), nats")]
    watched: list[SweepWatched]
    contrast: float | None = None
    ce: float | None = None


@dataclass(frozen=True, slots=True)
class SweepBatch:
    """Rows of a sweep, with the target's own values of the watched tokens."""

    items: list[SweepItem]
    baseline: list[SweepWatched]


@dataclass(frozen=True, slots=True)
class RegimeOutcome(_Strict):
    """KL(target ‖ masked) a position, nats: mean of the samples, and their 5 % and 95 % quantiles."""

    kind: Regime
    kl: list[float]
    low: list[float]
    high: list[float]
    samples: int
    positions: list[PositionShift]


@dataclass(frozen=True, slots=True)
class ContinuedToken(_Strict):
    id: int
    piece: str
    probability: float


@dataclass(frozen=True, slots=True)
class Continuations:
    """Greedy continuations; `stopped`: why there are fewer tokens than asked for, or None."""

    baseline: list[ContinuedToken]
    ablated: list[ContinuedToken]
    stopped: str | None


@dataclass(frozen=True, slots=True)
class HeadPatterns(_Strict):
    """Attention probabilities, one row per query: row q holds keys 0 … q."""

    layer: int
    head: int
    baseline: list[list[float]]
    ablated: list[list[float]]


@dataclass(frozen=True, slots=True)
class SparseImportances:
    """Sparse causal importances of a prompt as columns of equal length, in site order, then position, then component.

    site: index into the artefact's sites; component: the index as trained; `cached`: the pass they come from was run
    for an earlier question.
    """

    site: list[int]
    position: list[int]
    component: list[int]
    ci: list[float]
    inner_activation: list[float]
    below_threshold: int
    cached: bool = False


@dataclass(frozen=True, slots=True)
class TrustFigures:
    """How far a decomposition describes a prompt. kl, kl_off and kl_rest: KL(target ‖ masked) a position, nats, under
    CI as masks, with everything off, and (None where not asked for) under CI as masks with the remainder on.

    fires: components above the threshold at any position; fires_per_position: the mean of their number at one;
    described: whether the remainder is off anywhere; `cached`: from an earlier pass.
    """

    kl: list[float]
    kl_off: list[float]
    kl_rest: list[float] | None
    fires_per_position: float
    fires: int
    described: bool = True
    cached: bool = False


@dataclass(frozen=True, slots=True)
class GroupEffect(_Strict):
    """The first-order effects of a group's members, summed, nats."""

    name: str
    effect: float


@dataclass(frozen=True, slots=True)
class ExactEffect(_Strict):
    """What suppressing one component, or the members of a group together, did in a pass of its own.

    name: a component's key or a group's name; effect: the change of log p, nats; probability: the token's afterwards,
    0–1; kl: KL(baseline ‖ ablated) at the position, nats.
    """

    kind: Literal["component", "group"]
    name: str
    effect: float
    probability: float
    kl: float


@dataclass(frozen=True, slots=True)
class ComponentEffects(_Strict):
    """First-order effects over all positions as columns of equal length, the largest absolute one first."""

    site: list[int]
    component: list[int]
    effect: list[float]


@dataclass(frozen=True, slots=True)
class PlaceEffects(_Strict):
    """First-order effects at single positions as columns of equal length, by site, then position, then component."""

    site: list[int]
    position: list[int]
    component: list[int]
    effect: list[float]


@dataclass(frozen=True, slots=True)
class Attribution:
    """What suppressing each component would add to log p of a token, nats. log_probability: the token's own; components
    and places: to first order, places without those below `least`; groups: summed, the largest absolute one first;
    exact: measured."""

    token: int
    log_probability: float
    components: ComponentEffects
    places: PlaceEffects
    least: float
    groups: list[GroupEffect]
    exact: list[ExactEffect]


@dataclass(frozen=True, slots=True)
class Trace:
    """CI and inner activation of one component at every position of a prompt, zeros included."""

    ci: list[float]
    inner_activation: list[float]
