"""Named lists of findings."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from backend.schemas.common import Body, Wire
from backend.schemas.findings import FindingSummary


class CollectionRequest(Body):
    title: str = Field(min_length=1, max_length=200)
    description: str = Field(default="", max_length=2_000)
    findings: list[Annotated[str, Field(max_length=200)]] = Field(
        min_length=1, max_length=200, description="slugs, in the order they are shown"
    )


class CollectionSummary(Wire):
    slug: str
    url: str = Field(description="path of the page, /collections/{slug}")
    title: str
    description: str
    created_at: datetime
    size: int = Field(description="findings in it")


class Collection(CollectionSummary):
    findings: list[FindingSummary] = Field(description="those that are here, in order")
    missing: list[str] = Field(description="slugs of findings that are not in this database")
