"""Answers cached by their question, and equal questions that arrive together answered once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from backend.schemas.common import Wire
from backend.services.ablation.adapter import Ablator
from backend.services.entries import Entry
from workers.spd.lru import LRU

T = TypeVar("T")
CACHE_BYTES = 64 * 2**20
OBJECTS = 4  # an answer as objects beside the same as JSON, measured


@dataclass
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    waiting: int = 0


class Flights:
    """Work under way, by its question. Equal questions wait for the same work; when all askers have left, it ends."""

    def __init__(self) -> None:
        self._flying: dict[Hashable, _Flight[Any]] = {}

    async def join(self, key: Hashable, compute: Callable[[], Awaitable[T]]) -> T:
        """The result of `compute`, computed once for all that wait for this key."""
        flight = self._flying.get(key)
        if flight is None:
            flight = self._flying[key] = _Flight(asyncio.ensure_future(compute()))  # type: ignore[arg-type]
            flight.task.add_done_callback(lambda task: self._done(key, task))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._leave(key, flight.task)
                flight.task.cancel()

    def _leave(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        if key in self._flying and self._flying[key].task is task:
            del self._flying[key]

    def _done(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        self._leave(key, task)
        if not task.cancelled():
            task.exception()  # retrieved: those who waited have it, and nobody may be left


class Cached:
    """Answers that are costly and small, up to a number of bytes."""

    def __init__(self, most: int = CACHE_BYTES) -> None:
        self._answers: LRU[Hashable, Any] = LRU(most)
        self._flights = Flights()

    async def answer(
        self, key: Hashable, recompute: bool, compute: Callable[[], Awaitable[T]], size: Callable[[T], int]
    ) -> tuple[T, bool]:
        """The answer and whether it came from the cache; `recompute` asks for a new one, which is cached instead."""
        if not recompute:
            cached = self._answers.get(key)
            if cached is not None:
                return cached, True

        async def anew() -> T:
            answer = await compute()
            self._answers.put(key, answer, size(answer))
            return answer

        return await (anew() if recompute else self._flights.join(key, anew)), False

    def find(self, key: Hashable) -> Any | None:
        """The cached answer, or None."""
        return self._answers.get(key)

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Cache a value of about `size` bytes."""
        self._answers.put(key, value, size)


def content_key(entry: Entry, engine: Ablator, ids: list[int], request: Wire, *without: str) -> Hashable:
    """What an answer depends on: artefact, weights, dtype, device, token ids, and the rest of the request but for
    `without`."""
    rest = request.model_dump_json(exclude={"text", "token_ids", "bos", "recompute", *without})
    kind = type(request).__name__
    return kind, entry.hash, entry.model_identity, engine.dtype, engine.device, tuple(ids), rest


def wire_bytes(answer: Wire) -> int:
    """About how much memory an answer takes."""
    return OBJECTS * len(answer.model_dump_json())
