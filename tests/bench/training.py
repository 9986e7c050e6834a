"""What a training step costs beside a plain forward and backward pass of the same model, measured in one run.

GPT-2-small's shape with random weights, all MLP matrices, C = 64; one stochastic and one partial pass, faithfulness
and minimality a step. Steps and plain passes take turns, and a ratio is the median over the pairs, so what else the
machine does falls on both alike. Memory is the peak of a process of its own above what the libraries take.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from tests.bench.build import gpt2
from tests.bench.memory import peak_mb
from tests.spd import tiny
from workers.spd.config import parse_config
from workers.spd.method.training import Trainer
from workers.spd.prompts.batches import Batch, clean_batch

ROUNDS = 7
SHAPES = {"8x32": (8, 32, 1.5), "2x8": (2, 8, 4.0)}
CI = {
    "shared_mlp": {"kind": "shared_mlp", "hidden": 32},
    "attention": {"kind": "attention", "scope": "site", "d_k": 16, "hidden": 32, "max_distance": 32},
}


def trainer_of(ci: str, batch: int, seq: int) -> tuple[Trainer, Batch]:
    """A run about to take its first step."""
    config = parse_config(
        {
            **tiny.run_config().model_dump(mode="json"),
            "sites": ["transformer.h.*.mlp.c_*"],
            "C": 64,
            "start": {"kind": "random"},
            "ci": CI[ci],
            "losses": [
                {"kind": "faithfulness"},
                {"kind": "stochastic_reconstruction", "uniform": 1, "level": 0},
                {"kind": "partial_reconstruction", "uniform": 1, "route": "layer"},
                {"kind": "importance_minimality"},
            ],
            "steps": 1000,
        }
    )
    target = tiny.target_of(gpt2())
    sites = target.sites(config.sites)
    target.attach(sites)
    ids = torch.randint(0, 50_000, (batch, seq), generator=torch.Generator().manual_seed(0)).tolist()
    data = clean_batch(target, ids, "all")  # computed once: the prompts repeat
    return Trainer(config, target, sites, data), data


def plain_pass(batch: int, seq: int) -> Callable[[], None]:
    """Forward and backward of the whole model, gradients of every weight."""
    model = gpt2()
    ids = torch.randint(0, 50_000, (batch, seq), generator=torch.Generator().manual_seed(0))

    def run() -> None:
        model.zero_grad(set_to_none=True)
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()

    return run


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def against(plain: Callable[[], Any], work: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """The median over rounds of how many plain passes one `work` takes."""
    plain()
    work()
    return statistics.median(seconds(work) / seconds(plain) for _ in range(rounds))


def peak_megabytes(what: str) -> float:
    """Peak memory of a fresh process that does `what`, above that of one that only imports."""
    out = subprocess.run(
        [sys.executable, "-m", "tests.bench.training", what], check=True, capture_output=True, text=True
    )
    return float(out.stdout)


def measure() -> Iterator[dict[str, Any]]:
    """One object a figure: {name, ratio, target, ok}."""

    def line(name: str, ratio: float, target: float) -> dict[str, Any]:
        return {"name": name, "ratio": round(ratio, 2), "target": target, "ok": ratio <= target}

    for name, (batch, seq, target) in SHAPES.items():
        trainer, data = trainer_of("shared_mlp", batch, seq)
        step = partial(trainer.train_step, data)
        yield line(f"training step {name}", against(plain_pass(batch, seq), step), target)
    batch, seq, _ = SHAPES["8x32"]
    (shared, data), (attention, same) = (
        trainer_of("shared_mlp", batch, seq),
        trainer_of("attention", batch, seq),
    )
    ratio = against(partial(shared.train_step, data), partial(attention.train_step, same))
    yield line("training step with attention CI, scope site, against shared_mlp", ratio, 1.5)
    nothing = peak_megabytes("nothing")
    ratio = (peak_megabytes("step") - nothing) / (peak_megabytes("plain") - nothing)
    yield line("training step, peak memory 8x32", ratio, 1.5)


def main() -> None:
    """With an argument: do that once and print the process's peak memory in megabytes."""
    if len(sys.argv) > 1:
        batch, seq, _ = SHAPES["8x32"]
        if sys.argv[1] == "step":
            trainer, data = trainer_of("shared_mlp", batch, seq)
            for _ in range(2):
                trainer.train_step(data)
        elif sys.argv[1] == "plain":
            run = plain_pass(batch, seq)
            run()
            run()
        print(peak_mb())
        return
    for item in measure():
        print(json.dumps(item), flush=True)


if __name__ == "__main__":
    main()
