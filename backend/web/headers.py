"""Small ASGI layers around the app: known host names only, bodies of a sane size, and headers that say to the browser
what a page may do."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from fastapi import HTTPException

from backend.errors import ApiError, respond
from backend.settings import LOOPBACK

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PROBES = ("/healthz", "/readyz")

# Plotly writes style attributes and rules at run time, and saves figures through data: and blob: images.
POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]


# An embed is for frames on any site; it may do nothing but show its own text.
EMBED = re.compile(r"^/f/[^/]+/embed$")
EMBED_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors *",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"cross-origin"),
]


class ServerTiming:
    """Says of an API answer how long it took from the request to its first byte, which a browser's network panel and
    `performance` show beside the way there and back. An answer's own `elapsed_ms` is the work without its wait."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/api/"):
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()

        async def timed(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                spent = f"total;dur={1e3 * (time.perf_counter() - began):.1f}".encode()
                message["headers"] = [*message.get("headers", []), (b"server-timing", spent)]
            await send(message)

        await self.app(scope, receive, timed)


class SecurityHeaders:
    """Adds the headers to every answer, and `no-store` to API answers that say nothing of caching."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = EMBED_HEADERS if EMBED.match(scope["path"]) else HEADERS
                headers = [*message.get("headers", []), *own]
                if scope["path"].startswith("/api/") and not any(k == b"cache-control" for k, _ in headers):
                    headers.append((b"cache-control", b"no-store"))
                message["headers"] = headers
            await send(message)

        await self.app(scope, receive, with_headers)


class HeadAsGet:
    """Answers HEAD of an API address as GET without the body: the same status, headers and length (RFC 9110, 9.3.2)."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["method"] != "HEAD"
            or not scope["path"].startswith(("/api/", "/f/"))
        ):
            await self.app(scope, receive, send)
            return
        answered = asyncio.Event()

        async def bodiless(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                answered.set()

        async def until_answered() -> MutableMapping[str, Any]:
            if answered.is_set():  # ends what would stream for long
                return {"type": "http.disconnect"}
            return await receive()

        await self.app({**scope, "method": "GET"}, until_answered, bodiless)


class KnownHosts:
    """Refuses a foreign Host header, so that a page elsewhere cannot reach a server on loopback by DNS rebinding.
    Probes are answered under any name: a load balancer asks by address."""

    def __init__(self, app: App, *, allowed: Sequence[str]) -> None:
        self.app = app
        self.allowed = {name.lower() for name in allowed}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "*" not in self.allowed and scope["path"] not in PROBES:
            host = next((value.decode("latin-1") for key, value in scope["headers"] if key == b"host"), "")
            if _name(host) not in self.allowed:
                said = "This server does not answer to that host name. Set UNWEAVE_ALLOWED_HOSTS to add it."
                await respond(ApiError(421, "unknown_host", said))(scope, receive, send)  # type: ignore[arg-type]
                return
        await self.app(scope, receive, send)


class BodyLimit:
    """Refuses a request body over the limit: at once where its length is told, else when it has grown past it."""

    def __init__(self, app: App, *, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        told = next((value for key, value in scope["headers"] if key == b"content-length"), b"0")
        if not told.isdigit() or int(told) > self.most:
            said = f"The request is too large; the most is {self.most / 1e6:.1f} MB."
            await respond(ApiError(413, "too_large", said))(scope, receive, send)  # type: ignore[arg-type]
            return
        got = 0

        async def counted() -> MutableMapping[str, Any]:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > self.most:
                raise HTTPException(413)
            return message

        await self.app(scope, counted, send)


def _name(host: str) -> str:
    if host.startswith("["):
        return host[1:].split("]")[0].lower()
    return host.rsplit(":", 1)[0].lower()


def allowed_hosts(host: str, configured: Sequence[str]) -> list[str]:
    """Names the server answers to: the configured ones; loopback names on loopback; any name otherwise."""
    if configured:
        return [*configured, *LOOPBACK]
    return [*LOOPBACK] if host in LOOPBACK else ["*"]
