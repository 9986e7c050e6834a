"""One place for finished decompositions and harvests of many machines: a shared folder, or a bucket, by fsspec.

<store>/artifacts/<slug>@<hash>/     a decomposition's files; its manifest comes last, and without it nothing counts
<store>/harvests/<hash>/<name>/      a harvest of it, likewise

What lies here never changes. Each machine keeps a copy of everything in its home folder (`Mirror`) and works on that.
The record `store.json` there says what was the same on both sides, so that what is missing on one is known to be new on
the other, or deleted.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import fsspec  # pyright: ignore[reportMissingTypeStubs]
from filelock import FileLock

from workers.spd.artifact import MANIFEST, ArtifactError, put_in_place, read_artifact, sha256, write_json
from workers.spd.artifact_check import check_artifact
from workers.spd.statistics.store import INFO, TABLE, read_info

ARTIFACTS, HARVESTS = "artifacts", "harvests"
MARKERS = {ARTIFACTS: MANIFEST, HARVESTS: INFO}
KEY = re.compile(
    rf"{ARTIFACTS}/(?P<slug>[a-z0-9][a-z0-9-]*)@(?P<hash>[0-9a-f]{{16}})"
    rf"|{HARVESTS}/[0-9a-f]{{16}}/[A-Za-z0-9][A-Za-z0-9._-]*"
)
SECONDS = 10.0
"""How often a machine looks at the store."""
AGAIN_SECONDS = 60.0
"""When something that could not be fetched is tried again."""

log = logging.getLogger("unweave.store")


class StoreError(Exception):
    """The store cannot be used; the message is a plain sentence."""


class Store:
    """Folders of files by key, in any file system that fsspec knows."""

    def __init__(self, url: str) -> None:
        try:
            opened = cast("tuple[Any, str]", fsspec.url_to_fs(url))  # pyright: ignore[reportUnknownMemberType]
        except (ValueError, ImportError) as error:
            raise StoreError(f"UNWEAVE_STORE cannot be used: {error}") from None
        self._files: Any = opened[0]
        self._root = str(opened[1]).rstrip("/")

    def list(self) -> set[str]:
        """The keys of all that is whole."""
        self._files.invalidate_cache()
        found: list[str] = [
            *self._files.glob(f"{self._root}/{ARTIFACTS}/*/{MANIFEST}"),
            *self._files.glob(f"{self._root}/{HARVESTS}/*/*/{INFO}"),
        ]
        keys = {path[len(self._root) + 1 :].rpartition("/")[0] for path in found}
        return {key for key in keys if KEY.fullmatch(key)}

    def publish(self, key: str, folder: Path, names: list[str]) -> None:
        """Copy files of a folder; what marks it as whole comes last."""
        marker = MARKERS[key.partition("/")[0]]
        for name in [*(name for name in names if name != marker), marker]:
            target = f"{self._root}/{key}/{name}"
            self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
            self._files.put_file(str(folder / name), target)

    def fetch(self, key: str, folder: Path) -> None:
        """Copy all files to a folder. They are not looked at: that is for whoever knows what they should be."""
        base = f"{self._root}/{key}/"
        for path in self._files.find(base):
            target = folder / path[len(base) :]
            if not target.resolve().is_relative_to(folder.resolve()):
                raise StoreError(f"The store holds a file outside its folder: {path}.")
            target.parent.mkdir(parents=True, exist_ok=True)
            self._files.get_file(path, str(target))

    def remove(self, key: str) -> None:
        """Take something out, first of all what marks it as whole."""
        self._files.rm_file(f"{self._root}/{key}/{MARKERS[key.partition('/')[0]]}")
        if self._files.exists(f"{self._root}/{key}"):
            self._files.rm(f"{self._root}/{key}", recursive=True)


class Mirror:
    """Keeps a home folder in step with the store. Safe to use from many threads and processes of one home."""

    def __init__(self, home: Path, store: Store) -> None:
        self._home, self._store = home, store
        self._synced = float("-inf")
        self._bad: dict[str, tuple[float, str]] = {}
        self._away: str | None = None
        self._stop = threading.Event()

    def start(self) -> None:
        """Keep in step from now on, in a thread."""
        threading.Thread(target=self._keep, name="store", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _keep(self) -> None:
        while True:
            self.sync()
            if self._stop.wait(SECONDS):
                return

    def warnings(self) -> list[str]:
        """Sentences about what is wrong with the store at the moment."""
        return [*([self._away] if self._away else []), *(said for _, said in self._bad.values())]

    def sync(self, *, at_most_every: float = 0.0) -> None:
        """Publish what is new here, fetch what is new there, delete here what was deleted there. Never raises: where
        the store is away, everybody works on with what they have."""
        if time.monotonic() - self._synced < at_most_every:
            return
        try:
            with self._record() as known:
                self._sync(known)
            self._away = None
        except Exception as error:  # whatever a file system far away may raise
            self._away = f"The store of finished decompositions cannot be used: {_plain(error)}"
            log.warning("%s", self._away)
        self._synced = time.monotonic()

    def remove(self, artifact_hash: str) -> None:
        """Take a decomposition and its harvests out of the store, before they go here. Raises StoreError."""
        try:
            with (
                self._record()
            ):  # where it stays known, so that nobody publishes it again before it is gone here
                for key in self._store.list():
                    if key.endswith(f"@{artifact_hash[:16]}") or f"/{artifact_hash[:16]}/" in key:
                        self._store.remove(key)
        except Exception as error:
            said = f"The store cannot be reached, so nothing was deleted: {_plain(error)}"
            raise StoreError(said) from None

    @contextmanager
    def _record(self) -> Generator[set[str]]:
        """What lay on both sides when they were last in step, to be changed; one process at a time."""
        path = self._home / "store.json"
        with FileLock(self._home / "store.lock"):
            known = set[str](json.loads(path.read_bytes()) if path.is_file() else [])
            try:
                yield known
            finally:
                write_json(path, sorted(known))

    def _sync(self, known: set[str]) -> None:
        there, here = self._store.list(), self._here()
        for key in (known - there) & here.keys():
            gone = here.pop(key)
            aside = gone.with_name(f".{gone.name}.deleted")
            gone.replace(aside)  # out of the gallery at once
            shutil.rmtree(aside)
        for key in here.keys() - there:
            if key in known or self._publish(key, here[key], there, known):
                known.add(key)
        known |= here.keys() & there
        for key in there - here.keys():
            until, _ = self._bad.get(key, (0.0, ""))
            if time.monotonic() >= until and self._fetch(key):
                known.add(key)
        known &= self._here().keys() | there
        self._bad = {key: bad for key, bad in self._bad.items() if key in there or key in here}

    def _here(self) -> dict[str, Path]:
        """What this home folder holds, by key."""
        found: dict[str, Path] = {}
        for manifest in (self._home / ARTIFACTS).glob(f"[a-z0-9]*/{MANIFEST}"):
            try:
                key = f"{ARTIFACTS}/{manifest.parent.name}@{read_artifact(manifest.parent, verify=False).hash[:16]}"
            except ArtifactError:
                continue
            if KEY.fullmatch(key):
                found[key] = manifest.parent
        for info in (self._home / HARVESTS).glob(f"*/*/{INFO}"):
            key = f"{HARVESTS}/{info.parent.parent.name}/{info.parent.name}"
            if KEY.fullmatch(key) and not key.endswith((".part", ".partial")):
                found[key] = info.parent
        return found

    def _publish(self, key: str, folder: Path, there: set[str], known: set[str]) -> bool:
        """In place of one of the same name, where that was the one here before."""
        slug = _slug(key)
        others = {other for other in there if slug is not None and _slug(other) == slug}
        if others - known:
            said = f"“{slug}” in the store is another than the one here; rename one of them."
            self._bad[key] = (time.monotonic() + AGAIN_SECONDS, said)
            return False
        names = [*read_artifact(folder).manifest.files] if slug is not None else [TABLE]
        self._store.publish(key, folder, names)
        for other in others:
            self._store.remove(other)
            there.discard(other)
            known.discard(other)
        log.info("published %s", key)
        return True

    def _fetch(self, key: str) -> bool:
        """Take over one folder, once it is what it should be."""
        slug = _slug(key)
        final = self._home / (f"{ARTIFACTS}/{slug}" if slug is not None else key)
        if slug is not None and final.exists():
            return False  # another one of this name, which was not published either
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._home, prefix=".store-") as scratch:
            copy = Path(scratch) / final.name
            try:
                self._store.fetch(key, copy)
                _check(key, copy)
            except (ArtifactError, FileNotFoundError, KeyError) as error:
                said = f"“{key}” in the store is damaged and was left out: {_plain(error)}"
                self._bad[key] = (time.monotonic() + AGAIN_SECONDS, said)
                log.warning("%s", said)
                return False
            put_in_place(copy, final)
        self._bad.pop(key, None)
        log.info("fetched %s", key)
        return True


def _slug(key: str) -> str | None:
    """The name of a decomposition; None for a harvest."""
    found = KEY.fullmatch(key)
    return found["slug"] if found is not None else None


def _check(key: str, folder: Path) -> None:
    """Raise ArtifactError where a folder is not what its key says, to the last bit."""
    if _slug(key) is not None:
        artifact = read_artifact(folder)
        check_artifact(artifact)
        if artifact.hash[:16] != key.rpartition("@")[2]:
            raise ArtifactError("It is another decomposition than its name says.")
        return
    info = read_info(folder)
    if info.artifact_hash[:16] != key.split("/")[1] or info.files.get(TABLE) != sha256(folder / TABLE):
        raise ArtifactError("It is another harvest than its name says, or not whole.")


def _plain(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
