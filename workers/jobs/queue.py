"""The door for whoever starts, lists and cancels jobs. Imports no torch; opens the database when first used."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from dbos import DBOSClient, DBOSPortableJSONSerializer, WorkflowStatus
from dbos import error as dbos_error

from workers.jobs import database
from workers.jobs.fitting import NEEDS, created
from workers.jobs.heartbeat import Worker, read_workers
from workers.jobs.limits import Limits
from workers.jobs.names import SHIPPED, suffixed, taken_names
from workers.jobs.progress import Point, ProgressRow, ProgressStore
from workers.jobs.runner import CONTINUES, has_checkpoint, snapshot_folder
from workers.spd.config import DecomposeConfig, parse_config
from workers.spd.statistics.config import HarvestConfig, parse_harvest

Kind = Literal["decompose", "harvest"]
State = Literal["queued", "running", "done", "failed", "cancelled"]

_STATES: dict[str, State] = {
    "ENQUEUED": "queued",
    "DELAYED": "queued",
    "PENDING": "running",
    "SUCCESS": "done",
    "ERROR": "failed",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
    "CANCELLED": "cancelled",
}
LOCKED_MS = 5_000
_WAITING = ["ENQUEUED", "DELAYED"]
_ENDED = [status for status, state in _STATES.items() if state in ("done", "failed", "cancelled")]
_LIVE = [*_WAITING, "PENDING"]


class QueueFullError(Exception):
    """As many jobs wait as may wait. `retry_after`: seconds until one has probably ended."""

    def __init__(self, limit: int, retry_after: int) -> None:
        super().__init__(f"{limit} jobs wait already. Cancel one, or try again when one has ended.")
        self.retry_after = retry_after


class NameTakenError(Exception):
    """The name asked for belongs to another decomposition or to a job that will make one."""

    def __init__(self, name: str, suggestion: str) -> None:
        super().__init__(f"“{name}” is taken. Choose another name, for instance “{suggestion}”.")
        self.suggestion = suggestion


class NotKeptError(Exception):
    """The job left nothing that could be resumed."""

    def __init__(self, job_id: str, state: State) -> None:
        why = {
            "queued": "It waits in the queue.",
            "running": "It still runs.",
            "done": "It is done.",
            "failed": "It left no checkpoint; start it again.",
            "cancelled": "It was cancelled, and its work removed; start it again.",
        }
        super().__init__(f"The job “{job_id}” cannot be resumed. {why[state]}")


class JobActiveError(Exception):
    """The job waits or runs, or another one is about to resume it."""


class HarvestWaitsError(Exception):
    """A harvest of this decomposition waits or runs already."""


class UnknownJobError(Exception):
    """There is no job of that id."""


@dataclass(frozen=True)
class JobRecord:
    """A job as it stands. Times in seconds since 1970; `place` counts the jobs that start before this one; `name` of a
    harvest is the decomposition's."""

    id: str
    kind: Kind
    name: str
    preset: str | None
    steps: int
    state: State
    place: int | None
    created_at: float
    finished_at: float | None
    error: str | None
    decomposition: str | None
    executor: str | None
    progress: ProgressRow | None
    resumable: bool = False
    corpus: str | None = None
    continues: str | None = None
    config: dict[str, Any] | None = None
    estimated_seconds: float | None = None
    memory_bytes: int | None = None


