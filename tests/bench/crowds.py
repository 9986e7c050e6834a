"""A real server under many at once and for long: everybody's answer right, none lost, memory flat, and nothing computed
for those who have left.

`python -m tests.bench.crowds [NAME …]` runs some of: mixed, distinct, idle, slow, leaving. The decomposition is a tiny
one, so that the server and not the model is what is measured.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.factories import KOBE, WOODS, trained_artifact
from tests.faults.server import Server, server, wait

TINY = "/api/decompositions/tiny"
SITE = "model.layers.0.mlp.down_proj"
CLIENTS, SECONDS = 50, 60.0
REQUESTS, EVERY = 20_000, 1_000
STREAMS, WATCHED_SECONDS = 200, 20.0
TOLERANCE = 1e-4
PASSING = {"cached", "elapsed_ms", "of"}
"""Fields that tell how an answer came about, not what it is. `of`: on what the engine last checked itself."""

Row = dict[str, Any]


def questions() -> list[tuple[str, Row]]:
    """Ablations, comparisons and circuits that all answer differently."""
    keys = [{"key": f"{SITE}:{index}"} for index in range(4)]
    prompts = [WOODS, KOBE, "The capital of France is", "Tiger plays"]
    ablations = [{"text": text, "components": [key], "recompute": True} for text in prompts for key in keys]
    comparisons = [
        {"prompts": [{"text": text}], "a": {"components": keys[:1]}, "b": {"components": keys[1:3]}, "recompute": True}
        for text in prompts
    ]  # fmt: skip
    circuits = [{"text": text, "threshold": 0.05} for text in prompts]
    kinds = {"ablations": ablations, "comparisons": comparisons, "circuits": circuits}
    return [(f"{TINY}/{kind}", body) for kind, bodies in kinds.items() for body in bodies]


def same(one: Any, other: Any) -> bool:
    """Whether two answers tell the same, to rounding."""
    if isinstance(one, dict) and isinstance(other, dict):
        mine, others = ({k: v for k, v in d.items() if k not in PASSING} for d in (one, other))
        return mine.keys() == others.keys() and all(same(mine[key], others[key]) for key in mine)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return one == other


def rss_mb(running: Server) -> float:
    """Memory that the server holds now, MB."""
    lines = Path(f"/proc/{running.process.pid}/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def cpu_seconds(running: Server) -> float:
    fields = Path(f"/proc/{running.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def gauge(running: Server, name: str) -> float:
    lines = running.ask("GET", "/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def percentiles(waits: list[float]) -> Row:
    """Milliseconds that half, 95 and 99 of 100 waited at most."""
    cuts = statistics.quantiles(waits if len(waits) > 1 else 2 * waits, n=100)
    return {f"p{p}_ms": round(1e3 * cuts[p - 1], 1) for p in (50, 95, 99)}


async def patiently(client: httpx.AsyncClient, path: str, body: Row) -> tuple[httpx.Response, int]:
    """The answer, and how often the client was told to come back later first."""
    refused = 0
    while (answer := await client.post(path, json=body)).status_code == 429:
        refused += 1
        await asyncio.sleep(float(answer.headers["retry-after"]))
    return answer, refused


def mixed(running: Server) -> Row:
    """Fifty people ask ablations, comparisons and circuits for a minute; every tenth streams a sweep."""
    alone = [
        (path, body, running.ask("POST", path, json=body).raise_for_status().json())
        for path, body in questions()
    ]
    counts, waits = {"wrong": 0, "lost": 0, "refused": 0, "sweep_rows": 0}, list[float]()
    until = time.perf_counter() + SECONDS

    async def person(client: httpx.AsyncClient, number: int) -> None:
        turn = 7 * number
        while time.perf_counter() < until:
            path, body, expected = alone[turn % len(alone)]
            turn, began = turn + 1, time.perf_counter()
            answer, refused = await patiently(client, path, body)
            counts["refused"] += refused
            waits.append(time.perf_counter() - began)
            counts["lost"] += answer.status_code != 200
            counts["wrong"] += answer.status_code == 200 and not same(answer.json(), expected)

    async def sweeper(client: httpx.AsyncClient) -> None:
        body = {"text": WOODS, "components": [{"key": f"{SITE}:{index}"} for index in range(8)]}
        while time.perf_counter() < until:
            async with client.stream("POST", f"{TINY}/sweeps", json=body) as answer:
                async for line in answer.aiter_lines():
                    counts["sweep_rows"] += len(json.loads(line).get("items", []))

    async def one(number: int) -> None:
        headers = {"x-unweave-client": f"person-{number}"}
        async with httpx.AsyncClient(base_url=running.url, timeout=300, headers=headers) as client:
            await (sweeper(client) if number % 10 == 9 else person(client, number))

    asyncio.run(_all(one(number) for number in range(CLIENTS)))
    return {
        "answers": len(waits),
        **counts,
        **percentiles(waits),
        "ok": counts["wrong"] == counts["lost"] == 0,
    }


def distinct(running: Server) -> Row:
    """Twenty thousand requests with prompts that were never asked before; memory is flat once as many results are kept
    as may be."""
    held, counts, todo = list[float](), {"lost": 0, "refused": 0}, iter(range(REQUESTS))

    async def worker(number: int) -> None:
        headers = {"x-unweave-client": f"client-{number}"}
        async with httpx.AsyncClient(base_url=running.url, timeout=300, headers=headers) as client:
            for turn in todo:
                kind = "circuits" if turn % 20 == 19 else "importances" if turn % 2 else "ablations"
                answer, refused = await patiently(client, f"{TINY}/{kind}", {"text": f"Tiger plays {turn}"})
                counts["refused"] += refused
                counts["lost"] += answer.status_code != 200
                if turn % EVERY == EVERY - 1:
                    held.append(round(rss_mb(running), 1))
                    print(f"{turn + 1} requests: {held[-1]} MB", file=sys.stderr, flush=True)

    began = time.perf_counter()
    asyncio.run(_all(worker(number) for number in range(4)))
    growth = held[-1] / held[-4]
    return {"requests": REQUESTS, "rss_mb": held, "last_over_three_before": round(growth, 3), **counts,
            "seconds": round(time.perf_counter() - began), "ok": counts["lost"] == 0 and growth < 1.02}  # fmt: skip


@asynccontextmanager
async def streams(running: Server, job: str, count: int) -> AsyncIterator[list[str]]:
    """Clients that follow a job; the list holds what each was told first."""
    told, ready = list[str](), asyncio.Event()

    async def follow(client: httpx.AsyncClient) -> None:
        async with client.stream("GET", f"/api/jobs/{job}/events") as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data:") and not ready.is_set():
                    told.append(line)
                    if len(told) == count:
                        ready.set()

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=running.url, timeout=300, limits=limits) as client:
        tasks = [asyncio.create_task(follow(client)) for _ in range(count)]
        await asyncio.wait_for(ready.wait(), 300)
        yield told
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def clicks(running: Server, seconds: float) -> list[float]:
    """How long ablations take meanwhile, one after the other."""
    waits, until = list[float](), time.perf_counter() + seconds
    async with httpx.AsyncClient(base_url=running.url, timeout=300) as client:
        while time.perf_counter() < until:
            began = time.perf_counter()
            body = {"text": WOODS, "components": [{"key": f"{SITE}:0"}], "recompute": True}
            (await client.post(f"{TINY}/ablations", json=body)).raise_for_status()
            waits.append(time.perf_counter() - began)
    return waits


def idle(running: Server) -> Row:
    """Two hundred open event streams of a job that waits: what they cost, and what clicks take beside them."""
    job, before = running.start_job(name="waits")["id"], rss_mb(running)
    alone = asyncio.run(clicks(running, WATCHED_SECONDS / 2))

    async def during() -> tuple[list[float], float, float, int]:
        async with streams(running, job, STREAMS) as told:
            cpu = cpu_seconds(running)
            await asyncio.sleep(WATCHED_SECONDS)
            spent = (cpu_seconds(running) - cpu) / WATCHED_SECONDS
            return await clicks(running, WATCHED_SECONDS / 2), spent, rss_mb(running), len(told)

    beside, spent, held, told = asyncio.run(during())
    running.ask("POST", f"/api/jobs/{job}/cancel")
    return {"streams": told, "cpu_share": round(spent, 3), "mb_more": round(held - before, 1),
            "alone": percentiles(alone), "beside": percentiles(beside), "ok": told == STREAMS}  # fmt: skip


def slow(running: Server) -> Row:
    """Fifty readers that take a page of five megabytes at one kilobyte a second: others do not wait for them."""
    path = f"{TINY}/figures/curves.html"
    whole, before = len(running.ask("GET", path).content), rss_mb(running)
    alone = asyncio.run(clicks(running, WATCHED_SECONDS / 2))
    readers = list[socket.socket]()
    for _ in range(CLIENTS):
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", running.port))
        reader.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
        readers.append(reader)
    for reader in readers:
        assert reader.recv(1), "the page has been made, and waits to be read"

    async def during() -> list[float]:
        async def sip(reader: socket.socket) -> None:
            for _ in range(int(WATCHED_SECONDS)):
                await asyncio.to_thread(reader.recv, 1024)
                await asyncio.sleep(1)

        sipping = asyncio.gather(*map(sip, readers))
        waits = await clicks(running, WATCHED_SECONDS)
        await sipping
        return waits

    beside, held = asyncio.run(during()), rss_mb(running)
    for reader in readers:
        reader.close()
    return {"readers": CLIENTS, "page_bytes": whole, "mb_more": round(held - before, 1),
            "alone": percentiles(alone), "beside": percentiles(beside), "ok": True}  # fmt: skip


def leaving(running: Server) -> Row:
    """Fifty clients start long sweeps and leave: soon nothing is computed any more, and the next click is answered."""
    keys = [{"key": f"{SITE}:{index}"} for index in range(12)] * 20

    async def leave() -> None:
        async def one() -> None:
            async with (
                httpx.AsyncClient(base_url=running.url, timeout=300) as client,
                client.stream("POST", f"{TINY}/sweeps", json={"text": WOODS, "components": keys}) as answer,
            ):
                async for _ in answer.aiter_lines():
                    return

        await asyncio.gather(*(one() for _ in range(CLIENTS)))

    asyncio.run(leave())
    began = time.perf_counter()
    while gauge(running, "unweave_compute_inside") > 0:
        assert time.perf_counter() - began < 60, "something is still computed for those who left"
    idle_after = time.perf_counter() - began
    running.ask("POST", f"{TINY}/ablations", json={"text": KOBE, "recompute": True}).raise_for_status()
    return {"left": CLIENTS, "idle_after_s": round(idle_after, 2), "ok": True}


CROWDS: dict[str, Callable[[Server], Row]] = {
    "mixed": mixed, "distinct": distinct, "idle": idle, "slow": slow, "leaving": leaving,
}  # fmt: skip


async def _all(people: Iterator[Awaitable[None]]) -> None:
    await asyncio.gather(*people)


def run(home: Path, names: list[str] | None = None) -> Iterator[Row]:
    """One row for each crowd, all over one server; `home` is made here."""
    home.mkdir(exist_ok=True)
    trained_artifact(home)
    with server(home, "--no-worker") as running:
        wait(lambda: running.ask("POST", f"{TINY}/ablations", json={"text": WOODS}).status_code == 200)
        for name in names or [*CROWDS]:
            began = os.getloadavg()[0]
            found = CROWDS[name](running)
            loads = [round(load, 1) for load in (began, os.getloadavg()[0])]
            yield {"name": name, "ratio": None, "target": None, "machine_load": loads, **found}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for line in run(Path(folder) / "home", sys.argv[1:]):
            print(json.dumps(line), flush=True)
