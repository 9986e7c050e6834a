"""Windows of a text corpus, read from disk as they are needed: a corpus of any size takes no memory (SPEC 20)."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from workers.spd.config import ConfigError, CorpusData
from workers.spd.corpora.dataset_texts import Taken

BYTES_A_TOKEN = 8  # read for each token of a window: more than most text needs
ATTEMPTS = 100
SENTENCE_END = re.compile(rb"(?:[.!?]|\xe2\x80\xa6)(?:[\"')\]]|\xe2\x80[\x99\x9d])*(?=\s)")  # … ’ ” in UTF-8
SHIPPED = Path(__file__).parents[1] / "texts"
CorpusSplit = Literal["train", "held_out"]


@runtime_checkable
class Encodes(Protocol):
    """What a corpus needs of a tokenizer."""

    bos_token_id: int | None
    context_length: int

    def encode(self, text: str, *, bos: bool) -> list[int]: ...


@dataclass(frozen=True)
class Texts:
    """Texts as places in files: text i is what lies from byte `begin[i]` to `end[i]` of `paths[file[i]]`."""

    paths: list[Path]
    file: Int[Tensor, " texts"]
    begin: Int[Tensor, " texts"]
    end: Int[Tensor, " texts"]

    @classmethod
    def of_files(cls, paths: list[Path]) -> Texts:
        """Every file one text."""
        sizes = torch.tensor([path.stat().st_size for path in paths])
        return cls(paths, torch.arange(len(paths)), torch.zeros_like(sizes), sizes)

    @classmethod
    def of_dataset(cls, taken: Taken) -> Texts:
        """What was taken of a dataset or package: all texts in one file."""
        return cls([taken.path], torch.zeros_like(taken.begin), taken.begin, taken.end)


class Region:
    """The part of the texts that belongs to a split: of text i the bytes `first[i]` to `last[i]`."""

    def __init__(self, texts: Texts, first: Int[Tensor, " texts"], last: Int[Tensor, " texts"]) -> None:
        used = last > first
        self.paths, self.file, self.begin = texts.paths, texts.file[used], texts.begin[used]
        self.first, self.last = first[used], last[used]
        self.ends = (self.last - self.first).cumsum(0)
        self.bytes = int(self.ends[-1]) if len(self.ends) else 0

    def find(self, at: int) -> tuple[int, int]:
        """The text that byte `at` of the region belongs to, and where in its file that byte lies."""
        text = int(torch.searchsorted(self.ends, at, right=True))
        return text, at - int(self.ends[text]) + int(self.last[text])


class Corpus:
    """The texts of a config. Training windows begin and end in the first part of a file, or of the texts of a dataset
    or package, held-out ones in the rest; no window goes beyond its text.

    Raises ConfigError where there is no text at the path, or a window does not fit the model.
    """

    def __init__(self, config: CorpusData, tokenizer: Encodes, taken: Taken | None = None) -> None:
        self.config, self.tokenizer = config, tokenizer
        if config.window > tokenizer.context_length:
            raise ConfigError(
                f"data.window is {config.window}; this model takes {tokenizer.context_length} tokens."
            )
        if config.bos and tokenizer.bos_token_id is None:
            raise ConfigError("data.bos: this model has no BOS token.")
        if config.texts is not None:
            assert taken is not None, "texts of a dataset or package are taken before the corpus is opened"
            texts = Texts.of_dataset(taken)
            lengths = texts.end - texts.begin
            before = lengths.cumsum(0) - lengths
            cut = round(int(lengths.sum()) * (1 - config.held_out))
            cuts = texts.begin + (cut - before).clamp(min=0).minimum(lengths)
        else:
            texts = Texts.of_files(_files(config))
            cuts = (texts.end.double() * (1 - config.held_out)).round().long()
        self.regions: dict[CorpusSplit, Region] = {
            "train": Region(texts, texts.begin, cuts),
            "held_out": Region(texts, cuts, texts.end),
        }

    def draw(
        self, count: int, split: CorpusSplit, generator: torch.Generator, *, sentences: bool = False
    ) -> list[list[int]]:
        """Windows of ids from random places, a text as likely as it is long; with `sentences` they begin where a
        sentence does, unless none begins near that place. The generator alone decides which."""
        return [self._window(split, generator, sentences) for _ in range(count)]

    def parts(self, split: CorpusSplit) -> Iterator[str]:
        """What the split holds of each text."""
        region = self.regions[split]
        for file, first, last in zip(
            region.file.tolist(), region.first.tolist(), region.last.tolist(), strict=True
        ):
            with region.paths[file].open("rb") as opened:
                opened.seek(first)
                yield codecs.decode(opened.read(last - first), "utf-8", "ignore")

    def _window(self, split: CorpusSplit, generator: torch.Generator, sentences: bool) -> list[int]:
        region = self.regions[split]
        room = self.config.window - int(self.config.bos)
        length = self.config.window * BYTES_A_TOKEN
        for _ in range(ATTEMPTS if region.bytes else 0):
            text, at = region.find(int(torch.randint(region.bytes, (1,), generator=generator)))
            first, last = int(region.first[text]), int(region.last[text])
            ids = self._read(region, text, at, length)
            while len(ids) < room and at > first and at + length > last:  # the text ends too soon
                at = max(first, at - max(BYTES_A_TOKEN, (room - len(ids)) * BYTES_A_TOKEN // 2))
                ids = self._read(region, text, at, length)
            if sentences and (end := SENTENCE_END.search(self._bytes(region, text, at, length))):
                sentence = self._read(region, text, at + end.end(), length)
                ids = sentence if len(sentence) >= room // 2 else ids
            if ids:
                ids = ids[:room]
                return [self.tokenizer.bos_token_id, *ids] if self.config.bos else ids  # type: ignore[list-item]
        raise ConfigError(f"data: “{_name(self.config)}” holds no text that can be read.")

    def _read(self, region: Region, text: int, at: int, length: int) -> list[int]:
        """Ids of `length` bytes, from the first white space at or after `at`, or from the text's beginning."""
        read = codecs.decode(self._bytes(region, text, at, length), "utf-8", "ignore")
        if at > int(region.begin[text]):
            space = next((place for place, character in enumerate(read) if character.isspace()), 0)
            read = read[space:]
        return self.tokenizer.encode(read, bos=False)

    def _bytes(self, region: Region, text: int, at: int, length: int) -> bytes:
        with region.paths[int(region.file[text])].open("rb") as file:
            file.seek(at)
            return file.read(min(length, int(region.last[text]) - at))


