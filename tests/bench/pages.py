"""What a component's page costs the store, with 1,000 components and with 100,000: the same."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from workers.spd.statistics.config import HarvestConfig
from workers.spd.statistics.store import HarvestInfo, HarvestStore, Ragged, write_store

SMALL, LARGE = 1_000, 100_000
EXAMPLES, CONTEXT, TOKENS, OTHERS = 24, 25, 24, 12
READS = 200


def run(_: Path) -> Iterator[dict[str, Any]]:
    """Median milliseconds of opening one component at random, and how they grow with the components."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        small, large = (_milliseconds(Path(folder), count) for count in (SMALL, LARGE))
    yield {
        "name": "component_page_store_ms",
        "components": LARGE,
        "ms": round(large, 2),
        "target": 5,
        "ok": large <= 5,
    }
    ratio = large / small
    yield {"name": "component_page_100k_over_1k", "ratio": round(ratio, 2), "target": 2, "ok": ratio <= 2}


def _milliseconds(folder: Path, count: int) -> float:
    """Write a harvest of `count` made-up components and read some of them, each for the first time."""
    store = HarvestStore(write(folder / str(count), count))
    chosen = np.random.default_rng(1).choice(count, READS, replace=False)
    spent: list[float] = []
    for ordinal in chosen.tolist():
        started = time.perf_counter()
        store.row(ordinal)
        spent.append((time.perf_counter() - started) * 1e3)
    store.close()
    return statistics.median(spent)


def write(folder: Path, count: int) -> Path:
    """A harvest of the usual size a component, its numbers drawn from a seed."""
    draw = np.random.default_rng(0)

    def ragged(each: int, **fields: np.ndarray | Ragged) -> Ragged:
        return Ragged(np.arange(count + 1, dtype=np.int64) * each, fields)

    def texts(rows: int, kind: Any, values: np.ndarray) -> Ragged:
        return Ragged(
            np.arange(rows + 1, dtype=np.int64) * CONTEXT,
            {"": np.resize(values, rows * CONTEXT).astype(kind)},
        )

    ids, floats = draw.integers(0, 49_152, 100_003), draw.standard_normal(100_003)
    n, m = count * EXAMPLES, count * TOKENS
    columns = {
        "fires": draw.integers(0, 9_999, count),
        "ci_histogram": draw.integers(0, 99, (count, 25)),
        "activation_histogram": draw.integers(0, 99, (count, 32)),
        "inputs": ragged(TOKENS, token=np.resize(ids, m).astype(np.int32), pmi=np.resize(floats, m).astype(np.float32)),
        "cofiring": ragged(OTHERS, ordinal=draw.integers(0, count, count * OTHERS).astype(np.int32)),
        "examples": ragged(
            EXAMPLES, window=np.arange(n, dtype=np.int32), tokens=texts(n, np.int32, ids),
            ci=texts(n, np.float16, np.abs(floats)), activation=texts(n, np.float16, floats),
        ),
    }  # fmt: skip
    info = HarvestInfo(
        id=str(count), artifact_hash="0", weights_hash="0", corpus="made-up", described="numbers from a seed",
        corpus_hash="0", config=HarvestConfig(), threshold=0.1, windows=1, tokens=1, positions=1, all_read=True,
        sources={}, components=count, fired=count, ablated=0, ablation_windows=0, sampled_positions=0, dtype="float32",
        device="cpu", versions={}, created_at=datetime.now(UTC), seconds=0, files={},
    )  # fmt: skip
    write_store(folder, info, columns)
    return folder
