"""What a browser may keep: answers carry an ETag, and one that has not changed since is a 304 without a body."""

from __future__ import annotations

import hashlib
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.settings import app_version

MOST_BYTES = 16 * 2**20
"""Larger answers are sent without an ETag, which would have to hold them whole."""
KEEP_A_WHILE = "private, max-age=600"
"""For what never changes; not for ever, since a later version of Unweave may write the same record another way."""
ASK_AGAIN = "private, no-cache"
KEPT = ("cache-control", "content-location", "date", "etag", "expires", "vary")


class Conditional:
    """ETags for GET, and 304 where the client has the answer already (RFC 9110, 13.1.2). The API's answers are to be
    asked for again each time unless a route says otherwise; streams and errors carry no ETag."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        await self.app(scope, receive, _Answer(scope, send))


class _Answer:
    def __init__(self, scope: Scope, send: Send) -> None:
        self.send, self.api = send, scope["path"].startswith("/api/")
        self.known = [
            tag.strip().removeprefix("W/") for tag in Headers(scope=scope).get("if-none-match", "").split(",")
        ]
        self.start: MutableMapping[str, Any] | None = None
        self.matched = False

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"])
            size = headers.get("content-length", "")
            if message["status"] != 200:
                await self.send(message)
            elif "etag" in headers:
                await self._begin(message, headers)
            elif (
                self.api
                and size.isdigit()
                and int(size) <= MOST_BYTES
                and "no-store" not in headers.get("cache-control", "")
            ):
                self.start = message  # until the body is there to be hashed
            else:
                await self.send(message)
        elif self.start is not None:
            message, start, self.start = message, self.start, None
            headers = MutableHeaders(raw=start["headers"])
            if not message.get("more_body"):
                digest = hashlib.sha256(app_version().encode() + b"\0" + message.get("body", b"")).hexdigest()
                headers["ETag"] = f'W/"{digest[:32]}"'
                headers.setdefault("Cache-Control", ASK_AGAIN)
                await self._begin(start, headers)
            else:
                await self.send(start)
            if not self.matched:
                await self.send(message)
        elif not self.matched:
            await self.send(message)

    async def _begin(self, start: MutableMapping[str, Any], headers: MutableHeaders) -> None:
        if headers["etag"].removeprefix("W/") not in self.known:
            await self.send(start)
            return
        self.matched = True
        kept = [(name, value) for name, value in start["headers"] if name.decode("latin-1").lower() in KEPT]
        await self.send({"type": "http.response.start", "status": 304, "headers": kept})
        await self.send({"type": "http.response.body", "body": b""})
