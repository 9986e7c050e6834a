"""Who may use a route. Every route declares it, for itself or with its router, by one of these:

    PUBLIC   anyone: what says nothing of this server's content
    LINK     anyone where findings are public, else like READ: what a finding's link leads to
    READ     look and ablate
    WRITE    findings, labels, collections, jobs
    ADMIN    delete, folders, the hub, access tokens
    LOOK_AS_WRITER, LOOK_AS_ADMIN   ask what only they need, and change nothing

A change (WRITE, ADMIN) that is made leaves a line in the audit: the operation's name and the ids in its path, or what
the route says in `change.made(id)`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPBearer
from starlette.concurrency import run_in_threadpool

from backend.api.deps import ServicesDep
from backend.errors import ApiError
from backend.schemas.access import Role
from backend.services.access.visitors import SIGN_IN, Identity
from backend.web.visitors import SESSION

_token = HTTPBearer(
    auto_error=False, scheme_name="token", description="An access token; `unweave tokens create` makes one."
)
_session = APIKeyCookie(
    name=SESSION,
    auto_error=False,
    scheme_name="session",
    description="What POST /api/session sets in a browser.",
)
_Token = Annotated[Any, Security(_token)]
_Session = Annotated[Any, Security(_session)]


def visitor(request: Request) -> Identity:
    """Who asks. Raises ApiError 401 where nobody was recognised."""
    found = getattr(request.state, "visitor", None)
    if found is None:
        raise ApiError(401, "sign_in_needed", SIGN_IN)
    return found


async def _visitor(request: Request) -> Identity:
    return visitor(request)


class Change:
    """What a request changes: the ids of its path, until the route names what it made."""

    def __init__(self, request: Request) -> None:
        self.subject = "/".join(request.path_params.values())

    def made(self, id: str) -> None:
        """Name what was made."""
        self.subject = id


async def _change(request: Request) -> Change:
    if not hasattr(request.state, "change"):
        request.state.change = Change(request)
    return request.state.change


VisitorDep = Annotated[Identity, Depends(_visitor)]
ChangeDep = Annotated[Change, Depends(_change)]


def may_look(request: Request) -> bool:
    """Whether this visitor may open a finding by its link."""
    found = getattr(request.state, "visitor", None)
    return request.app.state.services.settings.public_findings or (found is not None and found.may("read"))


class Public:
    """Lets in anyone."""

    role: Role | None = None

    async def __call__(self) -> None:
        return None


class Look:
    """Lets in who has a role; `linked`: also anyone who has a finding's link, where findings are public."""

    def __init__(self, role: Role, *, linked: bool = False) -> None:
        self.role: Role = role
        self.linked = linked

    async def __call__(self, request: Request, _token: _Token, _session: _Session) -> None:
        if not (self.linked and request.app.state.services.settings.public_findings):
            visitor(request).require(self.role)


class Alter:
    """Lets in who has a role, and writes down what they changed once it is done, before they are answered."""

    def __init__(self, role: Role) -> None:
        self.role: Role = role

    async def __call__(
        self, request: Request, all: ServicesDep, change: ChangeDep, _token: _Token, _session: _Session
    ) -> AsyncIterator[None]:
        who = visitor(request)
        who.require(self.role)
        yield
        name = request.scope["route"].name
        await run_in_threadpool(all.visitors.audit.write, who.name, name, change.subject, who.address)


PUBLIC = Depends(Public())
LINK = Depends(Look("read", linked=True))
READ = Depends(Look("read"))
WRITE = Depends(Alter("write"), scope="function")
ADMIN = Depends(Alter("admin"), scope="function")
LOOK_AS_WRITER = Depends(Look("write"))
LOOK_AS_ADMIN = Depends(Look("admin"))
