"""The circuit of a prompt: 64 tokens, about 100 components in use at each, at GPT-2-small's shape, through HTTP."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench import build
from tests.bench.ratios import spent
from tests.bench.server import serving

TOKENS, A_TOKEN, TARGET = 64, 100, 2.0


def run(home: Path, times: int = 5) -> Iterator[dict[str, Any]]:
    """Seconds of one answer about a prompt whose importances are known, as on the page; the target is in CPU seconds of
    one core, since the machine may do other things too."""
    path = "/api/decompositions/bench"
    with serving(home, "bench") as (client, _):
        walls, cpus, found = [], [], {}
        for seed in range(times):
            text = build.words(TOKENS, 5000 + seed)
            known = client.post(f"{path}/importances", json={"text": text}).raise_for_status().json()
            threshold = sorted(known["ci"], reverse=True)[TOKENS * A_TOKEN]
            body = {"text": text, "threshold": threshold, "top_edges": 2_000}

            def ask(body: dict[str, Any] = body) -> None:
                nonlocal found
                found = client.post(f"{path}/circuits", json=body).raise_for_status().json()

            took = spent(ask)
            walls.append(took.wall)
            cpus.append(took.cpu)
        seconds = statistics.median(cpus)
        yield {
            "name": "circuit_64_tokens", "ratio": round(seconds / TARGET, 3), "target": 1.0, "ok": seconds <= TARGET,
            "cpu_s": round(seconds, 2), "wall_s": round(statistics.median(walls), 2),
            "nodes": len(found["nodes"]["ci"]), "edges": found["edges_total"], "shown": found["edges_shown"],
        }  # fmt: skip
