"""A closed server for tests, and what people show it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import update

from backend.db.tables import AccessTokenRow
from backend.schemas.access import ROLES, AccessTokenRequest, NewAccessToken, Role
from backend.services.access.visitors import Visitors

CLOSED: dict[str, Any] = {
    "open": False, "requests_per_minute": 1_000_000, "failed_sign_ins_per_minute": 1_000_000,
}  # fmt: skip


def visitors(client: TestClient) -> Visitors:
    """The app's own service."""
    return client.app.state.services.visitors  # type: ignore[attr-defined]


def new_token(client: TestClient, role: Role, name: str | None = None, **more: Any) -> NewAccessToken:
    """An access token of a role."""
    return visitors(client).tokens.create(AccessTokenRequest(name=name or role, role=role, **more))


def bearer(secret: str) -> dict[str, str]:
    """The header that shows a token."""
    return {"Authorization": f"Bearer {secret}"}


def every_kind(client: TestClient) -> dict[str, dict[str, str]]:
    """Headers of visitors of every kind: nobody, each role, and tokens that are not good any more."""
    service = visitors(client)
    expired, revoked = new_token(client, "admin", days=1), new_token(client, "admin")
    expire(service, expired.id)
    service.tokens.revoke(revoked.id)
    return {
        "nobody": {},
        **{role: bearer(new_token(client, role).secret) for role in ROLES},
        "expired": bearer(expired.secret),
        "revoked": bearer(revoked.secret),
    }


def expire(service: Visitors, id: str) -> None:
    """Put a token's end into the past."""
    with service.tokens.database.session() as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        session.execute(update(AccessTokenRow).where(AccessTokenRow.id == id).values(expires_at=past))
