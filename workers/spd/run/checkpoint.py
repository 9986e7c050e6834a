"""Where a run stands, on disk: safetensors and JSON, written aside and renamed, so a kill leaves a whole one
(SPEC 16).

checkpoint/state.safetensors   components, CI functions, Adam moments, adversarial sources, generator state
checkpoint/state.json          step, kept indices, what adaptations did, the config and its hash, the hash of a
                               dataset's texts, seconds spent
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from workers.spd.config import ConfigError, DecomposeConfig, parse_config
from workers.spd.method.adaptation import Adaptation, Growth
from workers.spd.method.adversary import Adversary
from workers.spd.method.ci import CIFunctions
from workers.spd.method.components import Components
from workers.spd.method.training import Trainer

FOLDER = "checkpoint"
FORMAT = 2
ATTEMPTS = 3
"""1, which says no number, was written by 0.1: it holds its config's hash and not the config."""


class CheckpointError(Exception):
    """A checkpoint that cannot be used; the message is a plain sentence."""


def config_hash(config: DecomposeConfig) -> str:
    """Identity of a config: a checkpoint resumes only the run it came from."""
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    step: int
    seconds: float
    log_lines: int


def save_checkpoint(
    work: Path, trainer: Trainer, *, seconds: float, log_lines: int, texts: str | None = None
) -> None:
    """Write the trainer's whole state under `work`; `texts`: the SHA-256 of what it reads of a dataset. An OSError (a
    full disk) leaves the previous one in place."""
    new, final, old = (work / (FOLDER + end) for end in (".new", "", ".old"))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    tensors: dict[str, Shaped[Tensor, ...]] = {"generator": trainer.generator.get_state()}
    tensors |= {f"components.{name}": value for name, value in trainer.components.state_dict().items()}
    tensors |= {f"ci.{name}": value for name, value in trainer.ci.state_dict().items()}
    for number, state in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{name}": torch.as_tensor(value) for name, value in state.items()}
    if trainer.adversary is not None and not trainer.adversary.fresh:
        tensors |= {f"adversary.{site}": value for site, value in trainer.adversary.sources.items()}
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    meta = {
        "format": FORMAT, "step": trainer.step, "seconds": seconds, "log_lines": log_lines,
        "config": config_hash(trainer.config), "given": trainer.config.model_dump(mode="json"), "texts": texts,
        "index": trainer.components.index, "trained": trainer.trained,
        "adaptations": [asdict(done) for done in trainer.adaptations],
    }  # fmt: skip
    try:
        save_file(tensors, new / "state.safetensors")
        (new / "state.json").write_text(json.dumps(meta), encoding="utf-8")
    except Exception as error:  # safetensors reports a full disk with an exception of its own
        shutil.rmtree(new, ignore_errors=True)
        raise OSError(f"the checkpoint of step {trainer.step} could not be written: {error}") from error
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        os.replace(final, old)
    os.replace(new, final)
    shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(work: Path, trainer: Trainer, *, texts: str | None = None) -> Checkpoint | None:
    """Put the trainer where the checkpoint under `work` stands; None where there is none (for this config). Raises
    CheckpointError, and ConfigError where its dataset's texts were others than `texts`."""
    found = _read(work)
    if found is None:
        return None
    meta, tensors = found
    if not _same_config(meta, trainer.config):
        if meta.get("format", 2 if "given" in meta else 1) != FORMAT:
            raise ConfigError(_other_format(meta.get("format", 1)))
        return None
    if meta.get("texts") != texts:
        raise ConfigError(
            "data.dataset: its texts are no longer those this run began with, so it cannot resume with the same "
            "numbers. Start it again (`unweave decompose --fresh`, or a new job); a commit as data.dataset.revision "
            "never changes."
        )
    components, ci = _trained(meta, tensors, trainer.components.sites, trainer.config)
    trainer.adopt(components.to(trainer.target.device), ci.to(trainer.target.device))
    trainer.trained = {site: int(count) for site, count in meta["trained"].items()}
    trainer.adaptations = [
        Adaptation(done["step"], done["dropped"], [Growth(**growth) for growth in done["grown"]])
        for done in meta["adaptations"]
    ]
    state = trainer.optimizer.state_dict()
    for name, value in _under("adam.", tensors).items():
        number, field = name.split(".", 1)
        state["state"].setdefault(int(number), {})[field] = value
    trainer.optimizer.load_state_dict(state)
    adversary = _under("adversary.", tensors)
    if adversary:
        device = trainer.target.device
        sources = {site: adversary[site].to(device) for site in trainer.components.sites}
        trainer.adversary = Adversary(sources, trainer.config.adversary)
    trainer.generator.set_state(tensors["generator"])
    trainer.step = int(meta["step"])
    return Checkpoint(trainer.step, float(meta["seconds"]), int(meta["log_lines"]))


