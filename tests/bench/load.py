"""Fifty people at once: every answer is the one computed alone, none is lost, and how long they wait.

`python -m tests.bench.load [clients] [seconds]`. Each client has its own prompt and baskets and asks again as soon as
it is answered; one in ten streams a sweep meanwhile. Where the queue is full the answer is 429, and the client waits
as told and asks again: that counts into its time.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
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

    started = time.perf_counter()
    sweeps = max(1, clients // 10)
    await asyncio.gather(*(person(i) for i in range(clients)), *(sweeper(i) for i in range(sweeps)))
    took = time.perf_counter() - started
    waits.sort()
    return {
        "clients": clients, "answers": len(waits), **counts, "seconds": round(took, 1),
        "answers_per_second": round(len(waits) / took, 2), "median_s": round(statistics.median(waits), 3),
        "p95_s": round(waits[int(0.95 * (len(waits) - 1))], 3),
    }  # fmt: skip


def run(home: Path, clients: int = CLIENTS, seconds: float = SECONDS) -> Iterator[dict[str, Any]]:
    """Throughput beside that of plain passes one after the other; `home` holds what `build` made."""
    model = build.gpt2()
    ids = torch.arange(build.TOKENS)[None]

    def plain() -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            model(ids, use_cache=False)
        return time.perf_counter() - started

    with serving(home, "bench") as (client, _):
        alone = [client.post("/api/decompositions/bench/ablations", json=spec).json() for spec in specs()]
        before = statistics.median(plain() for _ in range(5))
        figures = asyncio.run(crowd(str(client.base_url), alone, clients, seconds))
        after = statistics.median(plain() for _ in range(5))
    base = (before + after) / 2
    ratio = round(1 / (figures["answers_per_second"] * base), 3)
    yield {
        "name": "many_clients", "ratio": ratio, "target": None,
        "ok": figures["wrong"] == 0 and figures["lost"] == 0, "plain_ms": round(1e3 * base, 1), **figures,
    }  # fmt: skip


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else CLIENTS
    length = float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    with tempfile.TemporaryDirectory() as folder:
        build.build(Path(folder))
        for found in run(Path(folder), count, length):
            print(json.dumps(found), flush=True)
