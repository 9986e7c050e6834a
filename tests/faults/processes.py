"""Servers that are killed, stopped, doubled, or put into odd places."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from tests import databases
from tests.faults.server import Server, home_with_artifact, server, wait

LABEL = "/api/decompositions/tiny/components/model.layers.0.mlp.down_proj:0/label"
FAKETIME = (*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), Path(os.environ.get("LIBFAKETIME", "-")))
KILLS = int(os.environ.get("KILLS", "10"))
SEED = int(os.environ.get("SEED", "0"))


def killed_while_it_writes(folder: Path) -> str:
    """kill -9 of the server while it writes labels"""
    home, chance = home_with_artifact(folder), random.Random(SEED)
    acknowledged = 0
    for _ in range(KILLS):
        with server(home, "--no-worker") as running:
            timer = threading.Timer(chance.uniform(0.2, 2), running.process.kill)
            timer.start()
            try:
                while True:
                    answer = running.ask("PUT", LABEL, json={"text": "x", "version": acknowledged})
                    if answer.status_code == 409:  # written, and killed before the answer
                        acknowledged += 1
                        continue
                    assert answer.status_code == 200, answer.text
                    acknowledged += 1
            except httpx.TransportError:
                timer.join()
    with server(home, "--no-worker") as running:
        kept = running.ask("GET", f"{LABEL}s").json()["version"]
    assert acknowledged <= kept <= acknowledged + 1
    return f"{KILLS} kills, {acknowledged} answered writes, {kept} there"


def postgres_killed(folder: Path) -> str:
    """kill -9 of PostgreSQL under a server with a worker and a running job, which ends in an outage or between two"""
    home, chance = home_with_artifact(folder), random.Random(SEED)
    with databases.cluster() as cluster:
        databases.server = cluster.folder
        try:
            url = databases.url_of(home)
        finally:
            databases.server = None
        with server(home, UNWEAVE_DATABASE_URL=url) as running:
            job = running.start_job(name="long", steps=300)
            times = max(2, KILLS // 2)
            for _ in range(times):
                time.sleep(chance.uniform(1, 6))
                os.kill(cluster.pid, signal.SIGKILL)
                wait(lambda: running.status("/readyz") == 503)
                cluster.start()
                wait(lambda: running.status("/readyz") == 200)
            ended = running.end_of(job)
            made = running.ask("GET", "/api/decompositions").json()["items"]
    assert ended["state"] == "done", ended
    assert [item["id"] for item in made].count("long") == 1
    return f"{times} kills; /readyz 503, then 200; the job ended once: {ended['state']}"


def stopped_in_a_request(folder: Path) -> str:
    """SIGTERM while a request is answered"""
    home = home_with_artifact(folder)
    with server(home, "--no-worker") as running:
        answers: list[httpx.Response] = []
        asking = threading.Thread(
            target=lambda: answers.append(running.ask("GET", "/api/decompositions/tiny/figures/curves.html"))
        )
        asking.start()
        time.sleep(0.3)  # Plotly is being imported
        began = time.monotonic()
        code = running.end()
        asking.join()
        seconds = time.monotonic() - began
    assert answers[0].status_code == 200, "the request was cut off"
    return f"the request was answered in full; the server ended after {seconds:.1f} s ({code})"


def stopped_in_a_job(folder: Path) -> str:
    """SIGTERM while a job runs; the server is started again"""
    home = home_with_artifact(folder)
    with server(home) as running:
        job = running.start_job(name="runs", steps=400)
        wait(lambda: running.ask("GET", f"/api/jobs/{job['id']}").json()["step"] > 40)
        began = time.monotonic()
        running.end()
        seconds = time.monotonic() - began
    with server(home) as running:
        ended = running.end_of(job)
    assert (ended["state"], ended["resumed"]) == ("done", 1), ended
    return f"ended after {seconds:.1f} s; the next one went on from the very step: done, resumed once"


def killed_under_a_job(folder: Path) -> str:
    """kill -9 of the server, and of server and worker at once, while a job runs; the server is started again"""
    home, chance, kills = home_with_artifact(folder), random.Random(SEED), max(2, KILLS // 2)
    job: dict[str, Any] = {}
    for number in range(kills):
        with server(home) as running:
            if not job:
                job = running.start_job(name="runs", steps=400)
            mine = f"/api/jobs/{job['id']}"
            wait(lambda at=mine, to=40 * number: running.ask("GET", at).json()["step"] > to)
            time.sleep(chance.uniform(0, 1))
            if number % 2:
                for worker in running.ask("GET", "/api/health").json()["workers"]:
                    if worker["state"] == "busy":
                        os.kill(worker_pid(home), signal.SIGKILL)
            running.process.kill()
    with server(home) as running:
        ended = running.end_of(job)
        made = running.ask("GET", "/api/decompositions").json()["items"]
    assert ended["state"] == "done", ended
    assert [item["id"] for item in made].count("runs") == 1
    return f"{kills} kills, every second of both; done once, resumed {ended['resumed']} times"


def worker_pid(home: Path) -> int:
    """The process of this home's worker."""
    with closing(sqlite3.connect(home / "unweave-jobs.db")) as database:
        rows = database.execute("SELECT pid FROM unweave_job_workers ORDER BY seen_at DESC LIMIT 1")
        return int(rows.fetchone()[0])