def _read(work: Path) -> tuple[dict[str, Any], dict[str, Shaped[Tensor, ...]]] | None:
    """What the checkpoint under `work` holds; None where there is none. Raises CheckpointError."""
    folder = next((work / (FOLDER + end) for end in ("", ".old") if (work / (FOLDER + end)).is_dir()), None)
    if folder is None:
        return None
    try:
        meta: dict[str, Any] = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return meta, load_file(folder / "state.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"The checkpoint in {folder} cannot be read: {error}.") from None


def _trained(
    meta: dict[str, Any], tensors: dict[str, Shaped[Tensor, ...]], sites: list[str], config: DecomposeConfig
) -> tuple[Components, CIFunctions]:
    pairs = _under("components.", tensors)
    components = Components(
        {site: pairs[f"V_list.{place}"] for place, site in enumerate(sites)},
        {site: pairs[f"U_list.{place}"] for place, site in enumerate(sites)},
        meta["index"],
    )
    shapes = {site: (V.shape[0], V.shape[1]) for site, V in components.V.items()}
    ci = CIFunctions(shapes, config.ci, torch.Generator())
    ci.load_state_dict(_under("ci.", tensors))
    return components, ci


@dataclass(frozen=True)
class Halfway:
    """What a run that has not ended had trained at its checkpoint. trained: components each site began with or grew."""

    config: DecomposeConfig
    step: int
    seconds: float
    components: Components
    ci: CIFunctions
    trained: dict[str, int]


def halfway(work: Path) -> Halfway | None:
    """The checkpoint under `work` without what only training needs; None where there is none. A run may be writing its
    next one. Raises CheckpointError."""
    found = None
    for attempt in range(ATTEMPTS):
        try:
            found = _read(work)
            break
        except CheckpointError:  # replaced while it was read
            if attempt + 1 == ATTEMPTS:
                raise
    if found is None or "given" not in found[0]:
        return None
    meta, tensors = found
    config = parse_config(meta["given"])
    components, ci = _trained(meta, tensors, list(meta["index"]), config)
    trained = {site: int(count) for site, count in meta["trained"].items()}
    return Halfway(config, int(meta["step"]), float(meta["seconds"]), components, ci, trained)


def _same_config(meta: dict[str, Any], config: DecomposeConfig) -> bool:
    """Whether a checkpoint came from this config: from one with the same hash, or with the same values once the fields
    that were added since have their defaults."""
    if meta["config"] == config_hash(config):
        return True
    try:
        return parse_config(meta.get("given")) == config
    except ConfigError:
        return False


def _other_format(format: Any) -> str:
    begin = "Begin the run anew (`unweave decompose --fresh`, or start the job again)."
    if format == 1:
        return f"The checkpoint was written by Unweave 0.1 and does not say with which settings. {begin}"
    return (
        f"The checkpoint has format {format}; this version reads {FORMAT}. Upgrade Unweave to resume. {begin}"
    )


def _under(prefix: str, tensors: dict[str, Shaped[Tensor, ...]]) -> dict[str, Shaped[Tensor, ...]]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
