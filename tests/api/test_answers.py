"""Equal questions asked at once are answered once, and answers are kept up to a number of bytes."""

from __future__ import annotations

import asyncio

import pytest

from backend.services.ablation.answers import Cached, Flights
from workers.spd.lru import LRU


def test_who_asks_the_same_at_once_shares_one_piece_of_work() -> None:
    made: list[int] = []

    async def story() -> list[int]:
        flights, go = Flights(), asyncio.Event()

        async def make() -> int:
            made.append(1)
            await go.wait()
            return 7

        asked = [asyncio.ensure_future(flights.join("same", make)) for _ in range(5)]
        other = asyncio.ensure_future(flights.join("other", make))
        await asyncio.sleep(0)
        go.set()
        found = await asyncio.gather(*asked, other)
        assert await flights.join("same", make) == 7, "what has ended is not joined any more"
        return found

    assert asyncio.run(story()) == [7] * 6
    assert len(made) == 3


def test_one_who_leaves_spoils_it_for_nobody_and_the_last_one_ends_it() -> None:
    ended: list[str] = []

    async def story() -> None:
        flights, go = Flights(), asyncio.Event()

        async def make() -> int:
            try:
                await go.wait()
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            return 7

        first, second = (asyncio.ensure_future(flights.join("same", make)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0.01)
        assert ended == []
        second.cancel()
        await asyncio.sleep(0.01)
        assert ended == ["cancelled"]
        go.set()
        assert await flights.join("same", make) == 7

    asyncio.run(story())


def test_an_error_reaches_everyone_who_waits_and_is_not_kept() -> None:
    tries: list[int] = []

    async def story() -> None:
        cached = Cached()

        async def make() -> int:
            tries.append(1)
            await asyncio.sleep(0.01)
            if len(tries) == 1:
                raise MemoryError
            return 7

        both = [cached.answer("key", False, make, lambda _: 1) for _ in range(2)]
        found = await asyncio.gather(*both, return_exceptions=True)
        assert [type(error) for error in found] == [MemoryError] * 2
        assert await cached.answer("key", False, make, lambda _: 1) == (7, False)
        assert await cached.answer("key", False, make, lambda _: 1) == (7, True)
        assert await cached.answer("key", True, make, lambda _: 1) == (7, False), (
            "recomputed where that is asked"
        )

    asyncio.run(story())
    assert len(tries) == 3


@pytest.mark.parametrize("used", [None, "a"])
def test_what_was_not_used_for_longest_leaves_when_the_bytes_are_full(used: str | None) -> None:
    cache = LRU[str, int](10)
    for name in "abc":
        cache.put(name, 1, 3)
    if used:
        assert cache.get(used) == 1
    cache.put("d", 1, 4)
    gone = "b" if used else "a"
    assert {name for name in "abcd" if cache.get(name) is None} == {gone}
    assert cache.size <= 10
    cache.put("d", 2, 5)
    cache.drop("c")
    assert cache.size == sum({"a": 3, "b": 3}[n] for n in "ab" if cache.get(n)) + 5
    cache.put("large", 3, 99)
    assert (len(cache), cache.get("large")) == (1, 3), "one always stays"
