"""A job of the queue as the wire has it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from backend.schemas.jobs import CurvePoint, Job
from workers.jobs.heartbeat import Worker
from workers.jobs.progress import Point
from workers.jobs.queue import JobRecord
from workers.spd.config import ConfigError, parse_config
from workers.spd.config.cautions import cautions

WORKER_STARTS_SECONDS = 10.0


def _message(record: JobRecord, workers: Sequence[Worker]) -> str | None:
    """What is happening at the moment, or why nothing is. `workers`: those that live."""
    row = record.progress
    if record.state == "running":
        if record.executor not in {worker.id for worker in workers}:
            return "Its worker has gone. The job resumes from its last checkpoint when that or another worker is there."
        return row.message or None if row is not None else None
    if record.state != "queued":
        return None
    if not workers:
        waited = time.time() - record.created_at
        return (
            "No worker is running. Start one with `unweave worker`."
            if waited > WORKER_STARTS_SECONDS
            else None
        )
    most = max(worker.memory_bytes for worker in workers)
    if (record.memory_bytes or 0) > most:
        return (
            f"It needs about {_gib(record.memory_bytes or 0)} of memory, and no worker that runs has more than "
            f"{_gib(most)}. It waits for one that has."
        )
    return None


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"


def job_view(
    record: JobRecord,
    *,
    workers: Sequence[Worker],
    curve: list[Point] | None = None,
    log: list[str] | None = None,
) -> Job:
    """A record as the wire has it. `workers`: those that live."""
    row = record.progress
    running = record.state == "running"
    trains = running and any(worker.id == record.executor for worker in workers)
    done = record.state == "done"
    return Job(
        id=record.id,
        kind=record.kind,
        name=record.name,
        preset=record.preset,
        corpus=record.corpus,
        continues=record.continues,
        state=record.state,
        stage="queued" if row is None or record.state == "queued" else row.stage,
        message=_message(record, workers),
        place=record.place,
        step=record.steps if done else row.step if row is not None else 0,
        steps=record.steps,
        progress=1.0 if done else row.fraction if row is not None else 0.0,
        rate=row.rate if row is not None and trains else None,
        remaining_seconds=row.remaining_seconds if row is not None and trains else None,
        estimated_seconds=record.estimated_seconds,
        memory_bytes=record.memory_bytes,
        created_at=_when(record.created_at),
        started_at=_when(row.started_at) if row is not None else None,
        finished_at=_when(record.finished_at) if record.finished_at is not None else None,
        error=record.error,
        log=log or [],
        config=record.config,
        notes=_notes(record),
        resumable=record.resumable,
        decomposition=record.decomposition,
        worker=record.executor if running else None,
        resumed=row.resumed if row is not None else 0,
        curve=[CurvePoint(step=point.step, values=point.figures) for point in curve or []],
    )


def _notes(record: JobRecord) -> list[str]:
    """What its config gives reason to know, where that is loaded."""
    if record.kind != "decompose" or record.config is None:
        return []
    try:
        return cautions(parse_config(record.config))
    except ConfigError:  # of a release before this one
        return []


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
