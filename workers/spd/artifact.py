"""A decomposition on disk: a folder of safetensors and JSON that is the truth about a run (SPEC 19).

    manifest.json            this file's `Manifest`; lists every other file with its SHA-256
    components.safetensors   `<site>.V` [d_in, kept], `<site>.U` [kept, d_out], `<site>.index` [kept] int64
    ci.safetensors           parameters of the causal importance functions
    metrics.jsonl            one object a logged step
    tokenizer.json           enough to tokenise without the weights
    target/                  only for targets small enough to ship: config.json, model.safetensors
    harvest/components.json  statistics a component, as columns
    harvest/prompts.json     the run's prompts with their sparse causal importances
    harvest/groups.json      named groups
    harvest/circuit.json     induction heads only: attention of one sequence, and which components act where

The folder is written aside and renamed, so a reader never sees half of one. Its identity is the SHA-256 of
manifest.json, which names the hash of everything else. No pickle is ever read or written.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError

from workers.spd.config import DatasetText, DecomposeConfig, PackageText, Source

FORMAT = 1
OLD = ".old"
MANIFEST = "manifest.json"
MOST_JSON = 2**29
NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
REDO = "Make it again with `unweave decompose`, or open it with the version of Unweave that made it."
T = TypeVar("T")
Split = Literal["train", "held_out", "bystander"]


class ArtifactError(Exception):
    """A folder that is not a usable artefact; the message is a plain sentence."""


def is_full(error: BaseException) -> bool:
    """Whether the disk is full; safetensors says so in words of its own."""
    return (isinstance(error, OSError) and error.errno in NO_SPACE) or any(
        words in str(error).lower() for words in ("no space left", "disk is full")
    )


class Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelCard(Stored):
    name: str
    architecture: str
    parameters: int
    layers: int
    d_model: int
    vocabulary: int
    context_length: int
    license: str | None = None


class TrainingCard(Stored):
    """How a language model that was trained here came out: cross-entropy in nats a token, on windows of the text it was
    trained on and of the text it never saw. `tokens`: what it read, repetitions included."""

    steps: int
    tokens: int
    train_loss: float
    held_out_loss: float


class TargetCard(Stored):
    source: Source
    weights_hash: str
    model: ModelCard
    bos_token_id: int | None = None
    training: TrainingCard | None = Field(
        default=None, description="of a language model that was trained here"
    )
    config_hash: str | None = Field(
        default=None,
        description="SHA-256 of what the model's config says it computes; None: made before it was kept",
    )
    attention: str | None = Field(default=None, description="attention implementation the model runs with")

    @property
    def identity(self) -> str:
        """Equal for models that compute the same: weights, config and attention implementation. Without a config's
        hash, its source stands for the config."""
        described = self.config_hash or self.source.model_dump_json(exclude={"license"})
        return f"{self.weights_hash} {described} {self.attention}"

    def fits(self, here: TargetCard) -> bool:
        """Whether the model `here` is the one meant: what one of the two cards does not say is not compared."""
        pairs = ((self.config_hash, here.config_hash), (self.attention, here.attention))
        return self.weights_hash == here.weights_hash and all(
            None in pair or pair[0] == pair[1] for pair in pairs
        )


class TextsCard(Stored):
    """What was taken of a dataset or package. `commit`: where a hub's revision stood (else None); `sha256`: of the
    texts and their bounds; `empty`: rows without text, left out; `whole`: the split had no more than what was taken."""

    source: DatasetText | PackageText
    commit: str | None
    sha256: str
    texts: int
    characters: int
    empty: int
    whole: bool
    library: str


class SiteCard(Stored):
    """`trained`: components at the start and those that grew; `kept`: those stored, by their index as trained."""

    name: str
    d_in: int
    d_out: int
    trained: int
    kept: list[int]


class Metric(Stored):
    """One measured figure. `unit` nats, mse, components, …; `seeds` says over how many it is a mean."""

    name: str
    unit: str
    train: float | None = None
    held_out: float | None = None
    spread: float | None = None
    seeds: int | None = None


class Check(Stored):
    groups: list[str]
    components: int
    prompt: str
    answer: str
    role: Literal["target", "bystander", "reverse"]
    split: Split
    baseline: float
    ablated: float
    untrained: float | None = Field(
        default=None,
        description="the same with the same components as they were before training (runs with rest text)",
    )
    looked_at: bool = Field(
        default=False, description="whether it was looked at while the run's settings were chosen"
    )
    wanted: str
    ok: bool


CELL = re.compile(r"(\d+) at (\w+) \(")  # “6 at m (5.99)”: six components in use at position m
Verdict = Literal["agrees", "fewer", "more", "differs", "not comparable"]


class TableLine(Stored):
    """A row of a paper's table with ours beside it. `agrees`: whether the site acts at the paper's place and nowhere
    that the target does not need it, however many components do; None where there is nothing to compare."""

    name: str
    paper: str
    ours: str
    agrees: bool | None = None
    note: str | None = None

    @property
    def verdict(self) -> Verdict:
        """“agrees” is the same number of components in use at the same place, and what else the run itself asks of a
        row; another number there is “fewer” or “more”."""
        if self.agrees is None:
            return "not comparable"
        paper, ours = CELL.match(self.paper), CELL.match(self.ours)
        if paper is not None and ours is not None and paper[2] == ours[2] and paper[1] != ours[1]:
            return "fewer" if int(ours[1]) < int(paper[1]) else "more"
        return "agrees" if self.agrees else "differs"


class PaperComparison(Stored):
    title: str
    source: str
    rows: list[TableLine]
    notes: list[str] = []


class SeedAgreement(Stored):
    """Mean largest |cosine| of the seeds' components: reads, writes and rank-1 matrices (SPEC 28)."""

    reads: float
    writes: float
    both: float


