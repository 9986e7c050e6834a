"""Decompositions as the gallery, the overview and the component tables see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from backend.schemas.common import Body, Listing, Provenance, TargetStatus, Token, Wire
from backend.schemas.components import ComponentHarvest
from workers.spd.artifact import Verdict


class ModelInfo(Wire):
    name: str
    architecture: str
    parameters: int
    layers: int
    vocabulary: int
    context_length: int = Field(description="most tokens a prompt may have here")
    license: str | None = None


class Headline(Wire):
    """Evidence at a glance: one figure with the words that explain it."""

    label: str
    value: float | None
    unit: str = Field(default="", description="nats, components, …; empty for a pure number")
    explain: str
    status: Literal["good", "weak", "info"]


class Thumbnail(Wire):
    """A small picture of causal importance: rows are sites (or layers), columns positions of one prompt."""

    rows: list[str]
    tokens: list[str]
    values: list[list[float]] = Field(description="[rows][positions], max CI 0–1")


class DecompositionSummary(Wire):
    id: str = Field(description="readable slug")
    artifact_hash: str
    title: str
    description: str
    model: ModelInfo
    created_at: datetime
    shipped: bool
    sites: int
    components: int = Field(description="components trained, dead ones included")
    alive: int
    headlines: list[Headline]
    thumbnail: Thumbnail | None
    target: TargetStatus
    featured_findings: list[str] = Field(description="slugs")
    archived: bool = Field(default=False, description="put away: at the end of the gallery, folded")
    tags: list[str] = Field(default=[], description="given on this server, to find it by")


Tag = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40, pattern=r"^[^,]+$")
]


class ShelfEntry(Body):
    """What this server calls a decomposition, and whether it is put away; null: the run's own words."""

    title: str | None = Field(default=None, min_length=1, max_length=200)
    description: str | None = Field(default=None, max_length=2_000)
    archived: bool | None = None
    tags: list[Tag] | None = Field(default=None, max_length=20)


class ShelfEdit(ShelfEntry):
    """A change of it. A key that is left out stays; null takes the run's own words again."""

    model_config = {"json_schema_extra": {"minProperties": 1}}

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("Say what to change: a title, a description, tags or archived.")
        return self


class Dependents(Wire):
    """What depends on a decomposition, to be named before it is deleted."""

    disk_bytes: int = Field(description="of its folder and its harvests")
    findings: list[str] = Field(description="slugs, the first fifty; they keep their numbers without it")
    findings_total: int
    labels: int = Field(description="components that people have named")
    harvests: int = Field(description="in the home folder; they go with it")
    shipped: bool = Field(description="comes with Unweave and cannot be deleted")


class DecompositionListing(Listing[DecompositionSummary]):
    """The gallery, with a sentence for every folder that looked like a decomposition and was skipped."""

    warnings: list[str] = []
    story: str | None = Field(default=None, description="slug of the finding that opens the gallery")


class SiteSummary(Wire):
    site: str
    short: str
    layer: int | None
    d_in: int
    d_out: int
    components: int
    stored: int
    alive: int
    l0: float = Field(
        description="mean number of components above the threshold per position, training prompts"
    )
    faithfulness: float | None = None


class RunPrompt(Wire):
    """A prompt of the run, training or held out, with the answer it is about."""

    text: str
    split: Literal["train", "held_out", "bystander"]
    bos: bool
    tokens: list[Token]
    answer: str | None
    answer_probability: float | None = Field(
        default=None, description="the target model's probability of the answer"
    )
    fact: str | None = Field(default=None, description="prompts with the same fact share it")


class EvidenceRow(Wire):
    """One measured figure, with plain words and a warning where it is weak. Units: see `unit`."""

    name: str
    label: str
    explain: str
    unit: str
    train: float | None
    held_out: float | None
    spread: float | None = Field(
        default=None, description="standard deviation over seeds, where there are several"
    )
    seeds: int | None = Field(
        default=None, description="how many the figure is a mean of, where there are several"
    )
    status: Literal["good", "weak", "info"]
    warning: str | None = None


class Curve(Wire):
    name: str
    label: str
    unit: str
    steps: list[int]
    values: list[float | None]


class TableRow(Wire):
    """One row of a table that a paper printed, with ours beside it."""

    name: str
    paper: str
    ours: str
    agrees: bool | None
    verdict: Verdict = Field(
        description="agrees: the same number of components in use at the same place; fewer, more: another number there"
    )
    note: str | None = None


class PaperTable(Wire):
    title: str
    source: str
    rows: list[TableRow]
    notes: list[str] = []


class MethodPart(Wire):
    """One part of the paper's method beside what this run does, read off its config."""

    name: str
    paper: str
    here: str
    use: Literal["as in the paper", "changed", "not used", "added"]


class SeedAgreement(Wire):
    """How far components of several seeds hold the same directions: mean largest |cosine|, 0 to 1."""

    reads: float
    writes: float
    both: float = Field(description="of the rank-1 matrices: the product of both")


class Spread(Wire):
    """A figure over several seeds."""

    mean: float
    least: float
    most: float


