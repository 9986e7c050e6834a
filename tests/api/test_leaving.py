"""Clients that leave, over real sockets: what they no longer wait for is not computed."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.server import serving
from tests.factories import SITES, WOODS, FakeAblator, hand_artifact
from workers.spd.answers import SweepBatch, SweepItem
from workers.spd.queries import AblationQuery

PATH = "/api/decompositions/tiny"


class Watched(FakeAblator):
    """Says what it begins, and takes as long as it is asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[str] = []
        self.go = threading.Event()
        self.steps, self.closed = 0, threading.Event()

    def ablate(self, query: AblationQuery) -> Any:
        self.begun.append(f"{len(query.token_ids)}")
        assert self.go.wait(20)
        return super().ablate(query)

    def sweep(self, *_: Any) -> Iterator[SweepBatch]:
        try:
            for _ in range(100_000):
                self.steps += 1
                time.sleep(0.005)
                yield SweepBatch([SweepItem(0, None, 1.0, 0.0, [])], [])
        finally:
            self.closed.set()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Watched, Any, Any]]:
    engine = Watched()
    hand_artifact(tmp_path / "artifacts")
    with serving(tmp_path, "tiny", loader=lambda *_: engine, compute_threads=1, compute_queue=8) as (
        client,
        services,
    ):
        yield engine, client, services
        engine.go.set()


def asked(client: Any, what: str, body: dict[str, Any]) -> socket.socket:
    """A request sent over a socket of its own, its answer not waited for."""
    data = json.dumps(body).encode()
    made = socket.create_connection(("127.0.0.1", client.base_url.port), timeout=20)
    head = f"POST {PATH}/{what} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    made.sendall(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
    return made


def until(true: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it never came true")


def test_a_click_that_waits_is_dropped_when_its_client_leaves(served: Any) -> None:
    engine, client, services = served
    first = asked(client, "ablations", {"text": WOODS})
    until(lambda: len(engine.begun) == 1)
    second = asked(client, "ablations", {"text": "Kobe Bryant"})
    until(lambda: services.pool.inside == 2)
    second.close()
    until(lambda: services.pool.inside == 1)
    engine.go.set()
    assert b"200 OK" in first.recv(100)
    assert client.post(f"{PATH}/ablations", json={"text": "Tiger"}).status_code == 200
    assert engine.begun == ["6", "1"], "the one that left was never begun"
    first.close()


def test_equal_clicks_at_once_are_computed_once(served: Any) -> None:
    engine, client, _ = served
    clicks = [asked(client, "ablations", {"text": WOODS}) for _ in range(3)]
    until(lambda: len(engine.begun) == 1)
    time.sleep(0.2)
    clicks.pop().close()
    engine.go.set()
    assert all(b"200 OK" in click.recv(100) for click in clicks)
    assert len(engine.begun) == 1


def test_a_sweep_stops_when_its_client_leaves(served: Any) -> None:
    engine, client, services = served
    sweep = asked(client, "sweeps", {"text": WOODS, "components": [{"key": f"{SITES[0]}:0"}]})
    until(lambda: engine.steps > 5)
    sweep.close()
    assert engine.closed.wait(20)
    steps = engine.steps
    assert steps < 5_000
    until(lambda: services.pool.inside == 0)
    time.sleep(0.1)
    assert engine.steps == steps


def test_clicks_come_through_while_a_sweep_runs(served: Any) -> None:
    engine, client, _ = served
    engine.go.set()
    sweep = asked(client, "sweeps", {"text": WOODS, "components": [{"key": f"{SITES[0]}:0"}]})
    until(lambda: engine.steps > 2)
    for _ in range(5):
        before = engine.steps
        assert client.post(f"{PATH}/ablations", json={"text": WOODS, "recompute": True}).status_code == 200
        assert engine.steps - before <= 20, "a click waits for the step that runs, not for the sweep"
    sweep.close()
    assert engine.closed.wait(20)


def test_past_the_queue_a_client_is_told_when_to_come_back(served: Any) -> None:
    engine, client, services = served
    waiting = [asked(client, "ablations", {"text": WOODS, "top_k": 1 + i}) for i in range(9)]
    until(lambda: services.pool.inside == 9)
    refused = client.post(f"{PATH}/ablations", json={"text": WOODS, "top_k": 40})
    assert (refused.status_code, refused.json()["code"]) == (429, "busy")
    assert int(refused.headers["retry-after"]) >= 1
    engine.go.set()
    assert all(b"200 OK" in one.recv(100) for one in waiting), "none of those that wait is lost"
    assert client.post(f"{PATH}/ablations", json={"text": WOODS, "top_k": 40}).status_code == 200
