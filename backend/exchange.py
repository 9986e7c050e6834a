"""Artefacts from and to elsewhere: a folder or a zip, verified before anything of it is kept."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from workers.spd.artifact import MANIFEST, Artifact, ArtifactError, put_in_place, read_artifact

MOST_FILES = 1_000
MOST_BYTES = 20 * 2**30


class ExchangeError(Exception):
    """What was given cannot be used; the message is a plain sentence."""


def bring_in(source: Path, artifacts: Path, *, replace: bool) -> Artifact:
    """Copy a verified artefact to `artifacts/<name>`. Raises ExchangeError and leaves nothing behind."""
    source = source.expanduser().resolve()
    if not source.exists():
        raise ExchangeError(f"There is no {source}.")
    artifacts.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=artifacts, prefix=".import-") as scratch:
        folder = source if source.is_dir() else _unpack(source, Path(scratch) / "unpacked")
        found = _read(folder)
        final = artifacts / found.name
        if final.exists() and not replace:
            same = (final / MANIFEST).is_file() and _read(final).hash == found.hash
            if same:
                return _read(final)
            raise ExchangeError(
                f"There is another decomposition “{found.name}” here. Give --replace to replace it."
            )
        copy = Path(scratch) / "copy"
        for name in [MANIFEST, *found.manifest.files]:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, copy / name)
        _read(copy)
        put_in_place(copy, final)
    return _read(final)


def pack(artifact: Artifact, path: Path) -> Path:
    """Write the manifest and every file it names as one zip. Raises ExchangeError where it cannot be written."""
    part = path.with_name(path.name + ".part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in [MANIFEST, *artifact.manifest.files]:
                archive.write(artifact.path / name, f"{artifact.name}/{name}")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ExchangeError(f"{path} cannot be written: {error.strerror or error}.") from None
    return path


def _read(folder: Path) -> Artifact:
    try:
        return read_artifact(folder)
    except (ArtifactError, ValidationError, OSError) as error:
        raise ExchangeError(str(error).splitlines()[0]) from None


def _unpack(source: Path, scratch: Path) -> Path:
    """Unpack a zip and return the folder with the manifest. Entries that lead outside are refused."""
    try:
        with zipfile.ZipFile(source) as archive:
            entries = [info for info in archive.infolist() if not info.is_dir()]
            if len(entries) > MOST_FILES or sum(info.file_size for info in entries) > MOST_BYTES:
                raise ExchangeError(f"{source.name} is too large to be a decomposition.")
            for info in entries:
                path = PurePosixPath(info.filename)
                if path.is_absolute() or ".." in path.parts or "\\" in info.filename:
                    raise ExchangeError(f"{source.name} holds a file outside its folder: {info.filename}.")
            archive.extractall(scratch)
    except (zipfile.BadZipFile, OSError) as error:
        raise ExchangeError(
            f"{source.name} is neither a folder nor a zip that can be read: {error}."
        ) from None
    manifests = [path.parent for path in scratch.rglob(MANIFEST)]
    if len(manifests) != 1:
        raise ExchangeError(f"{source.name} holds no decomposition: it should have one {MANIFEST}.")
    return manifests[0]
