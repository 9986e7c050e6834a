"""Small ASGI layers around the app: known host names only, bodies of a sane size, and headers that say to the browser
what a page may do."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Any

from fastapi import HTTPException

from backend.errors import ApiError, respond
from backend.settings import LOOPBACK

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

DROP_SECONDS = 30
PROBES = ("/healthz", "/readyz", "/metrics")

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


class SubPath:
    """Takes the path that a proxy serves Unweave below off the front of a request's, where the proxy did not."""

    def __init__(self, app: App, *, root: str) -> None:
        self.app, self.root = app, root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.root and scope["type"] == "http" and f"{scope['path']}/".startswith(f"{self.root}/"):
            scope["path"] = scope["path"][len(self.root) :] or "/"
            scope["raw_path"] = scope["path"].encode()
        await self.app(scope, receive, send)


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


class OwnPages:
    """Refuses a change that a page of another origin asks for. A browser sends a POST without a body anywhere, unasked
    and with no preflight; it says whose page it comes from in Sec-Fetch-Site, or where that is left out (plain http) in
    Origin. Programs other than browsers send neither, and are answered."""

    def __init__(self, app: App, *, allowed: Sequence[str]) -> None:
        self.app, self.allowed = app, {name.lower() for name in allowed if name != "*"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            headers = {key: value.decode("latin-1") for key, value in scope["headers"]}
            if self._foreign(headers):
                said = (
                    "A page of another site asked for this, so it was not done. Do it on Unweave's own page."
                )
                await respond(ApiError(403, "foreign_origin", said))(scope, receive, send)  # type: ignore[arg-type]
                return
        await self.app(scope, receive, send)

    def _foreign(self, headers: Mapping[bytes, str]) -> bool:
        site = headers.get(b"sec-fetch-site")
        if site is not None:
            return site not in ("same-origin", "none")
        origin = headers.get(b"origin")
        if origin is None:
            return False
        host = origin.partition("://")[2].lower()
        own = {headers.get(name, "").lower() for name in (b"host", b"x-forwarded-host")} - {""}
        return host not in own and _name(host) not in self.allowed


class BodyLimit:
    """Refuses a request body over the limit. What the client still sends is read and dropped first: it may look for an
    answer only when it has sent everything, and a connection closed before that looks like a broken network."""

    def __init__(self, app: App, *, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self.most:
            if headers.get(b"expect", b"").lower() != b"100-continue":  # else it waits for this very answer
                await drop(receive)
            said = f"The request is too large; the most is {self.most / 1e6:.1f} MB."
            await respond(ApiError(413, "too_large", said))(scope, receive, send)  # type: ignore[arg-type]
            return
        got = 0

        async def counted() -> MutableMapping[str, Any]:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > self.most:
                if message.get("more_body"):
                    await drop(receive)
                raise HTTPException(413)
            return message

        await self.app(scope, counted, send)


async def drop(receive: Receive) -> None:
    """Read a body to its end without keeping it, for as long as a slow client may take."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DROP_SECONDS):
            while (message := await receive())["type"] == "http.request" and message.get("more_body"):
                pass


def _name(host: str) -> str:
    if host.startswith("["):
        return host[1:].split("]")[0].lower()
    return host.rsplit(":", 1)[0].lower()


def allowed_hosts(host: str, configured: Sequence[str]) -> list[str]:
    """Names the server answers to: the configured ones; loopback names on loopback; any name otherwise."""
    if configured:
        return [*configured, *LOOPBACK]
    return [*LOOPBACK] if host in LOOPBACK else ["*"]
