"""A whole comparison: from an artefact and a config to a stored evaluation. Resumes from the rows it has."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

import workers
from workers.spd.ablation.loading import artifact_target, load_decomposition
from workers.spd.ablation.passes import Passes
from workers.spd.artifact import Artifact
from workers.spd.comparison.edits import attach_blocks
from workers.spd.comparison.facts import Fact, Question
from workers.spd.comparison.interactions import pair_effects
from workers.spd.comparison.locations import layer_effects
from workers.spd.comparison.measuring import FactPanels, Panel, Part
from workers.spd.comparison.methods import Method
from workers.spd.comparison.registry import NAMES, methods_of
from workers.spd.comparison.score import summarise
from workers.spd.comparison.sources import Sources, sources_of
from workers.spd.comparison.stored import (
    Evaluation,
    EvaluationConfig,
    EvaluationRow,
    FactCard,
    Kind,
    LayerEffect,
    PairEffect,
)
from workers.spd.comparison.subject import open_subject
from workers.spd.comparison.text import Windows, statistics_of
from workers.spd.comparison.untrained import untrained_start
from workers.spd.comparison.world import World
from workers.spd.config import ConfigError
from workers.spd.method.decomposition import Decomposition
from workers.spd.progress import Stopped

CHOSEN_ON = 3
"""Trained questions of a fact on which edits are chosen."""

Tell = Callable[[float, str], None]


@dataclass
class Comparison:
    """One comparison under way. `check_stop` is called before every edit and may raise."""

    world: World
    sources: Sources
    config: EvaluationConfig
    check_stop: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        names = self.config.methods or NAMES
        unknown = [name for name in names if name not in NAMES]
        if unknown:
            raise ConfigError(f"There is no method “{unknown[0]}”; there are {', '.join(NAMES)}.")
        if self.config.main not in self.config.budgets:
            raise ConfigError(f"The main budget, {self.config.main}, is not among the budgets.")
        self.methods: list[Method] = methods_of(self.world, list(names))
        self.facts = self._drawn(self.sources.facts, self.config.facts, "facts")

    def _drawn(self, items: Sequence, count: int | None, what: str) -> list:
        order = torch.randperm(len(items), generator=self.world.generator(what)).tolist()
        return [items[at] for at in order[:count]]

    def open_subjects(self) -> None:
        """The passes that methods choose by, of every fact."""
        world = self.world
        for fact in self.facts:
            self.check_stop()
            subject = open_subject(world.target, world.sites, world.first, fact, CHOSEN_ON)
            if subject.asked:
                world.subjects[fact.name] = subject
        self.facts = [fact for fact in self.facts if fact.name in world.subjects]
        if not self.facts:
            raise ConfigError("No fact has a subject behind the first position, which stays the target's.")

    @property
    def kinds(self) -> list[Kind]:
        """The kinds of bystanders that at least one fact has."""
        found: list[Kind] = []
        if self.sources.bystanders or len(self.facts) > 1:
            found.append("others")
        if any(fact.reverse for fact in self.facts):
            found.append("reverse")
        if any(fact.elsewhere for fact in self.facts):
            found.append("elsewhere")
        if self.config.windows and self.sources.held_out:
            found.append("text")
        return found

    def panels(self, fact: Fact) -> FactPanels:
        """What is asked of this fact's edits."""
        world, place = self.world, self.facts.index(fact)
        others = self._drawn(
            [question for one in self.facts if self._differs(one, fact) for question in one.held_out[:1]],
            self.config.others, f"others of {fact.name}",
        )  # fmt: skip
        subject = world.subjects[fact.name]
        parts: dict[Part, list[Question]] = {
            "trained": [one for one in fact.train if any(at >= world.first for at in one.subject)][
                :CHOSEN_ON
            ],
            "own": list(fact.held_out),
            "others": [*self.sources.bystanders, *others],
            "reverse": list(fact.reverse),
            "elsewhere": list(fact.elsewhere),
        }
        return FactPanels.of(subject, world.target, world.first, parts, self._windows(place))

    @staticmethod
    def _differs(one: Fact, fact: Fact) -> bool:
        """Whether a fact is a bystander of another: their subjects share no token."""
        return not _words(one) & _words(fact)

    def _windows(self, place: int) -> Windows | None:
        """This fact's share of the held-out windows."""
        count = min(self.config.windows, len(self.sources.held_out))
        share = self.sources.held_out[:count][place :: len(self.facts)]
        if not share:
            return None
        return Windows(self.world.target, torch.tensor(share, device=self.world.target.device))

    def rows_of(self, fact: Fact) -> Iterator[EvaluationRow]:
        """Every method's edits of one fact at every budget."""
        subject, panels = self.world.subjects[fact.name], self.panels(fact)
        for method in self.methods:
            self.check_stop()
            for budget, choice in method.choose(subject, self.config.budgets).items():
                yield panels.row(method.card.name, budget, choice, main=budget == self.config.main)


