"""A stand-in for `workers.spd.run.decompose` that needs no torch: same signature and folders, a step is a short sleep.

Its behaviour is steered by the config's description: `sleep=0.05` seconds a step, `raise=<kind>`, and
`fails=<stage>` after training, once.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from workers.spd.artifact import Artifact, Manifest, ModelCard, TargetCard, seal, write_json
from workers.spd.config import ConfigError, DecomposeConfig
from workers.spd.progress import Stopped


class DivergedError(ArithmeticError):
    """As the real one."""


class TargetError(Exception):
    """As the real one: a plain sentence."""


@dataclass(frozen=True)
class RunProgress:
    stage: str
    step: int
    steps: int
    fraction: float
    rate: float | None = None
    remaining_seconds: float | None = None
    figures: dict[str, float] = field(default_factory=dict)
    message: str = ""


def decompose(
    config: DecomposeConfig,
    out: Path,
    *,
    home: Path,
    device: str = "cpu",
    report: Callable[[RunProgress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    resume: bool = True,
) -> Artifact:
    wishes = dict(part.split("=") for part in config.description.split() if "=" in part)
    work = out.with_name(out.name + ".partial")
    (work / "checkpoint").mkdir(parents=True, exist_ok=True)
    state = work / "checkpoint" / "state.json"
    report(RunProgress("target", 0, config.steps, 0.0))
    first = json.loads(state.read_text())["step"] if state.exists() else 0
    for step in range(first + 1, config.steps + 1):
        if stop():
            write_json(state, {"step": step - 1})  # as the real one: a checkpoint where it stopped
            raise Stopped
        time.sleep(float(wishes.get("sleep", 0)))
        report(RunProgress("train", step, config.steps, step / config.steps, 10.0, 1.0, {"kl": 1 / step}))
        if step % config.checkpoint_every == 0:
            write_json(state, {"step": step})
        if step == int(wishes.get("at", 1)) and not first:
            _misbehave(wishes.get("raise"))
    (work / "metrics.jsonl").write_text(json.dumps({"step": config.steps, "first": first}) + "\n")
    for stage in ("harvest", "evidence", "store"):
        report(RunProgress(stage, config.steps, config.steps, 1.0))
        if wishes.get("fails") == stage and not (work / "failed").exists():
            (work / "failed").touch()
            raise ConfigError(f"{stage} cannot be done.")
    model = ModelCard(
        name="stand-in",
        architecture="none",
        parameters=1,
        layers=1,
        d_model=1,
        vocabulary=2,
        context_length=8,
    )
    manifest = Manifest(
        created_at=datetime.now(UTC), config=config,
        target=TargetCard(source=config.target, weights_hash="0", model=model),
        sites=[], versions={}, dtype="float32", device=device, training_seconds=1.0, metrics=[], l0_by_site={},
        faithfulness_by_site={}, files={},
    )  # fmt: skip
    return seal(work, manifest, out)


def _misbehave(kind: str | None) -> None:
    match kind:
        case "target":
            raise TargetError("The weights cannot be fetched: there is no network.")
        case "disk":
            raise OSError(errno.ENOSPC, "No space left on device")
        case "diverged":
            raise DivergedError("The training diverged at step 15.")
        case "memory":
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: not enough memory")
        case "bug":
            raise KeyError("a secret place in the code")
        case "die":
            os.kill(os.getpid(), 9)
