"""Jobs that nobody works on any more are put back in the queue: those of workers that will not come back (their machine
is gone), and this worker's own that it lost sight of.

A worker that restarts under its own name finds its job itself; this is for those that do not. Lost means that its
heartbeat has not moved for a minute of this worker's own clock, so neither a clock that is wrong on another machine nor
a laptop that slept makes a live worker look dead. A worker that was stopped, not ended, still holds the lock of its
job's folder, and keeps the job. Should a live one be taken for dead all the same, it sees within a second that its job
has another owner, and lets go. A rescue is no death of the worker: it is counted by itself.

A worker loses sight of a job where the database dies before the answer that it has taken it, or before its outcome is
written.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import sqlalchemy as sa
from dbos import DBOS
from sqlalchemy.engine import Engine

from workers.jobs import database
from workers.jobs.database import workers_table
from workers.jobs.runner import JobRunner, is_held

SILENT_SECONDS = 60.0
STRANDED_SECONDS = 5.0

log = logging.getLogger("unweave.worker")


class Rescue:
    """Looks for jobs without a worker. Call `look` every few seconds. `working_on` says which job this worker runs."""

    def __init__(
        self,
        dbos: DBOS,
        engine: Engine,
        executor_id: str,
        runner: JobRunner,
        working_on: Callable[[], str | None],
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        self._dbos, self._engine, self._me, self._runner = dbos, engine, executor_id, runner
        self._working_on, self._silent = working_on, silent_seconds
        self._beats: dict[str, tuple[float | None, float]] = {}
        self._stranded: dict[str, float] = {}

    def look(self) -> None:
        """Put the running jobs that nobody works on back in the queue."""
        owners: dict[str, list[str]] = {}
        for status in DBOS.list_workflows(
            name=database.JOBS, status="PENDING", load_input=False, load_output=False
        ):
            if status.executor_id:
                owners.setdefault(status.executor_id, []).append(status.workflow_id)
        for job_id in self._lost_sight_of(owners.pop(self._me, [])):
            log.warning("job %s runs nowhere and is put back in the queue", job_id)
            self._runner.store.leave(job_id)
            self._queue_again(job_id, self._me)
        for owner in self._lost(owners):
            log.warning("taking over the jobs of a lost worker: %s", owner)
            for job_id in owners[owner]:
                self._runner.store.rescue(job_id)
                self._queue_again(job_id, owner)

    def _lost_sight_of(self, mine: list[str]) -> list[str]:
        """This worker's own jobs that it has not been working on for some seconds."""
        now, working_on = time.monotonic(), self._working_on()
        idle = [job_id for job_id in mine if job_id != working_on]
        self._stranded = {job_id: self._stranded.get(job_id, now) for job_id in idle}
        return [job_id for job_id, since in self._stranded.items() if now - since >= STRANDED_SECONDS]

    def _lost(self, owners: dict[str, list[str]]) -> list[str]:
        """The workers among `owners`, each with its jobs, whose hearts no longer beat."""
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
        return lost

    def _queue_again(self, job_id: str, owner: str) -> None:
        """DBOS's own way: once, and only if the job is still this owner's, whoever else asks for it."""
        system = self._dbos._sys_db  # pyright: ignore[reportPrivateUsage]
        system.reenqueue_for_recovery(job_id, [owner], database.QUEUE)

    def _is_held(self, job_id: str) -> bool:
        return is_held(self._runner.folder(job_id) / "lock")