def evaluate(
    artifact: Artifact,
    config: EvaluationConfig,
    work: Path,
    *,
    home: Path,
    source: Path | None = None,
    device: str = "cpu",
    tell: Tell = lambda fraction, message: None,
    stop: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Compare every method on every fact. `work` keeps a file of rows for each fact that is done, and the same call
    resumes from them. `source`: facts from a file instead of the run's own. Raises TargetError, ConfigError, Stopped.
    """

    def check_stop() -> None:
        if stop():
            raise Stopped("Stopped; the facts that are done are kept, and the same command resumes.")

    began = time.monotonic()
    tell(0.0, "Opening the model and its text")
    target = artifact_target(artifact, home, device=device)
    decomposition = load_decomposition(artifact, target)
    comparison = compared(artifact, decomposition, config, home, source, check_stop)
    tell(0.0, "Reading the facts")
    comparison.open_subjects()
    folder = work / _key(artifact, config, comparison.facts)
    rows: list[EvaluationRow] = []
    pairs: list[PairEffect] = []
    seconds = 0.0
    for place, fact in enumerate(comparison.facts):
        tell(place / len(comparison.facts), fact.name)
        done = _done(comparison, fact, folder / f"{place:04d}.json")
        rows += [EvaluationRow.model_validate(row) for row in done["rows"]]
        pairs += [PairEffect.model_validate(pair) for pair in done["pairs"]]
        seconds += done["seconds"]
    seconds += time.monotonic() - began if not seconds else 0.0
    tell(1.0, "Where the facts sit")
    layers = layer_effects(comparison)
    return whole(comparison, artifact, rows, pairs, layers, seconds)


def whole(
    comparison: Comparison,
    artifact: Artifact,
    rows: list[EvaluationRow],
    pairs: list[PairEffect],
    layers: list[LayerEffect],
    seconds: float,
) -> Evaluation:
    """The stored form: rows with their summary."""
    config = comparison.config
    cards = [method.card for method in comparison.methods]
    return Evaluation(
        created_at=datetime.now(UTC), artifact_hash=artifact.hash, config=config, methods=cards,
        facts=[_card(comparison, fact) for fact in comparison.facts], kinds=comparison.kinds, rows=rows,
        summary=summarise(rows, [card.name for card in cards], config.seed, "spd"), pairs=pairs, layers=layers,
        notes=comparison.sources.notes, seconds=round(seconds, 1), versions=workers.versions(),
    )  # fmt: skip


def compared(
    artifact: Artifact,
    decomposition: Decomposition,
    config: EvaluationConfig,
    home: Path,
    source: Path | None,
    check_stop: Callable[[], None],
) -> Comparison:
    """Everything that the methods share, opened."""
    target = decomposition.target
    passes = Passes(target)
    attach_blocks(passes.blocks)
    sources = sources_of(artifact, target, config, home, source, check_stop)
    statistics = statistics_of(target, decomposition.sites, sources.learnt, check_stop)
    blocks = sorted({passes.block_of(site) for site in decomposition.sites if passes.inside(site)})
    wants_start = "start" in (config.methods or NAMES)
    world = World(
        decomposition, statistics, blocks, sources.piece, config.seed, sources.learnt,
        untrained_start(artifact, decomposition, home, check_stop) if wants_start else None,
    )  # fmt: skip
    return Comparison(world, sources, config, check_stop)


def _words(fact: Fact) -> set[int]:
    return {question.ids[at] for question in (*fact.train, *fact.held_out) for at in question.subject}


def _done(comparison: Comparison, fact: Fact, path: Path) -> dict:
    """A fact's rows, read where they are there already, else measured and kept."""
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    began = time.monotonic()
    rows = [row.model_dump(mode="json") for row in comparison.rows_of(fact)]
    pairs = [pair.model_dump(mode="json") for pair in pair_effects(comparison, fact)]
    done = {"rows": rows, "pairs": pairs, "seconds": time.monotonic() - began}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(done), encoding="utf-8")
    part.replace(path)
    return done


def _key(artifact: Artifact, config: EvaluationConfig, facts: Sequence[Fact]) -> str:
    """Of everything that rows depend on."""
    names = [(fact.name, fact.answer, [q.ids for q in (*fact.train, *fact.held_out)]) for fact in facts]
    text = json.dumps([artifact.hash, config.model_dump(mode="json"), names])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _card(comparison: Comparison, fact: Fact) -> FactCard:
    panel = Panel.of(comparison.world.target, comparison.world.first, fact.held_out)
    before = [float(value) for _, part in panel.parts for value in part.before.exp()]
    ranks = sorted(float(value) for _, part in panel.parts for value in part.ranks)
    question: Question = fact.held_out[0]
    return FactCard(
        name=fact.name, answer=fact.answer, relation=fact.relation, prompt=question.text,
        probability=sum(before) / len(before), rank=ranks[len(ranks) // 2],
    )  # fmt: skip
