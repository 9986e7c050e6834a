"""Decomposition jobs, through the durable queue."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from dbos import error as dbos_error
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from backend.errors import ApiError, invalid, not_found
from backend.schemas.common import Listing
from backend.schemas.components import HarvestRequest
from backend.schemas.health import WorkerHealth
from backend.schemas.jobs import Job, JobLog, JobRequest, JobState, Preset
from backend.services.access.sources import check_sources
from backend.services.entries import Entry
from backend.services.job_views import job_view
from backend.services.paging import offset_of
from backend.settings import Settings
from workers.jobs.limits import Limits
from workers.jobs.places import without_places
from workers.jobs.progress import Point
from workers.jobs.queue import (
    HarvestWaitsError,
    JobActiveError,
    JobQueue,
    JobRecord,
    NameTakenError,
    NotKeptError,
    QueueFullError,
    UnknownJobError,
)
from workers.spd.artifact import MANIFEST
from workers.spd.config import (
    ConfigError,
    DecomposeConfig,
    load_config,
    parse_config,
    preset_names,
    with_overrides,
)
from workers.spd.statistics.config import parse_harvest

EVENT_SECONDS = 0.5
HEARTBEAT_SECONDS = 15.0
PRUNE_SECONDS = 3_600.0
DAY = 86_400.0
LOG_LINES, LOG_BYTES = 30, 8_000
ENDED = ("done", "failed", "cancelled")

log = logging.getLogger("unweave")


@contextmanager
def refusals(id: str | None = None) -> Generator[None]:
    """Within this block, what the queue refuses leaves as the API's errors; `id`: the job that is asked about."""
    try:
        yield
    except UnknownJobError as error:
        raise not_found("unknown_job", str(error), id=id) from None
    except ConfigError as error:
        raise invalid("invalid_config", str(error)) from None
    except NameTakenError as error:
        raise ApiError(409, "name_taken", str(error), {"suggestion": error.suggestion}) from None
    except QueueFullError as error:
        raise ApiError(429, "queue_full", str(error), retry_after=error.retry_after) from None
    except HarvestWaitsError as error:
        raise ApiError(409, "harvest_waits", str(error)) from None
    except NotKeptError as error:
        raise ApiError(409, "not_resumable", str(error)) from None
    except JobActiveError as error:
        raise ApiError(409, "job_active", str(error)) from None


@dataclass
class _Followed:
    """A job that streams of events are open for, as it was when last looked at."""

    notes: list[str]
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    count: int = 0
    at: float = float("-inf")
    data: str = ""
    state: JobState = "queued"


