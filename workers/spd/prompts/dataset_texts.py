"""The texts of a dataset, taken once and kept: the same run reads the same texts however often it is begun (SPEC 20).

HOME/corpora/<name>-<hash>/texts.txt           the texts in UTF-8, an empty line between two
HOME/corpora/<name>-<hash>/bounds.safetensors  begin and end of every text in it, bytes
HOME/corpora/<name>-<hash>/texts.json          the card: where they came from, at which commit, and their SHA-256
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from filelock import FileLock, Timeout
from jaxtyping import Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from workers.spd.artifact import TextsCard
from workers.spd.config import ConfigError, DatasetText
from workers.spd.prompts.dataset_library import opened

TEXTS, BOUNDS, CARD = "texts.txt", "bounds.safetensors", "texts.json"
BETWEEN = b"\n\n"
ROWS_A_TEXT = 100  # a split of nearly nothing but empty rows is given up after so many for each text wanted
SAID_EVERY = 0.5  # seconds
PIECE = 2**20


@dataclass(frozen=True)
class Taken:
    """Texts on disk: text i is what lies from byte `begin[i]` to `end[i]` of `path`."""

    path: Path
    begin: Int[Tensor, " texts"]
    end: Int[Tensor, " texts"]
    card: TextsCard

    @property
    def said(self) -> str:
        """What was read, for whoever reads the result."""
        card, source = self.card, self.card.source
        where = f"“{source.name or Path(source.path or '').name}”" + (
            f", {source.config}" if source.config else ""
        )
        commit = f" at commit {card.commit}" if card.commit else ""
        rest = "all there are" if card.whole else "the split holds more"
        empty = f"; {card.empty:,} empty ones were left out" if card.empty else ""
        return (
            f"The corpus is the first {card.texts:,} texts ({card.characters:,} characters; {rest}{empty}) of the "
            f"dataset {where}, split {source.split}, column {source.column}{commit}; SHA-256 {card.sha256[:16]}."
        )


def texts_folder(source: DatasetText, home: Path) -> Path:
    """Where the texts of a source lie (or will)."""
    name = source.name or Path(source.path or "").name
    readable = re.sub(r"[^\w.-]+", "-", name)[:60].strip("-.") or "folder"
    digest = hashlib.sha256(source.model_dump_json().encode())
    if source.path is not None:  # its files may change; a hub dataset stays what it was when it was taken
        root = Path(source.path).expanduser().resolve()
        files = [(file, file.stat()) for file in sorted(root.rglob("*")) if file.is_file()]
        digest.update(f"{[(str(file), stat.st_size, stat.st_mtime_ns) for file, stat in files]}".encode())
    return home / "corpora" / f"{readable}-{digest.hexdigest()[:12]}"


def ensure_texts(
    source: DatasetText,
    home: Path,
    *,
    report: Callable[[str], None] = lambda message: None,
    go_on: Callable[[], None] = lambda: None,
) -> Taken:
    """The source's texts, taken once. Safe to call from several processes at a time. `go_on` is called again and again
    meanwhile and may raise.

    Raises ConfigError (no such dataset, subset, split or column; nothing but empty texts), TextsError (the hub cannot
    be reached, the library is missing) and OSError (a full disk), and leaves nothing half-made behind.
    """
    folder = texts_folder(source, home)
    taken = read_texts(folder)
    if taken is not None:
        return taken
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(folder) + ".lock")
    while True:
        try:
            held = lock.acquire(timeout=0.5)
            break
        except Timeout:
            go_on()
    with held:
        taken = read_texts(folder)
        if taken is not None:
            return taken
        work = folder.with_name(folder.name + ".partial")
        for left in (work, folder):  # what stands there is damaged
            shutil.rmtree(left, ignore_errors=True)
        work.mkdir()
        try:
            _take(source, work, report, go_on)
            os.replace(work, folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    taken = read_texts(folder)
    assert taken is not None, "texts that were just stored can be read"
    return taken


def read_texts(folder: Path) -> Taken | None:
    """What was taken before; None where there is nothing, or it is not what it was."""
    try:
        card = TextsCard.model_validate_json((folder / CARD).read_text(encoding="utf-8"))
        bounds = load_file(folder / BOUNDS)
        begin, end = bounds["begin"], bounds["end"]
        with (folder / TEXTS).open("rb") as file:
            same = _sha256(file, begin, end) == card.sha256
    except (OSError, ValueError, KeyError, SafetensorError):
        return None
    return Taken(folder / TEXTS, begin, end, card) if same else None


def _take(source: DatasetText, work: Path, report: Callable[[str], None], go_on: Callable[[], None]) -> None:
    name = source.name or Path(source.path or "").name
    report(f"Reading the dataset “{name}”")
    begin: list[int] = []
    end: list[int] = []
    characters = empty = 0
    whole, said = True, time.monotonic()
    found = opened(source, work / "library")
    with (work / TEXTS).open("w+b") as file, closing(_texts_of(found.rows, source, name)) as texts:
        for row, text in enumerate(texts):
            if (
                len(begin) >= source.texts
                or characters >= source.characters
                or row >= source.texts * ROWS_A_TEXT
            ):
                whole = False
                break
            if time.monotonic() - said > SAID_EVERY:
                report(
                    f"Reading the dataset “{name}”: {len(begin):,} texts, {characters / 1e6:.1f} M characters"
                )
                said = time.monotonic()
            go_on()
            if not text.strip():
                empty += 1
                continue
            if len(text) > source.characters - characters:
                text, whole = text[: source.characters - characters], False
            file.write(BETWEEN if begin else b"")
            begin.append(file.tell())
            file.write(text.encode("utf-8", "replace"))
            end.append(file.tell())
            characters += len(text)
        if not begin:
            raise ConfigError(
                f"data.dataset: the column “{source.column}” of “{name}”, split {source.split}, holds no text."
            )
        bounds = {"begin": torch.tensor(begin), "end": torch.tensor(end)}
        file.flush()
        file.seek(0)
        digest = _sha256(file, bounds["begin"], bounds["end"])
    shutil.rmtree(work / "library", ignore_errors=True)
    try:
        save_file(bounds, work / BOUNDS)
    except SafetensorError as error:  # its own words for a full disk
        raise OSError(f"the texts could not be written: {error}") from error
    card = TextsCard(
        source=source, commit=found.commit, sha256=digest, texts=len(begin), characters=characters, empty=empty,
        whole=whole, library=found.library,
    )  # fmt: skip
    (work / CARD).write_text(card.model_dump_json(indent=1), encoding="utf-8")


def _texts_of(rows: Iterator[dict[str, Any]], source: DatasetText, name: str) -> Generator[str, None, None]:
    """The column's texts, row after row; "" for a row that has none. Raises ConfigError where it is no text."""
    for row in rows:
        if source.column not in row:
            raise ConfigError(
                f"data.dataset.column: “{name}” has no column “{source.column}”. It has: {', '.join(row)}."
            )
        text = row[source.column]
        if text is not None and not isinstance(text, str):
            raise ConfigError(
                f"data.dataset.column: “{source.column}” of “{name}” holds {type(text).__name__}, not text."
            )
        yield text or ""


def _sha256(file: IO[bytes], begin: Tensor, end: Tensor) -> str:
    digest = hashlib.sha256(torch.stack([begin, end]).numpy().tobytes())
    while piece := file.read(PIECE):
        digest.update(piece)
    return digest.hexdigest()
