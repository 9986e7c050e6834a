"""Jobs: decompositions and harvests."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from backend.schemas.common import Body, DescribedAs, Wire, never, not_just_one
from workers.spd.config import DecomposeConfig

JobState = Literal["queued", "running", "done", "failed", "cancelled"]


class Preset(Wire):
    name: str
    title: str
    description: str
    config: dict[str, Any]
    minutes: float | None = Field(default=None, description="how long it took on two CPU cores")


class JobRequest(Body):
    """A preset by name or a whole config (exactly one); `overrides` are dotted keys set on top ({"steps": 200}).

    With `name`, the result gets exactly that name, or the answer is 409 with a free one in `details.suggestion`.
    Without, it gets the config's name, with -2, -3, … where that is taken.
    """

    model_config = never(*not_just_one("preset", "config"))

    preset: str | None = Field(default=None, max_length=100)
    config: Annotated[dict[str, Any], DescribedAs(DecomposeConfig)] | None = None
    overrides: dict[str, Any] = Field(default={}, max_length=100)
    name: str | None = Field(
        default=None, max_length=100, pattern=r"^[a-z0-9][a-z0-9-]*$", description="slug of the result"
    )

    estimated_seconds: float | None = Field(
        default=None,
        ge=0,
        le=1e9,
        description="what was estimated before it was started, kept beside what it takes",
    )

    memory_bytes: int | None = Field(
        default=None,
        ge=0,
        le=2**50,
        description="what the estimate says it needs; it waits for a worker that has as much. null: any takes it",
    )

    @model_validator(mode="after")
    def _one_of(self) -> JobRequest:
        if (self.preset is None) == (self.config is None):
            raise ValueError("Send either “preset” or “config”, one of the two.")
        return self


class CurvePoint(Wire):
    """What a training step measured: the losses by name."""

    step: int
    values: dict[str, float]


class Job(Wire):
    id: str
    kind: Literal["decompose", "harvest"] = "decompose"
    name: str = Field(description="slug the result will have; of a harvest, the decomposition it is made of")
    preset: str | None
    corpus: str | None = Field(default=None, description="of a harvest, what it reads, in a few words")
    state: JobState
    stage: str = Field(
        description="queued, target, train, harvest, evidence, store; of an ended job the last it reached"
    )
    message: str | None = Field(default=None, description="what is being done this moment, a plain sentence")
    place: int | None = Field(
        default=None, description="queued jobs that start before this one; 0 is the next"
    )
    step: int = Field(description="training steps done")
    steps: int
    progress: float = Field(description="0–1, over all stages")
    rate: float | None = Field(default=None, description="training steps a second, while running")
    remaining_seconds: float | None = Field(description="of the training, while running")
    estimated_seconds: float | None = Field(default=None, description="as the estimate before its start said")
    memory_bytes: int | None = Field(default=None, description="what it needs, as that estimate said")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None = Field(description="why it failed and what to do, a plain sentence")
    log: list[str] = Field(
        default=[], description="of a job that failed, the last lines of its log; left out in lists"
    )
    resumable: bool = Field(
        default=False, description="failed, and its checkpoint is kept: it can be resumed or thrown away"
    )
    continues: str | None = Field(default=None, description="the failed job that this one resumes")
    decomposition: str | None = Field(description="slug, once it is stored")
    worker: str | None = Field(default=None, description="the worker that runs it, as in GET /api/health")
    resumed: int = Field(
        default=0, description="how often it resumed from a checkpoint after its worker was gone"
    )
    curve: list[CurvePoint] = Field(default=[], description="left out in lists")
    config: dict[str, Any] | None = Field(
        default=None,
        description="all that it was given, a run's config or a harvest's; left out in lists and events",
    )
    notes: list[str] = Field(
        default=[], description="what its config gives reason to know, plain sentences; left out in lists"
    )


class OpenedCheckpoint(Wire):
    decomposition: str = Field(
        description="where the checkpoint can be opened, as long as the job has not ended; its result where it just has"
    )


class JobLog(Wire):
    lines: list[str] = Field(
        description="the last lines of its log, oldest first, without the server's paths"
    )
