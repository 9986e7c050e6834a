"""How far long work is: what the stages of a run or a harvest report, and how they are asked to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Stage = Literal["target", "train", "harvest", "evidence", "store"]


class Stopped(Exception):
    """The run was asked to stop; its checkpoint remains and it can be resumed."""


@dataclass(frozen=True)
class RunProgress:
    """`fraction` 0–1 of the training; `rate` steps a second; `figures` what the last logged step measured."""

    stage: Stage
    step: int = 0
    steps: int = 0
    fraction: float = 0.0
    rate: float | None = None
    remaining_seconds: float | None = None
    figures: dict[str, float] = field(default_factory=dict)
    message: str = ""


Report = Callable[[RunProgress], None]
