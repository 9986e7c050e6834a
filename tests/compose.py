"""docker-compose.yml as Compose reads it: parsed first, its variables put in afterwards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).resolve().parents[1] / "docker-compose.yml"
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def read(text: str, environment: Mapping[str, str]) -> Any:
    """The file with `${NAME:-default}` replaced, in strings only."""

    def put_in(data: Any) -> Any:
        if isinstance(data, dict):
            return {key: put_in(value) for key, value in data.items()}
        if isinstance(data, list):
            return [put_in(value) for value in data]
        if isinstance(data, str):
            return VARIABLE.sub(lambda match: environment.get(match[1]) or match[2] or "", data)
        return data

    return put_in(yaml.safe_load(text))
