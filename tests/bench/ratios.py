"""How long an answer takes, through HTTP, as a multiple of the model's own forward pass measured beside it, with the
same matrix products (`plain_pass_with_the_engines_products` says what these alone are worth).

Baseline and measured calls take turns, and a ratio is the median over the pairs: what else the machine does falls on
both alike.
"""

from __future__ import annotations

import copy
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import torch

from tests.bench import build
from tests.bench.server import serving
from workers.spd.targets import onednn

ROUNDS = 15


@dataclass(frozen=True)
class Spent:
    """Seconds on the clock, and seconds of CPU of this process (server, client and model alike)."""

    wall: float
    cpu: float


def spent(work: Callable[[], Any]) -> Spent:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def paired(
    plain: Callable[[], Any],
    works: list[Callable[[], Any]],
    share: int = 1,
    settle: Callable[[], Any] = lambda: None,
) -> dict[str, float]:
    """Each work between two plain passes; `share`: how many answers one work holds; `settle` waits for what an answer
    left to be done behind it, so that none of it falls on a plain pass.

    `ratio` is by the clock; `cpu_ratio` says the same where other processes take the cores away in between.
    """
    before = spent(plain)
    wall, cpu, plains, took = [], [], [], []
    for work in works:
        now = spent(work)
        settle()
        after = spent(plain)
        wall.append(now.wall / share / ((before.wall + after.wall) / 2))
        cpu.append(now.cpu / share / ((before.cpu + after.cpu) / 2))
        plains.append(after.wall)
        took.append(now.wall / share)
        before = after
    return {
        "ratio": round(statistics.median(wall), 3),
        "cpu_ratio": round(statistics.median(cpu), 3),
        "mean": round(statistics.mean(wall), 3),
        "cpu_mean": round(statistics.mean(cpu), 3),
        "plain_ms": round(1e3 * statistics.median(plains), 1),
        "ms": round(1e3 * statistics.median(took), 1),
        "pairs": len(works),
    }


def line(name: str, target: float | None, figures: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "target": target,
        "ok": target is None or figures["ratio"] <= target,
        **figures,
        **more,
    }


def run(home: Path, rounds: int = ROUNDS) -> Iterator[dict[str, Any]]:
    """Speed; `home` holds what `build` made."""
    model = build.gpt2()
    with serving(home, "bench") as (client, services):

        def settle() -> None:
            while services.pool.inside:
                time.sleep(0.01)

        yield from measure(client, model, rounds, settle)


def measure(
    client: httpx.Client, model: Any, rounds: int, settle: Callable[[], None]
) -> Iterator[dict[str, Any]]:
    sites = build.site_names()
    text = build.words(build.TOKENS)
    path = "/api/decompositions/bench"
    used = iter(range(10**6))

    def post(what: str, **body: Any) -> dict[str, Any]:
        answer = client.post(f"{path}/{what}", json=body)
        answer.raise_for_status()
        return answer.json()

    tokens = post("tokenize", text=text)["tokens"]
    assert len(tokens) == build.TOKENS
    ids = torch.tensor([[token["id"] for token in tokens]])

    fast = copy.deepcopy(model).requires_grad_(False)
    onednn.adopt(fast)

    def plain() -> None:
        with torch.inference_mode():
            fast(ids, use_cache=False)

    def ablate(site: str, **more: Any) -> Callable[[], Any]:
        body = {"text": text, "components": [{"key": f"{site}:{next(used) % build.C}"}], **more}
        return lambda: post("ablations", **body)

    for _ in range(3):
        plain()
        ablate(sites[0], recompute=True)()
    settle()
    first = [site for site in sites if ".h.0." in site]
    yield line("ablation_first_block", 1.05,
               paired(plain, [ablate(first[i % 4], recompute=True) for i in range(rounds)]))  # fmt: skip
    # A block a call, each kind of site in turn: the mean over the blocks is what is asked for, so not the median.
    spread = [sites[4 * (i % 12) + (i + i // 12) % 4] for i in range(12 * max(1, rounds // 5))]
    means = paired(plain, [ablate(site, recompute=True) for site in spread])
    yield line(
        "ablation_mean_of_blocks", 0.75, {**means, "ratio": means["mean"], "cpu_ratio": means["cpu_mean"]}
    )

    def importances(seed: int) -> Callable[[], Any]:
        return lambda: post("importances", text=build.words(build.TOKENS, seed))

    entries = len(post("importances", text=build.words(build.TOKENS, 999))["ci"])
    figures = paired(plain, [importances(1000 + i) for i in range(rounds)])
    yield line("importances_48_sites_64_components", 1.3, figures, entries=entries)

    def new_prompt(seed: int) -> Callable[[], Any]:
        def ask() -> None:
            said = build.words(build.TOKENS, seed)
            post("tokenize", text=said)
            post("importances", text=said)
            post("ablations", text=said, components=[{"key": f"{sites[0]}:1"}])

        return ask

    yield line("new_prompt", 2.0, paired(plain, [new_prompt(2000 + i) for i in range(rounds)], settle=settle))

    def checked_prompt(seed: int) -> Callable[[], Any]:
        def ask() -> None:
            new_prompt(seed)()
            settle()

        return ask

    # With the prompt's own self-check, which is made behind the first answer.
    yield line(
        "new_prompt_and_its_self_check",
        None,
        paired(plain, [checked_prompt(3000 + i) for i in range(rounds)]),
    )
    yield from sweep(client, plain, path, text, sites, max(1, rounds // 5))

    def plain_torch() -> None:
        with torch.inference_mode():
            model(ids, use_cache=False)

    plain_torch()
    yield line("plain_pass_with_the_engines_products", None, paired(plain_torch, [plain] * rounds))


def sweep(
    client: httpx.Client, plain: Callable[[], Any], path: str, text: str, sites: list[str], times: int
) -> Iterator[dict[str, Any]]:
    """256 components alone, spread over the blocks."""

    def ask(shift: int) -> Callable[[], Any]:
        keys = [f"{sites[i % len(sites)]}:{(i // len(sites) + shift) % build.C}" for i in range(256)]

        def work() -> None:
            body = {"text": text, "components": [{"key": key} for key in keys], "watch": [" golf"]}
            with client.stream("POST", f"{path}/sweeps", json=body) as answer:
                answer.raise_for_status()
                rows = [json.loads(text) for text in answer.iter_lines() if text]
            assert sum(len(row.get("items", [])) for row in rows) == 256, rows[-1]

        return work

    yield line("sweep_of_256", 0.15, paired(plain, [ask(8 * i) for i in range(times)], share=256))
