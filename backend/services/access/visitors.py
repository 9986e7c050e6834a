"""Who asks, and whether they may: what the web layer hands over of a request becomes one `Identity`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from starlette.concurrency import run_in_threadpool

from backend.db.session import Database
from backend.errors import ApiError
from backend.schemas.access import ROLES, Role, Visitor
from backend.services.access.audit import Audit
from backend.services.access.limits import ClientLimits, network
from backend.services.access.proxy import NotBelieved, TrustedProxy
from backend.services.access.tokens import Holder, Secret, Tokens
from backend.settings import Settings

log = logging.getLogger("unweave")

SIGN_IN = "Sign in with an access token. Whoever runs this server makes one with `unweave tokens create`."


@dataclass(frozen=True)
class Identity:
    """Who asks. `client` is whom limits and turns are counted by. Without a role they are not signed in; `problem` says
    what was wrong with what they showed, if they showed something."""

    name: str
    role: Role | None
    by: Literal["open", "token", "session", "proxy"] | None
    client: str
    address: str
    problem: str | None = None

    def may(self, role: Role) -> bool:
        """Whether their role is that one or a greater."""
        return self.role is not None and ROLES.index(self.role) >= ROLES.index(role)

    def require(self, role: Role) -> None:
        """Raises ApiError 401 where they are not signed in, 403 where their role is too small."""
        if self.role is None:
            raise ApiError(401, "sign_in_needed", self.problem or SIGN_IN)
        if not self.may(role):
            said = (
                f"This needs the role {role}, and {self.name} has {self.role}. Ask whoever runs this server."
            )
            raise ApiError(403, "role_too_small", said, {"role": self.role, "needed": role})


class Visitors:
    """Recognises who asks, by the proxy, a token or a session."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings = settings
        self.tokens = Tokens(database, session_hours=settings.session_hours)
        self.proxy = TrustedProxy(settings)
        self.limits = ClientLimits(settings)
        self.audit = Audit(database, days=settings.audit_days)

    def start(self) -> None:
        """Take the token of the settings into the table. The database is migrated."""
        secret = self.settings.admin_token
        self.tokens.take_setting(None if secret is None else secret.get_secret_value())

    def anyone_gets_in(self) -> bool:
        """Whether the server is of use to anybody: open, behind a proxy, or with a token that works."""
        return self.settings.is_open or self.settings.has_proxy or self.tokens.usable()

    async def admit(
        self, headers: Mapping[str, str], session: str | None, *, address: str, from_proxy: bool, size: int
    ) -> Identity:
        """Who asks; their request is counted. Raises ApiError 429 where it is one too many."""
        found = await self._recognise(headers, session, address, from_proxy)
        if self.settings.is_limited:
            await self.limits.request(found.client, size)
        return found

    async def sign_in(self, secret: str, address: str) -> str:
        """The secret of a new session for a token. Raises ApiError 401, or 429 after too many wrong ones."""
        client = f"sign-in:{network(address)}"
        await self.limits.may_try(client)
        holder = await run_in_threadpool(self.tokens.holder, secret, "token")
        if holder is None:
            await self.limits.failed(client)
            said = "This token is not known here: it may be mistyped, expired or revoked."
            raise ApiError(401, "unknown_token", said)
        return await run_in_threadpool(self.tokens.open_session, holder)

    def view(self, who: Identity) -> Visitor:
        """What a page knows of its visitor."""
        return Visitor(name=who.name, role=who.role, by=who.by, public_findings=self.settings.public_findings)

    async def _recognise(
        self, headers: Mapping[str, str], session: str | None, address: str, from_proxy: bool
    ) -> Identity:
        nobody = f"address:{network(address)}"
        if self.settings.is_open:
            return Identity("", "admin", "open", nobody, address)
        if self.settings.has_proxy:
            try:
                person = await run_in_threadpool(self.proxy.introduced, headers, from_proxy=from_proxy)
            except NotBelieved as error:
                return Identity("", None, None, nobody, address, str(error))
            if person is not None:
                return Identity(person.name, person.role, "proxy", f"user:{person.name}", address)
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            if (holder := await self._holder(secret, "token")) is not None:
                return _holding(holder, "token", address)
            await self.limits.failed(nobody)
            said = "This access token is not known here: it may be mistyped, expired or revoked."
            return Identity("", None, None, nobody, address, said)
        if session and (holder := await self._holder(session, "session")) is not None:
            return _holding(holder, "session", address)
        return Identity("", None, None, nobody, address)

    async def _holder(self, secret: str, by: Secret) -> Holder | None:
        known = self.tokens.remembered(secret, by)
        return known or await run_in_threadpool(self.tokens.holder, secret, by)


def _holding(holder: Holder, by: Secret, address: str) -> Identity:
    return Identity(holder.name, holder.role, by, f"token:{holder.id}", address)
