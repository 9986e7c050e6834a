"""A queue over a home of its own, and workers as real processes that run the stand-in method."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.databases import url_of
from workers.jobs.queue import JobQueue, JobRecord
from workers.spd.config import DecomposeConfig, parse_config

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = "tests.jobs.standin"
REAL = "workers.spd.run.decompose"
WORKER = """
import sys
from pathlib import Path
from workers.trainer.process import WorkerProcess
memory = int(sys.argv[5]) or None
home, url, method, silent = Path(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])
store = sys.argv[6] or None
WorkerProcess(home, url, method=method, silent_seconds=silent, memory_bytes=memory, store=store).run()
"""


def config_of(name: str = "tiny", **changes: Any) -> DecomposeConfig:
    """A small run; `wishes` steer the stand-in (see standin.py)."""
    wishes = changes.pop("wishes", "")
    data = {
        "name": name,
        "description": wishes,
        "target": {"kind": "induction", "vocabulary": 8, "length": 12, "steps": 20, "batch_size": 16},
        "sites": ["layers.*.attn.?"],
        "C": 4,
        "start": {"kind": "svd"},
        "losses": [{"kind": "faithfulness"}, {"kind": "stochastic_reconstruction"}],
        "data": {"kind": "induction", "batch_size": 8, "evaluation": 16, "shown": 2},
        "reconstruction": {"positions": "answer"},
        "steps": 40,
        "checkpoint_every": 10,
        "log_every": 5,
    }
    return parse_config(data | changes)


def wait_for(
    queue: JobQueue, job_id: str, is_there: Callable[[JobRecord], bool], seconds: float = 120
) -> JobRecord:
    """The job once it is as wanted; fails with what it was instead."""
    end = time.monotonic() + seconds
    while True:
        job = queue.get(job_id)
        if is_there(job):
            return job
        assert time.monotonic() < end, f"waited {seconds} s; the job is {job}"
        time.sleep(0.05)


def has_ended(job: JobRecord) -> bool:
    return job.state in ("done", "failed", "cancelled")


def has_trained(steps: int) -> Callable[[JobRecord], bool]:
    return lambda job: (
        job.progress is not None and job.progress.stage == "train" and job.progress.step >= steps
    )


class Workers:
    """Starts worker processes over one home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.started: list[subprocess.Popen[bytes]] = []

    def start(
        self,
        method: str = STAND_IN,
        silent_seconds: float = 120,
        memory_bytes: int = 0,
        store: str = "",
        url: str | None = None,
    ) -> subprocess.Popen[bytes]:
        with (self.home / f"worker-{len(self.started)}.log").open("wb") as output:
            child = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    WORKER,
                    str(self.home),
                    url or url_of(self.home),
                    method,
                    str(silent_seconds),
                    str(memory_bytes),
                    store,
                ],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.started.append(child)
        return child

    def end(self) -> None:
        for child in self.started:
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
            child.wait()


@contextmanager
def workers_in(home: Path) -> Iterator[Workers]:
    home.mkdir(parents=True, exist_ok=True)
    workers = Workers(home)
    try:
        yield workers
    finally:
        workers.end()


@pytest.fixture
def queue(home: Path) -> Iterator[JobQueue]:
    """A queue over an empty home, without workers."""
    queue = JobQueue(home, url_of(home))
    yield queue
    queue.close()


@pytest.fixture
def workers(home: Path) -> Iterator[Workers]:
    with workers_in(home) as started:
        yield started
