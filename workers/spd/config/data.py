"""What a run reads: prompts, induction sequences, a corpus, facts."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from workers.spd.config.base import Frozen, InsidePath, LocalPath, Revision
from workers.spd.config.texts import PackageText


class PromptData(Frozen):
    """One prompt of a run. `answer` is the token that follows it; prompts about one thing share a `fact`."""

    text: str = Field(min_length=1, max_length=20_000, description="the prompt, as it is tokenised")
    answer: str | None = Field(default=None, description="the token, with its leading space")
    split: Literal["train", "held_out", "bystander"] = Field(
        default="train",
        description="train: trained on; held_out: measured, never trained on; bystander: measured as what "
        "should not change",
    )
    fact: str | None = Field(
        default=None, description="what it is about; prompts with the same fact belong together"
    )
    watch: bool = Field(default=True, description="its answer is offered as a watched token")


class DataKind(Frozen):
    """What every kind of data can be asked, whether or not it has any of it."""

    listed_as: ClassVar[str] = "prompts"
    """The name of what `listed` counts."""

    def listed(self) -> list[str]:
        """The texts of all prompts that the config itself spells out."""
        return []

    def sequences(self) -> dict[str, int]:
        """How many sequences are generated at once, by key."""
        return {}

    def places(self) -> dict[str, str]:
        """Files and folders of this machine that are read, by key."""
        return {}


class WithoutTexts(DataKind):
    """A kind that reads no running text."""

    dataset: ClassVar[None] = None
    package: ClassVar[None] = None
    texts: ClassVar[None] = None


class PromptsConfig(WithoutTexts):
    """Short prompts, each whole in every step."""

    kind: Literal["prompts"] = Field(default="prompts", description="short prompts")
    prompts: tuple[PromptData, ...] = Field(
        min_length=1, max_length=10_000, description="the prompts; at least one in the split “train”"
    )
    bos: bool = Field(default=False, description="whether every prompt begins with the model's BOS token")
    batch_size: int | None = Field(default=None, ge=1, description="prompts a step; null: all of them")
    listed_as: ClassVar[str] = "prompts"

    def listed(self) -> list[str]:
        return [prompt.text for prompt in self.prompts]


class InductionData(WithoutTexts):
    """Fresh sequences `[BOS] T* S M T* S` from the run's generator; the answer is M at the last position."""

    kind: Literal["induction"] = Field(default="induction", description="sequences for the induction model")
    batch_size: int = Field(default=256, ge=1, le=65_536, description="sequences per step")
    evaluation: int = Field(default=512, ge=1, le=65_536, description="sequences in each evaluation split")
    shown: int = Field(default=4, ge=1, le=64, description="sequences kept for the page")
    bos: ClassVar[bool] = False

    def sequences(self) -> dict[str, int]:
        return {"batch_size": self.batch_size, "evaluation": self.evaluation}


class DatasetText(Frozen):
    """Texts of a dataset that the library `datasets` reads: a public one of the Hugging Face hub by `name`, or a folder
    of its files (parquet, JSON lines, CSV, text, arrow) by `path`.

    The first texts of the split are taken, as a stream: no more is fetched than what is taken. No code of a dataset is
    run, and no token is sent to the hub.
    """

    name: str | None = Field(
        default=None,
        max_length=200,
        pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$",
        description="owner/name on the hub",
    )
    path: LocalPath | None = Field(default=None, description="a folder on this machine")
    config: str | None = Field(
        default=None, min_length=1, max_length=200, description="which subset, where there are several"
    )
    split: str = Field(default="train", pattern=r"^\w[\w.-]{0,99}$", description="which split of the dataset")
    column: str = Field(
        default="text", min_length=1, max_length=200, description="the one that holds the text"
    )
    revision: Revision = Field(
        default="main",
        description="of a hub dataset: a branch, a tag, or a commit, which alone never changes",
    )
    texts: int = Field(
        default=10_000, ge=1, le=1_000_000, description="most texts taken; empty ones do not count"
    )
    characters: int = Field(
        default=20_000_000,
        ge=1,
        le=2_000_000_000,
        description="most taken in all; the text that passes it is cut",
    )

    @model_validator(mode="after")
    def _one_place(self) -> DatasetText:
        if (self.name is None) == (self.path is None):
            raise ValueError("give either “name”, a dataset on the hub, or “path”, a folder of its files.")
        if self.path is not None and self.revision != "main":
            raise ValueError("revision goes with “name”; a folder has none.")
        return self