class JobQueue:
    """Jobs of one home folder. Safe to use from many threads."""

    def __init__(
        self, home: Path, database_url: str, limits: Limits | None = None, *, shipped: Path = SHIPPED
    ) -> None:
        self.home, self.limits, self._shipped = home, limits or Limits(), shipped
        self._database_url = database_url
        self._opening = threading.Lock()
        self._enqueueing = threading.Lock()

    @cached_property
    def _url(self) -> str:
        return database.jobs_url(self._database_url)

    @cached_property
    def _opened(self) -> tuple[DBOSClient, ProgressStore]:
        engine = database.connect(self._url)
        database.prepare(self._url, engine)
        client = DBOSClient(
            system_database_url=self._url,
            application_name=database.APPLICATION,
            serializer=DBOSPortableJSONSerializer(),
            system_database_pool_size=8,
            retry_connection_errors=False,
        )
        self._engine = engine
        return client, ProgressStore(engine)

    def _open(self) -> tuple[DBOSClient, ProgressStore]:
        with self._opening:
            return self._opened

    def close(self) -> None:
        """Let go of the database; a later call opens it again."""
        with self._opening:
            if "_opened" in self.__dict__:
                self._opened[0].destroy()
                self._engine.dispose()
                del self.__dict__["_opened"]

    def enqueue(
        self,
        config: DecomposeConfig,
        *,
        preset: str | None,
        name: str | None,
        estimated_seconds: float | None = None,
        memory_bytes: int | None = None,
    ) -> JobRecord:
        """Put a job in the queue.

        With `name`, the result has exactly that slug or NameTakenError is raised. Without, it has the config's name, or
        the next free one of `name-2`, `name-3`, … A job that needs `memory_bytes` waits for a worker that has them.
        Raises QueueFullError, and ConfigError where the limits forbid it.
        """
        self.limits.check(config, self.home)
        client, _ = self._open()
        self._must_be_writable()
        with self._enqueueing:
            self._must_have_room(client)
            taken = taken_names(self.home / "artifacts", self._shipped)
            wish, number = name or config.name, 1
            about = {"preset": preset, "estimated_seconds": estimated_seconds, NEEDS: memory_bytes}
            while True:
                slug = suffixed(wish, number)
                job_id = None if slug in taken else self._try(client, config, slug, about)
                if job_id is not None:
                    return self.get(job_id)
                if name is not None:
                    raise NameTakenError(name, self._suggest(client, name, taken))
                number += 1

    def resume(self, job_id: str) -> JobRecord:
        """Put a new job in the queue that resumes one that failed, under the same name.

        Raises UnknownJobError, NotKeptError, QueueFullError, NameTakenError where the name is taken by now, and OSError
        where the disk is still full.
        """
        client, _ = self._open()
        record = self.get(job_id)
        if not record.resumable:
            raise NotKeptError(job_id, record.state)
        self._must_be_writable()
        config = parse_config(record.config)
        with self._enqueueing:
            self._must_have_room(client)
            taken = taken_names(self.home / "artifacts", self._shipped)
            new = None
            if record.name not in taken:
                about = {"preset": record.preset, "continues": job_id, NEEDS: record.memory_bytes}
                new = self._try(client, config, record.name, about)
            if new is None:
                raise NameTakenError(record.name, self._suggest(client, record.name, taken))
        return self.get(new)

    def retry(self, job_id: str) -> JobRecord:
        """Put a new job with the config of one that has ended in the queue, under the same name where that is free.

        Raises UnknownJobError, JobActiveError, and what `enqueue` and `enqueue_harvest` raise.
        """
        record = self.get(job_id)
        if record.state in ("queued", "running"):
            raise JobActiveError(f"The job “{job_id}” has not ended yet. Cancel it first, or wait.")
        if record.kind == "decompose":
            return self.enqueue(
                parse_config(record.config),
                preset=record.preset,
                name=None,
                estimated_seconds=record.estimated_seconds,
                memory_bytes=record.memory_bytes,
            )
        given = self._input(job_id)
        return self.enqueue_harvest(
            parse_harvest(given["config"]),
            name=given["name"],
            artifact_hash=given["hash"],
            place=given["place"],
        )

    def delete(self, job_id: str) -> None:
        """Remove a job that has ended with its log and whatever it kept; what it published stays.

        Raises UnknownJobError, JobActiveError, and OSError where its folder cannot be removed.
        """
        client, store = self._open()
        if self.get(job_id).state in ("queued", "running"):
            raise JobActiveError(f"The job “{job_id}” has not ended yet. Cancel it first, then delete it.")
        live = client.list_workflows(
            name=database.WORKFLOW, status=_LIVE, load_input=False, load_output=False
        )
        if any((status.attributes or {}).get("continues") == job_id for status in live):
            raise JobActiveError(f"Another job resumes “{job_id}”. Wait until it has ended.")
        self._must_be_writable()
        folder = self.home / "jobs" / job_id
        if folder.is_dir():
            shutil.rmtree(folder)
        shutil.rmtree(snapshot_folder(self.home, job_id), ignore_errors=True)
        store.forget(job_id)
        client.delete_workflow(job_id)

    def discard(self, job_id: str) -> JobRecord:
        """Throw away what a failed job kept. Raises UnknownJobError, and OSError where it cannot be removed."""
        if self.get(job_id).state == "failed":
            for path in (self.home / "jobs" / job_id).iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
            shutil.rmtree(snapshot_folder(self.home, job_id), ignore_errors=True)
        return self.get(job_id)

    def enqueue_harvest(
        self, config: HarvestConfig, *, name: str, artifact_hash: str, place: str, allowed: bool = False
    ) -> JobRecord:
        """Put a harvest of a stored decomposition in the queue; `place` is its folder, “shipped/<name>” or
        “home/<name>”. Raises HarvestWaitsError, QueueFullError, and ConfigError where the limits forbid it; `allowed`:
        it reads what the run itself was allowed to."""
        if not allowed:
            self.limits.check_harvest(config, self.home)
        client, _ = self._open()
        self._must_be_writable()
        job_id = f"harvest-{name}-{secrets.token_hex(4)}"
        with self._enqueueing:
            self._must_have_room(client)
            try:
                client.enqueue(
                    {
                        "workflow_name": database.HARVEST,
                        "queue_name": database.QUEUE,
                        "workflow_id": job_id,
                        "queue_partition_key": job_id,
                        "deduplication_id": f"harvest/{artifact_hash}",
                        "app_version": database.PROTOCOL,
                        "attributes": {
                            "kind": "harvest",
                            "name": name,
                            "corpus": config.reads,
                            "preset": None,
                            "steps": 0,
                            "created_at": time.time(),
                        },
                    },
                    {
                        "hash": artifact_hash,
                        "name": name,
                        "place": place,
                        "config": config.model_dump(mode="json"),
                    },
                )
            except dbos_error.DBOSQueueDeduplicatedError:
                raise HarvestWaitsError(
                    f"A harvest of “{name}” waits or runs already. Wait for it, or cancel it."
                ) from None
        return self.get(job_id)

    def _must_have_room(self, client: DBOSClient) -> None:
        waiting = client.list_workflows(
            name=database.JOBS, status=_WAITING, load_input=False, load_output=False
        )
        if len(waiting) >= self.limits.queued:
            raise QueueFullError(self.limits.queued, self._retry_after())

    def _must_be_writable(self) -> None:
        """Raise OperationalError where another program keeps SQLite locked: DBOS would wait for it for ever."""
        if self._engine.dialect.name != "sqlite":
            return
        with self._engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={LOCKED_MS}")
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                connection.rollback()
            finally:
                connection.exec_driver_sql(f"PRAGMA busy_timeout={database.BUSY_MS}")

    def _try(
        self, client: DBOSClient, config: DecomposeConfig, slug: str, about: dict[str, Any]
    ) -> str | None:
        """Enqueue under a slug; None where a live job has it. DBOS's deduplication id keeps the slug for the job.
        `about`: what is kept beside the config."""
        continues: str | None = about.get("continues")
        job_id = f"{slug}-{secrets.token_hex(4)}"
        folder = self.home / "jobs" / job_id
        if continues is not None:  # before the job can start: its worker reads it
            folder.mkdir(parents=True)
            (folder / CONTINUES).write_text(continues, encoding="utf-8")
        data = config.model_copy(update={"name": slug}).model_dump(mode="json")
        try:
            client.enqueue(
                {
                    "workflow_name": database.WORKFLOW,
                    "queue_name": database.QUEUE,
                    "workflow_id": job_id,
                    "queue_partition_key": job_id,
                    "deduplication_id": slug,
                    "app_version": database.PROTOCOL,
                    "attributes": {
                        "name": slug,
                        "steps": config.steps,
                        "created_at": time.time(),
                        **about,
                    },
                },
                data,
            )
        except dbos_error.DBOSQueueDeduplicatedError:
            if continues is not None:
                shutil.rmtree(folder, ignore_errors=True)
            return None
        return job_id

    def _suggest(self, client: DBOSClient, name: str, taken: set[str]) -> str:
        live = client.list_workflows(name=database.JOBS, status=_LIVE, load_input=False, load_output=False)
        names = taken | {str(status.deduplication_id) for status in live}
        number = 2
        while suffixed(name, number) in names:
            number += 1
        return suffixed(name, number)

    def _retry_after(self) -> int:
        client, store = self._open()
        running = client.list_workflows(
            name=database.JOBS, status="PENDING", load_input=False, load_output=False
        )
        rows = store.rows(status.workflow_id for status in running)
        known = [row.remaining_seconds for row in rows.values() if row.remaining_seconds is not None]
        return int(min(3_600, max(5, min(known, default=60))))

    def get(self, job_id: str, *, config: bool = True) -> JobRecord:
        """One job, with its config unless that is not asked for. Raises UnknownJobError."""
        client, _ = self._open()
        statuses = client.list_workflows(name=database.JOBS, workflow_ids=[job_id], load_input=config)
        if not statuses:
            raise UnknownJobError(f"There is no job “{job_id}”.")
        return self._records(statuses)[0]

    def _input(self, job_id: str) -> dict[str, Any]:
        client, _ = self._open()
        [status] = client.list_workflows(name=database.JOBS, workflow_ids=[job_id])
        return _given(status) or {}

    def listing(self, *, limit: int, offset: int) -> list[JobRecord]:
        """Jobs, the newest first."""
        client, _ = self._open()
        statuses = client.list_workflows(
            name=database.JOBS, limit=limit, offset=offset, sort_desc=True, load_input=False
        )
        statuses.sort(key=created, reverse=True)
        return self._records(statuses)

    def count(self) -> int:
        """How many jobs there are, ended ones included."""
        client, _ = self._open()
        return len(client.list_workflows(name=database.JOBS, load_input=False, load_output=False))

    def prune(self, older_than: float) -> list[str]:
        """Delete the jobs that ended more than this many seconds ago. Returns their ids."""
        client, _ = self._open()
        before = 1e3 * (time.time() - older_than)
        found = client.list_workflows(name=database.JOBS, status=_ENDED, load_input=False, load_output=False)
        old = [
            status.workflow_id for status in found if (status.completed_at or status.updated_at or 0) < before
        ]
        for job_id in old:
            with suppress(
                UnknownJobError, JobActiveError
            ):  # another server was first; another job needs its work
                self.delete(job_id)
        return old

    def by_state(self) -> dict[str, int]:
        """How many jobs there are in each state."""
        client, _ = self._open()
        found = client.list_workflows(name=database.JOBS, load_input=False, load_output=False)
        states = [_STATES[status.status] for status in found]
        return {state: states.count(state) for state in get_args(State)}

    def curve(self, job_id: str) -> list[Point]:
        """The job's loss curve so far, oldest point first."""
        return self._open()[1].curve(job_id)

    def cancel(self, job_id: str) -> JobRecord:
        """Cancel a job that waits or runs; one that has ended stays as it is. Raises UnknownJobError.

        A running job stops at its worker's next step, a second or two later, and its work is removed.
        """
        client, _ = self._open()
        if self.get(job_id).state in ("queued", "running"):
            self._must_be_writable()
            client.cancel_workflow(job_id)
        return self.get(job_id)

    def workers(self) -> list[Worker]:
        """Every worker seen within a day."""
        self._open()
        return read_workers(self._engine)

    def _records(self, statuses: list[WorkflowStatus]) -> list[JobRecord]:
        client, store = self._open()
        rows = store.rows(status.workflow_id for status in statuses)
        places: dict[str, int] = {}
        if any(_STATES[status.status] == "queued" for status in statuses):
            waiting = client.list_workflows(
                name=database.JOBS, status=_WAITING, load_input=False, load_output=False
            )
            waiting.sort(key=lambda status: (status.priority or 0, created(status)))
            places = {status.workflow_id: place for place, status in enumerate(waiting)}
        jobs = self.home / "jobs"
        return [
            _record(
                status,
                rows.get(status.workflow_id),
                places.get(status.workflow_id),
                kept=has_checkpoint(jobs / status.workflow_id),
            )
            for status in statuses
        ]


