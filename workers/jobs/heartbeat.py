"""Which workers live: each writes a row every two seconds; a row that stops moving is a worker that is lost."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from workers.jobs.database import workers_table

BEAT_SECONDS = 2.0
LOST_SECONDS = 15.0
FORGET_SECONDS = 24 * 3600.0

log = logging.getLogger("unweave.jobs")


@dataclass(frozen=True)
class Worker:
    """A worker as its last heartbeat left it. `seen_at` seconds since 1970 by the worker's clock."""

    id: str
    pid: int
    device: str
    memory_bytes: int
    job_id: str | None
    seen_at: float
    seen_seconds_ago: float

    @property
    def state(self) -> Literal["idle", "busy", "lost"]:
        if self.seen_seconds_ago > LOST_SECONDS:
            return "lost"
        return "busy" if self.job_id else "idle"


def read_workers(engine: Engine) -> list[Worker]:
    """Every worker that was seen within a day, by name."""
    now = time.time()
    query = (
        workers_table.select()
        .where(workers_table.c.seen_at > now - FORGET_SECONDS)
        .order_by(workers_table.c.id)
    )
    with engine.connect() as connection:
        return [
            Worker(
                row.id,
                row.pid,
                row.device,
                row.memory_bytes,
                row.job_id,
                row.seen_at,
                max(0.0, now - row.seen_at),
            )
            for row in connection.execute(query)
        ]


class Heartbeat:
    """Writes this worker's row from a thread. A database that cannot be reached is logged and tried again."""

    def __init__(self, engine: Engine, worker_id: str, device: str, memory_bytes: int) -> None:
        self._engine, self._id, self._device = engine, worker_id, device
        self.memory_bytes = memory_bytes
        self.job_id: str | None = None
        self._started = time.time()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Be seen from now on. Raises sqlalchemy errors where the first row cannot be written."""
        self._write()
        self._thread.start()

    def works_on(self, job_id: str | None) -> None:
        """Say at once which job the worker is busy with, or that it is idle (None)."""
        self.job_id = job_id
        self._wake.set()

    def stop(self) -> None:
        """Leave: the row is removed, so that a worker that ended on purpose is not shown as lost."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout=10)
        try:
            with self._engine.begin() as connection:
                connection.execute(workers_table.delete().where(workers_table.c.id == self._id))
        except SQLAlchemyError as error:
            log.warning("the worker's last heartbeat could not be removed: %s", error)

    def _beat(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(BEAT_SECONDS)
            self._wake.clear()
            if self._stopping.is_set():
                return
            try:
                self._write()
            except SQLAlchemyError as error:
                log.warning("a heartbeat could not be written: %s", error)

    def _write(self) -> None:
        now = time.time()
        values = {
            "pid": os.getpid(), "device": self._device, "memory_bytes": self.memory_bytes,
            "job_id": self.job_id, "started_at": self._started, "seen_at": now,
        }  # fmt: skip
        with self._engine.begin() as connection:
            changed = connection.execute(
                workers_table.update().where(workers_table.c.id == self._id).values(**values)
            ).rowcount
            if not changed:
                connection.execute(workers_table.insert().values(id=self._id, **values))
            connection.execute(workers_table.delete().where(workers_table.c.seen_at < now - FORGET_SECONDS))
