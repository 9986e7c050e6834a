"""What whoever runs a server sees of it: metrics, logs with request ids, readiness, a stop within seconds."""

from __future__ import annotations

import json
import logging
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
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from backend.cli import app
from tests.conftest import Open
from tests.factories import WOODS, hand_artifact
from tests.jobs.conftest import config_of
from workers import logs
from workers.jobs.queue import JobQueue
from workers.logs import LogFormat

ROOT = Path(__file__).resolve().parents[2]


def figures(client: TestClient) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of /metrics by name and labels, read by Prometheus's own parser."""
    answer = client.get("/metrics", headers={"host": "10.0.0.7"})  # Prometheus asks by address
    assert answer.status_code == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def sample(client: TestClient, name: str, **labels: str) -> float | None:
    return figures(client).get((name, tuple(sorted(labels.items()))))


def test_requests_are_counted_by_route_and_status(home: Path, open_app: Open) -> None:
    hand_artifact(home / "artifacts")
    client = open_app(home)
    for path in (
        "/api/decompositions/tiny",
        "/api/decompositions/tiny",
        "/api/decompositions/none",
        "/etc/passwd",
    ):
        client.get(path)
    route = {"method": "GET", "route": "/api/decompositions/{id}"}
    assert sample(client, "unweave_requests_total", **route, status="200") == 2
    assert sample(client, "unweave_requests_total", **route, status="404") == 1
    assert sample(client, "unweave_request_seconds_count", **route) == 3
    assert not any("passwd" in str(labels) for _, labels in figures(client))


def test_the_state_of_engines_jobs_and_the_database_can_be_watched(home: Path, open_app: Open) -> None:
    hand_artifact(home / "artifacts")
    client = open_app(home)
    services: Any = client.app.state.services  # type: ignore[attr-defined]
    services.engines.wait(services.catalogue.get("tiny"), 20)
    client.post("/api/decompositions/tiny/ablations", json={"text": WOODS})
    client.post("/api/jobs", json={"config": config_of().model_dump(mode="json")})
    assert sample(client, "unweave_engines", state="ready") == 1
    assert (sample(client, "unweave_engine_bytes") or 0) > 0
    assert sample(client, "unweave_ablations_total") == 1
    assert sample(client, "unweave_compute_inside") == 0
    assert sample(client, "unweave_jobs", state="queued") == 1
    assert sample(client, "unweave_jobs", state="done") == 0
    assert sample(client, "unweave_workers", state="idle") == 0
    assert sample(client, "unweave_database_up") == 1
    assert (sample(client, "process_resident_memory_bytes") or 0) > 1e7


def test_two_apps_in_one_process_count_apart(home: Path, open_app: Open) -> None:
    first, second = open_app(home), open_app(home)
    first.get("/healthz")
    assert sample(second, "unweave_requests_total", method="GET", route="/healthz", status="200") is None


def test_a_request_keeps_the_id_it_came_with(home: Path, open_app: Open) -> None:
    client = open_app(home)
    assert (
        client.get("/healthz", headers={"x-request-id": "proxy-7.a_B"}).headers["x-request-id"]
        == "proxy-7.a_B"
    )
    made = client.get("/api/nothing").headers["x-request-id"]
    assert len(made) == 16
    for odd in ("a b", "x" * 65, '{"a": 1}', "<b>"):
        assert client.get("/healthz", headers={"x-request-id": odd}).headers["x-request-id"] != odd


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """Set up logging as a process does, and read what it wrote."""
    root, ours = logging.getLogger(), logging.getLogger("unweave")
    before = (root.handlers[:], root.level, ours.level, logging.getLogger("unweave.requests").level)
    yield lambda: capsys.readouterr().err
    root.handlers[:], root.level, ours.level = before[0], before[1], before[2]
    logging.getLogger("unweave.requests").setLevel(before[3])


def lines_until(logged: Callable[[], str], event: str, seconds: float = 20) -> list[dict[str, Any]]:
    """The lines logged so far, once `event` is among them: a request's own line follows its answer."""
    end, lines = time.monotonic() + seconds, list[dict[str, Any]]()
    while not any(line["event"] == event for line in lines):
        assert time.monotonic() < end, f"no line “{event}” in {lines}"
        lines += [json.loads(line) for line in logged().splitlines()]
    return lines


def test_json_logs_join_a_request_to_the_job_it_queued(home: Path, open_app: Open, logged: Any) -> None:
    client = open_app(home)
    logs.set_up("info", "json")
    answer = client.post(
        "/api/jobs", json={"config": config_of().model_dump(mode="json")}, headers={"x-request-id": "r1"}
    )
    lines = lines_until(logged, "POST /api/jobs")
    [queued] = [line for line in lines if line["event"] == "job queued"]
    assert (queued["request_id"], queued["job_id"]) == ("r1", answer.json()["id"])
    [request] = [line for line in lines if line["event"] == "POST /api/jobs"]
    assert (request["request_id"], request["status"], request["level"]) == ("r1", 201, "info")
    assert request["ms"] > 0


