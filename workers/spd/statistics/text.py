"""Windows of tokens to harvest over: the decomposition's own prompts, then texts in a seeded order, read in pieces.

Nothing but one piece is ever in memory. The same config and texts give the same windows in the same order, so a
second pass, or one that resumes after a stop, sees what the first saw.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from workers.spd.artifact import Artifact
from workers.spd.config import ConfigError, CorpusData, InductionSource, PackageText
from workers.spd.corpora.corpus import Corpus, Region, text_files
from workers.spd.corpora.corpus import Texts as Places
from workers.spd.corpora.dataset_texts import Taken
from workers.spd.statistics.config import HarvestConfig
from workers.spd.targets.induction import sample_sequences
from workers.spd.targets.tokenizer import PromptTokenizer

SENTENCES = Path(__file__).parents[1] / "texts" / "english.txt"
PIECE = 2**14
BEYOND = 2**12  # read past a piece's end, to the end of its last line or word
SOURCES = ("train", "held_out", "bystander", "corpus", "sequence")


@dataclass(frozen=True)
class Window:
    """Token ids of one pass; `source` is the split of an own prompt, “corpus” or “sequence”."""

    ids: list[int]
    source: str


@dataclass(frozen=True, slots=True)
class _Piece:
    """Bytes `first` to `last` of the text that lies from `begin` to `end` of a file."""

    path: Path
    first: int
    last: int
    begin: int
    end: int


class Texts:
    """The windows of a harvest; `taken`: the texts of its dataset, or of the decomposition's, where it reads those.
    Raises ConfigError where there is nothing to read."""

    def __init__(
        self,
        artifact: Artifact,
        config: HarvestConfig,
        tokenizer: PromptTokenizer,
        taken: Taken | None = None,
    ) -> None:
        self.config, self.tokenizer, self.taken = config, tokenizer, taken
        target = artifact.manifest.config.target
        self.bos = artifact.manifest.config.bos
        self.induction = target if isinstance(target, InductionSource) else None
        self.prompts = [(p.token_ids, p.split) for p in artifact.prompts] if config.own_prompts else []
        self.window = min(config.window, tokenizer.context_length)
        self.files: list[tuple[str, Path]] = []
        self.region: Region | None = None
        if self.induction is not None:
            if config.names_text:
                raise ConfigError("This model has no text of its own; it is harvested over its sequences.")
            self.window = tokenizer.context_length
        elif config.held_out:
            data = artifact.manifest.config.data
            assert isinstance(data, CorpusData), "the caller took the texts of a corpus"
            assert taken is not None, "a corpus's texts are taken before they are read"
            self.region = Corpus(data, tokenizer, taken).regions["held_out"]
        elif config.dataset is not None:
            assert taken is not None, "a dataset's texts are taken before they are read"
        elif config.text is None:
            self.files = _files(config)
        self.hash = self._hash()
        self.all_read = True
        """Whether the last pass came to the end of the corpus, or stopped at `tokens`."""

    @property
    def name(self) -> str:
        """What the corpus is called."""
        return "sequences" if self.induction is not None and self.config.name is None else self.config.corpus

    @property
    def described(self) -> str:
        """The corpus in words."""
        own = f"the decomposition's own {len(self.prompts)} prompts" if self.prompts else ""
        if self.induction is not None:
            text = f"{self.config.sequences:,} generated sequences"
        elif self.config.text is not None:
            text = "a text of one's own"
        elif self.taken is not None:
            source = self.taken.card.source
            if isinstance(source, PackageText):
                text = f"{self.taken.card.texts:,} texts of the package {source.package} {source.version}"
            else:
                name = source.name or Path(source.path or "").name
                text = f"{self.taken.card.texts:,} texts of the dataset {name} (split {source.split})"
            if self.region is not None:
                text = f"the held-out part of {text}"
        elif self.config.path is None:
            text = "the English sentences that ship with Unweave"
        else:
            text = f"{len(self.files):,} text file{'s' if len(self.files) != 1 else ''}"
        return f"{text} and {own}" if own else text

    def windows(self) -> Iterator[Window]:
        """All windows, own prompts first."""
        self.all_read = True
        for ids, split in self.prompts:
            yield Window(ids, split)
        if self.induction is not None:
            yield from self._sequences(self.induction)
            return
        read = 0
        for text in self._texts():
            for window in self._cut(text):
                if read >= self.config.tokens:
                    self.all_read = False
                    return
                read += len(window.ids)
                yield window

    def _sequences(self, source: InductionSource) -> Iterator[Window]:
        generator = torch.Generator().manual_seed(self.config.seed)
        for _ in range(self.config.sequences):
            yield Window(sample_sequences(source, 1, generator).tokens[0].tolist(), "sequence")

    def _cut(self, text: str) -> Iterator[Window]:
        texts = [text] if self.config.unit == "text" else text.splitlines()
        start = [self.tokenizer.bos_token_id] if self.bos and self.tokenizer.bos_token_id is not None else []
        room = self.window - len(start)
        for one in texts:
            if one.strip() == "":
                continue
            ids = self.tokenizer.encode(one, bos=False)
            for first in range(0, len(ids), room):
                part = ids[first : first + room]
                if len(part) > 1 or first == 0:
                    yield Window([*start, *part], "corpus")

    def _texts(self) -> Iterator[str]:
        if self.config.text is not None:
            yield self.config.text
            return
        files = [path for _, path in self.files]
        places = Places.of_files(files) if self.taken is None else Places.of_dataset(self.taken)
        part = self.region or Region(places, places.begin, places.end)
        pieces = [
            _Piece(part.paths[file], start, min(start + PIECE, last), begin, last)
            for file, begin, first, last in zip(
                part.file.tolist(), part.begin.tolist(), part.first.tolist(), part.last.tolist(), strict=True
            )
            for start in range(first, last, PIECE)
        ]
        order = torch.randperm(len(pieces), generator=torch.Generator().manual_seed(self.config.seed))
        for place in order.tolist():
            yield _read(pieces[place], b"\n" if self.config.unit == "line" else b" \n\t")

    def _hash(self) -> str:
        """SHA-256 of what is read: the prompts' ids, and the files' names and bytes (or the text)."""
        digest = hashlib.sha256()
        for ids, split in self.prompts:
            digest.update(f"{split}:{ids}\n".encode())
        if self.induction is not None:
            digest.update(self.induction.model_dump_json().encode())
        elif self.config.text is not None:
            digest.update(self.config.text.encode())
        elif self.taken is not None:
            digest.update(self.taken.card.sha256.encode())
            if self.region is not None:
                digest.update(f"held out: {self.region.first.tolist()} {self.region.last.tolist()}".encode())
        for name, path in self.files:
            digest.update(f"{name}\n".encode())
            with path.open("rb") as file:
                while block := file.read(2**20):
                    digest.update(block)
        return digest.hexdigest()


def _files(config: HarvestConfig) -> list[tuple[str, Path]]:
    root = SENTENCES if config.path is None else Path(config.path).expanduser()
    found = text_files("path", str(root), config.glob)
    return [(path.name if path == root else path.relative_to(root).as_posix(), path) for path in found]


def _read(piece: _Piece, separators: bytes) -> str:
    """What begins in a piece: from after its first separator (its start, in a text's first piece) to the end of the
    last line or word that begins before its end."""
    before = max(piece.begin, piece.first - 1)
    with piece.path.open("rb") as file:
        file.seek(before)
        raw = file.read(min(piece.last + BEYOND, piece.end) - before)
    first = 0 if piece.first == piece.begin else _next(raw, separators, 0)
    last = _next(raw, separators, piece.last - before - 1)
    return raw[first:last].decode("utf-8", "ignore")


def _next(raw: bytes, separators: bytes, start: int) -> int:
    """The place after the first separator at or after `start`; the end where there is none."""
    found = [place for s in separators if (place := raw.find(bytes([s]), start)) >= 0]
    return min(found) + 1 if found else len(raw)


def numbered(windows: Iterator[Window], size: int) -> Iterator[list[tuple[int, Window]]]:
    """Windows with their numbers, `size` at a time."""
    part: list[tuple[int, Window]] = []
    for item in enumerate(windows):
        part.append(item)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def batches(part: Sequence[tuple[int, Window]], most_tokens: int) -> Iterator[list[tuple[int, Window]]]:
    """Windows of one length together, at most `most_tokens` a batch: no padding, which importance functions that look
    across positions would see."""
    by_length: dict[int, list[tuple[int, Window]]] = {}
    for item in part:
        by_length.setdefault(len(item[1].ids), []).append(item)
    for length in sorted(by_length):
        same, at_once = by_length[length], max(1, most_tokens // length)
        for first in range(0, len(same), at_once):
            yield same[first : first + at_once]
