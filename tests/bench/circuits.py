"""The circuit of a prompt: 64 tokens, about 100 components in use at each, at GPT-2-small's shape."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tests.bench import build
from tests.bench.ratios import spent
from tests.spd import tiny
from workers.spd.ablation.engine import AblationEngine
from workers.spd.circuits.circuit import CircuitGraph, circuit_graph
from workers.spd.method.decomposition import Importances
from workers.spd.queries import CircuitQuery

TOKENS, A_TOKEN, TARGET = 64, 100, 2.0


def run(home: Path, times: int = 3) -> Iterator[dict[str, Any]]:
    """Seconds of CPU of one circuit whose importances are known, as on the page. Nodes are drawn evenly over the sites:
    all 48, or the 24 of the MLPs, where every edge between positions goes through undecomposed attention."""
    model = build.gpt2()
    for name, part in (("circuit_48_sites", ""), ("circuit_24_mlp_sites", ".mlp.")):
        sites = tuple(site for site in build.site_names() if part in site)
        yield measure(name, model, sites, times)


@torch.no_grad()
def drawn(engine: AblationEngine, ids: list[int], seed: int) -> Importances:
    """The prompt's inner activations, with 100 components per token in use, whichever they are."""
    found = engine.site_importances(engine.clean(ids))
    share = A_TOKEN / sum(inner.shape[-1] for inner in found.inner.values())
    generator = torch.Generator().manual_seed(seed)
    g = {
        site: (torch.rand(inner.shape, generator=generator) < share).float()
        for site, inner in found.inner.items()
    }
    return Importances({site: inner.clone() for site, inner in found.inner.items()}, found.gamma, g)


def measure(name: str, model: Any, sites: tuple[str, ...], times: int) -> dict[str, Any]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        decomposition = tiny.decomposition_of(tiny.target_of(model), sites, build.C)
        with torch.no_grad():
            for U in decomposition.components.U.values():
                U.mul_(0.05)
        engine = AblationEngine(decomposition)
        walls, cpus = [], []
        made: list[CircuitGraph] = []
        for seed in range(times):
            ids = torch.randint(0, 50_000, (TOKENS,), generator=torch.Generator().manual_seed(seed)).tolist()
            known = drawn(engine, ids, seed)

            def ask(known: Importances = known, ids: list[int] = ids) -> None:
                query = CircuitQuery(tuple(ids), TOKENS - 1, token=5, against=2, threshold=0.1)
                made.append(circuit_graph(decomposition, known, query))

            took = spent(ask)
            walls.append(took.wall)
            cpus.append(took.cpu)
    finally:
        torch.set_num_threads(threads)
    seconds = statistics.median(cpus)
    return {
        "name": name, "ratio": round(seconds / TARGET, 3), "target": 1.0, "ok": seconds <= TARGET,
        "cpu_s": round(seconds, 2), "wall_s": round(statistics.median(walls), 2), "nodes": len(made[-1].nodes.site),
        "edges": made[-1].edges_total,        "completeness": made[-1].completeness,
    }  # fmt: skip
