"""A job, a decomposition or a harvest, as a DBOS workflow. Its first step resumes from its checkpoint when it
is run again, the second is one rename; so a worker that dies anywhere leaves a job that another can finish."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import structlog
from dbos import DBOS
from dbos import error as dbos_error
from sqlalchemy.exc import OperationalError

from workers.jobs.database import HARVEST, WORKFLOW
from workers.jobs.failures import JobError
from workers.jobs.following import follow
from workers.jobs.harvesting import publish_harvest, run_harvest
from workers.jobs.monitor import Why
from workers.jobs.queue import JobQueue
from workers.jobs.runner import JobRunner, RunStoppedError, WorkerLeaves

DATABASE_SECONDS = 2.0

log = logging.getLogger("unweave.jobs")


def register(
    runner: JobRunner,
    queue: JobQueue,
    executor_id: str,
    leaving: threading.Event,
    busy: Callable[[str | None], None],
) -> None:
    """Make the workflow known to DBOS. Call once, before `DBOS.launch()`.

    `queue`: where what follows a job is put; `leaving` is set when the worker shuts down; `busy` gets the job's id when
    it starts and None when it ends.
    """

    def wanted(job_id: str) -> Callable[[], Why | None]:
        def ask() -> Why | None:
            if leaving.is_set():
                return Why.LEAVING
            status = DBOS.get_workflow_status(job_id)
            if status is None or status.status == "CANCELLED":
                return Why.CANCELLED
            if status.executor_id != executor_id or status.status != "PENDING":
                return Why.TAKEN
            return None

        return ask

    def outcome(job_id: str, work: Callable[[], str]) -> str:
        """What a step returns; one that was stopped leaves the job as whoever stopped it wants it, and one that meets a
        database that is away, locked or full goes on once it can."""
        try:
            while True:
                try:
                    return work()
                except OperationalError as error:
                    log.warning("job %s waits for the database: %s", job_id, error)
                if leaving.wait(DATABASE_SECONDS):
                    raise WorkerLeaves
        except JobError as error:
            log.warning("job %s failed: %s", job_id, error)
            raise
        except RunStoppedError as interrupted:
            if interrupted.why is Why.LEAVING:
                runner.store.leave(job_id)
                raise WorkerLeaves from None
            if interrupted.why is Why.CANCELLED:
                runner.clear(job_id)
            # Not an outcome of the job: DBOS waits for the one that was, or will be, recorded.
            raise dbos_error.DBOSWorkflowCancelledError(f"{job_id}: {interrupted.why.value}") from None

    @DBOS.step(name="decompose")
    def decompose(job_id: str, config: dict[str, Any]) -> str:
        return outcome(job_id, lambda: runner.run(job_id, config, wanted(job_id)))

    @DBOS.step(name="publish")
    def publish(job_id: str, name: str, digest: str) -> str:
        return runner.publish(job_id, name, digest)

    @DBOS.step(name="follow")
    def follows(config: dict[str, Any], slug: str, digest: str) -> str | None:
        return follow(queue, config, slug, digest)

    @DBOS.step(name="harvest")
    def harvest(job_id: str, data: dict[str, Any]) -> str:
        return outcome(job_id, lambda: run_harvest(runner, job_id, data, wanted(job_id)))

    @DBOS.step(name="publish-harvest")
    def publish_made(job_id: str, made: str, digest: str) -> None:
        publish_harvest(runner, job_id, made, digest)

    @DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)
    def job(config: dict[str, Any]) -> str:
        job_id = DBOS.workflow_id
        assert job_id is not None
        busy(job_id)
        structlog.contextvars.bind_contextvars(job_id=job_id)
        log.info("job begins")
        try:
            digest = decompose(job_id, config)
            slug = publish(job_id, config["name"], digest)
            follows(config, slug, digest)
            return slug
        finally:
            log.info("job leaves the worker")
            structlog.contextvars.unbind_contextvars("job_id")
            busy(None)

    @DBOS.workflow(name=HARVEST, max_recovery_attempts=None)
    def harvest_job(data: dict[str, Any]) -> str:
        job_id = DBOS.workflow_id
        assert job_id is not None
        busy(job_id)
        structlog.contextvars.bind_contextvars(job_id=job_id)
        log.info("job begins")
        try:
            made = harvest(job_id, data)
            publish_made(job_id, made, data["hash"])
            return data["name"]
        finally:
            log.info("job leaves the worker")
            structlog.contextvars.unbind_contextvars("job_id")
            busy(None)
