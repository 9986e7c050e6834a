"""What a harvest reads and how much it keeps. The same model is the command line's, the job's and the stored JSON's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from workers.spd.config import ConfigError, DatasetText, Frozen, Seed
from workers.spd.config.base import InsidePath, LocalPath

MOST_TEXT = 200_000


class HarvestConfig(Frozen):
    """A corpus and the size of what is kept of it. Without `path`, `dataset`, `text` and `held_out`: the sentences that
    ship."""

    name: str | None = Field(
        default=None, max_length=100, pattern=r"^[a-z0-9][a-z0-9-]*$", description="what to call the corpus"
    )
    path: LocalPath | None = Field(default=None, description="a text file, or a folder of them (UTF-8)")
    glob: InsidePath = Field(default="*.txt", description="which files of a folder, below it too")
    dataset: DatasetText | None = Field(default=None, description="texts of a dataset, instead of a path")
    text: str | None = Field(
        default=None, min_length=1, max_length=MOST_TEXT, description="a text of one's own, instead of a path"
    )
    held_out: bool = Field(
        default=False,
        description="instead of a path: the held-out part of the dataset or package that the decomposition is of",
    )
    unit: Literal["line", "text"] = Field(
        default="line", description="line: every line is a text of its own; text: files are running text"
    )
    own_prompts: bool = Field(default=True, description="read the decomposition's own prompts too")
    window: int = Field(default=64, ge=2, le=8192, description="most tokens per window")
    tokens: int = Field(
        default=200_000, ge=1, le=1_000_000_000, description="stop after about this many tokens of the corpus"
    )
    sequences: int = Field(
        default=512, ge=1, le=100_000, description="generated sequences of a model without text"
    )
    batch_tokens: int = Field(default=512, ge=16, le=2**20, description="most tokens a pass")
    examples: int = Field(default=6, ge=1, le=32, description="examples a component and quantile")
    context: int = Field(default=12, ge=1, le=128, description="tokens shown before and after")
    ablate_windows: int = Field(
        default=6, ge=0, le=256, description="windows on which every component is suppressed alone"
    )
    ablate_own: int = Field(
        default=2, ge=0, le=32, description="and how many of those where it matters most itself"
    )
    ablate_components: int = Field(
        default=2_000, ge=0, le=1_000_000, description="most components suppressed: those that fire most"
    )
    seed: Seed = Field(default=0, description="decides the order of the texts and the sequences")

    @property
    def reads(self) -> str:
        """The corpus in a few words, for a list of jobs; of a path only its last part."""
        if self.name is not None:
            return self.name
        if self.held_out:
            return "its held-out text"
        if self.dataset is not None:
            return self.dataset.name or Path(self.dataset.path or "").name
        if self.path is not None:
            return Path(self.path).name
        return "a text of one’s own" if self.text is not None else "the corpus that ships"

    @property
    def names_text(self) -> bool:
        """Whether it says which text to read."""
        return self.held_out or any(given is not None for given in (self.dataset, self.path, self.text))

    @model_validator(mode="after")
    def _one_text(self) -> HarvestConfig:
        given = {
            "path": self.path, "dataset": self.dataset, "text": self.text, "held_out": self.held_out or None,
        }  # fmt: skip
        names = [f"“{name}”" for name, value in given.items() if value is not None]
        if len(names) > 1:
            raise ValueError(f"{' and '.join(names[:2])} are two corpora; give one of them")
        return self

    @property
    def corpus(self) -> str:
        """What the corpus is called where it was given no name."""
        if self.name is not None:
            return self.name
        if self.held_out:
            return "held-out"
        if self.dataset is not None:
            return "dataset"
        return "text" if self.text is not None else "files" if self.path is not None else "sentences"


def parse_harvest(data: dict[str, Any]) -> HarvestConfig:
    """Read plain data. Raises ConfigError that names the key at fault."""
    try:
        return HarvestConfig.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"]) or "harvest"
        raise ConfigError(f"{where}: {first['msg'].removeprefix('Value error, ')}.") from None


def parse_options(given: dict[str, Any], options: list[str]) -> HarvestConfig:
    """The same from a command line: `options` are key=value, their values as YAML has them."""
    data = dict(given)
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise ConfigError(f"“{option}” is not key=value.")
        data[key.strip()] = yaml.safe_load(value)
    return parse_harvest(data)
