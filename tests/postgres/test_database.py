"""What is PostgreSQL's own: its tables, several servers that start at once, and a PostgreSQL that dies."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from backend.db.session import Database
from backend.db.tables import Base
from tests import databases
from tests.conftest import Open
from workers.jobs.database import connect, jobs_url, prepare


def test_migrations_make_exactly_the_tables_the_code_uses(home: Path) -> None:
    database = Database(databases.url_of(home))
    for _ in range(2):
        database.migrate()
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_name": lambda name, kind, _: kind != "table" or name in Base.metadata.tables},
        )
        assert compare_metadata(context, Base.metadata) == []
    database.close()


def test_servers_that_start_at_the_same_time_migrate_once(home: Path) -> None:
    databases_ = [Database(databases.url_of(home)) for _ in range(4)]
    with ThreadPoolExecutor(4) as starts:
        list(starts.map(lambda database: database.migrate(), databases_))
    assert len({database.revision() for database in databases_}) == 1
    url = jobs_url(databases.url_of(home))
    with ThreadPoolExecutor(4) as starts:
        list(starts.map(lambda _: prepare(url, connect(url)), range(4)))
    for database in databases_:
        database.close()


def test_a_server_goes_on_when_its_postgresql_comes_back(home: Path, open_app: Open) -> None:
    """One of its own, since it is killed."""
    before = databases.server
    with databases.cluster() as cluster:
        databases.server = cluster.folder
        try:
            client = open_app(home)
            assert client.get("/readyz").status_code == 200
            cluster.stop("immediate")
            answer = client.get("/api/findings")
            assert (answer.status_code, answer.json()["code"]) == (503, "database_busy")
            assert client.get("/readyz").status_code == 503
            assert client.get("/healthz").status_code == 200
            cluster.start()
            assert client.get("/api/findings").status_code == 200
            assert client.get("/readyz").status_code == 200
        finally:
            databases.server = before
