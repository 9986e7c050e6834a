"""The database: migrated at start, the shape the code expects, and plain about what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from backend.db.session import Database, DatabaseError
from backend.db.tables import Base


def test_migrations_make_exactly_the_tables_the_code_uses(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    database.migrate()
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    for _ in range(2):
        database.migrate()
        assert database.revision() == "0007"


def test_sqlite_waits_for_locks_keeps_a_log_and_holds_foreign_keys(tmp_path: Path) -> None:
    with Database(f"sqlite:///{tmp_path / 'x.db'}").session() as session:
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"
        assert session.scalar(text("PRAGMA busy_timeout")) == 5_000
        assert session.scalar(text("PRAGMA foreign_keys")) == 1


def test_a_database_of_a_newer_version_is_named_as_such(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    database.migrate()
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseError, match="newer version of Unweave"):
        database.migrate()


@pytest.mark.parametrize("url", ["not a url", "nosuchdb://host/name"])
def test_a_url_that_cannot_be_used_is_said_without_its_password(url: str) -> None:
    with pytest.raises(DatabaseError):
        Database(url)
    with pytest.raises(DatabaseError) as error:
        Database("nosuchdb://user:hunter2@host/name")
    assert "hunter2" not in str(error.value)


def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("this is not a database, it is a text file" * 100)
    with pytest.raises(DatabaseError, match=r"cannot be opened: file is not a database\. Restore a backup"):
        Database(f"sqlite:///{tmp_path / 'x.db'}").migrate()
