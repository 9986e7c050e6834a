"""Keeps a worker process alive beside the server: started with it, restarted after a crash, ended with it."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from workers.logs import LogFormat

DATABASE_VARIABLE = "UNWEAVE_WORKER_DATABASE_URL"
STORE_VARIABLE = "UNWEAVE_WORKER_STORE"
BACK_OFF = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
STEADY_SECONDS = 60.0
"""A worker that lived this long was well; its next crash starts the back-off anew."""
GRACE_SECONDS = 25.0
LOG_BYTES = 5_000_000

log = logging.getLogger("unweave.worker")


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker is started with. `memory_bytes`: what its jobs may take; None: what its device has."""

    home: Path
    database_url: str
    device: str = "cpu"
    memory_bytes: int | None = None
    store: str | None = None
    log_level: str = "info"
    log_format: LogFormat = "console"

    @property
    def command(self) -> list[str]:
        """How it is started."""
        options = ["--home", str(self.home), "--device", self.device]
        options += ["--log-level", self.log_level, "--log-format", self.log_format]
        if self.memory_bytes is not None:
            options += ["--memory", str(self.memory_bytes)]
        return [*worker_command(), *options]

    @property
    def environment(self) -> dict[str, str]:
        store = {} if self.store is None else {STORE_VARIABLE: self.store}
        return {**os.environ, DATABASE_VARIABLE: self.database_url, "PYTHONSAFEPATH": "1", **store}


def worker_command() -> list[str]:
    """-P keeps the current folder off the import path, where `-m` alone puts it first: a `glob.py` there would run in
    place of Python's. Without debug ranges a trace parses no source: in Python 3.11 that can break another thread's
    import of torch."""
    return [sys.executable, "-P", "-X", "no_debug_ranges", "-m", "workers.trainer"]


def become_worker(options: WorkerOptions) -> NoReturn:
    """Let this process be a worker from now on."""
    command = options.command
    os.execve(command[0], command, options.environment)


class Supervisor:
    """A worker as a child process. Also a context manager.

    The child's standard input is a pipe that this process holds open: when this process ends, however it ends, the
    system closes the pipe and the worker leaves by itself. Its output goes to `<home>/worker.log`.
    """

    def __init__(self, options: WorkerOptions, *, back_off: tuple[float, ...] = BACK_OFF) -> None:
        self.home, self._options = options.home, options
        self.restarts = 0
        self._back_off = back_off
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._watch, name="worker-supervisor", daemon=True)

    def __enter__(self) -> Supervisor:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Process id of the worker, None while there is none."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def start(self) -> None:
        """Start the worker. Raises OSError where the home folder cannot be written."""
        self.home.mkdir(parents=True, exist_ok=True)
        self._child = self._spawn()
        self._thread.start()

    def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Ask the worker to leave its job at a checkpoint and end; kill it where that takes too long."""
        self._stopping.set()
        child = self._child
        if child is not None:
            self._end(child, grace_seconds)
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _end(self, child: subprocess.Popen[bytes], grace_seconds: float) -> None:
        if child.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                child.stdin.close()
        if child.poll() is None:
            child.terminate()
        try:
            child.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            log.warning("the worker did not leave within %.0f s and is killed", grace_seconds)
            child.kill()
            child.wait()

    def _watch(self) -> None:
        crashes = 0
        while True:
            child, began = self._child, time.monotonic()
            assert child is not None
            code = child.wait()
            if self._stopping.is_set():
                return
            crashes = 0 if time.monotonic() - began > STEADY_SECONDS else crashes
            pause = self._back_off[min(crashes, len(self._back_off) - 1)]
            crashes += 1
            log.warning(
                "the worker ended (%s); it is started again in %.0f s. Its log: %s",
                f"signal {-code}" if code < 0 else f"code {code}", pause, self.home / "worker.log",
            )  # fmt: skip
            if self._stopping.wait(pause):
                return
            try:
                self._child = self._spawn()
            except OSError as error:
                log.error("the worker cannot be started: %s", error)
                continue
            self.restarts += 1
            if self._stopping.is_set():  # stop() came in between and may have missed the new child
                self._end(self._child, GRACE_SECONDS)
                return

    def _spawn(self) -> subprocess.Popen[bytes]:
        path = self.home / "worker.log"
        fresh = not path.exists() or path.stat().st_size > LOG_BYTES
        with path.open("wb" if fresh else "ab") as output:
            return subprocess.Popen(
                [*self._options.command, "--supervised"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._options.environment,
                start_new_session=True,
            )
