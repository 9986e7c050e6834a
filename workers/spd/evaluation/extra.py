"""What a run over some kinds of data reports beside the figures of every run: the paper's table, the table of facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from workers.spd.artifact import FactTable, HarvestGroup, PaperComparison
from workers.spd.config import DecomposeConfig
from workers.spd.evaluation.facts import fact_groups, fact_table, named_groups, needed_groups
from workers.spd.evaluation.induction_table import circuit, paper_table, site_use
from workers.spd.method.decomposition import Decomposition
from workers.spd.prompts.batches import Batch
from workers.spd.prompts.kinds import KnownFacts
from workers.spd.prompts.training_data import ExtraEvidence, TrainingData
from workers.spd.targets.tokenizer import PromptTokenizer


@dataclass(frozen=True)
class Extra:
    """The tables for the manifest, groups to put before the harvest's, and further harvest files by name."""

    paper: PaperComparison | None = None
    facts: FactTable | None = None
    groups: list[HarvestGroup] = field(default_factory=list)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)


def extra_evidence(
    config: DecomposeConfig,
    decomposition: Decomposition,
    data: TrainingData,
    tokenizer: PromptTokenizer,
    check_stop: Callable[[], None],
    rest: Batch | None = None,
) -> Extra:
    """What this kind of data asks for. `rest`: windows of the text a targeted run must be quiet on. `check_stop` is
    called in between and may raise."""
    check_stop()
    return (
        Extra()
        if data.extra is None
        else TABLES[data.extra](config, decomposition, data, tokenizer, check_stop, rest)
    )


def _paper(
    config: DecomposeConfig,
    decomposition: Decomposition,
    data: TrainingData,
    tokenizer: PromptTokenizer,
    check_stop: Callable[[], None],
    rest: Batch | None,
) -> Extra:
    held_out = data.of_split("held_out")
    paper = paper_table(decomposition, held_out, config.threshold)
    pieces = [tokenizer.piece(token) for token in held_out[0].ids]
    use = site_use(decomposition, held_out, config.threshold)
    shown = circuit(decomposition, held_out[0], pieces, config.threshold, use)
    return Extra(paper=paper, files={"circuit.json": shown})


def _facts(
    config: DecomposeConfig,
    decomposition: Decomposition,
    data: TrainingData,
    tokenizer: PromptTokenizer,
    check_stop: Callable[[], None],
    rest: Batch | None,
) -> Extra:
    assert isinstance(data, KnownFacts)
    own = fact_groups(decomposition, data.prompts, config.threshold)
    own = needed_groups(decomposition, data.prompts, own, rest, check_stop)
    table = fact_table(decomposition, data.prompts, data.candidates, own, data.rank, check_stop)
    return Extra(facts=table, groups=named_groups(own, data.prompts))


TABLES: dict[ExtraEvidence, Callable[..., Extra]] = {"paper_table": _paper, "facts_table": _facts}
