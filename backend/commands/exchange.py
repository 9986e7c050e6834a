"""Artefacts from and to elsewhere: a folder or a zip, verified before anything of it is kept."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from pydantic import ValidationError

from backend.services.entries import Entry
from workers.jobs.harvesting import FOLDER as HARVESTS
from workers.jobs.harvesting import harvest_place
from workers.spd.artifact import (
    MANIFEST,
    Artifact,
    ArtifactError,
    parse_json,
    put_in_place,
    read_artifact,
    sha256,
)
from workers.spd.artifact_check import check_artifact

LABELS = "labels.json"
PROMPT_FIGURES = 8
MOST_FILES = 1_000
MOST_BYTES = 2 * 2**30
MOST_RATIO = 200
"""What text compresses to at best; an archive that claims more is made to fill a disk."""
SMALL = 2**24


class ExchangeError(Exception):
    """What was given cannot be used; the message is a plain sentence."""


@dataclass(frozen=True)
class Imported:
    """An artefact that came in, with the labels that lay beside it."""

    artifact: Artifact
    labels: list[dict[str, Any]]


def bring_in(source: Path, home: Path, *, replace: bool, most_bytes: int = MOST_BYTES) -> Imported:
    """Copy a verified artefact of at most `most_bytes`, unpacked, to `home/artifacts/<name>`, and its harvests to those
    of the home folder. Raises ExchangeError and leaves nothing behind."""
    artifacts = home / "artifacts"
    source = source.expanduser().resolve()
    if not source.exists():
        raise ExchangeError(f"There is no {source}.")
    artifacts.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=artifacts, prefix=".import-") as scratch:
        folder = source if source.is_dir() else _unpack(source, Path(scratch) / "unpacked", most_bytes)
        incoming = _read(folder)
        try:
            check_artifact(incoming)
        except (ArtifactError, OSError) as error:
            raise ExchangeError(str(error)) from None
        final = artifacts / incoming.name
        if final.exists() and not replace:
            same = (final / MANIFEST).is_file() and _read(final).hash == incoming.hash
            if same:
                return _beside(folder, _read(final), home)
            raise ExchangeError(
                f"There is another decomposition “{incoming.name}” here. Give --replace to replace it."
            )
        copy = Path(scratch) / "copy"
        for name in [MANIFEST, *incoming.manifest.files]:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, copy / name)
        _read(copy)
        put_in_place(copy, final)
        return _beside(folder, _read(final), home)


def _beside(folder: Path, artifact: Artifact, home: Path) -> Imported:
    """Take the harvests and labels beside an artefact. What does not belong to it is refused."""
    from workers.spd.statistics.store import TABLE, HarvestStore, read_info

    place = harvest_place(home, artifact.hash)
    for source in sorted((folder / HARVESTS).glob("*/harvest.json")):
        final = place / source.parent.name
        if final.exists():
            continue
        try:
            info = read_info(source.parent)
            whole = info.files.get(TABLE) == sha256(source.parent / TABLE)
            HarvestStore(source.parent, info).check()
        except (ArtifactError, OSError) as error:
            raise ExchangeError(str(error)) from None
        if not whole or info.artifact_hash != artifact.hash:
            raise ExchangeError(
                f"The harvest “{source.parent.name}” is damaged, or of another decomposition."
            )
        part = final.with_name(final.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name in ("harvest.json", TABLE):
            shutil.copyfile(source.parent / name, part / name)
        os.replace(part, final)
    labels: Any = []
    if (folder / LABELS).is_file():
        try:
            labels = parse_json((folder / LABELS).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ExchangeError(f"{LABELS} cannot be read: {error}.") from None
    if not isinstance(labels, list) or not all(isinstance(item, dict) for item in cast("list[Any]", labels)):
        raise ExchangeError(f"{LABELS} is not a list of labels.")
    return Imported(artifact, cast("list[dict[str, Any]]", labels))


def pack(
    artifact: Artifact,
    path: Path,
    *,
    harvests: Sequence[Path] = (),
    labels: Sequence[dict[str, Any]] = (),
) -> Path:
    """Write the manifest and every file it names as one zip, and beside them harvests and labels, which are no part of
    its hash. Raises ExchangeError where it cannot be written."""
    part = path.with_name(path.name + ".part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in contents(artifact, harvests, labels):
                inside = f"{artifact.name}/{name}"
                if isinstance(content, Path):
                    archive.write(content, inside)
                else:
                    archive.writestr(inside, content)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ExchangeError(f"{path} cannot be written: {error.strerror or error}.") from None
    return path


def contents(
    artifact: Artifact, harvests: Sequence[Path] = (), labels: Sequence[dict[str, Any]] = ()
) -> Iterator[tuple[str, Path | str]]:
    """What goes elsewhere with a decomposition: names inside its folder, each with its file or its text."""
    for name in [MANIFEST, *artifact.manifest.files]:
        yield name, artifact.path / name
    for folder in harvests:
        for file in sorted(folder.iterdir()):
            yield f"{HARVESTS}/{folder.name}/{file.name}", file
    if labels:
        yield LABELS, json.dumps(list(labels), ensure_ascii=False, indent=1)


def write_figures(entry: Entry, folder: Path) -> list[Path]:
    """Loss curves, components by site and the importances of the first prompts, as HTML and JSON. Raises OSError."""
    from backend import figures
    from backend.services import views
    from backend.services.ablation.ablations import stored_importances

    sites = views.site_summaries(entry)
    pages: dict[str, Any] = {
        "curves": figures.loss_curves(views.curves(entry), f"Training of {entry.slug}"),
        "alive-by-site": figures.components_by_site(sites, "alive"),
        "l0-by-site": figures.components_by_site(sites, "l0"),
    }
    for number, prompt in enumerate(entry.artifact.prompts[:PROMPT_FIGURES]):
        pages[f"importances-{number}"] = figures.importance_grid(
            stored_importances(entry, number), prompt.text
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in pages.items():
        figure.write_html(folder / f"{name}.html", include_plotlyjs="directory")
        (folder / f"{name}.json").write_text(str(figure.to_json()), encoding="utf-8")
    return [folder / f"{name}.html" for name in pages]


def _read(folder: Path) -> Artifact:
    try:
        return read_artifact(folder)
    except (ArtifactError, ValidationError, OSError) as error:
        raise ExchangeError(str(error).splitlines()[0]) from None


def _unpack(source: Path, scratch: Path, most_bytes: int) -> Path:
    """Unpack a zip and return the folder with the manifest. Refused before anything is written: entries that lead
    outside, more bytes than the limit, than the disk has room for, or than so small a file can hold."""
    try:
        with zipfile.ZipFile(source) as archive:
            entries = [info for info in archive.infolist() if not info.is_dir()]
            total = sum(info.file_size for info in entries)
            if len(entries) > MOST_FILES:
                raise ExchangeError(f"{source.name} holds {len(entries):,} files; a decomposition has a few.")
            if total > most_bytes:
                raise ExchangeError(
                    f"{source.name} unpacks to {total / 2**20:,.0f} MB; the most is {most_bytes / 2**20:,.0f} MB. "
                    "Raise UNWEAVE_MAX_IMPORT_BYTES to import it."
                )
            if total > MOST_RATIO * source.stat().st_size + SMALL:
                raise ExchangeError(
                    f"{source.name} claims to unpack to far more than it can hold; it was not opened."
                )
            if total > shutil.disk_usage(scratch.parent).free:
                raise ExchangeError(
                    f"{source.name} unpacks to {total / 2**20:,.0f} MB, more than the disk of the home folder has free."
                )
            for info in entries:
                path = PurePosixPath(info.filename)
                if path.is_absolute() or ".." in path.parts or "\\" in info.filename:
                    raise ExchangeError(f"{source.name} holds a file outside its folder: {info.filename}.")
            archive.extractall(scratch)
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError, zlib.error) as error:
        raise ExchangeError(
            f"{source.name} is neither a folder nor a zip that can be read: {error}."
        ) from None
    manifests = [path.parent for path in scratch.rglob(MANIFEST)]
    if len(manifests) != 1:
        raise ExchangeError(f"{source.name} holds no decomposition: it should have one {MANIFEST}.")
    return manifests[0]
