"""Fifty people at once: every answer is the one computed alone, none is lost, and how long they wait.

`python -m tests.bench.load [clients] [seconds]`. Each client has its own prompt and baskets and asks again as soon as
it is answered; one in ten streams a sweep meanwhile. Where the queue is full the answer is 429, and the client waits
as asked and asks again: that counts into its time.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import torch

from tests.bench import build
from tests.bench.server import serving

CLIENTS = 50
SECONDS = 20.0
PROMPTS = 5
TOLERANCE = 1e-4
A_SECOND, P95 = 20, 2.5
WAYS = [(1, 2), (2, 1), (2, 2)]  # passes at the same time, threads each; the last is the default on two cores


def specs() -> list[dict[str, Any]]:
    """Ten questions that answer differently."""
    sites = build.site_names()
    return [
        {
            "text": build.words(build.TOKENS, number % PROMPTS),
            "components": [{"key": f"{sites[(7 * number + i) % len(sites)]}:{i}"} for i in range(3)],
            "positions": [build.TOKENS - 1],
            "watch": [" golf"],
            "recompute": True,
        }
        for number in range(2 * PROMPTS)
    ]


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two answers tell the same numbers."""
    a, b = one["positions"][0], other["positions"][0]
    pairs = [(a["kl"], b["kl"])]
    for was, now in zip(a["watched"], b["watched"], strict=True):
        pairs += [(was[side]["logit"], now[side]["logit"]) for side in ("baseline", "ablated")]
    return all(abs(x - y) <= TOLERANCE * (1 + abs(x)) for x, y in pairs)


async def crowd(address: str, alone: list[dict[str, Any]], clients: int, seconds: float) -> dict[str, Any]:
    """Let them ask until the time is over."""
    asked, path = specs(), "/api/decompositions/bench"
    until = time.perf_counter() + seconds
    waits: list[float] = []
    counts = {"wrong": 0, "lost": 0, "refused": 0, "sweep_rows": 0}

    async def person(number: int) -> None:
        headers = {"X-Unweave-Client": f"person-{number}"}
        async with httpx.AsyncClient(base_url=address, headers=headers, timeout=300) as client:
            turn = number
            while time.perf_counter() < until:
                which = turn % len(asked)
                turn += 1
                started = time.perf_counter()
                while (
                    answer := await client.post(f"{path}/ablations", json=asked[which])
                ).status_code == 429:
                    counts["refused"] += 1
                    await asyncio.sleep(float(answer.headers["retry-after"]))
                if answer.status_code != 200:
                    counts["lost"] += 1
                    continue
                waits.append(time.perf_counter() - started)
                counts["wrong"] += not same(answer.json(), alone[which])

    async def sweeper(number: int) -> None:
        keys = [{"key": f"{site}:{number}"} for site in build.site_names()]
        async with httpx.AsyncClient(base_url=address, timeout=300) as client:
            while time.perf_counter() < until:
                body = {"text": asked[number % 10]["text"], "components": keys}
                async with client.stream("POST", f"{path}/sweeps", json=body) as answer:
                    async for line in answer.aiter_lines():
                        counts["sweep_rows"] += len(json.loads(line).get("items", []))
                        if time.perf_counter() > until:
                            break

    started, cpu = time.perf_counter(), time.process_time()
    sweeps = max(1, clients // 10)
    await asyncio.gather(*(person(i) for i in range(clients)), *(sweeper(i) for i in range(sweeps)))
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    waits.sort()
    return {
        "clients": clients, "answers": len(waits), **counts, "seconds": round(took, 1), "cpu_seconds": round(cpu, 1),
        "answers_per_second": round(len(waits) / took, 2), "median_s": round(statistics.median(waits), 3),
        "p95_s": round(waits[int(0.95 * (len(waits) - 1))], 3),
    }  # fmt: skip


def run(home: Path, clients: int = CLIENTS, seconds: float = SECONDS) -> Iterator[dict[str, Any]]:
    """Throughput beside that of plain passes one after the other, and how long a click takes while a sweep runs;
    `home` holds what `build` made. One pass at a time or two, on the threads that `WAYS` says."""
    model = build.gpt2()
    ids = torch.arange(build.TOKENS)[None]

    def plain() -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            model(ids, use_cache=False)
        return time.perf_counter() - started

    before = torch.get_num_threads()
    for compute, each in WAYS:
        torch.set_num_threads(each)
        with serving(home, "bench", compute_threads=compute) as (client, _):
            alone = [client.post("/api/decompositions/bench/ablations", json=spec).json() for spec in specs()]
            base = statistics.median(plain() for _ in range(5))
            figures = asyncio.run(crowd(str(client.base_url), alone, clients, seconds))
            base = (base + statistics.median(plain() for _ in range(5))) / 2
            ratio = round(1 / (figures["answers_per_second"] * base), 3)
            yield {
                "name": "many_clients", "ratio": ratio, "target": f"{A_SECOND} a second, p95 {P95} s",
                "ok": figures["wrong"] == 0 and figures["lost"] == 0
                and figures["answers_per_second"] >= A_SECOND and figures["p95_s"] <= P95,
                "plain_ms": round(1e3 * base, 1),
                "compute_threads": compute, "threads_a_pass": each, **figures,
            }  # fmt: skip
            yield clicks(client, compute, each)
    torch.set_num_threads(before)


def clicks(client: httpx.Client, compute: int, each: int, count: int = 20) -> dict[str, Any]:
    """How long single ablations take alone, and while a heavy sweep runs. It may hold a click up by the step that
    runs, never by the sweep."""
    path, sites = "/api/decompositions/bench", build.site_names()
    asked = {"text": build.words(build.TOKENS), "components": [{"key": f"{sites[20]}:1"}], "recompute": True}

    def click() -> float:
        started = time.perf_counter()
        client.post(f"{path}/ablations", json=asked).raise_for_status()
        return time.perf_counter() - started

    alone = sorted(click() for _ in range(count))
    running, enough = threading.Event(), threading.Event()
    rows = [0, 0.0]

    def sweep() -> None:
        keys = [{"key": f"{site}:{i}"} for i in range(build.C) for site in sites]
        with httpx.Client(base_url=client.base_url, timeout=600) as other:
            started = time.perf_counter()
            body = {"text": build.words(build.TOKENS, 99), "components": keys}
            with other.stream("POST", f"{path}/sweeps", json=body) as answer:
                for line in answer.iter_lines():
                    rows[0] += len(json.loads(line).get("items", []))
                    if rows[0]:
                        running.set()
                    if enough.is_set():
                        break
            rows[1] = time.perf_counter() - started

    thread = threading.Thread(target=sweep)
    thread.start()
    running.wait(120)
    during = sorted(click() for _ in range(count))
    enough.set()
    thread.join(120)
    medians = statistics.median(alone), statistics.median(during)
    return {
        "name": "a_click_while_a_sweep_runs", "ratio": round(medians[1] / medians[0], 2), "target": 1.3,
        "ok": rows[0] > 0 and medians[1] <= 1.3 * medians[0],
        "compute_threads": compute, "threads_a_pass": each, "alone_ms": round(1e3 * medians[0], 1),
        "during_ms": round(1e3 * medians[1], 1), "slowest_ms": round(1e3 * during[-1], 1),
        "sweep_rows_a_second": round(rows[0] / rows[1], 1),
    }  # fmt: skip


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else CLIENTS
    length = float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    with tempfile.TemporaryDirectory() as folder:
        build.build(Path(folder))
        for found in run(Path(folder), count, length):
            print(json.dumps(found), flush=True)
