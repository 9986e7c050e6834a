"""What was found out a moment ago, so that a page's many requests do not each ask the database."""

from __future__ import annotations

import time
from typing import Generic, TypeVar

T = TypeVar("T")
MOST = 10_000


class Remembered(Generic[T]):
    """Values by key, each for some seconds."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, T]] = {}

    def get(self, key: str) -> T | None:
        """The value, or None where there is none or its time is over."""
        until, value = self._kept.get(key, (0.0, None))
        return value if time.monotonic() < until else None

    def put(self, key: str, value: T, seconds: float) -> None:
        """Keep a value. Past `MOST` all are dropped, since they can be found out again."""
        if len(self._kept) >= MOST:
            self._kept.clear()
        self._kept[key] = (time.monotonic() + seconds, value)

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
