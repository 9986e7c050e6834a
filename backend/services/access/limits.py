"""How much one client may ask for in a minute, counted by the library `limits` in this process."""

from __future__ import annotations

import ipaddress
import math
import time

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter

from backend.errors import ApiError
from backend.settings import Settings


class ClientLimits:
    """Counts requests, bytes of bodies and failed sign-ins by client. Raises ApiError 429 with Retry-After."""

    def __init__(self, settings: Settings) -> None:
        self._window = FixedWindowRateLimiter(MemoryStorage())
        self._requests = RateLimitItemPerMinute(settings.requests_per_minute, namespace="requests")
        self._bytes = RateLimitItemPerMinute(settings.bytes_per_minute, namespace="bytes")
        self._failures = RateLimitItemPerMinute(settings.failed_sign_ins_per_minute, namespace="failures")

    async def request(self, client: str, size: int) -> None:
        """Count a request with a body of `size` bytes."""
        most = self._requests.amount
        if not await self._window.hit(self._requests, client):
            raise await self._refusal(
                self._requests, client, f"More than {most:,} requests a minute came from here."
            )
        if size and not await self._window.hit(self._bytes, client, cost=size):
            most = self._bytes.amount / 1e6
            raise await self._refusal(
                self._bytes, client, f"More than {most:,.0f} MB a minute came from here."
            )

    async def may_try(self, client: str) -> None:
        """Whether a token may be tried: not after too many that were wrong."""
        if not await self._window.test(self._failures, client):
            raise await self._refusal(self._failures, client, "Too many wrong tokens came from here.")

    async def failed(self, client: str) -> None:
        """Count a token that was wrong; past the most, refuse more of them."""
        if not await self._window.hit(self._failures, client):
            raise await self._refusal(self._failures, client, "Too many wrong tokens came from here.")

    async def _refusal(self, item: RateLimitItemPerMinute, client: str, what: str) -> ApiError:
        until = (await self._window.get_window_stats(item, client)).reset_time
        seconds = min(60, max(1, math.ceil(until - time.time())))
        return ApiError(429, "too_many_requests", f"{what} Try again in {seconds} s.", retry_after=seconds)


def network(address: str) -> str:
    """What counts as one client: an address, of IPv6 the network of 64 bits that one household or machine has."""
    try:
        parsed = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