class Spread(Stored):
    """A figure over several seeds."""

    mean: float
    least: float
    most: float


class VariantRow(Stored):
    """A variant of a config on its seeds: what it changes, its held-out figures, and how far its seeds agree after and
    before training (None of a single seed)."""

    name: str
    about: str
    seeds: list[int]
    figures: dict[str, Spread]
    agreement: SeedAgreement | None
    agreement_at_start: SeedAgreement | None


class Variants(Stored):
    """Variants of a run's config, trained at equal cost; lies beside the artefact, whose hash does not cover it."""

    about: str
    rows: list[VariantRow]


class FactResult(Stored):
    """A candidate fact: what the target has (`rank`, `probability` after the relation's first template), and, where it
    was kept, what suppressing its group of `components` does. Shares 0–1; medians over prompts."""

    subject: str
    relation: str
    answer: str
    rank: int | None
    probability: float | None
    kept: bool
    components: int | None = None
    train_drop: float | None = None
    held_out_drop: float | None = None
    others_change: float | None = None
    others_worst: float | None = None
    others_worst_subject: str | None = None


class FactTable(Stored):
    """Every fact suppressed once. Drops: medians over the facts; changes: over all pairs of a suppressed fact and a
    prompt of another. `train_prompts`, `held_out_prompts`: those counted, where the target has the answer at `rank`."""

    rank: int
    share: float
    rows: list[FactResult]
    train_prompts: int
    held_out_prompts: int
    train_drop: float | None
    held_out_drop: float | None
    others_change: float | None
    others_change_95: float | None


class Manifest(Stored):
    format: int = FORMAT
    created_at: datetime
    config: DecomposeConfig
    target: TargetCard
    sites: list[SiteCard]
    versions: dict[str, str]
    dtype: str
    device: str
    training_seconds: float
    metrics: list[Metric]
    l0_by_site: dict[str, float]
    faithfulness_by_site: dict[str, float]
    checks: list[Check] = []
    paper: PaperComparison | None = None
    facts: FactTable | None = None
    texts: TextsCard | None = Field(default=None, description="of a corpus by dataset: what was read")
    notes: list[str] = Field(default=[], description="remarks and warnings of the run, plain sentences")
    files: dict[str, str] = Field(description="path → SHA-256 of every other file")


