"""Configs from plain data, YAML files and the presets that ship; what cannot be used is named key by key."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

from workers.spd.config.base import ConfigError
from workers.spd.config.run import DecomposeConfig


def _sentence(error: ValidationError) -> str:
    parts: list[str] = []
    for item in error.errors()[:5]:
        where = ".".join(str(step) for step in item["loc"]) or "config"
        what = (
            "is not a known key"
            if item["type"] == "extra_forbidden"
            else item["msg"].removeprefix("Value error, ").removesuffix(".")
        )
        parts.append(f"{where}: {what}")
    more = len(error.errors()) - 5
    return "The config cannot be used. " + "; ".join(parts) + (f"; and {more} more." if more > 0 else ".")


def parse_config(data: Any) -> DecomposeConfig:
    """Validate a config that came as plain data. Raises ConfigError naming every key at fault."""
    try:
        return DecomposeConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_sentence(error)) from None


PRESETS = Path(__file__).parents[1] / "presets"


def preset_names() -> list[str]:
    """The presets that ship, by name."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_config(name_or_path: str) -> DecomposeConfig:
    """A preset by name, or a YAML file by path. Raises ConfigError where neither can be read."""
    path = Path(name_or_path)
    if not path.suffix:
        path = PRESETS / f"{name_or_path}.yaml"
        if not path.is_file():
            raise ConfigError(
                f"There is no preset “{name_or_path}”. Presets: {', '.join(preset_names())}; or give a .yaml file."
            )
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The config {path} cannot be read: {error}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"The config {path} is not valid YAML: {error}.") from None
    return parse_config(data)


def with_overrides(data: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """A copy of plain config data with dotted keys set on top: `{"optimizer.warmup": 0.1}`."""
    result = deepcopy(data)
    for dotted, value in overrides.items():
        *parents, last = dotted.split(".")
        place = result
        for parent in parents:
            inner: Any = place.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"“{dotted}” does not name a place in the config.")
            place = cast(dict[str, Any], inner)
        place[last] = value
    return result
