"""The shareable record."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from backend.schemas.common import Body, Provenance, Wire
from backend.schemas.workbench import Ablation, AblationRequest, Importances, Trust


class FindingRequest(Body):
    """What was on screen. The server computes the numbers itself, so a record never holds a client's claim."""

    decomposition: str = Field(max_length=200)
    title: str = Field(min_length=1, max_length=200)
    claim: str = Field(default="", max_length=1_000)
    notes: str = Field(default="", max_length=20_000, description="Markdown")
    ablations: list[AblationRequest] = Field(min_length=1, max_length=8, description="one per prompt")
    groups: list[str] = Field(
        default=[], max_length=64, description="names of the groups in the basket, for the reader"
    )
    focus: list[int] = Field(
        default=[], max_length=8, description="the position to look at, one per prompt; -1 the last"
    )


class FindingSummary(Wire):
    slug: str
    url: str = Field(description="path of the page, /f/{slug}")
    title: str
    claim: str
    decomposition: str
    created_at: datetime
    featured: bool
    summary: list[str] = Field(description="what happened, one sentence per prompt")


class FindingResult(Wire):
    request: AblationRequest = Field(description="with token ids, so that a later tokenizer changes nothing")
    result: Ablation
    importances: Importances | None = None
    trust: Trust | None = Field(
        default=None, description="how far the decomposition describes the prompt; null in older records"
    )


class Finding(FindingSummary):
    artifact_hash: str
    notes: str
    notes_html: str = Field(description="sanitised rendering of the notes")
    groups: list[str]
    focus: list[int]
    results: list[FindingResult]
    provenance: Provenance


class FindingRecord(Wire):
    """A finding as it is kept, in the database and in the files of the featured ones. Written once."""

    slug: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,199}$")
    title: str
    claim: str
    notes: str
    decomposition: str
    artifact_hash: str
    created_at: datetime
    groups: list[str]
    focus: list[int]
    summary: list[str]
    results: list[FindingResult]
    provenance: Provenance


class FindingFile(FindingRecord):
    """A finding as a file of another server has it. What only described it there is not read."""

    url: str = ""
    featured: bool = False
    notes_html: str = ""


class Replay(Wire):
    """A finding computed again: same numbers, or how far apart."""

    slug: str
    results: list[Ablation]
    verdict: Literal["same", "close", "different"]
    max_probability_difference: float
    explanation: str
