"""Decomposition jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from backend.schemas.common import Wire

JobState = Literal["queued", "running", "done", "failed", "cancelled"]


class Preset(Wire):
    name: str
    title: str
    description: str
    config: dict[str, Any]
    minutes: float | None = Field(default=None, description="how long it took on two CPU cores")


class JobRequest(Wire):
    """A preset by name, or a whole config; `overrides` are dotted keys set on top ({"steps": 200})."""

    preset: str | None = Field(default=None, max_length=100)
    config: dict[str, Any] | None = None
    overrides: dict[str, Any] = {}
    name: str | None = Field(
        None, max_length=100, pattern=r"^[a-z0-9][a-z0-9-]*$", description="slug of the result"
    )


class CurvePoint(Wire):
    step: int
    values: dict[str, float]


class Job(Wire):
    id: str
    name: str
    preset: str | None
    state: JobState
    stage: str = Field(description="queued, target, train, harvest, evidence, store")
    place: int | None = Field(default=None, description="jobs ahead in the queue, while queued")
    step: int
    steps: int
    progress: float = Field(description="0–1")
    rate: float | None = Field(default=None, description="steps a second")
    remaining_seconds: float | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    decomposition: str | None = Field(description="slug, once it is stored")
    resumed: int = Field(default=0, description="how often it went on from a checkpoint after a crash")
    curve: list[CurvePoint] = []
