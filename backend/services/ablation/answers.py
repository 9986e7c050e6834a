"""Answers kept by what was asked, and equal questions that are asked at once answered once."""

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
KEPT_BYTES = 64 * 2**20
OBJECTS = 4  # an answer as objects beside the same as JSON, measured


@dataclass
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    waiting: int = 0


class Flights:
    """Work under way, by what it answers. Who asks for the same waits for the same; when all have left, it ends."""

    def __init__(self) -> None:
        self._flying: dict[Hashable, _Flight[Any]] = {}

    async def join(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """What `make` gives, made once for all that wait for this key."""
        flight = self._flying.get(key)
        if flight is None:
            flight = self._flying[key] = _Flight(asyncio.ensure_future(make()))  # type: ignore[arg-type]
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
            task.exception()  # seen: who waited has it, and nobody may be left to


class Kept:
    """Answers that are costly and small, up to a number of bytes."""

    def __init__(self, most: int = KEPT_BYTES) -> None:
        self._answers: LRU[Hashable, Any] = LRU(most)
        self._flights = Flights()

    async def answer(
        self, key: Hashable, recompute: bool, make: Callable[[], Awaitable[T]], size: Callable[[T], int]
    ) -> tuple[T, bool]:
        """The answer and whether it was kept from before; `recompute` asks for a new one, which is kept instead."""
        if not recompute:
            found = self._answers.get(key)
            if found is not None:
                return found, True

        async def anew() -> T:
            made = await make()
            self._answers.put(key, made, size(made))
            return made

        return await (anew() if recompute else self._flights.join(key, anew)), False

    def find(self, key: Hashable) -> Any | None:
        """What is kept, or None."""
        return self._answers.get(key)

    def keep(self, key: Hashable, value: Any, size: int) -> None:
        """Keep a value of about `size` bytes."""
        self._answers.put(key, value, size)


def content_key(entry: Entry, engine: Ablator, ids: list[int], request: Wire, *without: str) -> Hashable:
    """What an answer depends on: artefact, weights, dtype, device, token ids, and all that was asked."""
    left_out = {"text", "token_ids", "bos", "recompute", *without}
    asked = request.model_dump_json(exclude=left_out)
    return (
        type(request).__name__,
        entry.hash,
        entry.weights_hash,
        engine.dtype,
        engine.device,
        tuple(ids),
        asked,
    )


def wire_bytes(answer: Wire) -> int:
    """About how much memory an answer takes."""
    return OBJECTS * len(answer.model_dump_json())
