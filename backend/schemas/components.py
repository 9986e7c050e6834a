"""One component over a corpus: what was harvested, what it does on any text, and what people call it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from backend.schemas.common import Body, Provenance, Token, Wire
from backend.schemas.workbench import Prompt

MAX_LABEL = 200
MAX_AUTHOR = 60
Quantile = Literal["top", "90-100", "50-90", "10-50"]
TextSource = Literal["train", "held_out", "bystander", "corpus", "sequence"]


class HarvestSummary(Wire):
    """A harvest of a decomposition: over which texts, and how much."""

    id: str
    corpus: str
    described: str = Field(description="the corpus in words")
    corpus_hash: str = Field(description="SHA-256 of what was read")
    seed: int
    threshold: float
    windows: int
    tokens: int
    positions: int = Field(description="positions counted")
    all_read: bool = Field(description="false: the harvest stopped at its limit of tokens")
    components: int
    fired: int = Field(description="components above the threshold somewhere in it")
    ablated: int = Field(description="components suppressed alone")
    ablation_windows: int = Field(description="windows on which each of those was")
    sampled_positions: int = Field(description="positions over which firing together was counted")
    device: str
    dtype: str
    versions: dict[str, str]
    created_at: datetime
    seconds: float
    shipped: bool
    notes: list[str]


class HarvestRequest(Body):
    """A harvest to be made: the keys of its config (docs/harvest.md). An empty one: the sentences that ship, and the
    decomposition's own prompts."""

    config: dict[str, Any] = Field(max_length=50)


class ComponentLink(Wire):
    """Another component, enough to name it."""

    key: str
    short: str
    label: str
    alive: bool


class ActivationHistogram(Wire):
    """Inner activations in equal bins from `low` to `high`: at all positions, and where it fires."""

    low: float
    high: float
    counts: list[int]
    firing: list[int]


class TokenStat(Wire):
    """A token and a component. precision: P(fires | token); recall: P(token | fires); pmi in nats."""

    token: Token
    count: int = Field(description="positions with this token at which it fires")
    total: int = Field(description="positions with this token")
    precision: float
    recall: float
    pmi: float


class CofiringRow(Wire):
    component: ComponentLink
    both: int = Field(description="sampled positions at which both fire")
    jaccard: float
    pmi: float = Field(description="nats")


class NearRow(Wire):
    component: ComponentLink
    cosine: float


class Nearest(Wire):
    """The closest by |cosine|: of the rank-1 matrices between sites of one shape, and of the directions that face the
    residual stream."""

    matrix: list[NearRow]
    reads: list[NearRow]
    writes: list[NearRow]


class DirectionItem(Wire):
    """token: cosine with its row of the (un)embedding; neuron: its share of the direction, signed; head: the share of
    the squared length that lies in it."""

    kind: Literal["token", "neuron", "head"]
    number: int
    token: Token | None = None
    score: float


class Direction(Wire):
    """What one side of a component faces, strongest first. Turned so that its inner activation is positive at
    its strongest firings."""

    face: Literal["residual", "neurons", "heads", "tokens", "other"]
    slice: str | None = None
    items: list[DirectionItem]


class AffectedWindow(Wire):
    """A text whose output moves when this component alone is suppressed."""

    source: TextSource
    tokens: list[Token]
    kl: list[float] = Field(description="a position, nats")


class HarvestExample(Wire):
    """Tokens around one firing, with CI and inner activation at each."""

    source: TextSource
    window: int
    start: int = Field(description="position of the first token shown in its window")
    at: int = Field(description="which of the tokens shown it is about")
    tokens: list[Token]
    ci: list[float]
    inner_activation: list[float]


class ExampleBand(Wire):
    """Examples from one quantile of the component's firings, ranked by CI and then by |inner activation|."""

    quantile: Quantile
    examples: list[HarvestExample]


class LabelScore(Wire):
    """How well the tokens of the automatic label predict where the component fires, on text they were not chosen on.
    Null where that is not defined, as where it never fires there."""

    source: Literal["prompts", "corpus"] = Field(
        description="the tokens are of the run's training prompts, or of the other half of this corpus"
    )
    tokens: list[Token]
    precision: float | None = Field(description="P(fires | token)")
    recall: float | None = Field(description="P(token | fires)")
    f1: float | None = Field(description="their harmonic mean, 0–1")
    balanced_accuracy: float | None = Field(description="0.5 is chance")
    fires: int
    positions: int = Field(description="positions on which it was scored")


class ComponentHarvest(Wire):
    """What a harvest says of one component."""

    harvest: HarvestSummary
    fires: int
    density: float
    mean_ci: float
    max_ci: float
    mean_activation: float = Field(description="inner activation where it fires")
    zeros: int = Field(description="positions where its CI is 0")
    ci_histogram: list[int] = Field(description="positions with CI in equal bins of (0, 1]")
    activation_histogram: ActivationHistogram
    inputs: list[TokenStat] = Field(description="tokens it fires on")
    outputs: list[TokenStat] = Field(description="the model's most likely next tokens where it fires")
    cofiring: list[CofiringRow]
    nearest: Nearest
    reads: Direction
    writes: Direction
    effect_mean: float | None = Field(description="mean KL over the windows of the harvest, nats")
    effect_max: float | None = Field(description="largest KL at any position, nats")
    affected: list[AffectedWindow]
    bands: list[ExampleBand]
    label: LabelScore | None = Field(default=None, description="null: the harvest has none")


class TryRequest(Prompt):
    """Any text."""


class ComponentTrace(Wire):
    """One component at every token of a text."""

    key: str
    tokens: list[Token]
    ci: list[float]
    inner_activation: list[float]
    elapsed_ms: float
    provenance: Provenance


class Label(Wire):
    """One version of a component's name. `text` null: back to the automatic one."""

    version: int
    text: str | None
    author: str
    created_at: datetime


class LabelEdit(Body):
    """`version` is the one the editor saw (0: none yet); where there is a newer one by now, the answer is 409 with it
    in `details.current`."""

    text: Annotated[str, Field(max_length=MAX_LABEL)] | None
    author: str = Field(default="", max_length=MAX_AUTHOR)
    version: int = Field(ge=0)


class LabelHistory(Wire):
    """All versions, the newest first."""

    automatic: str
    current: str
    version: int
    items: list[Label]
