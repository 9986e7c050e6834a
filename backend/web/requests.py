"""What every request gets: an id that the log, the answer and whoever asked share, and its place in the metrics."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import MutableMapping
from typing import Any

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.web.metrics import Metrics

log = logging.getLogger("unweave.requests")
ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
NO_ROUTE = "none"
"""The route of a request that no route took: a foreign host, a path of no page."""


class Requests:
    """Takes the client's X-Request-ID or makes one, sends it back, and counts, times and logs the request."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if ID.fullmatch(given) else secrets.token_hex(8)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        began, status = time.perf_counter(), 500

        async def named(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(message)

        self.metrics.in_flight.inc()
        try:
            await self.app(scope, receive, named)
        finally:
            seconds = time.perf_counter() - began
            self.metrics.in_flight.dec()
            route = getattr(scope.get("route"), "path", NO_ROUTE)
            self.metrics.count(scope["method"], route, status, seconds)
            log.info(
                "%s %s",
                scope["method"],
                scope["path"],
                extra={"status": status, "ms": round(1e3 * seconds, 1)},
            )
