"""A cache bounded by the size of what it holds."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class LRU(Generic[K, T]):
    """The most recently used values up to a total size, in bytes; at least one stays. Threads may share it."""

    def __init__(self, most: int) -> None:
        self.most, self.size = most, 0
        self._kept = OrderedDict[K, tuple[T, int]]()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K) -> T | None:
        """The value, now the most recently used, or None."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: K, value: T, size: int) -> None:
        """Keep a value of `size` bytes, in the place of what was under this key; the longest unused leave for it."""
        with self._lock:
            self._drop(key)
            self._kept[key] = (value, size)
            self.size += size
            while len(self._kept) > 1 and self.size > self.most:
                self.size -= self._kept.popitem(last=False)[1][1]

    def drop(self, key: K) -> None:
        """Forget a value; nothing where there is none."""
        with self._lock:
            self._drop(key)

    def _drop(self, key: K) -> None:
        if key in self._kept:
            self.size -= self._kept.pop(key)[1]