def text_files(key: str, path: str, glob: str) -> list[Path]:
    """The file at `path`, or those of the folder there that match and are not empty. Raises ConfigError that names
    `key` where there are none, or where a link leads out of the folder."""
    root = Path(path).expanduser()
    try:
        files = [root] if root.is_file() else sorted(p for p in root.rglob(glob) if p.is_file())
        files = [file for file in files if file.stat().st_size]
    except (ValueError, NotImplementedError, OSError) as error:
        raise ConfigError(
            f"{key}: the files matching “{glob}” at “{path}” cannot be listed: {error}."
        ) from None
    inside = root.resolve()
    for file in files:
        if not file.resolve().is_relative_to(inside):
            raise ConfigError(
                f"{key}: “{file.relative_to(root)}” is a link that leads out of “{path}”. Copy the file into it."
            )
    if not files:
        raise ConfigError(f"{key}: there is no text at “{path}” (files matching “{glob}”).")
    return files


def _files(config: CorpusData) -> list[Path]:
    if config.shipped is not None:
        return [SHIPPED / f"{config.shipped}.txt"]
    assert config.path is not None, "a corpus has a path, a dataset or a shipped text"
    return text_files("data.path", config.path, config.glob)


def _name(config: CorpusData) -> str:
    if config.package is not None:
        return config.package.package
    if config.dataset is None:
        return config.path or config.shipped or ""
    return config.dataset.name or config.dataset.path or ""
