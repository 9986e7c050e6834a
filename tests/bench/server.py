"""A real server in this process: uvicorn on loopback, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from backend.app import create_app
from backend.services import container
from backend.services.ablation.adapter import Loader
from backend.services.container import Services
from tests import factories


@contextmanager
def serving(
    home: Path, name: str, *, loader: Loader | None = None, **changes: Any
) -> Iterator[tuple[httpx.Client, Services]]:
    """A client of a server over `home` whose engine of `name` is ready."""
    settings = factories.settings(home, port=1, **changes)
    services = container.build(settings, loader)
    config = uvicorn.Config(create_app(settings, services), host="127.0.0.1", port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        status = services.engines.wait(services.catalogue.get(name), 600)
        assert status.state == "ready", status
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as client:
            yield client, services
    finally:
        server.should_exit = True
        thread.join(10)
