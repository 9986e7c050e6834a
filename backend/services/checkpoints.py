"""The last checkpoint of a job that has not ended, opened like a decomposition."""

from __future__ import annotations

import shutil
from pathlib import Path

from backend.errors import ApiError
from backend.schemas.jobs import Job, OpenedCheckpoint
from backend.services.catalogue import Catalogue
from backend.services.jobs import ENDED, JobService
from backend.services.scout import Scout
from backend.settings import Settings
from workers.jobs.runner import snapshot_folder

SECONDS = 600.0


class Checkpoints:
    """Makes them in the process that answers before a run, so that the server stays free of the method."""

    def __init__(self, settings: Settings, jobs: JobService, catalogue: Catalogue, scout: Scout) -> None:
        self.settings, self.jobs, self.catalogue, self.scout = settings, jobs, catalogue, scout

    def open(self, id: str) -> OpenedCheckpoint:
        """The checkpoint as a decomposition of its own, newer than the one opened before. Raises ApiError 404, 409."""
        job = self.jobs.get(id)
        work = self._work(job)
        out = snapshot_folder(self.settings.home, job.id)
        out.parent.mkdir(parents=True, exist_ok=True)
        self.scout.ask({"about": "checkpoint", "work": str(work), "out": str(out)}, SECONDS)
        now = self.jobs.get(id)
        if now.decomposition is not None or not _open(now):  # it ended meanwhile
            shutil.rmtree(out, ignore_errors=True)
            return OpenedCheckpoint(decomposition=self._finished(now))
        self.catalogue.refresh()
        slug = next(entry.slug for entry in self.catalogue.entries() if entry.artifact.path == out)
        return OpenedCheckpoint(decomposition=slug)

    def _work(self, job: Job) -> Path:
        """Where the job trains."""
        if job.kind != "decompose" or not _open(job):
            self._finished(job)
        folder = self.settings.home / "jobs" / job.id
        found = next(folder.glob("*.partial/checkpoint*/state.json"), None)
        if found is None:
            every = (job.config or {}).get("checkpoint_every")
            when = f" It writes one every {every:,} steps." if isinstance(every, int) else ""
            raise ApiError(409, "no_checkpoint", f"“{job.name}” has written no checkpoint yet.{when}")
        return found.parent.parent

    def _finished(self, job: Job) -> str:
        """Its result. Raises ApiError 409 where it has none."""
        if job.decomposition is None:
            raise ApiError(409, "no_checkpoint", f"“{job.name}” has ended and left no checkpoint.")
        return job.decomposition


def _open(job: Job) -> bool:
    return job.state not in ENDED or job.resumable
