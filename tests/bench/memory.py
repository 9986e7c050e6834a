"""Peak memory of a server that has answered each kind of request, over that of the plain model in a process alone."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench import build


def peak_mb() -> float:
    """The most this process has held, MB. Linux's `ru_maxrss` would count what the parent held before the exec."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(
            line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM")
        )
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def plain(home: Path) -> None:
    """Load the model as its users do, and run it."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(home / "gpt2", dtype=torch.float32).eval()
    with torch.inference_mode():
        for _ in range(3):
            model(torch.arange(build.TOKENS)[None], use_cache=False)
    print(peak_mb())


def serve(home: Path) -> None:
    """The whole server, several prompts, importances, ablations and a sweep."""
    from tests.bench.server import serving

    path, sites = "/api/decompositions/bench", build.site_names()
    with serving(home, "bench") as (client, _):
        texts = [build.words(build.TOKENS, seed) for seed in range(12)]
        for seed, text in enumerate(texts):
            client.post(f"{path}/importances", json={"text": text}).raise_for_status()
            body = {"text": text, "components": [{"key": f"{sites[seed]}:1"}]}
            client.post(f"{path}/ablations", json=body).raise_for_status()
        keys = [{"key": f"{site}:{i}"} for site in sites for i in range(2)]
        client.post(f"{path}/sweeps", json={"text": texts[-1], "components": keys}).raise_for_status()
    print(peak_mb())


def run(home: Path) -> Iterator[dict[str, Any]]:
    """One figure; `home` holds what `build` made."""
    figures = {}
    for kind in ("plain", "serve"):
        command = [sys.executable, "-m", "tests.bench.memory", kind, str(home)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        figures[kind] = float(done.stdout.split()[-1])
    ratio = round(figures["serve"] / figures["plain"], 3)
    yield {
        "name": "peak_memory", "ratio": ratio, "target": 1.3, "ok": ratio <= 1.3,
        "plain_mb": round(figures["plain"]), "server_mb": round(figures["serve"]),
    }  # fmt: skip


if __name__ == "__main__":
    {"plain": plain, "serve": serve}[sys.argv[1]](Path(sys.argv[2]))
