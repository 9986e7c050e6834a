"""Who may do what: roles, sessions, access tokens, and the record of changes."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from backend.schemas.common import Wire

Role = Literal["read", "write", "admin"]
ROLES: tuple[Role, ...] = ("read", "write", "admin")
"""From the least to the most; each may do what those before it may."""


class Visitor(Wire):
    """Who the server takes the asker for, and what they may do."""

    name: str = Field(
        description="of the token, or what the proxy calls them; empty for nobody in particular"
    )
    role: Role | None = Field(description="null: not signed in")
    by: Literal["open", "token", "session", "proxy"] | None = Field(
        description="how that is known; open: everyone may do everything here"
    )
    public_findings: bool = Field(description="whether a finding opens for anyone who has its link")


class SignIn(Wire):
    token: str = Field(min_length=1, max_length=500, description="an access token")


class AccessTokenRequest(Wire):
    name: str = Field(min_length=1, max_length=60, description="whose it is, or what uses it")
    role: Role
    days: int | None = Field(default=None, ge=1, le=3_650, description="until it expires; null: never")


class AccessToken(Wire):
    """An access token without its secret, which is not stored."""

    id: str
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="to the minute")
    expired: bool


class NewAccessToken(AccessToken):
    secret: str = Field(description="the token itself; it is shown this once")


class AuditEntry(Wire):
    """One change."""

    at: datetime
    who: str = Field(
        description="name of the token, or what the proxy calls them; empty where nobody signs in"
    )
    action: str = Field(description="the operation's name, such as create_finding")
    subject: str = Field(description="id of what was changed")
    address: str = Field(description="where the request came from; empty for the command line")
