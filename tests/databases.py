"""The database that tests use: SQLite in their home folder, or while tests/postgres runs one of a real PostgreSQL."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

server: Path | None = None
"""The folder with the socket of the PostgreSQL to use; set by tests/postgres."""
POSTGRES = "postgres"


def url_of(home: Path) -> str:
    """The URL of the database that belongs to a home folder; on PostgreSQL it is made when first asked for."""
    if server is None:
        return f"sqlite:///{home / 'unweave.db'}"
    import psycopg

    name = f"unweave_{hashlib.sha256(str(home).encode()).hexdigest()[:16]}"
    with psycopg.connect(host=str(server), user=POSTGRES, dbname=POSTGRES, autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
        if found is None:
            connection.execute(f"CREATE DATABASE {name}".encode())
    return f"postgresql+psycopg://{POSTGRES}@/{name}?host={server}"


class Cluster:
    """A PostgreSQL of its own in a temporary folder, reached by a socket there; under another user where we are root,
    as it demands."""

    def __init__(self, folder: Path) -> None:
        found = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))]
        command = shutil.which("initdb") or (str(found[-1] / "initdb") if found else None)
        if command is None:
            pytest.skip(
                "PostgreSQL is not installed (as root, `make test` installs it from the system's packages)"
            )
        self.bin, self.folder = Path(command).resolve().parent, folder
        self.user = POSTGRES if os.getuid() == 0 else None
        if self.user is not None:
            shutil.chown(folder, self.user)
        self.run("initdb", "--pgdata", str(folder / "data"), "--username", POSTGRES, "--auth", "trust", "--no-sync",
                 "--encoding", "UTF8", "--locale", "C.UTF-8")  # fmt: skip

    def run(self, *command: str) -> None:
        """One of PostgreSQL's programs, to its end."""
        subprocess.run(
            [self.bin / command[0], *command[1:]], check=True, user=self.user, cwd=self.folder,
            stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def start(self) -> None:
        """Waits for what a killed server left behind to end. Raises CalledProcessError where it does not come up."""
        options = f"-k {self.folder} -c listen_addresses='' -F"
        end = time.monotonic() + 60
        while True:
            try:
                self.run("pg_ctl", "start", "--wait", "--pgdata", str(self.folder / "data"), "--log",
                         str(self.folder / "log"), "-o", options)  # fmt: skip
                return
            except subprocess.CalledProcessError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    def stop(self, mode: str = "immediate") -> None:
        """End it, where it has not been killed already."""
        with suppress(subprocess.CalledProcessError):
            self.run("pg_ctl", "stop", "--wait", "--pgdata", str(self.folder / "data"), "--mode", mode)

    @property
    def pid(self) -> int:
        return int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0])


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A running PostgreSQL in a folder of a short name, as its socket needs; skips where none is installed."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        made = Cluster(folder)
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
