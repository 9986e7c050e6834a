"""A comparison as it is stored: what was asked, every row, and the summary. Needs no torch.

`evaluations/<id>.json` beside a shipped artefact, or `evaluations/<artefact>/<id>.json` in the home folder. The id is
the SHA-256 of the content. The artefact itself does not change.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from workers.spd.artifact import Stored, write_json

FOLDER = "evaluations"
Kind = Literal["others", "reverse", "elsewhere", "text"]


class EvaluationConfig(Stored):
    """What is asked. The same config and seed on the same artefact give the same table."""

    seed: int = 0
    budgets: list[int] = Field(
        default=[1, 4, 16], min_length=1, max_length=8, description="terms an edit may have"
    )
    main: int = Field(default=4, description="the budget of the score; one of `budgets`")
    facts: int | None = Field(default=None, ge=1, description="how many facts, drawn by the seed; null: all")
    others: int = Field(
        default=20, ge=1, le=1_000, description="other facts asked after each edit, drawn by the seed"
    )
    windows: int = Field(
        default=500, ge=0, le=10_000, description="windows of held-out text, shared out over the facts"
    )
    methods: list[str] = Field(default=[], description="by name; empty: all that fit")
    source: str = Field(default="run", description="the facts: the run's own, or the name of a file")


class TextEffect(Stored):
    """On held-out windows: KL(target ‖ edited) and change of cross-entropy, nats a position; `damage`: mean of
    |p′/p − 1|, at most 1, of the tokens that follow."""

    windows: int
    positions: int
    kl: float
    ce_change: float
    damage: float


class Asked(Stored):
    """What an edit does to the answers of some questions. `change`: mean of |p′/p − 1|, at most 1; `worst`: the
    largest, and on which text."""

    questions: int
    change: float
    worst: float
    worst_text: str


class EvaluationRow(Stored):
    """One fact under one method's edit. `forgets`: mean of 1 − p′/p on held-out templates, from −1 to 1; `trained`: the
    same on the templates it was chosen on; `nats`: mean change of the answer's log-probability; `rank_before`,
    `rank_after`: median rank of the answer; `damage`: mean over the kinds asked; `score`: forgets − damage."""

    fact: str
    method: str
    budget: int
    parts: list[str]
    trained: float
    forgets: float
    nats: float
    rank_before: float
    rank_after: float
    others: Asked | None = None
    reverse: Asked | None = None
    elsewhere: Asked | None = None
    text: TextEffect | None = None
    damage: float
    score: float


class FactCard(Stored):
    """A fact that was asked about, with one of its held-out prompts."""

    name: str
    answer: str
    relation: str
    prompt: str
    probability: float
    rank: float


class Interval(Stored):
    """A mean over facts with its bootstrap interval of 95 %."""

    mean: float
    low: float
    high: float


class MethodSummary(Stored):
    """One method at one budget. `behind`: mean of the first method's score less this one's on the same facts; `verdict`
    is of the first method against this one."""

    method: str
    budget: int
    facts: int
    score: Interval
    forgets: Interval
    trained: Interval
    others: float | None = None
    reverse: float | None = None
    elsewhere: float | None = None
    text: float | None = None
    kl: float | None = None
    ce_change: float | None = None
    behind: Interval | None = None
    verdict: Literal["wins", "loses", "level"] | None = None


class MethodCard(Stored):
    """`gated`: it acts only where the subject's tokens stand, which no edit of weights can."""

    name: str
    title: str
    about: str
    gated: bool = False


class PairEffect(Stored):
    """Of two components of a fact's edit: each alone and both, change of the answer's log-probability, nats, mean over
    the held-out templates. `interaction`: both − first − second."""

    fact: str
    first: str
    second: str
    effect_first: float
    effect_second: float
    effect_both: float
    interaction: float


class LayerEffect(Stored):
    """Of one layer, means over facts. `suppressed`: change of the answer's log-probability, nats, with only this
    layer's components of the edit taken out (none: the run has no site there). `restored`: causal tracing; of what
    noise on the subject's embeddings takes from the answer's log-probability, the share that comes back where this
    block's output at the subject is the clean one."""

    layer: int
    suppressed: float | None = None
    restored: float | None = None


class Evaluation(Stored):
    """The whole of it."""

    created_at: datetime
    artifact_hash: str
    config: EvaluationConfig
    first: str = "spd"
    methods: list[MethodCard]
    facts: list[FactCard]
    kinds: list[Kind]
    rows: list[EvaluationRow]
    summary: list[MethodSummary]
    pairs: list[PairEffect] = []
    layers: list[LayerEffect] = []
    notes: list[str] = []
    seconds: float
    versions: dict[str, str] = {}


def content_hash(evaluation: Evaluation) -> str:
    """Of what was measured: the same for the same table, whenever and however fast it was made."""
    data = evaluation.model_dump(mode="json", exclude={"created_at", "seconds", "versions"})
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def evaluation_place(home: Path, artifact_hash: str) -> Path:
    """The folder of a decomposition's evaluations in a home folder."""
    return home / FOLDER / artifact_hash[:16]


def write_evaluation(evaluation: Evaluation, folder: Path) -> Path:
    """Store it under its content's hash."""
    path = folder / f"{content_hash(evaluation)[:16]}.json"
    write_json(path, evaluation.model_dump(mode="json", exclude_none=True))
    return path
