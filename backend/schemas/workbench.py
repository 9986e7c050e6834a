"""Prompts, causal importances and ablations: what the workbench sends and gets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from backend.schemas.common import KEY, Body, Provenance, Token, Wire, never, not_just_one
from workers.spd.answers import AnswerShift, PositionShift, SelfCheck
from workers.spd.queries import LEAST_STRENGTH, MOST_STRENGTH, Mode, Remainder

MAX_TEXT = 20_000
MAX_COMPONENTS = 4_096
MAX_TOP_K = 50
MAX_WATCH = 32

Unit = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(ge=LEAST_STRENGTH, le=MOST_STRENGTH)]
PlainText = Annotated[
    bool, Field(description="read control tokens such as <|endoftext|> as the text they are written with")
]
BOTH_OR_NEITHER = not_just_one("text", "token_ids")


class TokenizeRequest(Body):
    """A text, or with `token_ids` what tokens say."""

    model_config = never(*BOTH_OR_NEITHER)

    text: str | None = Field(default=None, max_length=MAX_TEXT)
    token_ids: list[Annotated[int, Field(ge=0)]] | None = Field(default=None, max_length=8_192)
    bos: bool = False
    plain_text: PlainText = False

    @model_validator(mode="after")
    def _one_of(self) -> TokenizeRequest:
        _one_of(self.text, self.token_ids)
        return self


class TokenizeWarning(Wire):
    code: Literal[
        "empty",
        "too_long",
        "trailing_space",
        "has_bos_text",
        "unknown_tokens",
        "control_tokens",
        "other_tokens",
    ]
    message: str


class TokenizeAnswer(Wire):
    tokens: list[Token]
    text: str = Field(description="what the tokens say together, the BOS left out; to be edited further")
    bos: bool
    limit: int
    warnings: list[TokenizeWarning]


class Prompt(Body):
    """A prompt as text or as token ids (exactly one). With ids, `bos` only says whether the first one is a BOS."""

    model_config = never(*BOTH_OR_NEITHER)

    text: str | None = Field(default=None, max_length=MAX_TEXT)
    token_ids: list[Annotated[int, Field(ge=0)]] | None = Field(default=None, max_length=8_192)
    bos: bool = False
    plain_text: PlainText = False

    @model_validator(mode="after")
    def _one_of(self) -> Prompt:
        _one_of(self.text, self.token_ids)
        return self


def _one_of(text: str | None, token_ids: list[int] | None) -> None:
    if (text is None) == (token_ids is None):
        raise ValueError("Send either “text” or “token_ids”, one of the two.")


class ImportancesRequest(Prompt):
    threshold: Unit = 0.0
    recompute: bool = Field(default=False, description="run the prompt anew even where its pass is kept")


class Importances(Wire):
    """Sparse causal importances, as columns of equal length: never an entry for every zero."""

    tokens: list[Token]
    sites: list[str] = Field(description="all sites of the decomposition, in model order")
    site: list[int] = Field(description="index into `sites`")
    position: list[int]
    component: list[int] = Field(description="index of the component within its site")
    ci: list[float]
    inner_activation: list[float]
    threshold: float
    below_threshold: int = Field(description="non-zero entries left out because of the threshold")
    source: Literal["live", "stored"] = Field(description="stored: harvested with the run, needs no weights")
    cached: bool = Field(default=False, description="from a pass kept from before, not run anew")
    elapsed_ms: float
    provenance: Provenance


class Suppression(Body):
    """One component in a basket. Strength 1 removes it (mask 0), 0 leaves it, below 0 amplifies it (−1: twice), above 1
    reverses it (2: its negative); kept alone, the strength is its factor. `positions` null means all."""

    key: str = Field(max_length=300, json_schema_extra=KEY)
    strength: Strength = 1.0
    positions: list[Annotated[int, Field(ge=0)]] | None = Field(default=None, max_length=8_192)
    start: Annotated[int, Field(ge=0)] | None = Field(default=None, description="not before this position")


class AblationRequest(Prompt):
    components: list[Suppression] = Field(default=[], max_length=MAX_COMPONENTS)
    mode: Mode = "suppress"
    top_k: Annotated[int, Field(ge=1, le=MAX_TOP_K)] = 10
    watch: list[str | Annotated[int, Field(ge=0)]] = Field(default=[], max_length=MAX_WATCH)
    positions: list[Annotated[int, Field(ge=0)]] | None = Field(
        default=None, max_length=8_192, description="positions to report; null means all"
    )
    remainder: Remainder | None = Field(
        default=None, description="what no component explains; null: on to suppress, off to keep only"
    )
    answer: str | Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        description="a token whose cross-entropy at the last position is reported, before and after",
    )
    recompute: bool = Field(
        default=False, description="compute anew even where the answer is kept from before"
    )


class Ablation(Wire):
    tokens: list[Token]
    mode: Mode
    components: int
    positions: list[PositionShift]
    self_check: SelfCheck
    max_kl: float
    kl: list[float] = Field(
        default=[], description="KL(baseline ‖ ablated) at every position, reported or not, nats"
    )
    remainder: Remainder = "on"
    answer: AnswerShift | None = None
    cached: bool = Field(default=False, description="kept from an equal request, not computed anew")
    elapsed_ms: float
    provenance: Provenance


TrustLevel = Literal["good", "partly", "outside", "not"]


class Trust(Wire):
    """How far the decomposition describes this prompt: KL under its causal importances as masks, remainder off, beside
    the KL with everything off. `kl`, `kl_off` and `share` are means over the positions that the run's reconstruction
    counted (`counted`).

    level: good, share up to 0.05; partly, up to 0.25; not, above. outside: of a run with a second stream of other text,
    where the share with the remainder *on* is up to 0.05: it is not about this prompt, and leaves it alone.
    """

    tokens: list[Token]
    level: TrustLevel
    sentence: str = Field(description="the level in words, with its figures")
    counted: Literal["last", "all"] = Field(description="positions the run promises: the last one, or all")
    kl: float = Field(description="CI as masks, remainder off, nats")
    kl_off: float = Field(description="everything off, nats")
    share: float = Field(description="kl / kl_off")
    kl_all: float = Field(description="as `kl`, mean over all positions")
    kl_off_all: float = Field(description="as `kl_off`, mean over all positions")
    kl_rest: float | None = Field(
        description="CI as masks, remainder on, mean over all positions, nats; null for a run without other text"
    )
    kl_by_position: list[float]
    kl_off_by_position: list[float]
    fires: int = Field(description="components above the run's threshold at any position")
    fires_per_position: float = Field(description="mean number of them at one position")
    cached: bool = False
    elapsed_ms: float
    provenance: Provenance
