"""`unweave backup` and `unweave restore`: what exists only in the database (findings, collections,
labels), in one file.

    unweave.db    a copy taken with SQLite's online backup: whole, also while a server writes (the file in the home
                  folder alone lacks what its write-ahead log holds)
    backup.json   version, time, the database's revision, counts, and which decompositions it speaks of

Decompositions themselves are folders, to be copied as they are; the queue of jobs is not kept.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
import zipfile
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from sqlalchemy import make_url

from backend.db.session import Database, DatabaseError
from backend.settings import Settings, app_version
from workers.spd.artifact import parse_json

FORMAT = 1
DATABASE, INFO = "unweave.db", "backup.json"
TABLES = ("findings", "collections", "labels")
SECRETS = ("sessions", "access_tokens")
"""Left out: a backup that is lost lets nobody in, and an old one brings no revoked token back."""
ENDING = ".before-restore"


class BackupError(Exception):
    """No backup can be written or read; the message is a plain sentence."""


@dataclass(frozen=True)
class Backup:
    """What a backup holds: rows by table, and the decompositions (slug → content hash) that it speaks of."""

    created_at: str
    version: str
    counts: dict[str, int]
    decompositions: dict[str, str]


def back_up(settings: Settings, path: Path) -> Backup:
    """Write a backup, also while a server runs. Raises BackupError and leaves no half of one."""
    source = _sqlite_file(settings)
    if not source.is_file():
        raise BackupError(f"There is no database in {settings.home}, so there is nothing to back up.")
    part = path.with_name(path.name + ".part")
    try:
        with tempfile.TemporaryDirectory(prefix="unweave-backup-", dir=path.parent) as scratch:
            copy = Path(scratch) / DATABASE
            _copy(source, copy)
            _leave_out(copy, SECRETS)
            summary = _look(copy)
            info = {"format": FORMAT, **summary.__dict__}
            with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.write(copy, DATABASE)
                archive.writestr(INFO, json.dumps(info, ensure_ascii=False, indent=1))
        os.replace(part, path)
    except (OSError, sqlite3.Error) as error:
        part.unlink(missing_ok=True)
        raise BackupError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}.") from None
    return summary


def restore(settings: Settings, path: Path, *, replace: bool) -> Backup:
    """Put a backup in place of the home folder's database. What was there stays as `unweave.db.before-restore`.

    Raises BackupError where the file is no backup, is damaged or comes from a newer Unweave, or where there is a
    database and `replace` was not given; nothing is changed then.
    """
    target = _sqlite_file(settings)
    if target.exists() and not replace:
        raise BackupError(
            f"There is a database in {settings.home} already. Give --replace to put the backup in its place; a copy of "
            "it is kept."
        )
    settings.home.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".restore-", dir=settings.home) as scratch:
            copy = _unpacked(path, Path(scratch))
            summary = _look(copy)
            database = Database(f"sqlite:///{copy}")
            try:
                database.migrate()  # a database of an older version becomes one of this
            finally:
                database.close()
            if target.exists():
                _copy(target, target.with_name(target.name + ENDING))
            _copy(copy, target)
    except DatabaseError:
        raise BackupError(
            f"{path.name} was made by a newer version of Unweave than {app_version()}. Upgrade Unweave to restore it."
        ) from None
    except (OSError, sqlite3.Error) as error:
        raise BackupError(
            f"{path} cannot be restored: {getattr(error, 'strerror', None) or error}."
        ) from None
    return summary


def missing(settings: Settings, backup: Backup) -> list[str]:
    """Slugs of decompositions that the backup speaks of and that are neither shipped nor in the home folder."""
    there = {
        path.name
        for root in (settings.artifacts, settings.shipped)
        if root.is_dir()
        for path in root.iterdir()
    }
    return sorted(slug for slug in backup.decompositions if slug not in there)


def _sqlite_file(settings: Settings) -> Path:
    url = make_url(settings.url)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise BackupError(
            "This database is a PostgreSQL server's. Back it up with pg_dump and restore it with pg_restore "
            "(docs/backup.md)."
        )
    return Path(url.database)


def _copy(source: Path, target: Path) -> None:
    """One consistent state of a SQLite database into another file, by SQLite's online backup."""
    with closing(sqlite3.connect(source)) as there, closing(sqlite3.connect(target)) as here:
        there.backup(here)


def _leave_out(path: Path, tables: tuple[str, ...]) -> None:
    """Empty some tables of a database, of which an older one may have none, and leave nothing of them in its file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for table in tables:
            if database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
                database.execute(f"DELETE FROM {table}")
        database.execute("VACUUM")


def _look(path: Path) -> Backup:
    with closing(sqlite3.connect(path)) as database:
        if database.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise BackupError("The database in it is damaged.")
        counts = {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}
        slugs = dict(database.execute("SELECT slug, hash FROM decompositions"))
    return Backup(datetime.now(UTC).isoformat(timespec="seconds"), app_version(), counts, slugs)


def _unpacked(path: Path, scratch: Path) -> Path:
    refuse = BackupError(f"{path.name} is not a backup that `unweave backup` wrote.")
    try:
        with zipfile.ZipFile(path) as archive:
            info: Any = parse_json(archive.read(INFO))
            if not isinstance(info, dict) or cast("dict[str, Any]", info).get("format") != FORMAT:
                raise refuse
            if archive.getinfo(DATABASE).file_size > shutil.disk_usage(scratch).free:
                raise BackupError(f"{path.name} needs more space than the disk of the home folder has free.")
            return Path(archive.extract(DATABASE, scratch))
    except FileNotFoundError:
        raise BackupError(f"There is no {path}.") from None
    except (zipfile.BadZipFile, KeyError, ValueError):
        raise refuse from None
