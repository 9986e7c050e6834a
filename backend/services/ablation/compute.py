"""A bounded room for work on the CPU: a few threads, short work first, fair between clients, 429 past its end.

Work is either short (one answer somebody waits for) or a step of something long (a batch of a sweep). A free thread
takes short work, from the clients in turn; every few times, and whenever nothing short waits, a long step. Long work
never holds all threads where there is more than one. What a client no longer waits for is not begun.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from backend.errors import ApiError

T = TypeVar("T")
PATIENCE = 8  # short pieces of work that may pass a waiting long one
RETRY_AFTER = 2
END = object()


@dataclass(frozen=True)
class _Work(Generic[T]):
    call: Callable[[], T]
    future: Future[T]


class _Lane:
    """Waiting work of one kind: one queue per client, the clients in turn."""

    def __init__(self) -> None:
        self._clients: OrderedDict[str, deque[_Work[Any]]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._clients)

    def put(self, client: str, work: _Work[Any]) -> None:
        self._clients.setdefault(client, deque()).append(work)

    def pop(self) -> _Work[Any]:
        client, queue = self._clients.popitem(last=False)
        work = queue.popleft()
        if queue:
            self._clients[client] = queue  # at the end: the others come first
        return work

    def drop(self, client: str, work: _Work[Any]) -> None:
        """Take out what nobody waits for any more."""
        queue = self._clients.get(client)
        if queue is not None and work in queue:
            queue.remove(work)
            if not queue:
                del self._clients[client]


class _Steps(Generic[T]):
    """An iterator that threads step through and whose reader may leave during a step: then the step ends, nothing
    follows it, and the iterator is closed, so that what it holds is let go."""

    def __init__(self, steps: Iterator[T]) -> None:
        self._steps, self._lock = steps, threading.Lock()
        self._running = self._left = False

    def next(self) -> Any:
        """The next value, or END."""
        with self._lock:
            if self._left:
                return END
            self._running = True
        try:
            return next(self._steps, END)
        finally:
            with self._lock:
                self._running = False
                left = self._left
            if left:
                self._close()

    def leave(self) -> None:
        """Nobody reads any more."""
        with self._lock:
            self._left, running = True, self._running
        if not running:
            self._close()

    def _close(self) -> None:
        close = getattr(self._steps, "close", None)
        if close is not None:
            close()


class ComputePool:
    """Runs model work off the event loop."""

    def __init__(self, threads: int, queue: int) -> None:
        self._most, self._threads_most = threads + queue, threads
        self._short, self._long = _Lane(), _Lane()
        self._inside = self._long_running = self._passed_over = 0
        self.done = 0
        """Pieces of work that have ended."""
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._closed = False

    # --- asking -----------------------------------------------------------------------------------------------

    async def run(self, work: Callable[[], T], *, client: str = "", long: bool = False) -> T:
        """The result of `work`. Raises ApiError 429 with Retry-After where too much is waiting already; work whose
        caller was cancelled before it began is dropped."""
        item, lane = _Work(work, Future()), self._long if long else self._short
        with self._changed:
            if self._inside >= self._most or self._closed:
                raise ApiError(
                    429, "busy", "The server has too many ablations waiting. Try again in a few seconds.",
                    {"waiting": self._inside}, retry_after=RETRY_AFTER,
                )  # fmt: skip
            self._inside += 1
            lane.put(client, item)
            self._start()
            self._changed.notify()
        try:
            return await asyncio.wrap_future(item.future)
        except asyncio.CancelledError:
            with self._changed:
                lane.drop(client, item)
                if item.future.cancel():
                    self._inside -= 1
            raise

    async def stream(self, steps: Iterator[T], *, client: str = "") -> AsyncIterator[T]:
        """What `steps` yields, each step a piece of long work of its own; stops with its reader."""
        taken = _Steps(steps)
        try:
            while True:
                answer = await self.run(taken.next, client=client, long=True)
                if answer is END:
                    return
                yield answer
        finally:
            taken.leave()

    @property
    def inside(self) -> int:
        """How many are computed or wait."""
        return self._inside

    def close(self) -> None:
        """Let what runs end and drop what waits."""
        with self._changed:
            self._closed = True
            for lane in (self._short, self._long):
                while lane:
                    lane.pop().future.cancel()
            self._changed.notify_all()

    def join(self, seconds: float) -> None:
        """After `close`, wait for what still runs: Python must not end around a thread that computes."""
        for thread in self._threads:
            thread.join(seconds)

    # --- working ----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if len(self._threads) < self._threads_most:
            name = f"unweave-compute-{len(self._threads)}"
            self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
            self._threads[-1].start()

    def _take(self) -> tuple[_Work[Any], bool] | None:
        """The next piece of work and whether it is long; None where there is nothing to begin."""
        room = self._long_running < max(1, self._threads_most - 1)
        if self._long and room and (not self._short or self._passed_over >= PATIENCE):
            self._passed_over = 0
            return self._long.pop(), True
        if self._short:
            self._passed_over += bool(self._long)
            return self._short.pop(), False
        return None

    def _work(self) -> None:
        while True:
            with self._changed:
                taken = self._take()
                while taken is None:
                    if self._closed:
                        return
                    self._changed.wait()
                    taken = self._take()
                work, long = taken
                begun = work.future.set_running_or_notify_cancel()
                self._long_running += long and begun
            if begun:
                self._do(work, long)

    def _do(self, work: _Work[Any], long: bool) -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = work.call()
        except BaseException as raised:
            error = raised
        with self._changed:
            self._inside -= 1
            self.done += 1
            self._long_running -= long
            self._changed.notify_all()
        if error is not None:
            work.future.set_exception(error)
        else:
            work.future.set_result(result)
