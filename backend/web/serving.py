"""The server process: takes the port, migrates, starts a worker beside it, and says where the page is."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType

import uvicorn
from rich.console import Console

from backend.app import create_app
from backend.db.session import DatabaseError
from backend.services import container
from backend.services.access.proxy import ProxyError
from backend.services.container import Services
from backend.settings import Settings, app_version
from workers import logs
from workers.jobs.store import StoreError

GRACE_SECONDS = 10
KEEP_ALIVE_SECONDS = 75
"""Longer than proxies keep theirs (60 s mostly): else one sends a request into a connection that is being closed."""
"""How long requests that are being answered may take to end once the server is asked to stop."""

log = logging.getLogger("unweave")

CLOSED = (
    "Others can reach {host}, so say first who may do what: make an access token with `unweave tokens create NAME "
    "--role admin` (or set UNWEAVE_ADMIN_TOKEN), or set up a proxy that asks people who they are, or give --open to "
    "let everyone do everything (docs/access.md)."
)


class StartError(Exception):
    """The server cannot start; the message is a plain sentence."""


class _Server(uvicorn.Server):
    """Says where the page is once it can be opened."""

    def __init__(
        self,
        config: uvicorn.Config,
        services: Services,
        console: Console,
        lines: list[str],
        then: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._services, self._console, self._lines, self._then = services, console, lines, then

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._services.leave()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            for line in self._lines:
                self._console.print(line, highlight=False, soft_wrap=True)
            self._then()


def take_port(host: str, port: int) -> socket.socket:
    """A socket bound to the address. Raises StartError where it is taken, not ours or not allowed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, port))
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"Port {port} on {host} is taken: perhaps Unweave runs already. Stop that, or choose another with "
                f"--port {port + 1 if port < 65_535 else 8000}."
            ) from None
        if error.errno == errno.EACCES:
            raise StartError(f"Port {port} needs more rights. Choose one above 1023 with --port.") from None
        raise StartError(f"Cannot listen on {host}, port {port}: {error.strerror or error}.") from None
    taken.set_inheritable(False)
    return taken


def run_server(
    settings: Settings, *, worker: bool, console: Console, then: Callable[[], None] = lambda: None
) -> None:
    """Serve until Ctrl-C or SIGTERM; the worker beside it ends with it. `then` is called once the page can be opened.
    Raises StartError."""
    logs.set_up(settings.log_level, settings.log_format)
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"The home folder {settings.home} cannot be made: {error.strerror}.") from None
    with ExitStack() as stack:
        listening = stack.enter_context(take_port(settings.host, settings.port))
        try:
            services = container.build(settings)
            services.database.migrate()
            services.visitors.start()
        except (DatabaseError, ProxyError, StoreError) as error:
            raise StartError(str(error)) from None
        if not services.visitors.anyone_gets_in():
            raise StartError(CLOSED.format(host=settings.host))
        if worker:
            from workers.trainer.supervisor import Supervisor

            stack.enter_context(Supervisor(settings.worker()))
        shown = f"[{settings.host}]" if ":" in settings.host else settings.host
        lines = [f"Unweave {app_version()} is at [bold]http://{shown}:{settings.port}[/]  (Ctrl-C ends it)"]
        if settings.is_open and not settings.on_loopback:
            lines.append("Whoever can reach this address can do everything: it is open.")
        config = uvicorn.Config(
            create_app(settings, services),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            server_header=False,
            proxy_headers=False,  # backend/web/visitors.py reads them, of trusted proxies only
        )
        _Server(config, services, console, lines, then).run(sockets=[listening])
