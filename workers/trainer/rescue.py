"""Jobs of workers that will not come back (their machine is gone) are given to the living.

A worker that restarts under its own name finds its job itself; this is for those that do not. Lost means that its
heartbeat has not moved for a minute of this worker's own clock, so neither a clock that is wrong on another machine nor
a laptop that slept makes a live worker look dead. A worker that was stopped, not ended, still holds the lock of its
job's folder, and keeps the job. Should a live one be taken for dead all the same, it sees within a second that its job
has another owner, and lets go. A rescue is no death of the worker: it is counted by itself.
"""

from __future__ import annotations

import logging
import time

import sqlalchemy as sa
from dbos import DBOS
from sqlalchemy.engine import Engine

from workers.jobs import database
from workers.jobs.database import workers_table
from workers.jobs.runner import JobRunner, is_held

SILENT_SECONDS = 60.0

log = logging.getLogger("unweave.worker")


class Rescue:
    """Looks for lost workers. Call `look` every few seconds."""

    def __init__(
        self, engine: Engine, executor_id: str, runner: JobRunner, silent_seconds: float = SILENT_SECONDS
    ) -> None:
        self._engine, self._me, self._runner, self._silent = engine, executor_id, runner, silent_seconds
        self._beats: dict[str, tuple[float | None, float]] = {}

    def look(self) -> list[str]:
        """Put the running jobs of lost workers back in the queue. Returns the lost workers' names."""
        owners: dict[str, list[str]] = {}
        for status in DBOS.list_workflows(
            name=database.JOBS, status="PENDING", load_input=False, load_output=False
        ):
            if status.executor_id and status.executor_id != self._me:
                owners.setdefault(status.executor_id, []).append(status.workflow_id)
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(workers_table.c.id, workers_table.c.seen_at)).all()
        seen = {row.id: row.seen_at for row in rows}
        now = time.monotonic()
        lost: list[str] = []
        for owner, jobs in owners.items():
            beat = seen.get(owner)
            known = self._beats.get(owner)
            if known is None or known[0] != beat:
                self._beats[owner] = (beat, now)
            elif now - known[1] > self._silent and not any(self._is_held(job_id) for job_id in jobs):
                lost.append(owner)
        self._beats = {owner: known for owner, known in self._beats.items() if owner in owners}
        if lost:
            log.warning("taking over the jobs of lost workers: %s", ", ".join(lost))
            for job_id in (job_id for owner in lost for job_id in owners[owner]):
                self._runner.store.rescue(job_id)
            # DBOS's own way to declare executors dead: each job is re-queued once, whoever else asks for it.
            DBOS._recover_pending_workflows(lost)  # pyright: ignore[reportPrivateUsage]
        return lost

    def _is_held(self, job_id: str) -> bool:
        return is_held(self._runner.folder(job_id) / "lock")
