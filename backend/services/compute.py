"""A bounded room for work on the CPU: a few threads, a queue with an end, 429 past it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from backend.errors import ApiError

T = TypeVar("T")


class ComputePool:
    """Runs model work off the event loop. What a client no longer waits for is not begun."""

    def __init__(self, threads: int, queue: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="unweave-compute")
        self._most = threads + queue
        self._inside = 0
        self._lock = threading.Lock()

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work`. Raises ApiError 429 with Retry-After where too much is waiting already."""
        with self._lock:
            if self._inside >= self._most:
                raise ApiError(
                    429, "busy", "The server has too many ablations waiting. Try again in a few seconds.",
                    {"waiting": self._inside}, retry_after=2,
                )  # fmt: skip
            self._inside += 1
        future = self._pool.submit(work)
        future.add_done_callback(self._leave)
        return await asyncio.wrap_future(future)

    def _leave(self, _: object) -> None:
        with self._lock:
            self._inside -= 1

    @property
    def inside(self) -> int:
        """How many are computed or wait."""
        return self._inside

    def close(self) -> None:
        """Let what runs end and drop what waits."""
        self._pool.shutdown(wait=False, cancel_futures=True)
