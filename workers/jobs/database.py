"""Where jobs are kept: DBOS's tables, which are the truth, and beside them three small tables of our own.

Ours hold only what is true of this moment (progress, curve, heartbeats). Losing them loses no job, so a changed
layout is dropped and made anew instead of being migrated.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dbos import DBOS
from sqlalchemy import event
from sqlalchemy.engine import URL, Engine, ExceptionContext, make_url
from sqlalchemy.exc import OperationalError

APPLICATION = "unweave"
QUEUE = "decompositions"
WORKFLOW = "decompose"
HARVEST = "harvest"
JOBS = [WORKFLOW, HARVEST]
PROTOCOL = "jobs-1"
"""DBOS's application version: the shape of a job's input and steps, not the version of Unweave. A worker only takes
jobs of its own protocol, so an upgrade resumes the jobs of the release before it unless this is raised."""

BUSY_MS = 30_000
_ATTEMPTS = 20

metadata = sa.MetaData()

progress_table = sa.Table(
    "unweave_job_progress",
    metadata,
    sa.Column("job_id", sa.Text, primary_key=True),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("steps", sa.Integer, nullable=False),
    sa.Column("fraction", sa.Float, nullable=False),
    sa.Column("rate", sa.Float),
    sa.Column("remaining_seconds", sa.Float),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("furthest_stage", sa.Integer, nullable=False),
    sa.Column("furthest_step", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("resumed", sa.Integer, nullable=False),
    sa.Column("crashes", sa.Integer, nullable=False),
    sa.Column("rescues", sa.Integer, nullable=False),
    sa.Column("left_cleanly", sa.Boolean, nullable=False),
    sa.Column("boot", sa.Text, nullable=False),
    sa.Column("memory_kills", sa.Integer, nullable=False),
    sa.Column("out_of_memory", sa.Boolean, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
)

points_table = sa.Table(
    "unweave_job_points",
    metadata,
    sa.Column("job_id", sa.Text, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("figures", sa.JSON, nullable=False),
)

workers_table = sa.Table(
    "unweave_job_workers",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("device", sa.Text, nullable=False),
    sa.Column("memory_bytes", sa.BigInteger, nullable=False),
    sa.Column("job_id", sa.Text),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("seen_at", sa.Float, nullable=False),
)


def jobs_url(database_url: str) -> str:
    """The URL of the jobs database that belongs to the app's.

    PostgreSQL: the same database (DBOS keeps to its own schema). SQLite: the sibling file `<name>-jobs.db`, so that
    a worker's writes never wait for the app's, nor the app's for a worker's. Raises ValueError for a database in
    memory, which no second process could see.
    """
    url = make_url(database_url)
    if url.get_backend_name() != "sqlite":
        return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    if not url.database or url.database == ":memory:":
        raise ValueError("Jobs need a database that other processes can open, not SQLite in memory.")
    file = Path(url.database)
    return URL.create("sqlite", database=str(file.with_name(f"{file.stem}-jobs.db"))).render_as_string()


def connect(url: str) -> Engine:
    """An engine for our tables in the jobs database; SQLite waits for other writers instead of failing."""
    engine = sa.create_engine(url, pool_pre_ping=True)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _wait(connection: Any, _record: Any) -> None:
            connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
            connection.execute("PRAGMA synchronous=NORMAL")

    return engine


def wait_for_postgresql() -> None:
    """Let this process's DBOS wait for a PostgreSQL that takes no connections at the moment.

    It waits for one that is lost, but knows a refused connection by words that psycopg 3.3 no longer uses; and what it
    does not know it takes for the outcome of the job. Call after `prepare`, which finds a database that is not there.
    """

    @event.listens_for(Engine, "handle_error")
    def _(context: ExceptionContext) -> None:
        refused = context.connection is None and isinstance(context.sqlalchemy_exception, OperationalError)
        if refused and context.dialect.name == "postgresql":
            context.is_disconnect = True


def prepare(url: str, engine: Engine) -> None:
    """Create or upgrade everything in the jobs database. Safe to call from several processes at once.

    Raises sqlalchemy.exc.OperationalError where the database cannot be reached.
    """
    if engine.dialect.name == "sqlite":
        Path(str(engine.url.database)).parent.mkdir(parents=True, exist_ok=True)
        _write_ahead(engine)
    DBOS.migrate(url)
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.execute(sa.text("BEGIN IMMEDIATE"))
        else:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('unweave-jobs'))"))
        inspector = sa.inspect(connection)
        for table in metadata.sorted_tables:
            if inspector.has_table(table.name):
                if {column["name"] for column in inspector.get_columns(table.name)} == set(
                    table.columns.keys()
                ):
                    continue
                table.drop(connection)
            table.create(connection)
        schema = "" if engine.dialect.name == "sqlite" else "dbos."
        # Jobs of a release whose queue had no partitions (workers/jobs/fitting.py).
        connection.execute(
            sa.text(
                f"UPDATE {schema}workflow_status SET queue_partition_key = workflow_uuid "
                "WHERE queue_name = :queue AND queue_partition_key IS NULL"
            ),
            {"queue": QUEUE},
        )


def _write_ahead(engine: Engine) -> None:
    """Switch the file to WAL, once: readers and the writer no longer wait for each other."""
    for attempt in range(_ATTEMPTS):
        try:
            with engine.connect() as connection:
                if connection.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal":
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            return
        except OperationalError:  # another process is switching it this moment
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.1)