class CorpusData(DataKind):
    """Windows of running text, drawn anew each step, from a file or folder (the end of every file is held out) or from
    the texts of a dataset or a package (the last of them are held out)."""

    kind: Literal["corpus"] = Field(default="corpus", description="windows of running text")
    path: LocalPath | None = Field(default=None, description="a text file, or a folder of them (UTF-8)")
    glob: InsidePath = Field(default="*.txt", description="which files of a folder, below it too")
    dataset: DatasetText | None = Field(default=None, description="instead of a path")
    package: PackageText | None = Field(default=None, description="instead of a path or a dataset")
    shipped: Literal["smollm2-samples"] | None = Field(
        default=None,
        description="instead of a path: text that comes with Unweave. smollm2-samples: 1,536 seeded samples of SmolLM2 "
        "itself, about 122,000 of its tokens",
    )
    window: int = Field(default=64, ge=2, le=8192, description="tokens per window; shorter texts are padded")
    batch_size: int = Field(default=16, ge=1, le=65_536, description="windows a step")
    held_out: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="the share of each file, or of a dataset or package, that is never trained on",
    )
    evaluation: int = Field(
        default=64,
        ge=1,
        le=4096,
        description="windows per split for start values, pruning, harvest and evidence",
    )
    shown: int = Field(
        default=4, ge=1, le=64, description="windows kept for the page; they begin at a sentence"
    )
    adversary_budgets: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = Field(
        default=(20,),
        min_length=1,
        max_length=12,
        description="numbers of sign steps after which the evidence reports the worst masks that an adversary has found"
        " on held-out windows",
    )
    bos: bool = Field(
        default=False,
        description="whether every window begins with the model's BOS token, which takes one of its places",
    )

    @property
    def texts(self) -> DatasetText | PackageText | None:
        """What is taken and kept before the run; None for files."""
        return self.dataset or self.package

    def places(self) -> dict[str, str]:
        dataset = self.dataset.path if self.dataset is not None else None
        return {
            key: path for key, path in (("path", self.path), ("dataset.path", dataset)) if path is not None
        }

    @model_validator(mode="after")
    def _one_source(self) -> CorpusData:
        sources = (self.path, self.dataset, self.package, self.shipped)
        if sum(place is not None for place in sources) != 1:
            raise ValueError(
                "give “path”, a text file or folder, “dataset”, “package” or “shipped”, one of the four"
            )
        if self.path is None and self.glob != "*.txt":
            raise ValueError("glob goes with “path”; nothing else reads it.")
        return self


class Relation(Frozen):
    """Facts of one kind: subjects put into templates, each with the token that follows.

    `templates` are trained on, `held_out` are not; in each, `{}` stands for the subject.
    """

    name: str = Field(min_length=1, max_length=100, description="what the relation is called")
    templates: tuple[str, ...] = Field(
        min_length=1,
        max_length=100,
        description="templates trained on; the first one asks the target whether it knows a fact",
    )
    held_out: tuple[str, ...] = Field(
        default=(), max_length=100, description="templates that are measured and never trained on"
    )
    facts: dict[str, str] = Field(
        min_length=1, max_length=2_000, description="subject → answer, one token, with its leading space"
    )

    @model_validator(mode="after")
    def _templates_have_a_place(self) -> Relation:
        for template in (*self.templates, *self.held_out):
            if template.count("{}") != 1:
                raise ValueError(f"the template “{template}” must hold {{}} once, where the subject stands.")
        return self


class FactsData(WithoutTexts):
    """Facts that the target really knows: of all candidates those whose answer is among the `rank` likeliest tokens
    after the first template of their relation."""

    kind: Literal["facts"] = Field(default="facts", description="facts, put into templates")
    relations: tuple[Relation, ...] = Field(min_length=1, max_length=50, description="the facts by relation")
    rank: int = Field(
        default=1,
        ge=1,
        le=1_000_000,
        description="a fact counts as known where its answer is among this many likeliest tokens; 1: the "
        "likeliest",
    )
    batch_size: int | None = Field(default=None, ge=1, description="prompts a step; null: all of them")
    bos: bool = Field(default=False, description="whether every prompt begins with the model's BOS token")
    listed_as: ClassVar[str] = "relations, all facts in all templates"

    def listed(self) -> list[str]:
        return [
            template.replace("{}", subject)
            for relation in self.relations
            for subject in relation.facts
            for template in (*relation.templates, *relation.held_out)
        ]


DataConfig = Annotated[PromptsConfig | InductionData | CorpusData | FactsData, Field(discriminator="kind")]
