"""A server process whose end is ours to choose, and what is asked of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.factories import hand_artifact
from tests.jobs.conftest import config_of

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 600.0
"""Seconds that anything may take here, on a machine that does other work too."""


class Server:
    """`unweave serve` over a home folder."""

    def __init__(self, home: Path, *arguments: str, **environment: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "backend.cli", "serve", "--port", str(self.port), "--home", str(home), *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT), "UNWEAVE_LOAD_ENGINES": "false", **environment},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=home.parent,
        )  # fmt: skip

    def ready(self) -> Server:
        """Wait until it can be asked."""
        wait(lambda: self.process.poll() is not None or self.status("/readyz") == 200)
        if self.process.poll() is not None:
            raise RuntimeError(f"The server ended: {self.said()}")
        return self

    def status(self, path: str) -> int:
        try:
            return httpx.get(self.url + path, timeout=30).status_code
        except httpx.TransportError:
            return 0

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        return httpx.request(method, self.url + path, timeout=PATIENCE, **options)

    def start_job(self, **changes: Any) -> dict[str, Any]:
        answer = self.ask("POST", "/api/jobs", json={"config": config_of(**changes).model_dump(mode="json")})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def end_of(self, job: dict[str, Any]) -> dict[str, Any]:
        """The job once it has ended."""
        seen: dict[str, Any] = {}

        def ended() -> bool:
            seen.update(self.ask("GET", f"/api/jobs/{job['id']}").json())
            return seen["state"] in ("done", "failed", "cancelled")

        wait(ended)
        return seen

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    def said(self) -> str:
        assert self.process.stdout is not None
        return " ".join(self.process.stdout.read().split())


@contextmanager
def server(home: Path, *arguments: str, **environment: str) -> Iterator[Server]:
    """A server that can be asked; killed at the end if it has not ended."""
    made = Server(home, *arguments, **environment)
    try:
        yield made.ready()
    finally:
        made.process.kill()
        made.process.wait()


def wait(is_so: Callable[[], bool]) -> None:
    """Wait for a state."""
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end, f"waited {PATIENCE:.0f} s"
        time.sleep(0.1)


def home_with_artifact(folder: Path, name: str = "home") -> Path:
    home = folder / name
    home.mkdir(parents=True)
    hand_artifact(home / "artifacts")
    return home


def refusal(answer: httpx.Response) -> str:
    """What an error says; it must be the one shape, with a sentence."""
    body = answer.json()
    assert set(body) == {"code", "message", "details"}, body
    assert body["message"].endswith("."), body
    return f"{answer.status_code} “{body['message']}”"
