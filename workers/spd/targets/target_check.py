"""Whether a model that came inside an artefact is what its weights say, before anything of the size its config names is
made: the config is data of bounded size that names no code, and the model it asks for, built without memory, has the
shapes of the stored weights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from workers.spd.artifact import parse_json
from workers.spd.artifact_check import tensors_of
from workers.spd.config import InductionSource
from workers.spd.targets.fetching import CONFIG, MODEL
from workers.spd.targets.induction import InductionModel
from workers.spd.targets.reading import TargetError, sentence

MOST_CONFIG = 2**20
MOST_NUMBER = 2**31
COUNTS = re.compile(r"layer|block|expert|stack")
"""Keys whose number says how many modules there are, which cost time and memory even without weights."""
BUFFERS = 2**28
"""Bytes that a model may make besides its weights: masks and tables of positions."""


def check_target(folder: Path) -> None:
    """Raise TargetError where the model in a folder cannot be what its weights say."""
    try:
        stored = tensors_of(folder / MODEL)
        config = read_config(folder, modules=len(stored))
        model = without_memory(folder, config)
    except TargetError:
        raise
    except Exception as error:  # whatever a config makes a library raise
        raise _refuse(folder, sentence(error)) from None
    asked = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    tied = set(getattr(model, "all_tied_weights_keys", None) or {})
    if odd := [name for name, tensor in stored.items() if asked.get(name) != tensor.shape]:
        raise _refuse(
            folder, f"its config does not ask for {min(odd)[:80]} of {list(stored[min(odd)].shape)}"
        )
    if missing := asked.keys() - stored.keys() - tied:
        raise _refuse(folder, f"it lacks {min(missing)[:80]}, which its config asks for")
    if sum(buffer.numel() * buffer.element_size() for buffer in model.buffers()) > BUFFERS:
        raise _refuse(folder, "its config asks for tables of positions that are far too large")


def read_config(folder: Path, *, modules: int) -> dict[str, Any]:
    """The config of a model with this many stored tensors. Raises TargetError where it cannot be that."""
    file = folder / CONFIG
    try:
        if file.stat().st_size > MOST_CONFIG:
            raise _refuse(folder, f"its {CONFIG} is too large")
        config = parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise _refuse(folder, f"its {CONFIG} cannot be read: {sentence(error)}") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise _refuse(folder, f"its {CONFIG} names no model_type")
    for key, value in _numbers(config):
        if key == "auto_map":
            raise _refuse(folder, f"its {CONFIG} names code of its own (auto_map), which is never run")
        if isinstance(value, int | float) and not abs(value) <= MOST_NUMBER:
            raise _refuse(folder, f"“{key[:80]}” is {value:.3g}, which cannot be")
        if isinstance(value, int) and value > max(modules, 64) and COUNTS.search(key):
            raise _refuse(folder, f"“{key[:80]}” is {value:,}, while it holds {modules:,} tensors")
    return config


def _numbers(data: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth; items of a list come under its key."""
    yield key, data
    if isinstance(data, dict):
        for name, value in data.items():
            yield from _numbers(value, str(name))
    elif isinstance(data, list):
        for value in data:
            yield from _numbers(value, key)


def without_memory(folder: Path, config: dict[str, Any]) -> nn.Module:
    """The model of a target folder with this config, on no device."""
    with torch.device("meta"):
        if config["model_type"] == "induction":
            return InductionModel(
                InductionSource(**{key: value for key, value in config.items() if key != "model_type"})
            )
        from transformers import AutoConfig, AutoModelForCausalLM

        read = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        return AutoModelForCausalLM.from_config(read, trust_remote_code=False)


def _refuse(folder: Path, why: str) -> TargetError:
    return TargetError(f"The model inside “{folder.parent.name}” cannot be used: {why}.")
