"""How time and memory of a training step grow with layers, width, C, batch and length, each alone, from one small run
over all MLP matrices of a model like GPT-2 (docs/scale.md); and what `sizes` says before it, beside the peak.

Every run is a process of its own: its peak is that of the run, above what the libraries take.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from tests.bench.memory import peak_mb
from tests.spd import tiny
from workers.spd.config import parse_config
from workers.spd.method.training import Trainer
from workers.spd.prompts.batches import Batch, clean_batch
from workers.spd.run.sizes import sizes

NEAR = 0.1
VOCABULARY = 8_192
STEPS = 2


@dataclass(frozen=True)
class Shape:
    layers: int = 3
    d: int = 256
    C: int = 128
    batch: int = 8
    length: int = 32


BASE = Shape()
GROWN = [
    BASE, *(replace(BASE, **{name: value * getattr(BASE, name)}) for value in (2, 4) for name in vars(BASE)),
]  # fmt: skip


def trainer_of(shape: Shape) -> tuple[Trainer, Batch]:
    """A run about to take its first step."""
    config = parse_config(
        {
            **tiny.run_config().model_dump(mode="json"),
            "sites": ["transformer.h.*.mlp.c_*"], "C": shape.C, "start": {"kind": "random"},
            "ci": {"kind": "shared_mlp", "hidden": 32},
            "losses": [
                {"kind": "faithfulness"}, {"kind": "stochastic_reconstruction", "uniform": 1, "level": 0},
                {"kind": "partial_reconstruction", "uniform": 1, "route": "layer"}, {"kind": "importance_minimality"},
            ],
        }
    )  # fmt: skip
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            n_layer=shape.layers,
            n_embd=shape.d,
            n_head=shape.d // 64,
            n_positions=shape.length,
            vocab_size=8_192,
        )
    )
    target = tiny.target_of(model.eval())
    sites = target.sites(config.sites)
    target.attach(sites)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, VOCABULARY, (shape.batch, shape.length), generator=generator).tolist()
    data = clean_batch(target, ids, "all")
    return Trainer(config, target, sites, data), data


def one(shape: Shape) -> dict[str, float]:
    """Counted and peak megabytes above the libraries', and CPU seconds a step."""
    small, few = trainer_of(Shape(1, 64, 8, 1, 8))
    small.train_step(few)  # what the libraries take with their first step
    before = peak_mb()
    trainer, data = trainer_of(shape)
    counted = sizes(trainer, data).total / 2**20
    trainer.train_step(data)
    started = time.process_time()
    for _ in range(STEPS):
        trainer.train_step(data)
    seconds = (time.process_time() - started) / STEPS
    return {"counted_mb": round(counted), "peak_mb": round(peak_mb() - before), "cpu_s": round(seconds, 3)}


def run() -> Iterator[dict[str, Any]]:
    """One figure a shape. ratio: what was counted before, over the peak."""
    for shape in GROWN:
        command = [sys.executable, "-m", "tests.bench.scale", json.dumps(vars(shape))]
        # So that what is freed is given back at once, and the peak is of what is held together.
        freed = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=freed)
        found = json.loads(done.stdout)
        ratio = found["counted_mb"] / found["peak_mb"]
        changed = [f"{name} {value}" for name, value in vars(shape).items() if value != getattr(BASE, name)]
        yield {
            "name": f"step of {' '.join(changed) or 'the base'}", "ratio": round(ratio, 3), "target": f"1 ± {NEAR}",
            "ok": abs(ratio - 1) <= NEAR, **vars(shape), **found,
        }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(one(Shape(**json.loads(sys.argv[1])))))
