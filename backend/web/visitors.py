"""Who asks: the address behind trusted proxies, and the identity that routes find in `request.state.visitor`."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from sqlalchemy.exc import OperationalError
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from backend.errors import ApiError, database_busy, respond
from backend.services.access.visitors import Visitors
from backend.web.headers import drop

SESSION = "unweave_session"
"""The cookie of a browser that signed in."""
UNCOUNTED = ("/healthz", "/readyz", "/assets/")
"""What anyone may have as often as they like: a load balancer's probes, and the page's own files."""


class Forwarded:
    """Takes client and scheme of a request from X-Forwarded-For and -Proto where it comes from a trusted proxy, and
    remembers that it did. From any other address those headers are only what somebody wrote."""

    def __init__(self, app: ASGIApp, *, trusted: Sequence[str]) -> None:
        self.networks = [ipaddress.ip_network(address, strict=False) for address in trusted]
        self.app, self.forwarded = app, ProxyHeadersMiddleware(app, trusted_hosts=list(trusted))  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._trusted(scope):
            await self.app(scope, receive, send)
            return
        scope.setdefault("state", {})["from_proxy"] = True
        await self.forwarded(scope, receive, send)  # type: ignore[arg-type]

    def _trusted(self, scope: Scope) -> bool:
        try:
            peer = ipaddress.ip_address((scope.get("client") or ("",))[0])
        except ValueError:
            return False
        return any(peer in network for network in self.networks)


class Recognise:
    """Finds out who asks and counts the request. Only who asks too much is turned away here: what a route needs is
    declared at the route (backend/api/roles.py)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(UNCOUNTED):
            await self.app(scope, receive, send)
            return
        headers, state = Headers(scope=scope), scope.setdefault("state", {})
        visitors: Visitors = scope["app"].state.services.visitors
        try:
            state["visitor"] = await visitors.admit(
                headers,
                cookie_parser(headers.get("cookie", "")).get(SESSION),
                address=(scope.get("client") or ("",))[0],
                from_proxy=state.get("from_proxy", False),
                size=_size(headers),
            )
        except OperationalError as error:
            await respond(database_busy(error))(scope, receive, send)
        except ApiError as error:
            if scope["method"] not in ("GET", "HEAD"):
                await drop(receive)
            await respond(error)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def _size(headers: Headers) -> int:
    """Bytes that the client says its body has. Of untold length: as many as one may have is BodyLimit's matter."""
    declared = headers.get("content-length", "0")
    return int(declared) if declared.isdigit() and len(declared) < 16 else 0
