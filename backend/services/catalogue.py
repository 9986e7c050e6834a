"""The decompositions that can be opened: found on disk, indexed, looked up by slug or content hash."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool

from backend.db import index
from backend.db.index import Folder
from backend.db.session import Database
from backend.errors import not_found
from backend.services.entries import Entry
from backend.settings import Settings
from workers.jobs.places import without_places
from workers.jobs.store import Mirror
from workers.spd.artifact import ArtifactError, read_artifact
from workers.spd.artifact_check import check_artifact

log = logging.getLogger("unweave")

RESCAN_SECONDS = 1.0
SYNC_SECONDS = 2.0


@dataclass(frozen=True)
class _Seen:
    """What a folder held when last looked at: an entry, a reason to skip it, or neither (a copy of another)."""

    signature: str
    entry: Entry | None
    warning: str | None


class Catalogue:
    """Reads artefact folders as they appear, change and go. A folder that cannot be read is skipped with a
    sentence in `warnings`; it never stops the others."""

    def __init__(self, settings: Settings, database: Database, mirror: Mirror | None = None) -> None:
        self.settings, self.database, self.mirror = settings, database, mirror
        self._lock = threading.Lock()
        self._seen: dict[str, _Seen] = {}
        self._by_id: dict[str, Entry] = {}
        self._scanned = float("-inf")

    # --- looking up -------------------------------------------------------------------------------------------

    def get(self, id: str) -> Entry:
        """A decomposition by slug or content hash. Raises ApiError 404."""
        self.refresh(at_most_every=RESCAN_SECONDS)
        entry = self._by_id.get(id)
        if entry is None:
            if self.mirror is not None:
                self.mirror.sync(at_most_every=SYNC_SECONDS)
            self.refresh()
            entry = self._by_id.get(id)
        if entry is None:
            raise not_found(
                "unknown_decomposition", f"There is no decomposition “{id[:80]}” here.", id=id[:200]
            )
        return entry

    async def aget(self, id: str) -> Entry:
        """The same from a coroutine; in a thread only where the disk has to be looked at."""
        entry = self._by_id.get(id)
        if entry is not None and time.monotonic() - self._scanned < RESCAN_SECONDS:
            return entry
        return await run_in_threadpool(self.get, id)

    def entries(self) -> list[Entry]:
        """Every decomposition, shipped ones first."""
        self.refresh(at_most_every=RESCAN_SECONDS)
        return [seen.entry for seen in self._seen.values() if seen.entry is not None]

    def warnings(self) -> list[str]:
        """A sentence for every folder that was skipped, and for what is wrong with the store."""
        skipped = [seen.warning for seen in self._seen.values() if seen.warning is not None]
        return skipped + (self.mirror.warnings() if self.mirror is not None else [])

    # --- keeping up with the disk -----------------------------------------------------------------------------

    def refresh(self, *, at_most_every: float = 0.0) -> None:
        """Look at the folders again. Cheap where nothing changed: one `stat` a folder."""
        if time.monotonic() - self._scanned < at_most_every:
            return
        with self._lock:
            if time.monotonic() - self._scanned < at_most_every:
                return
            folders = index.scan(self.settings.shipped, shipped=True)
            folders += index.scan(self.settings.artifacts, shipped=False)
            seen: dict[str, _Seen] = {}
            hashes: set[str] = set()
            for folder in folders:
                old = self._seen.get(folder.place)
                if old is not None and old.entry is not None and old.entry.hash in hashes:
                    old = None
                now = (
                    old
                    if old is not None and old.signature == folder.signature
                    else self._read(folder, hashes)
                )
                seen[folder.place] = now
                if now.entry is not None:
                    hashes.add(now.entry.hash)
            if self._seen.keys() - seen.keys() or self._scanned == float("-inf"):
                self._forget_missing(set(seen))
            self._seen = seen
            entries = [found.entry for found in seen.values() if found.entry is not None]
            self._by_id = {e.hash: e for e in entries} | {e.slug: e for e in entries}
            self._scanned = time.monotonic()

    def _read(self, folder: Folder, hashes: set[str]) -> _Seen:
        try:
            return self._index(folder, hashes)
        except OperationalError:
            raise  # the database's fault, and of every artefact alike
        except (
            Exception
        ) as error:  # whatever a file from elsewhere makes a parser raise, the others are shown
            reason = str(error) if isinstance(error, ArtifactError) else _plain(folder.path, error)
            reason = without_places(reason, self.settings.home)
            log.warning("skipped %s: %s", folder.path, reason)
            return _Seen(folder.signature, None, reason)

    def _index(self, folder: Folder, hashes: set[str]) -> _Seen:
        with self.database.session() as session:
            row = index.indexed(session, folder)
            artifact = read_artifact(folder.path, verify=row is None)
            if row is not None and row.hash != artifact.hash:
                artifact, row = read_artifact(folder.path, verify=True), None
            if artifact.hash in hashes:
                return _Seen(folder.signature, None, None)
            if row is None:
                check_artifact(artifact)
                row = index.store(session, folder, artifact)
            return _Seen(folder.signature, Entry(row.slug, folder.shipped, artifact, self.settings), None)

    def _forget_missing(self, present: set[str]) -> None:
        with self.database.session() as session:
            for place in index.places(session):
                if place not in present:
                    index.forget(session, place=place)


def _plain(path: Path, error: Exception) -> str:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"“{path.name}” cannot be read as a decomposition: {first}."
