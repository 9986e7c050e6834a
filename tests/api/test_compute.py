"""The room where model work is done: bounded, fair, short work first, and rid of what nobody waits for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from backend.errors import ApiError
from backend.services.ablation.compute import PATIENCE, ComputePool


@pytest.fixture
def pool() -> Iterator[ComputePool]:
    made = ComputePool(1, 100)
    yield made
    made.close()


class Door:
    """Holds the only thread until it is opened."""

    def __init__(self, pool: ComputePool) -> None:
        self.open, self.entered = threading.Event(), threading.Event()
        self.task = asyncio.ensure_future(pool.run(self._hold))

    def _hold(self) -> None:
        self.entered.set()
        assert self.open.wait(10)

    async def wait(self) -> None:
        while not self.entered.is_set():
            await asyncio.sleep(0.001)


def test_a_client_with_much_to_do_does_not_hold_up_one_with_little(pool: ComputePool) -> None:
    order: list[str] = []

    async def story() -> None:
        door = Door(pool)
        await door.wait()
        greedy = [pool.run(lambda: order.append("greedy"), client="a") for _ in range(10)]
        waiting = [asyncio.ensure_future(work) for work in greedy]
        await asyncio.sleep(0)
        waiting.append(asyncio.ensure_future(pool.run(lambda: order.append("modest"), client="b")))
        await asyncio.sleep(0)
        door.open.set()
        await asyncio.gather(door.task, *waiting)

    asyncio.run(story())
    assert order.index("modest") <= 1


def test_short_work_goes_before_a_sweep_and_a_sweep_still_moves(pool: ComputePool) -> None:
    order: list[str] = []

    def steps() -> Iterator[int]:
        for number in range(3):
            order.append("long")
            yield number

    async def sweep() -> list[int]:
        return [step async for step in pool.stream(steps(), client="a")]

    async def story() -> list[int]:
        door = Door(pool)
        await door.wait()
        long = asyncio.ensure_future(sweep())
        await asyncio.sleep(0.01)
        short = [
            asyncio.ensure_future(pool.run(lambda: order.append("short"), client="b")) for _ in range(20)
        ]
        await asyncio.sleep(0.01)
        door.open.set()
        await asyncio.gather(door.task, *short)
        return await long

    assert asyncio.run(story()) == [0, 1, 2]
    assert order.index("long") == PATIENCE
    assert order.count("short") == 20


def test_work_whose_caller_has_gone_is_not_begun_and_gives_its_place_back(pool: ComputePool) -> None:
    done: list[int] = []

    async def story() -> None:
        door = Door(pool)
        await door.wait()
        left = asyncio.ensure_future(pool.run(lambda: done.append(1), client="a"))
        await asyncio.sleep(0.01)
        assert pool.inside == 2
        left.cancel()
        await asyncio.sleep(0.01)
        assert pool.inside == 1
        door.open.set()
        await door.task
        await pool.run(lambda: done.append(2))

    asyncio.run(story())
    assert done == [2]
    assert pool.inside == 0


def test_a_sweep_stops_with_its_reader(pool: ComputePool) -> None:
    closed: list[bool] = []

    def steps() -> Iterator[int]:
        try:
            yield from range(1_000)
        finally:
            closed.append(True)

    async def story() -> int:
        stream = pool.stream(steps())
        read = 0
        async for _ in stream:
            read += 1
            if read == 3:
                break
        await stream.aclose()  # type: ignore[attr-defined]
        return read

    assert asyncio.run(story()) == 3
    assert closed == [True]


def test_past_its_end_work_is_refused_and_an_error_belongs_to_its_own_request() -> None:
    pool = ComputePool(1, 1)

    def broken() -> None:
        raise MemoryError

    async def story() -> None:
        door = Door(pool)
        await door.wait()
        second = asyncio.ensure_future(pool.run(broken))
        await asyncio.sleep(0.01)
        with pytest.raises(ApiError) as refused:
            await pool.run(lambda: None)
        assert (refused.value.status, refused.value.retry_after) == (429, 2)
        door.open.set()
        await door.task
        with pytest.raises(MemoryError):
            await second
        assert await pool.run(lambda: 7) == 7

    asyncio.run(story())
    pool.close()
