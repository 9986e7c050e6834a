"""The process that answers before a run (`workers.spd.run.scout`): started when first asked, bounded in time, one
question at a time."""

from __future__ import annotations

import json
import logging
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from backend.errors import ApiError, invalid
from workers.jobs.places import without_places

WAIT_SECONDS = 60.0
"""How long a question waits for the one before it."""

log = logging.getLogger("unweave")


class Scout:
    """A child process with lines of JSON in and out. It keeps the last model at hand and ends when it is idle."""

    def __init__(self, home: Path, device: str) -> None:
        self.home, self.device = home, device
        self._turn = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def ask(self, question: dict[str, Any], seconds: float) -> Any:
        """The answer. Raises ApiError: 422 with what is wrong, 429 while another question is worked on, 503 where it
        took longer than `seconds` or the process ended."""
        if not self._turn.acquire(timeout=WAIT_SECONDS):
            raise ApiError(
                429, "busy", "Another model is being looked at. Try again in a moment.", retry_after=10
            )
        try:
            said = json.loads(self._exchange(question, seconds))
        finally:
            self._turn.release()
        if "refused" in said:
            raise invalid("refused", without_places(said["refused"], self.home))
        return said["answer"]

    def let_go(self) -> None:
        """Forget the model at hand, once the question that is worked on has its answer."""
        with self._turn:
            self.close()

    def close(self) -> None:
        """End the process."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()

    def _exchange(self, question: dict[str, Any], seconds: float) -> bytes:
        child = self._running()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps(question).encode() + b"\n")
            child.stdin.flush()
        except OSError:  # it ended, being idle, in this very moment
            self.close()
            raise self._gone() from None
        until, line = time.monotonic() + seconds, b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([child.stdout], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                self.close()
                raise ApiError(
                    503, "took_too_long", f"There was no answer within {seconds:.0f} seconds.", retry_after=30
                )
            piece = os.read(child.stdout.fileno(), 1 << 16)
            if not piece:
                self.close()
                raise self._gone()
            line += piece
        return line

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self.close()
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "scout.log").open("wb") as output:
            self._child = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "workers.spd.run.scout"),
                    *(str(self.home), self.device),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={**os.environ, "PYTHONSAFEPATH": "1"},
                start_new_session=True,
            )
        return self._child

    def _gone(self) -> ApiError:
        log.warning("the process that looks at models ended; %s says why", self.home / "scout.log")
        return ApiError(
            503,
            "scout_ended",
            "The process that looked at this ended, perhaps for want of memory. scout.log in Unweave's home folder "
            "holds its last words.",
            retry_after=5,
        )
