"""Signing in and out, access tokens, and the record of changes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from backend.api.deps import VisitorsDep
from backend.api.roles import ADMIN, LOOK_AS_ADMIN, PUBLIC, ChangeDep, VisitorDep
from backend.errors import ApiError
from backend.schemas.access import (
    AccessToken,
    AccessTokenRequest,
    AuditEntry,
    NewAccessToken,
    SignIn,
    Visitor,
)
from backend.schemas.common import CURSOR, Listing
from backend.services.access.visitors import Visitors
from backend.web.contract import conflict, unknown
from backend.web.visitors import SESSION

router = APIRouter(tags=["access"])


@router.get("/api/session", dependencies=[PUBLIC])
async def get_session(visitors: VisitorsDep, who: VisitorDep, response: Response) -> Visitor:
    """Who the server takes you for, and what you may do."""
    response.headers["Cache-Control"] = "no-store"
    return visitors.view(who)


@router.post(
    "/api/session",
    status_code=204,
    dependencies=[PUBLIC],
    responses={**unknown("The token is not known"), **conflict("The server is open")},
)
async def sign_in(
    asked: SignIn, visitors: VisitorsDep, who: VisitorDep, request: Request, response: Response
) -> None:
    """Sign a browser in with an access token: the answer sets a cookie that its page cannot read."""
    if visitors.settings.is_open:
        raise ApiError(409, "open", "This server is open: everyone may do everything, and nobody signs in.")
    secret = await visitors.sign_in(asked.token, who.address)
    response.set_cookie(
        SESSION, secret, max_age=visitors.settings.session_hours * 3_600, **_cookie(visitors, request)
    )


@router.delete("/api/session", status_code=204, dependencies=[PUBLIC])
def sign_out(visitors: VisitorsDep, request: Request, response: Response) -> None:
    """End a browser's session, here and in the browser."""
    if secret := request.cookies.get(SESSION):
        visitors.tokens.close_session(secret)
    response.delete_cookie(SESSION, **_cookie(visitors, request))


@router.get("/api/tokens", dependencies=[LOOK_AS_ADMIN])
def list_tokens(visitors: VisitorsDep) -> Listing[AccessToken]:
    """Access tokens, the newest first, without their secrets."""
    items = visitors.tokens.listing()
    return Listing[AccessToken](items=items, total=len(items))


@router.post("/api/tokens", status_code=201, dependencies=[ADMIN])
def create_token(request: AccessTokenRequest, visitors: VisitorsDep, change: ChangeDep) -> NewAccessToken:
    """Make an access token. Its secret is in this answer and is not stored."""
    made = visitors.tokens.create(request)
    change.made(f"{made.id} ({made.name}, {made.role})")
    return made


@router.delete("/api/tokens/{id}", dependencies=[ADMIN], responses=conflict("It is the setting's"))
def revoke_token(
    id: Annotated[str, Path(max_length=200)], visitors: VisitorsDep, change: ChangeDep
) -> AccessToken:
    """Take an access token away, and end the sessions that were opened with it."""
    gone = visitors.tokens.revoke(id)
    change.made(f"{gone.id} ({gone.name}, {gone.role})")
    return gone


@router.get("/api/audit", dependencies=[LOOK_AS_ADMIN])
def list_audit(
    visitors: VisitorsDep,
    q: Annotated[str | None, Query(max_length=200, description="matches who, action and subject")] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    cursor: Annotated[str | None, Query(max_length=400, json_schema_extra=CURSOR)] = None,
) -> Listing[AuditEntry]:
    """Who changed what, the newest first."""
    return visitors.audit.listing(limit=limit, cursor=cursor, q=q)


def _cookie(visitors: Visitors, request: Request) -> dict[str, Any]:
    """What keeps the cookie from scripts, from pages of other sites, and from connections in the clear."""
    return {
        "path": visitors.settings.root_path or "/",
        "httponly": True,
        "samesite": "strict",
        "secure": request.url.scheme == "https",
    }
