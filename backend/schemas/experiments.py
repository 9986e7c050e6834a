"""Several conditions at once, sweeps, mask regimes, attention patterns and continuations."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from backend.schemas.common import Body, Provenance, Token, Wire, never
from backend.schemas.workbench import (
    BOTH_OR_NEITHER,
    MAX_COMPONENTS,
    MAX_TOP_K,
    MAX_WATCH,
    Prompt,
    Suppression,
    Unit,
)
from workers.spd.answers import (
    ContinuedToken,
    HeadPatterns,
    PositionShift,
    RegimeOutcome,
    SelfCheck,
    SweepItem,
    SweepWatched,
)
from workers.spd.queries import Mode, Regime, Remainder

MAX_PROMPTS = 8
MAX_CONDITIONS = 20_000
MAX_HEADS = 64
MAX_SAMPLES = 64
MAX_STEPS = 100

ConditionName = Literal["none", "A", "B", "A+B"]
Place = Annotated[int, Field(ge=0)]
TokenRef = str | Place
Recompute = Annotated[bool, Field(description="compute anew even where the answer is kept from before")]
Cached = Annotated[bool, Field(description="kept from an equal request, not computed anew")]


class Basket(Body):
    components: list[Suppression] = Field(default=[], max_length=MAX_COMPONENTS)


class ComparisonRequest(Body):
    """Two baskets on one prompt or many. Of a component in both baskets, the strength further from 0 counts in A+B.
    Positions that a shorter prompt does not have do nothing there; no prompt having them is an error."""

    model_config = never(
        *(
            {
                "required": ["prompts", "at"],
                "properties": {
                    "prompts": {"minItems": number, "maxItems": number},
                    "at": {"type": "array", "not": {"minItems": number, "maxItems": number}},
                },
            }
            for number in range(1, MAX_PROMPTS + 1)
        )
    )

    prompts: list[Prompt] = Field(min_length=1, max_length=MAX_PROMPTS)
    a: Basket = Basket()
    b: Basket = Basket()
    conditions: list[ConditionName] = Field(default=["none", "A", "B", "A+B"], min_length=1, max_length=4)
    mode: Mode = "suppress"
    remainder: Remainder | None = None
    top_k: Annotated[int, Field(ge=1, le=MAX_TOP_K)] = 10
    watch: list[TokenRef] = Field(default=[], max_length=MAX_WATCH)
    positions: Literal["all", "last"] = "last"
    at: list[Annotated[int, Field(ge=-1)]] | None = Field(
        default=None, max_length=MAX_PROMPTS,
        description="the position to report of each prompt, −1 the last; goes before `positions`",
    )  # fmt: skip
    recompute: bool = False

    @model_validator(mode="after")
    def _one_position_a_prompt(self) -> ComparisonRequest:
        if self.at is not None and len(self.at) != len(self.prompts):
            raise ValueError(
                f"“at” names {len(self.at)} positions for {len(self.prompts)} prompts; send one each."
            )
        return self


class ConditionResult(Wire):
    condition: ConditionName
    components: int
    positions: list[PositionShift]
    kl: list[float] = Field(description="KL(baseline ‖ ablated) at every position, nats")
    max_kl: float
    cached: bool


class Interaction(Wire):
    """f(A+B) − f(A) − f(B) + f(none) of a watched token: what the two baskets do together and neither does alone."""

    position: int
    token_id: int
    token: str
    logit: float
    log_probability: float = Field(description="nats")
    probability: float


class PromptComparison(Wire):
    tokens: list[Token]
    conditions: list[ConditionResult]
    interactions: list[Interaction] = Field(description="where all four conditions were asked for")
    self_check: SelfCheck


class Comparison(Wire):
    prompts: list[PromptComparison]
    mode: Mode
    remainder: Remainder
    elapsed_ms: float
    provenance: Provenance


RANKS_BY: dict[str, str] = {"watched": "watch", "contrast": "contrast", "ce": "answer"}
"""What a sweep can rank by, and the field that must then be sent."""


RANKED_BY_NOTHING: list[dict[str, Any]] = [
    {"required": ["rank_by"], "properties": {"rank_by": {"const": name}, field: {"enum": [None, []]}}}
    for name, field in RANKS_BY.items()
]


class SweepRequest(Prompt):
    """components: each alone · strengths: the basket scaled by each of `strengths` · alive: every alive component
    (of `sites`) alone. What is measured is measured at `position` (null: the last)."""

    model_config = never(*BOTH_OR_NEITHER, *RANKED_BY_NOTHING)

    kind: Literal["components", "strengths", "alive"] = "components"
    components: list[Suppression] = Field(default=[], max_length=MAX_COMPONENTS)
    strengths: list[Unit] = Field(default=[0.0, 0.25, 0.5, 0.75, 1.0], min_length=1, max_length=101)
    sites: list[str] | None = Field(default=None, max_length=4_096)
    position: Place | None = None
    watch: list[TokenRef] = Field(default=[], max_length=MAX_WATCH)
    contrast: tuple[TokenRef, TokenRef] | None = Field(
        default=None,
        strict=False,
        description="two tokens; a row tells the change of logit(first) − logit(second)",
    )
    answer: TokenRef | None = Field(default=None, description="a row tells the change of its cross-entropy")
    rank_by: Literal["kl", "watched", "contrast", "ce"] = "kl"
    top: Annotated[int, Field(ge=1, le=1_000)] = Field(default=100, description="rows of the final ranking")
    recompute: Recompute = False

    @model_validator(mode="after")
    def _has_what_it_ranks_by(self) -> SweepRequest:
        field = RANKS_BY.get(self.rank_by)
        if field is not None and getattr(self, field) in (None, []):
            raise ValueError(f"To rank by “{self.rank_by}”, send “{field}”.")
        return self


class SweepFrame(Wire):
    """A line of the stream. start: what is to come · rows: `items` as computed · end: the ranking · error."""

    event: Literal["start", "rows", "end", "error"]
    done: int
    total: int
    items: list[SweepItem] = []
    tokens: list[Token] | None = None
    baseline: list[SweepWatched] | None = None
    ranking: list[int] | None = Field(default=None, description="numbers, largest absolute change first")
    cached: bool | None = Field(
        default=None, description="with start: the rows are kept from an equal request"
    )
    elapsed_ms: float
    provenance: Provenance | None = None
    code: str | None = None
    message: str | None = None


class RegimeRequest(Prompt):
    """Masks other than a plain suppression. With `components`, those stay at their strength and everything else is
    drawn or attacked; without, the causal importances say what stays."""

    kinds: list[Regime] = Field(
        default=["ci", "rounded", "stochastic", "adversarial"], min_length=1, max_length=4
    )
    components: list[Suppression] | None = Field(default=None, max_length=MAX_COMPONENTS)
    threshold: Unit | None = Field(default=None, description="for rounded; null: the run's own")
    samples: Annotated[int, Field(ge=1, le=MAX_SAMPLES)] = 16
    steps: Annotated[int, Field(ge=0, le=MAX_STEPS)] = 20
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    top_k: Annotated[int, Field(ge=1, le=MAX_TOP_K)] = 10
    watch: list[TokenRef] = Field(default=[], max_length=MAX_WATCH)
    positions: list[Place] | None = Field(default=None, max_length=8_192)
    recompute: Recompute = False

    @model_validator(mode="after")
    def _masks_stay_between_0_and_1(self) -> RegimeRequest:
        if any(not 0 <= one.strength <= 1 for one in self.components or []):
            raise ValueError("Masks are drawn between 0 and 1, so strengths here are from 0 to 1.")
        return self


class Regimes(Wire):
    tokens: list[Token]
    regimes: list[RegimeOutcome]
    threshold: float
    seed: int
    cached: Cached = False
    elapsed_ms: float
    provenance: Provenance


class Head(Body):
    layer: Place
    head: Place | None = Field(default=None, description="null: every head of the layer")


class AttentionRequest(Prompt):
    heads: list[Head] = Field(min_length=1, max_length=MAX_HEADS)
    components: list[Suppression] = Field(default=[], max_length=MAX_COMPONENTS)
    mode: Mode = "suppress"
    remainder: Remainder | None = None
    recompute: Recompute = False


class Attention(Wire):
    tokens: list[Token]
    heads: list[HeadPatterns]
    cached: Cached = False
    elapsed_ms: float
    provenance: Provenance


class ContinuationRequest(Prompt):
    components: list[Suppression] = Field(default=[], max_length=MAX_COMPONENTS)
    mode: Mode = "suppress"
    remainder: Remainder | None = None
    tokens: Annotated[int, Field(ge=1, le=20)] = 10
    recompute: Recompute = False


class Continuation(Wire):
    """Greedy continuations of the target and of the ablated model; the ablation acts at the new positions too."""

    tokens: list[Token]
    baseline: list[ContinuedToken]
    ablated: list[ContinuedToken]
    stopped: str | None = None
    cached: Cached = False
    elapsed_ms: float
    provenance: Provenance
