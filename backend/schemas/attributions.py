"""What each component contributes to one token of a prompt."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from backend.schemas.common import Provenance, Token, Wire
from backend.schemas.experiments import Place, Recompute, TokenRef
from backend.schemas.workbench import Prompt
from workers.spd.answers import ComponentEffects, ExactEffect, GroupEffect, PlaceEffects

MAX_EXACT = 256


class AttributionRequest(Prompt):
    """Which output is explained, and how many of the largest effects are measured by an ablation of their own."""

    position: Place | None = Field(default=None, description="whose next token is explained; null: the last")
    token: TokenRef | None = Field(default=None, description="null: the likeliest")
    exact: Annotated[int, Field(ge=0, le=MAX_EXACT)] = Field(
        default=0,
        description="components, the largest first-order effects first, that are suppressed for real",
    )
    exact_groups: Annotated[int, Field(ge=0, le=MAX_EXACT)] = Field(
        default=0, description="the same of groups"
    )
    at: list[Place] | None = Field(
        default=None, max_length=8_192, description="positions where those are suppressed; null: all"
    )
    sites: list[str] | None = Field(
        default=None, max_length=4_096, description="only components of these sites are suppressed; null: all"
    )
    recompute: Recompute = False


class AttributionAnswer(Wire):
    """Effects are what suppressing a component adds to log p of the token, nats: below 0, it speaks for the token.
    `components` (over all positions), `places` (at one) and `groups` (their members summed) hold them to first order:
    one pass and its gradient, for all components; `exact` holds what an ablation of its own measured."""

    tokens: list[Token]
    position: int
    token: Token
    log_probability: float = Field(description="the target's own, nats")
    probability: float = Field(description="the target's own, 0–1")
    sites: list[str] = Field(description="all sites of the decomposition, in model order")
    components: ComponentEffects
    places: PlaceEffects
    least: float = Field(description="smaller absolute effects are left out of `places`, nats")
    groups: list[GroupEffect]
    exact: list[ExactEffect]
    at: list[int] | None = Field(description="positions where the exact ones were suppressed; null: all")
    cached: bool = Field(default=False, description="kept from an equal request, not computed anew")
    elapsed_ms: float
    provenance: Provenance