class JobService:
    """Starts, lists and cancels jobs. Raises ApiError with a plain sentence."""

    def __init__(self, settings: Settings, limits: Limits | None = None) -> None:
        self.settings = settings
        self.queue = JobQueue(settings.home, settings.url, limits, shipped=settings.shipped)
        self._followed: dict[str, _Followed] = {}
        self.stopping = False
        """The server is going: streams end, so that clients ask another one."""

    async def retain(self) -> None:
        """Remove jobs that ended too long ago, every hour, where the settings say how long that is."""
        days = self.settings.job_retention_days
        while days is not None:
            try:
                gone = await run_in_threadpool(self.queue.prune, days * DAY)
                if gone:
                    log.info("removed %d jobs that ended more than %d days ago", len(gone), days)
            except (SQLAlchemyError, dbos_error.DBOSException, OSError) as error:
                log.warning("old jobs could not be removed: %s", error)
            await anyio.sleep(PRUNE_SECONDS)

    def close(self) -> None:
        """Give back connections."""
        self.queue.close()

    def presets(self) -> Listing[Preset]:
        """The configs that ship. `minutes` is what the shipped result of the same name took."""
        items: list[Preset] = []
        for name in preset_names():
            config = load_config(name)
            items.append(
                Preset(
                    name=name,
                    title=config.title or name,
                    description=config.description,
                    config=config.model_dump(mode="json"),
                    minutes=self._minutes(config.name),
                )
            )
        return Listing[Preset](items=items, total=len(items))

    def create(self, request: JobRequest, *, anywhere: bool = True) -> Job:
        """Put a job in the queue; `anywhere`: one that may read folders and the hub."""
        with refusals():
            config = self._config(request)
            if not anywhere:
                check_sources(config)
            name = request.name or (config.name if "name" in request.overrides else None)
            record = self.queue.enqueue(
                config,
                preset=request.preset,
                name=name,
                estimated_seconds=request.estimated_seconds,
                memory_bytes=request.memory_bytes,
            )
        log.info("job queued", extra={"job_id": record.id})
        return self._views([record])[0]

    def create_harvest(self, entry: Entry, request: HarvestRequest, *, anywhere: bool = True) -> Job:
        """Put a harvest of a decomposition in the queue; `anywhere`: one that may read folders and the hub."""
        root = "shipped" if entry.shipped else "home"
        with refusals():
            config = parse_harvest(request.config)
            if not anywhere:
                check_sources(config)
            record = self.queue.enqueue_harvest(
                config,
                name=entry.slug,
                artifact_hash=entry.hash,
                place=f"{root}/{entry.artifact.path.name}",
            )
        return self._views([record])[0]

    def listing(self, *, limit: int, cursor: str | None) -> Listing[Job]:
        """Jobs, the newest first, without their curves. Raises ApiError 422 for a cursor that is not one."""
        offset = offset_of(cursor)
        records = self.queue.listing(limit=limit, offset=offset)
        total = self.queue.count() if offset or len(records) == limit else len(records)
        after = offset + len(records)
        return Listing[Job](
            items=self._views(records),
            next_cursor=str(after) if records and after < total else None,
            total=total,
        )

    def get(self, id: str, *, config: bool = True) -> Job:
        """One job with its curve; `config`: also with its config and the notes on it. Raises ApiError 404."""
        with refusals(id):
            return self._views([self.queue.get(id, config=config)], self.queue.curve(id))[0]

    def cancel(self, id: str) -> Job:
        """Cancel a job; what it made so far is removed. One that has ended stays as it is. Raises ApiError 404."""
        with refusals(id):
            return self._views([self.queue.cancel(id)], self.queue.curve(id))[0]

    def resume(self, id: str) -> Job:
        """A new job that resumes from the checkpoint of one that failed. Raises ApiError 404, 409 or 429."""
        with refusals(id):
            return self._views([self.queue.resume(id)], self.queue.curve(id))[0]

    def retry(self, id: str) -> Job:
        """A new job with the config of one that has ended. Raises ApiError 404, 409, 422 or 429."""
        with refusals(id):
            return self._views([self.queue.retry(id)])[0]

    def discard(self, id: str) -> Job:
        """Throw away what a failed job kept. Raises ApiError 404."""
        with refusals(id):
            return self._views([self.queue.discard(id)], self.queue.curve(id))[0]

    def delete(self, id: str) -> None:
        """Remove a job that has ended with its log and what it kept. Raises ApiError 404 or 409."""
        with refusals(id):
            self.queue.delete(id)

    def log(self, id: str, lines: int) -> JobLog:
        """The last lines of a job's log. Raises ApiError 404."""
        with refusals(id):
            self.queue.get(id)
        return JobLog(lines=self._tail(id, lines))

    def workers(self) -> list[WorkerHealth]:
        """The worker processes, for GET /api/health. A database that is away means that none can be seen."""
        try:
            found = self.queue.workers()
        except (SQLAlchemyError, dbos_error.DBOSException, OSError) as error:
            log.warning("the workers cannot be seen: %s", error)
            return []
        return [
            WorkerHealth(
                id=worker.id,
                state=worker.state,
                device=worker.device,
                memory_bytes=worker.memory_bytes,
                job_id=worker.job_id,
                seen_seconds_ago=round(worker.seen_seconds_ago, 1),
            )
            for worker in found
        ]

    async def events(self, id: str) -> AsyncIterator[str]:
        """Frames of a stream of server-sent events; see `_frames`. Raises ApiError 404 before the first one."""
        return self._frames(id, (await run_in_threadpool(self.get, id)).notes)

    async def _frames(self, id: str, notes: list[str]) -> AsyncIterator[str]:
        """`job` whenever something changed, its data the Job without its config; `end` after the last; comments to keep
        alive."""
        followed = self._followed.setdefault(id, _Followed(notes))
        followed.count += 1
        try:
            sent, said = "", time.monotonic()
            while not self.stopping:
                await self._look(id, followed)
                if followed.data != sent:
                    sent, said = followed.data, time.monotonic()
                    yield f"event: job\ndata: {sent}\n\n"
                if followed.state in ENDED:
                    yield f"event: end\ndata: {json.dumps({'state': followed.state})}\n\n"
                    return
                if time.monotonic() - said > HEARTBEAT_SECONDS:
                    yield ": still here\n\n"
                    said = time.monotonic()
                await anyio.sleep(EVENT_SECONDS)
        except (OperationalError, ApiError) as error:
            log.warning(
                "the events of job %s end early: %s", id, error
            )  # the browser connects again by itself
        finally:
            followed.count -= 1
            if followed.count == 0:
                self._followed.pop(id, None)

    async def _look(self, id: str, followed: _Followed) -> None:
        """Look at a job, once for all who follow it."""
        async with followed.lock:
            if time.monotonic() - followed.at < EVENT_SECONDS / 2:
                return
            job = await run_in_threadpool(self.get, id, config=False)
            followed.data = job.model_copy(update={"config": None, "notes": followed.notes}).model_dump_json()
            followed.state, followed.at = job.state, time.monotonic()

    def _views(self, records: list[JobRecord], curve: list[Point] | None = None) -> list[Job]:
        live = any(record.state in ("queued", "running") for record in records)
        workers = [worker for worker in self.queue.workers() if worker.state != "lost"] if live else []
        return [
            job_view(
                record,
                workers=workers,
                curve=curve,
                log=self._tail(record.id, LOG_LINES)
                if curve is not None and record.state == "failed"
                else None,
            )
            for record in records
        ]

    def _tail(self, id: str, lines: int) -> list[str]:
        """The last lines of a job's log, without places on this machine."""
        try:
            with (self.settings.home / "jobs" / id / "job.log").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_BYTES * lines // LOG_LINES))
                text = file.read().decode("utf-8", "replace")
        except (OSError, ValueError):  # on another machine, or gone
            return []
        return without_places(text, self.settings.home).splitlines()[-lines:]

    def _config(self, request: JobRequest) -> DecomposeConfig:
        if request.preset is not None:
            if request.preset not in preset_names():  # never a path
                raise ConfigError(
                    f"There is no preset “{request.preset}”. Presets: {', '.join(preset_names())}."
                )
            data: Any = load_config(request.preset).model_dump(mode="json")
            if request.name not in (None, data["name"]):  # nobody can tell two cards with one title apart
                data["title"] = f"{data['title']} ({request.name})"
        else:
            data = dict(request.config or {})
            if request.name is not None:
                data.setdefault("name", request.name)
            # Before the overrides are set: a config of megabytes is turned away before it costs more than a look.
            self.queue.limits.check(parse_config(data), self.settings.home)
        return (
            parse_config(with_overrides(data, request.overrides)) if request.overrides else parse_config(data)
        )

    def _minutes(self, slug: str) -> float | None:
        path = self.settings.shipped / slug / MANIFEST
        if not path.is_file():
            return None
        try:
            return round(float(json.loads(path.read_bytes())["training_seconds"]) / 60, 1)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s cannot be read: %s", path, error)
            return None
