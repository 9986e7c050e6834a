"""Access tokens, and the sessions that a browser has for one. Of both only a hash is stored: they are 256 random bits,
which need no slow hash, and a look-up by hash says nothing about them by the time it takes."""

from __future__ import annotations

import hashlib
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import delete, or_, select, update
from sqlalchemy.exc import OperationalError

from backend.db.session import Database
from backend.db.tables import AccessTokenRow, SessionRow, aware
from backend.errors import ApiError, invalid, not_found
from backend.schemas.access import AccessToken, AccessTokenRequest, NewAccessToken, Role
from backend.services.access.remembered import Remembered
from backend.services.labels import plain

Secret = Literal["token", "session"]

PREFIX = "unweave_"
FROM_SETTING = "setting"
"""Id of the token that UNWEAVE_ADMIN_TOKEN names."""
REMEMBER_SECONDS = 2.0
"""A token revoked elsewhere (on the command line, by another replica) works this much longer at most."""
USED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class Holder:
    """Whom a token was given to."""

    id: str
    name: str
    role: Role


class Tokens:
    """Creates, lists, revokes and recognises access tokens; opens and closes sessions."""

    def __init__(self, database: Database, *, session_hours: int = 336) -> None:
        self.database = database
        self.lasting = timedelta(hours=session_hours)
        self._remembered = Remembered[Holder]()

    # --- by an administrator ----------------------------------------------------------------------------------

    def create(self, request: AccessTokenRequest) -> NewAccessToken:
        """A new token; its secret is in this answer and nowhere else. Raises ApiError 422 for a name of nothing."""
        name = plain(request.name, "name", 60)
        if not name:
            raise invalid("empty_name", "A token needs a name that says whose it is, or what uses it.")
        secret, now = PREFIX + secrets.token_urlsafe(32), datetime.now(UTC)
        row = AccessTokenRow(
            id=secrets.token_hex(4),
            hash=_hash(secret),
            name=name,
            role=request.role,
            created_at=now,
            expires_at=None if request.days is None else now + timedelta(days=request.days),
        )
        with self.database.session() as session:
            session.add(row)
        return NewAccessToken(**dict(_token(row)), secret=secret)

    def listing(self) -> list[AccessToken]:
        """Every token that was not revoked, the newest first."""
        newest = select(AccessTokenRow).order_by(AccessTokenRow.created_at.desc(), AccessTokenRow.id)
        with self.database.session() as session:
            return [_token(row) for row in session.scalars(newest)]

    def revoke(self, id: str) -> AccessToken:
        """Take a token away, with its sessions. Raises ApiError 404, or 409 for the one of the setting."""
        if id == FROM_SETTING:
            said = (
                "This token is the setting UNWEAVE_ADMIN_TOKEN. Change it there and start the server again."
            )
            raise ApiError(409, "token_of_setting", said)
        with self.database.session() as session:
            row = session.get(AccessTokenRow, id)
            if row is None:
                raise not_found("unknown_token", f"There is no access token “{id[:80]}” here.", id=id[:80])
            session.delete(row)
        self._remembered.clear()
        return _token(row)

    def usable(self) -> bool:
        """Whether anybody could sign in."""
        with self.database.session() as session:
            return (
                session.scalar(select(AccessTokenRow.id).where(_lasts(AccessTokenRow.expires_at))) is not None
            )

    def take_setting(self, secret: str | None) -> None:
        """Make the token that the settings name the one of that id, or take it away where they name none."""
        hash = None if secret is None else _hash(secret)
        with self.database.session() as session:
            row = session.get(AccessTokenRow, FROM_SETTING)
            if row is not None and row.hash != hash:
                session.delete(row)
                session.flush()
                row = None
            if row is None and hash is not None:
                session.add(
                    AccessTokenRow(
                        id=FROM_SETTING, hash=hash, name="UNWEAVE_ADMIN_TOKEN", role="admin",
                        created_at=datetime.now(UTC),
                    )
                )  # fmt: skip

    # --- of a request -----------------------------------------------------------------------------------------

    def remembered(self, secret: str, by: Secret) -> Holder | None:
        """The holder of a token or a session, where that was found out a moment ago."""
        return self._remembered.get(f"{by} {_hash(secret)}")

    def holder(self, secret: str, by: Secret) -> Holder | None:
        """Whose token this is, or whose session; None where it is unknown, expired or revoked."""
        hash = _hash(secret)
        rows = select(AccessTokenRow).where(_lasts(AccessTokenRow.expires_at))
        if by == "token":
            rows = rows.where(AccessTokenRow.hash == hash)
        else:
            rows = rows.join(SessionRow).where(SessionRow.hash == hash, _lasts(SessionRow.expires_at))
        with self.database.session() as session:
            row = session.scalar(rows)
        if row is None:
            return None
        self._used(row)
        holder = Holder(row.id, row.name, row.role)
        self._remembered.put(f"{by} {hash}", holder, REMEMBER_SECONDS)
        return holder

    def open_session(self, holder: Holder) -> str:
        """The secret of a new session. Sessions whose time is over are swept out on the way."""
        secret, now = secrets.token_urlsafe(32), datetime.now(UTC)
        with self.database.session() as session:
            session.execute(delete(SessionRow).where(SessionRow.expires_at <= now))
            session.add(SessionRow(hash=_hash(secret), token_id=holder.id, expires_at=now + self.lasting))
        return secret

    def close_session(self, secret: str) -> None:
        """End a session; one that is unknown is no error."""
        with self.database.session() as session:
            session.execute(delete(SessionRow).where(SessionRow.hash == _hash(secret)))
        self._remembered.clear()

    def _used(self, row: AccessTokenRow) -> None:
        now = datetime.now(UTC)
        if row.last_used_at is not None and now - aware(row.last_used_at) < USED_EVERY:
            return
        with (
            suppress(OperationalError),
            self.database.session() as session,
        ):  # to look, a busy database will do
            session.execute(
                update(AccessTokenRow).where(AccessTokenRow.id == row.id).values(last_used_at=now)
            )


def _lasts(expires_at):
    return or_(expires_at.is_(None), expires_at > datetime.now(UTC))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _token(row: AccessTokenRow) -> AccessToken:
    expires = None if row.expires_at is None else aware(row.expires_at)
    return AccessToken(
        id=row.id,
        name=row.name,
        role=row.role,
        created_at=aware(row.created_at),
        expires_at=expires,
        last_used_at=None if row.last_used_at is None else aware(row.last_used_at),
        expired=expires is not None and expires <= datetime.now(UTC),
    )
