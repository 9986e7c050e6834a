"""How a question reaches its answer: over HTTP, or to the same application in this process. Both go through the API,
so the numbers are the same to the last digit."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx2
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_delay,
    wait_random_exponential,
)
from tqdm.auto import tqdm

from unweave.errors import UnweaveError

T = TypeVar("T")
BUSY = (429, 503)
BACKOFF = wait_random_exponential(multiplier=0.2, max=5.0)
"""After a lost connection, seconds."""


@dataclass(frozen=True)
class Question(Generic[T]):
    """A request to the API, and how its answer is read. `again` False: it makes something, so it is not sent twice
    where nobody knows whether it arrived."""

    method: str
    path: str
    read: Callable[[Any], T]
    body: dict[str, Any] | None = None
    query: dict[str, Any] = field(default_factory=dict)
    again: bool = True


class Door:
    """Asks questions. What is busy (503, 429) is asked again when it says so, for at most `patience` seconds; a lost
    connection soon after."""

    def __init__(self, client: httpx2.AsyncClient, patience: float, longest_pause: float = 60.0) -> None:
        self._client, self._patience, self._longest_pause = client, patience, longest_pause

    async def ask(self, question: Question[T]) -> T:
        """The answer. Raises UnweaveError."""
        with _Waiting() as waiting:

            def again(error: BaseException) -> bool:
                if isinstance(error, UnweaveError):
                    return error.status in BUSY and error.code != "weights_failed"
                return isinstance(error, httpx2.ConnectError) or (
                    question.again and isinstance(error, httpx2.TransportError)
                )

            def pause(state: RetryCallState) -> float:
                error = state.outcome.exception() if state.outcome else None
                if not isinstance(error, UnweaveError):
                    return BACKOFF(state)
                waiting.show(error)
                return min(2.0 if error.retry_after is None else error.retry_after, self._longest_pause)

            attempts = AsyncRetrying(
                retry=retry_if_exception(again),
                wait=pause,
                stop=stop_after_delay(self._patience),
                reraise=True,
            )
            try:
                async for attempt in attempts:
                    with attempt:
                        return question.read(await self._send(question))
            except httpx2.TransportError as error:
                raise UnweaveError(f"{self._client.base_url} cannot be reached: {error}.") from error
        raise AssertionError("a retried question ends with an answer or an error")

    async def _send(self, question: Question[Any]) -> Any:
        response = await self._client.request(
            question.method, question.path, json=question.body, params=question.query
        )
        if response.is_success:
            return response.json() if response.content else None
        try:
            body = response.json()
            message, code, details = body["message"], body["code"], body.get("details")
        except (ValueError, KeyError, TypeError):
            message, code, details = f"The server answered {response.status_code}.", "", None
        raise UnweaveError(message, code, response.status_code, details, _seconds(response.headers))

    async def close(self) -> None:
        """Give back the connections."""
        await self._client.aclose()


def _seconds(headers: httpx2.Headers) -> float | None:
    said = headers.get("retry-after", "")
    return float(said) if said.isdigit() else None


class _Waiting:
    """A bar while a model is fetched and loaded; it appears only where there is something to wait for."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __enter__(self) -> _Waiting:
        return self

    def show(self, error: UnweaveError) -> None:
        """What the server says about its wait."""
        if error.code != "weights_not_ready":
            return
        if self._bar is None:
            self._bar = tqdm(total=1.0, bar_format="{desc} {percentage:3.0f}%|{bar}|", leave=False)
        self._bar.set_description_str(f"{error.details.get('model')}: {error.details.get('message') or ''}")
        self._bar.n = error.details.get("progress") or 0.0
        self._bar.refresh()

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


class Loop:
    """An event loop in a thread, so that a notebook, which has one of its own, can wait for an answer."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="unweave-library", daemon=True)
        self._thread.start()
        atexit.register(self._end)  # a thread that runs while Python ends can bring it down

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine; Ctrl-C ends it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise
