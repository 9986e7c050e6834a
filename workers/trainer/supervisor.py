"""Keeps a worker process alive beside the server: started with it, restarted after a crash, ended with it."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from workers.logs import LogFormat

DATABASE_VARIABLE = "UNWEAVE_WORKER_DATABASE_URL"
BACK_OFF = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
STEADY_SECONDS = 60.0
"""A worker that lived this long was well; its next crash starts the back-off anew."""
GRACE_SECONDS = 25.0
LOG_BYTES = 5_000_000

log = logging.getLogger("unweave.worker")


def worker_command() -> list[str]:
    """How a worker is started. -P keeps the current folder off the import path, where `-m` alone puts it first: a
    `glob.py` there would run in place of Python's."""
    return [sys.executable, "-P", "-m", "workers.trainer"]


class Supervisor:
    """A worker as a child process. Also a context manager.

    The child's standard input is a pipe that this process holds open: when this process ends, however it ends, the
    system closes the pipe and the worker leaves by itself. Its output goes to `<home>/worker.log`.
    """

    def __init__(
        self,
        home: Path,
        database_url: str,
        device: str = "cpu",
        *,
        log_level: str = "info",
        log_format: LogFormat = "console",
        back_off: tuple[float, ...] = BACK_OFF,
    ) -> None:
        self.home, self.device = home, device
        self._options = ["--log-level", log_level, "--log-format", log_format]
        self.restarts = 0
        self._database_url, self._back_off = database_url, back_off
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
                [
                    *worker_command(),
                    "--home",
                    str(self.home),
                    "--device",
                    self.device,
                    "--supervised",
                    *self._options,
                ],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, DATABASE_VARIABLE: self._database_url, "PYTHONSAFEPATH": "1"},
                start_new_session=True,
            )