def _given(status: WorkflowStatus) -> dict[str, Any] | None:
    """What the job was given, where that was loaded."""
    given: Any = status.input
    return given["args"][0] if given else None


def _finished(status: WorkflowStatus, row: ProgressRow | None) -> float | None:
    """Never before the job's last sign of life, which SQLite's whole seconds would make it."""
    if not status.completed_at:
        return None
    return max(status.completed_at / 1000, created(status), row.updated_at if row is not None else 0.0)


def _record(status: WorkflowStatus, row: ProgressRow | None, place: int | None, *, kept: bool) -> JobRecord:
    about: dict[str, Any] = status.attributes or {}
    state, given = _STATES[status.status], _given(status)
    kind: Kind = about.get("kind", "decompose")
    return JobRecord(
        id=status.workflow_id,
        kind=kind,
        name=about.get("name", status.workflow_id),
        preset=about.get("preset"),
        steps=about.get("steps", 0),
        state=state,
        place=place if state == "queued" else None,
        created_at=created(status),
        finished_at=_finished(status, row),
        error=str(status.error) if state == "failed" and status.error else None,
        decomposition=status.output if state == "done" else None,
        executor=status.executor_id,
        progress=row,
        resumable=state == "failed" and kept,
        corpus=about.get("corpus"),
        continues=about.get("continues"),
        estimated_seconds=about.get("estimated_seconds"),
        memory_bytes=about.get(NEEDS),
        config=given["config"] if given is not None and kind == "harvest" else given,
    )