def a_clock_that_jumps(folder: Path) -> str:
    """the clock jumps a day ahead and two days back while a job runs and labels are written"""
    library = next((path for path in FAKETIME if path.is_file()), None)
    if library is None:
        return "not tried: there is no libfaketime (Debian: libfaketime)"
    home, clock = home_with_artifact(folder), folder / "clock"
    clock.write_text("+0")
    faked = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1"}
    with server(home, **faked, DONT_FAKE_MONOTONIC="1") as running:
        job = running.start_job(name="runs", steps=300)
        for number, jump in enumerate(("+1d", "-1d", "+0")):
            wait(lambda to=40 * number: running.ask("GET", f"/api/jobs/{job['id']}").json()["step"] > to)
            clock.write_text(jump)
            label = running.ask("PUT", LABEL, json={"text": jump, "version": number})
            assert label.status_code == 200, label.text
        ended = running.end_of(job)
        kept = running.ask("GET", f"{LABEL}s").json()["version"]
    assert (ended["state"], ended["resumed"], kept) == ("done", 0, 3), ended
    return "the job goes on and is done, resumed by nobody; 3 labels written, 3 there in their order"


def two_servers(folder: Path) -> str:
    """two servers with workers on one home"""
    home = home_with_artifact(folder)
    with server(home) as first, server(home) as second:
        jobs = [running.start_job(name=f"job-{n}", steps=300) for n, running in enumerate((first, second))]
        states = [first.end_of(jobs[1])["state"], second.end_of(jobs[0])["state"]]
        versions = [0, 0]
        for version in range(10):
            for running in (first, second):
                answer = running.ask("PUT", LABEL, json={"text": "x", "version": version})
                versions[answer.status_code == 409] += 1
    assert states == ["done", "done"]
    assert versions == [10, 10], versions
    return "each runs the other's job to its end; of two edits of one version one is 409"


def a_port_in_use(folder: Path) -> str:
    """a port that is taken"""
    home = home_with_artifact(folder)
    with server(home, "--no-worker") as running:
        other = Server(home, "--no-worker", "--port", str(running.port))
        code, said = other.process.wait(120), other.said()
    assert code == 2
    return f"exit code 2: “{said.removeprefix('unweave: ')}”"


def an_odd_place(folder: Path) -> str:
    """a home folder with spaces, quotes, percent signs and unicode in its name"""
    home = home_with_artifact(folder, "a home's “Größe” 100% — 木")
    with server(home) as running:
        ended = running.end_of(running.start_job(name="runs", steps=50))
        assert running.ask("GET", "/api/decompositions/runs").status_code == 200
    assert ended["state"] == "done", ended
    return "starts; a job is done and opens"


FAULTS: list[Callable[[Path], str]] = [
    killed_while_it_writes, killed_under_a_job, postgres_killed, stopped_in_a_request, stopped_in_a_job, two_servers,
    a_port_in_use, an_odd_place, a_clock_that_jumps,
]  # fmt: skip
