"""The database: one engine a process, short sessions, migrations at start."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_MS = 5_000
LOCK = 0x756E7765  # "unwe": the advisory lock under which PostgreSQL is migrated


class DatabaseError(Exception):
    """The database cannot be used; the message is a plain sentence."""


def _sqlite_pragmas(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


class Database:
    """SQLite (WAL) or PostgreSQL, by URL. Raises DatabaseError where the URL or the server cannot be used."""

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise DatabaseError("The database URL cannot be read. See docs/configuration.md.") from None
        self.kind = parsed.get_backend_name()
        self.shown = parsed.render_as_string(hide_password=True)
        if self.kind == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        try:
            self.engine: Engine = create_engine(parsed, pool_pre_ping=self.kind != "sqlite")
        except (ImportError, SQLAlchemyError) as error:
            raise DatabaseError(f"The database {self.shown} cannot be used: {error}.") from None
        if self.kind == "sqlite":
            event.listen(self.engine, "connect", _sqlite_pragmas)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    @contextmanager
    def session(self) -> Generator[Session]:
        """A session that commits at the end and rolls back when something is raised."""
        with self._sessions.begin() as session:
            yield session

    def migrate(self) -> None:
        """Bring the tables to this version's shape. Raises DatabaseError with a plain sentence."""
        try:
            with self.engine.begin() as connection:
                if self.kind == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
                command.upgrade(self._config(connection), "head")
        except CommandError:
            raise DatabaseError(
                f"The database {self.shown} was made by a newer version of Unweave. Upgrade Unweave, or choose "
                "another home folder with --home."
            ) from None
        except DBAPIError as error:
            said = str(error.orig).strip().rstrip(".")
            raise DatabaseError(
                f"The database {self.shown} cannot be opened: {said}. {_way_out(said, self.kind)}"
            ) from None

    def revision(self) -> str | None:
        """The migration the tables stand at."""
        with self.engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    def _config(self, connection: Any) -> Config:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        config.attributes["connection"] = connection
        return config


def _way_out(said: str, kind: str) -> str:
    if kind != "sqlite":
        return "Check UNWEAVE_DATABASE_URL, and that PostgreSQL runs."
    if "not a database" in said or "malformed" in said:
        return (
            "Restore a backup (docs/backup.md), or move the file away to begin without findings and labels."
        )
    if "locked" in said:
        return "Another program holds it; end that, then start again."
    return "Check that its folder exists and may be written, or choose another home folder with --home."
