"""A name for a worker that is the same after a restart and never shared by two that live.

A worker takes the lowest free slot of its home folder on its machine. After a crash the system frees the slot's lock,
the next worker takes it and finds, under the same name, the job that was left.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import time
from pathlib import Path
from typing import IO

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from workers.jobs import database
from workers.jobs.database import workers_table
from workers.jobs.heartbeat import LOST_SECONDS

MOST = 64


class Slot:
    """A held slot; it is free again when the process ends or `release` is called."""

    def __init__(self, file: IO[str], executor_id: str) -> None:
        self._file, self.executor_id = file, executor_id

    def release(self) -> None:
        self._file.close()


def claim(home: Path) -> Slot:
    """Take the lowest free slot. Raises RuntimeError where all are held, OSError where the folder is not writable."""
    host = _host()
    folder = home / "jobs" / ".slots"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, MOST + 1):
        file = (folder / f"{host}-{number}.lock").open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        return Slot(file, f"worker-{host}-{number}")
    raise RuntimeError(f"{MOST} workers run on this home folder already.")


class DeviceTakenError(Exception):
    """Another worker of this machine has the GPU; the message is a plain sentence."""


def claim_device(home: Path, device: str) -> IO[str] | None:
    """Hold a GPU for this process as long as the file it returns is open; None for a CPU, which workers share.

    Raises DeviceTakenError where another worker of this machine and home folder has it.
    """
    if not device.startswith("cuda"):
        return None
    number = device.partition(":")[2] or "0"
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    if number.isdigit() and int(number) < len(visible):
        number = visible[int(number)]
    folder = home / "jobs" / ".slots"
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / f"{_host()}-gpu-{re.sub(r'[^A-Za-z0-9]+', '-', number)}.lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise DeviceTakenError(
            f"Another worker of this machine has the GPU “{device}”. Stop it, or name another with --device cuda:N."
        ) from None
    return file


def alive_here(database_url: str) -> list[str]:
    """Names of this machine's workers whose heart has beaten lately; none where the database cannot be read."""
    try:
        engine = database.connect(database.jobs_url(database_url))
        query = sa.select(workers_table.c.id, workers_table.c.seen_at)
        with engine.connect() as connection:
            rows = connection.execute(query).all()
        engine.dispose()
    except (SQLAlchemyError, ValueError):
        return []
    mine = re.compile(rf"worker-{re.escape(_host())}-\d+")
    return sorted(
        row.id for row in rows if mine.fullmatch(row.id) and time.time() - row.seen_at < LOST_SECONDS
    )


def _host() -> str:
    return re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().lower()).strip("-") or "host"