class HarvestColumns(Stored):
    """Statistics a kept component, as columns of equal length, in site order."""

    site: list[str]
    index: list[int]
    alive: list[bool]
    mean_ci: list[float]
    max_ci: list[float]
    density: list[float]
    label: list[str]
    top_token: list[str | None]
    top_tokens: list[list[str]]
    write_norm: list[float]
    effect: list[float] = Field(
        description="largest KL at a training prompt's answer when it alone is suppressed, nats"
    )
    reads: list[list[str]]
    writes: list[list[str]]
    slice: list[str | None] = Field(
        default=[], description="query, key or value, where a component of a fused matrix writes most"
    )


class HarvestPrompt(Stored):
    """A prompt of the run with the sparse causal importances it had: columns of equal length.

    `site` indexes `Manifest.sites`; `component` is the index as trained.
    """

    text: str
    split: Split
    bos: bool
    token_ids: list[int]
    pieces: list[str]
    answer: str | None
    answer_probability: float | None
    fact: str | None
    watch: bool = True
    site: list[int]
    position: list[int]
    component: list[int]
    ci: list[float]
    inner_activation: list[float]


class HarvestGroup(Stored):
    name: str
    token: str
    components: list[str]
    why: str


@dataclass(frozen=True)
class Artifact:
    """A checked artefact folder. The harvest is read when first asked for."""

    path: Path
    manifest: Manifest
    hash: str

    @cached_property
    def columns(self) -> HarvestColumns:
        return self._read(TypeAdapter(HarvestColumns).validate_python, "harvest/components.json")

    @cached_property
    def prompts(self) -> list[HarvestPrompt]:
        return self._read(TypeAdapter(list[HarvestPrompt]).validate_python, "harvest/prompts.json")

    @cached_property
    def groups(self) -> list[HarvestGroup]:
        return self._read(TypeAdapter(list[HarvestGroup]).validate_python, "harvest/groups.json")

    @cached_property
    def curves(self) -> list[dict[str, float | int]]:
        """The logged steps, oldest first; each has `step` and the figures logged then."""
        lines = _readable(self.path, "metrics.jsonl").splitlines()
        try:
            return CURVES.validate_python([parse_json(line) for line in lines if line.strip()])
        except ValidationError as error:
            raise _does_not_fit(self.path.name, "metrics.jsonl", error) from None
        except ValueError as error:
            raise ArtifactError(f"{self.path.name}/metrics.jsonl cannot be read: {error}.") from None

    @cached_property
    def variants(self) -> Variants | None:
        """Variants of the run's config, where some were trained."""
        if not (self.path / VARIANTS).exists():
            return None
        return self._read(Variants.model_validate, VARIANTS)

    @property
    def name(self) -> str:
        return self.manifest.config.name

    def _read(self, shaped: Callable[[Any], T], name: str) -> T:
        """A file of the harvest in its shape. Raises ArtifactError that names what does not fit, and what to do."""
        try:
            return shaped(self._json(name))
        except ValidationError as error:
            raise _does_not_fit(self.path.name, name, error) from None

    def _json(self, name: str) -> Any:
        try:
            return parse_json(_readable(self.path, name))
        except ValueError as error:
            raise ArtifactError(f"{self.path.name}/{name} cannot be read: {error}.") from None


VARIANTS = "variants.json"
CURVES = TypeAdapter(list[dict[str, FiniteFloat | int]])


def parse_json(text: str | bytes) -> Any:
    """JSON from anywhere. Raises ValueError where it is not valid, holds NaN or infinity, or is nested too deeply."""

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not a number that JSON has")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _readable(folder: Path, name: str) -> str:
    try:
        if (folder / name).stat().st_size > MOST_JSON:
            raise ArtifactError(f"{folder.name}/{name} is too large to be read.")
        return (folder / name).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ArtifactError(f"{folder.name}/{name} cannot be read: {reason}.") from None


