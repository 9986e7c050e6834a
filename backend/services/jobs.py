"""Decomposition jobs, through the durable queue."""

from __future__ import annotations

from collections.abc import AsyncIterator

from backend.errors import ApiError
from backend.schemas.common import Listing
from backend.schemas.health import WorkerHealth
from backend.schemas.jobs import Job, JobRequest, Preset
from backend.settings import Settings


class JobService:
    """Starts, lists and cancels jobs. Raises ApiError with a plain sentence."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def presets(self) -> Listing[Preset]:
        return Listing[Preset](items=[], total=0)

    def create(self, request: JobRequest) -> Job:
        raise ApiError(503, "jobs_unavailable", "The job queue is not running.")

    def listing(self, *, limit: int, cursor: str | None) -> Listing[Job]:
        return Listing[Job](items=[], total=0)

    def get(self, id: str) -> Job:
        raise ApiError(404, "unknown_job", f"There is no job “{id}”.")

    def cancel(self, id: str) -> Job:
        raise ApiError(404, "unknown_job", f"There is no job “{id}”.")

    def workers(self) -> list[WorkerHealth]:
        """The worker processes, for GET /api/health. Must not raise."""
        return []

    async def events(self, id: str) -> AsyncIterator[str]:
        raise ApiError(404, "unknown_job", f"There is no job “{id}”.")
