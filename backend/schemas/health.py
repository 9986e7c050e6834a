"""`GET /api/health`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from backend.schemas.common import TargetStatus, Wire


class DatabaseHealth(Wire):
    ok: bool
    engine: str
    revision: str | None
    message: str | None = None


class WorkerHealth(Wire):
    id: str
    state: Literal["idle", "busy", "lost"]
    device: str
    memory_bytes: int = Field(description="the most that it takes a job to need")
    job_id: str | None
    seen_seconds_ago: float


class Health(Wire):
    version: str
    status: Literal["ok", "degraded"]
    database: DatabaseHealth
    engine: list[TargetStatus]
    workers: list[WorkerHealth]
    warnings: list[str] = Field(default=[], description="folders that were skipped, and why")