def _does_not_fit(folder: str, file: str, error: ValidationError) -> ArtifactError:
    first = error.errors()[0]
    where = ".".join(str(step) for step in first["loc"])
    match first["type"]:
        case "missing":
            problem = f"lacks “{where}”, so it comes from an older version of Unweave. {REDO}"
        case "extra_forbidden":
            problem = f"has “{where}”, which this version does not know. Upgrade Unweave to open it."
        case _:
            problem = f"does not fit: {where}: {first['msg']}. {REDO}"
    return ArtifactError(f"“{folder}” cannot be opened: its {file} {problem}")


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_artifact(path: Path, *, verify: bool = True) -> Artifact:
    """Read and check an artefact folder. Raises ArtifactError with a plain sentence where it is not one.

    With `verify`, the hash of every listed file is compared, so a damaged or foreign file is found here.
    """
    try:
        if (path / MANIFEST).stat().st_size > MOST_JSON:
            raise ArtifactError(f"“{path.name}” has a {MANIFEST} that is too large to be read.")
        raw = (path / MANIFEST).read_bytes()
    except OSError:
        raise ArtifactError(f"“{path.name}” is not a decomposition: it has no readable {MANIFEST}.") from None
    try:
        data = parse_json(raw)
    except ValueError:
        raise ArtifactError(f"“{path.name}” has a {MANIFEST} that is not valid JSON.") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        written = data.get("format") if isinstance(data, dict) else None
        newer = isinstance(written, int) and written > FORMAT
        raise ArtifactError(
            f"“{path.name}” has artefact format {written!r}; this version of Unweave reads format {FORMAT}. "
            + ("Upgrade Unweave to open it." if newer else REDO)
        )
    try:
        manifest = Manifest.model_validate(data)
    except ValidationError as error:
        raise _does_not_fit(path.name, MANIFEST, error) from None
    for name, digest in manifest.files.items():
        file = path / name
        if "\0" in name or not file.resolve().is_relative_to(path.resolve()):
            raise ArtifactError(f"“{path.name}” names a file outside its folder: {name}.")
        if not file.is_file():
            raise ArtifactError(f"“{path.name}” lacks the file {name} that its manifest names.")
        if verify and sha256(file) != digest:
            raise ArtifactError(f"“{path.name}” is damaged: {name} does not have the hash in its manifest.")
    return Artifact(path, manifest, hashlib.sha256(raw).hexdigest())


def write_json(path: Path, data: Any) -> None:
    """Write JSON (non-ASCII kept, no NaN), through a temporary file, so a crash leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(
        json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")), encoding="utf-8"
    )
    os.replace(part, path)


def put_in_place(work: Path, final: Path) -> None:
    """Rename `work` to `final`. What stood there goes last; a kill in between leaves it as `<name>.old`, which
    `recover` brings back."""
    final.parent.mkdir(parents=True, exist_ok=True)
    old = final.with_name(final.name + OLD)
    if final.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(final, old)
    os.replace(work, final)
    shutil.rmtree(old, ignore_errors=True)


def recover(root: Path, *, older_than: float = 10.0) -> list[str]:
    """Bring back artefacts that were set aside for a replacement which never came (a kill between the two renames).

    Only those set aside more than `older_than` seconds ago: another process may be about to put theirs in place.
    Returns their names. Raises OSError where a folder cannot be renamed.
    """
    result: list[str] = []
    for old in sorted(root.glob(f"*{OLD}")):
        final = old.with_name(old.name.removesuffix(OLD))
        waits = time.time() - old.stat().st_ctime < older_than
        if final.exists() or waits or not (old / MANIFEST).is_file():
            continue
        os.replace(old, final)
        result.append(final.name)
    return result


def seal(work: Path, manifest: Manifest, final: Path) -> Artifact:
    """Hash what stands in `work` (all but `checkpoint/`), write the manifest, and rename `work` to `final`.

    An older artefact at `final` is replaced only once the new one is whole, and the checkpoint goes last of all: what
    fails on the way (a full disk) can be done again without training.
    """
    files = {
        str(path.relative_to(work).as_posix()): sha256(path)
        for path in sorted(work.rglob("*"))
        if path.is_file()
        and path.name != MANIFEST
        and not path.name.endswith(".part")
        and not path.relative_to(work).parts[0].startswith("checkpoint")
    }
    manifest = manifest.model_copy(update={"files": files})
    part = work / (MANIFEST + ".part")
    part.write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    os.replace(part, work / MANIFEST)
    put_in_place(work, final)
    for checkpoint in final.glob("checkpoint*"):
        shutil.rmtree(checkpoint, ignore_errors=True)
    return read_artifact(final)
