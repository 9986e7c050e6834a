"""Where decompositions are: in this process, or on a server that is reached over HTTP."""

from __future__ import annotations

import atexit
import importlib.metadata
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2

from backend.schemas.findings import FindingSummary, Replay
from unweave import questions
from unweave.decomposition import AsyncDecomposition, Decomposition
from unweave.doors import Door, Loop, Question
from unweave.errors import UnweaveError
from unweave.results import Finding

if TYPE_CHECKING:
    from backend.services.container import Services
    from backend.settings import Settings
    from workers.spd.ablation.engine import AblationEngine

T = TypeVar("T")
PATIENCE = 1_800.0
"""Seconds for which a busy server is asked again; a model may have to be fetched first."""
TIMEOUT = 300.0
END_SECONDS = 60.0
"""How long the end of a script waits for a pass, or for weights that are being loaded."""


class Server:
    """A server with decompositions and findings. Made by `unweave.connect`; as a context manager it closes itself."""

    def __init__(self, door: Door, services: Services | None = None) -> None:
        self._door, self._services = door, services

    def ask(self, question: Question[T]) -> T:
        """The answer to a question of `unweave.questions`. Raises UnweaveError."""
        return _loop().run(self._door.ask(question))

    def decompositions(self) -> list[str]:
        """The slugs of all decompositions, shipped ones first."""
        return self.ask(questions.decompositions())

    def open(self, id: str) -> Decomposition:
        """A decomposition by its slug or content hash."""
        return Decomposition(self, self.ask(questions.decomposition(id)), self.ask(questions.groups(id)))

    def findings(self, q: str | None = None) -> Iterator[FindingSummary]:
        """Findings, featured ones first, then the newest; `q`: those with this text."""
        cursor: str | None = None
        while True:
            page = self.ask(questions.findings(q, cursor))
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def finding(self, slug: str) -> Finding:
        """A finding as it was recorded."""
        return self.ask(questions.finding(slug))

    def replay(self, slug: str) -> Replay:
        """A finding computed again, and how far its numbers are from the recorded ones."""
        return self.ask(questions.replay(slug))

    @property
    def settings(self) -> Settings:
        """The settings of what runs in this process. Raises UnweaveError for a server elsewhere."""
        if self._services is None:
            raise UnweaveError("The settings of a server elsewhere are its own.")
        return self._services.settings

    def model_folder(self, id: str) -> Path:
        """The folder with the model of a decomposition, as `transformers` reads it; fetched where it is not there."""
        from workers.spd.ablation.loading import artifact_folder

        if self._services is None:
            raise UnweaveError("The model of a server elsewhere lies there.")
        return artifact_folder(self._services.catalogue.get(id).artifact, self.settings.home)

    def engine(self, id: str) -> AblationEngine:
        """The engine of a decomposition of this process, loaded. Raises UnweaveError for one on another machine."""
        if self._services is None:
            raise UnweaveError(
                "Masks in a model of your own need the decomposition here: open it with unweave.load."
            )
        entry = self._services.catalogue.get(id)
        status = self._services.engines.wait(entry, PATIENCE)
        engine: Any = getattr(self._services.engines.get(entry), "engine", None)
        if engine is None:
            raise UnweaveError(f"The model of {id} cannot be loaded here: {status.message}")
        return engine

    def close(self) -> None:
        """Give back its connections, and what it holds in this process."""
        _loop().run(self._door.close())
        if self._services is not None:
            self._services.close()
            self._services.pool.join(END_SECONDS)
            self._services.engines.join(END_SECONDS)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncServer:
    """The same for code that awaits. Made by `unweave.connect_async`."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def ask(self, question: Question[T]) -> T:
        """The answer to a question of `unweave.questions`. Raises UnweaveError."""
        return await self._door.ask(question)

    async def decompositions(self) -> list[str]:
        """The slugs of all decompositions, shipped ones first."""
        return await self.ask(questions.decompositions())

    async def open(self, id: str) -> AsyncDecomposition:
        """A decomposition by its slug or content hash."""
        return AsyncDecomposition(
            self, await self.ask(questions.decomposition(id)), await self.ask(questions.groups(id))
        )

    async def finding(self, slug: str) -> Finding:
        """A finding as it was recorded."""
        return await self.ask(questions.finding(slug))

    async def replay(self, slug: str) -> Replay:
        """A finding computed again."""
        return await self.ask(questions.replay(slug))

    async def close(self) -> None:
        """Give back its connections."""
        await self._door.close()

    async def __aenter__(self) -> AsyncServer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


@cache
def _loop() -> Loop:
    """The one event loop of this process's answers."""
    return Loop()


def remote(url: str, token: str | None, patience: float) -> Door:
    """The door of a server at a URL."""
    token = token or os.environ.get("UNWEAVE_TOKEN")
    version = "0"
    with suppress(importlib.metadata.PackageNotFoundError):
        version = importlib.metadata.version("unweave")
    headers = {"User-Agent": f"unweave-python/{version}"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    client = httpx2.AsyncClient(
        base_url=url.rstrip("/"),
        headers=headers,
        timeout=httpx2.Timeout(TIMEOUT, connect=10.0),
        follow_redirects=True,
    )
    return Door(client, patience)


@cache
def local(home: Path | None, device: str | None) -> Server:
    """The application over a home folder, in this process; one for each, kept."""
    from backend.settings import Settings

    given = {"home": home, "device": device}
    settings = Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    server = inside(settings.model_copy(update={"home": settings.home.expanduser().resolve()}))
    _loop()  # registered before, so that it ends after
    atexit.register(server.close)
    return server


def inside(settings: Settings) -> Server:
    """The application over these settings, in this process: whoever runs it may do everything."""
    from backend.app import create_app
    from backend.services import container

    own = {"load_engines": False, "host": "127.0.0.1", "open": True, "root_path": "", "allowed_hosts": []}
    settings = settings.model_copy(update=own)
    services = container.build(settings)
    services.start()
    app = create_app(settings, services)
    app.state.services = services  # which a server's lifespan would set
    transport = httpx2.ASGITransport(app=app)
    client = httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=None)
    return Server(Door(client, PATIENCE, longest_pause=0.2), services)
