"""Windows of a text corpus, read from disk as they are needed: a corpus of any size takes no memory (SPEC 20)."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from workers.spd.config import ConfigError, CorpusData
from workers.spd.tokenizer import PromptTokenizer

BYTES_A_TOKEN = 8  # read for each token of a window: more than most text needs
ATTEMPTS = 100
CorpusSplit = Literal["train", "held_out"]


@dataclass(frozen=True)
class Region:
    """The part of a file that belongs to a split: bytes from `first` to `last`."""

    path: Path
    first: int
    last: int


class Corpus:
    """The files of a config. Training windows begin and end in the first part of a file, held-out ones in the rest.

    Raises ConfigError where there is no text at the path, or a window does not fit the model.
    """

    def __init__(self, config: CorpusData, tokenizer: PromptTokenizer) -> None:
        self.config, self.tokenizer = config, tokenizer
        if config.window > tokenizer.context_length:
            raise ConfigError(
                f"data.window is {config.window}; this model takes {tokenizer.context_length} tokens."
            )
        if config.bos and tokenizer.bos_token_id is None:
            raise ConfigError("data.bos: this model has no BOS token.")
        root = Path(config.path).expanduser()
        files = [root] if root.is_file() else sorted(p for p in root.rglob(config.glob) if p.is_file())
        sizes = [(path, path.stat().st_size) for path in files]
        sizes = [(path, size) for path, size in sizes if size]
        if not sizes:
            raise ConfigError(
                f"data.path: there is no text at “{config.path}” (files matching “{config.glob}”)."
            )
        cuts = [(path, round(size * (1 - config.held_out)), size) for path, size in sizes]
        self.regions: dict[CorpusSplit, list[Region]] = {
            "train": [Region(path, 0, cut) for path, cut, _ in cuts if cut],
            "held_out": [Region(path, cut, size) for path, cut, size in cuts if cut < size],
        }

    def draw(self, count: int, split: CorpusSplit, generator: torch.Generator) -> list[list[int]]:
        """Windows of ids from random places, a file as likely as it is long. The generator alone decides which."""
        return [self._window(split, generator) for _ in range(count)]

    def _window(self, split: CorpusSplit, generator: torch.Generator) -> list[int]:
        regions = self.regions[split]
        total = sum(region.last - region.first for region in regions)
        room = self.config.window - int(self.config.bos)
        for _ in range(ATTEMPTS):
            at = int(torch.randint(total, (1,), generator=generator))
            region = regions[0]
            for region in regions:
                if at < region.last - region.first:
                    break
                at -= region.last - region.first
            ids = self._read(region, region.first + at)[:room]
            if ids:
                return [self.tokenizer.bos_token_id, *ids] if self.config.bos else ids  # type: ignore[list-item]
        raise ConfigError(f"data.path: the files at “{self.config.path}” hold no text that can be read.")

    def _read(self, region: Region, at: int) -> list[int]:
        """Ids from the first white space at or after `at` (moved back where the region would end too soon)."""
        length = self.config.window * BYTES_A_TOKEN
        at = max(region.first, min(at, region.last - length))
        with region.path.open("rb") as file:
            file.seek(at)
            raw = file.read(min(length, region.last - at))
        text = codecs.decode(raw, "utf-8", "ignore")
        if at > region.first:
            space = next((place for place, character in enumerate(text) if character.isspace()), 0)
            text = text[space:]
        return self.tokenizer.encode(text, bos=False)
