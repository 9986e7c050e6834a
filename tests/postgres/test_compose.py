"""What docker-compose.yml starts, by hand as Compose would: commands, environment, health checks, on PostgreSQL."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.compose import FILE, read
from tests.databases import url_of
from tests.jobs.conftest import config_of, has_ended, wait_for
from workers.jobs.queue import JobQueue

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.long]


class Container:
    """A service's processes without a container: in an empty folder, with the service's environment and no other of
    Unweave's, /data being the home folder and port 8000 a free one."""

    def __init__(self, service: dict[str, Any], home: Path, port: int) -> None:
        self.service, self.home, self.port = service, home, port
        given = {
            name: str(value).replace("/data", str(home)) for name, value in service["environment"].items()
        }
        self.environment = {**os.environ, **given, "UNWEAVE_PORT": str(port), "PYTHONPATH": str(ROOT)}

    def command(self, words: list[str]) -> list[str]:
        program = {"unweave": [sys.executable, "-m", "backend.cli"], "python": [sys.executable]}[words[0]]
        return [*program, *(word.replace(":8000", f":{self.port}") for word in words[1:])]

    @contextmanager
    def up(self) -> Iterator[None]:
        """Started, and healthy."""
        process = subprocess.Popen(self.command(self.service["command"]), env=self.environment, cwd=self.home)
        try:
            end = time.monotonic() + 240
            while not self.is_healthy():
                assert process.poll() is None, "it ended"
                assert time.monotonic() < end, "it did not become healthy"
                time.sleep(0.5)
            yield
        finally:
            process.terminate()
            process.wait(60)

    def is_healthy(self) -> bool:
        kind, *words = self.service["healthcheck"]["test"]
        assert kind == "CMD"
        check = subprocess.run(self.command(words), env=self.environment, cwd=self.home, capture_output=True)
        return check.returncode == 0


def test_api_and_worker_become_healthy_in_this_order_and_a_job_is_done(home: Path) -> None:
    home.mkdir()
    url = url_of(home)
    given = {"UNWEAVE_DATABASE_URL": url, "UNWEAVE_ADMIN_TOKEN": "a-secret-of-more-than-20"}
    services = read(FILE.read_text(encoding="utf-8"), given)["services"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    api, worker = (Container(services[name], home, port) for name in ("api", "worker"))
    assert services["worker"]["depends_on"] == {"api": {"condition": "service_healthy"}}
    assert not api.is_healthy()
    assert not worker.is_healthy()
    with ExitStack() as stack:
        stack.enter_context(api.up())
        stack.enter_context(worker.up())
        queue = JobQueue(home, url)
        stack.callback(queue.close)
        job = queue.enqueue(config_of(steps=5), preset=None, name=None)
        assert wait_for(queue, job.id, has_ended, 240).state == "done"
    assert not worker.is_healthy()