def test_an_unexpected_error_is_logged_with_the_id_that_the_answer_names(
    home: Path, open_app: Open, logged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = open_app(home)
    client = TestClient(client.app, base_url="http://127.0.0.1", raise_server_exceptions=False)
    logs.set_up("info", "json")
    monkeypatch.setattr("backend.services.findings.Findings.listing", lambda *_, **__: 1 / 0)
    answer = client.get("/api/findings", headers={"x-request-id": "r2"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "r2")
    [error] = [line for line in map(json.loads, logged().splitlines()) if line["level"] == "error"]
    assert error["request_id"] == "r2"
    assert error["exception"][0]["exc_type"] == "ZeroDivisionError"


def test_lines_on_a_terminal_leave_requests_out(home: Path, open_app: Open, logged: Any) -> None:
    client = open_app(home)
    logs.set_up("info", "console")
    client.get("/healthz")
    logging.getLogger("unweave").info("ready: %s", "tiny")
    said = logged()
    assert "ready: tiny" in said
    assert "healthz" not in said


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_logged_trace_holds_no_values_of_variables(logged: Any, form: LogFormat) -> None:
    logs.set_up("info", form)
    password = "hunter2"
    try:
        assert len(password) / 0
    except ZeroDivisionError:
        logging.getLogger("unweave").exception("failed")
    said = logged()
    assert "ZeroDivisionError" in said
    assert password not in said


def test_a_server_that_stops_is_no_longer_ready_but_alive(home: Path, open_app: Open) -> None:
    client = open_app(home)
    assert client.get("/readyz").status_code == 200
    client.app.state.services.leave()  # type: ignore[attr-defined]
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "stopping")
    assert client.get("/healthz").status_code == 200


def test_old_jobs_are_pruned_with_their_folders_and_others_stay(home: Path) -> None:
    queue = JobQueue(home, f"sqlite:///{home / 'unweave.db'}")
    ended, waits = (queue.enqueue(config_of(name), preset=None, name=None) for name in ("one", "two"))
    queue.cancel(ended.id)
    (home / "jobs" / ended.id).mkdir(parents=True)
    (home / "jobs" / ended.id / "job.log").write_text("said")
    said = CliRunner().invoke(app, ["prune", "--days", "1", "--home", str(home)])
    assert (said.exit_code, said.output) == (0, "Removed 0 jobs.\n")
    said = CliRunner().invoke(app, ["prune", "--days", "0", "--home", str(home)])
    assert (said.exit_code, said.output) == (0, "Removed 1 jobs.\n")
    assert [job.id for job in queue.listing(limit=9, offset=0)] == [waits.id]
    assert not (home / "jobs" / ended.id).exists()
    queue.close()


def test_the_server_removes_old_jobs_by_itself(
    home: Path, open_app: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = JobQueue(home, f"sqlite:///{home / 'unweave.db'}")
    queue.cancel(queue.enqueue(config_of(), preset=None, name=None).id)
    monkeypatch.setattr("backend.services.jobs.DAY", 0)
    open_app(home, job_retention_days=30)
    end = time.monotonic() + 60
    while queue.count():
        assert time.monotonic() < end
        time.sleep(0.05)
    queue.close()


@contextmanager
def serving(home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`unweave serve` as a process, on a port of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [
        sys.executable,
        "-m",
        "backend.cli",
        "serve",
        "--port",
        port,
        "--no-worker",
        "--home",
        str(home),
    ]
    options = {
        "UNWEAVE_SHIPPED": str(home / "none"),
        "UNWEAVE_LOAD_ENGINES": "false",
        "PYTHONPATH": str(ROOT),
    }
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **options}, cwd=home
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield process, line.split(" is at ")[1].split()[0]
    finally:
        process.kill()
        process.wait()


def test_a_stop_ends_streams_and_the_process_within_seconds(home: Path) -> None:
    home.mkdir()
    with serving(home) as (process, url):
        job = httpx.post(f"{url}/api/jobs", json={"config": config_of().model_dump(mode="json")}).json()
        with httpx.stream("GET", f"{url}/api/jobs/{job['id']}/events", timeout=60) as stream:
            lines = stream.iter_lines()
            assert next(lines) == "event: job"
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            rest = list(lines)  # to its end: closed by the server, not broken off
        assert rest[0].startswith("data: ")
        assert process.wait(30) in (0, -signal.SIGTERM)  # uvicorn ends by the signal it was sent
        assert time.monotonic() - began < 30