class Variant(Wire):
    """A variant of the run's config, trained on several seeds and judged on held-out text."""

    name: str
    about: str
    seeds: list[int]
    figures: dict[str, Spread] = Field(description="KL in nats, L0 per position, seconds of processor time")
    agreement: SeedAgreement | None = Field(description="null of a single seed")
    agreement_at_start: SeedAgreement | None = Field(description="of the same components before training")


class VariantTable(Wire):
    about: str
    rows: list[Variant]


class AblationCheck(Wire):
    """What a named ablation does to one prompt's answer: the run's own selectivity test."""

    group: str
    components: int
    prompt: str
    answer: str
    role: Literal["target", "bystander", "reverse"]
    split: Literal["train", "held_out", "bystander"]
    baseline: float
    ablated: float
    change: float = Field(description="(ablated − baseline) / baseline")
    untrained_change: float | None = Field(
        description="the same change by the same components as they were before training; null where that was not asked"
    )
    looked_at: bool = Field(description="whether it was looked at while the run's settings were chosen")
    wanted: str
    ok: bool


class FactRow(Wire):
    """A candidate fact. `group` names the components that it alone uses, null where it was not kept or has none.
    Drops and changes are shares 0–1, medians over prompts on which the target itself has the answer."""

    subject: str
    relation: str
    answer: str
    rank: int | None = Field(
        description="of the answer after the relation's first template; 1: the likeliest"
    )
    probability: float | None
    kept: bool
    group: str | None
    components: int | None
    train_drop: float | None
    held_out_drop: float | None
    others_change: float | None = Field(description="median |p′/p − 1| of the other facts' answers")
    others_worst: float | None
    others_worst_subject: str | None
    prompt: str = Field(
        description="the subject in a held-out template, or a trained one where none is held out"
    )


class FactTable(Wire):
    """Every fact suppressed once and all facts asked again: drops are medians over the facts, changes over all pairs of
    a suppressed fact and a prompt of another (`others_change_95`: their 95th percentile)."""

    rank: int
    share: float = Field(description="of a component's importance that must fall on one fact for its group")
    candidates: int
    known: int
    train_prompts: int
    held_out_prompts: int
    train_drop: float | None
    held_out_drop: float | None
    others_change: float | None
    others_change_95: float | None
    rows: list[FactRow]
    templates: list[str]
    held_out_templates: list[str]
    bos: bool


class Decomposition(DecompositionSummary):
    provenance: Provenance
    config: dict[str, Any]
    source: dict[str, Any] = Field(description="where the target's weights come from")
    site_summaries: list[SiteSummary]
    prompts: list[RunPrompt]
    evidence: list[EvidenceRow]
    reconstruction_positions: str = Field(description="which positions the reconstruction counted, in words")
    curves: list[Curve]
    paper_table: PaperTable | None
    method: list[MethodPart] = Field(description="which parts of the paper's method the run uses")
    variants: VariantTable | None = Field(
        default=None, description="what the run's settings bring, where variants of it were trained"
    )
    ablation_checks: list[AblationCheck]
    facts: FactTable | None = Field(default=None, description="of a run over facts")
    notes: list[str] = Field(description="warnings and remarks of the run, plain sentences")
    training_seconds: float | None
    default_watch: list[str] = Field(description="tokens worth watching, the answers of the run's prompts")


class Group(Wire):
    """A named set of components made from harvested statistics."""

    name: str
    token: str
    components: list[str]
    why: str


ComponentSort = Literal["key", "mean_ci", "max_ci", "density", "effect", "label", "label_f1"]


class ComponentRow(Wire):
    key: str
    site: str
    short: str
    layer: int | None
    index: int
    label: str
    alive: bool
    mean_ci: float
    max_ci: float
    density: float = Field(description="share of positions with CI above the threshold")
    top_token: str | None
    top_tokens: list[str]
    write_norm: float = Field(description="‖V_c‖·‖U_c‖, the size of the rank-1 matrix")
    effect: float | None = Field(
        default=None, description="largest KL at a training prompt's answer when it alone is suppressed, nats"
    )
    label_f1: float | None = Field(
        default=None,
        description="F1 of the automatic label's tokens as a prediction of where it fires on held-out text, 0–1; null: "
        "not known, or people named it",
    )


class ComponentExample(Wire):
    tokens: list[Token]
    ci: list[float]
    inner_activation: list[float]
    split: Literal["train", "held_out", "bystander"]


class ComponentDetail(ComponentRow):
    groups: list[str]
    examples: list[ComponentExample]
    reads: list[str] = Field(
        default=[], description="tokens whose embedding it reads most strongly, where this is known"
    )
    writes: list[str] = Field(
        default=[], description="tokens its write direction promotes most, where this is known"
    )
    previous: str | None = None
    next: str | None = None
    automatic_label: str = Field(default="", description="what it is called where nobody named it")
    label_version: int = Field(default=0, description="of the label people gave it; 0: none was given")
    harvest: ComponentHarvest | None = Field(
        default=None, description="statistics over a corpus, where there is a harvest"
    )
