"""Where a comparison's facts and text come from: the run itself, or a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from workers.spd.artifact import Artifact
from workers.spd.comparison.facts import (
    Fact,
    Question,
    facts_of_prompts,
    facts_of_relations,
    read_set,
    shipped_questions,
)
from workers.spd.comparison.phrases import phrases_of
from workers.spd.comparison.stored import EvaluationConfig
from workers.spd.config import ConfigError, CorpusData, FactsData, PromptsConfig
from workers.spd.corpora.corpus import Corpus, CorpusSplit
from workers.spd.corpora.dataset_texts import ensure_texts
from workers.spd.prompts.files import format_of, read_prompt_file
from workers.spd.targets.target import Target

LEARNT = 512
"""Windows of training text that methods may learn from."""

SAMPLES = CorpusData(shipped="smollm2-samples", window=24, held_out=0.2)


@dataclass(frozen=True)
class Sources:
    """`learnt`: windows that methods may learn from; `held_out`: windows they are measured on; `bystanders`: questions
    that no edit should change."""

    facts: list[Fact]
    learnt: list[list[int]]
    held_out: list[list[int]]
    piece: Callable[[int], str]
    bystanders: list[Question] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def sources_of(
    artifact: Artifact,
    target: Target,
    config: EvaluationConfig,
    home: Path,
    source: Path | None,
    check_stop: Callable[[], None],
) -> Sources:
    """Facts of a file (YAML: relations; else prompts), or those the run is about; text of the run, or the samples that
    ship. Raises ConfigError."""
    tokenizer, notes = target.tokenizer(), list[str]()
    run = artifact.manifest.config
    text = _text_of(artifact)
    if text is SAMPLES:
        notes.append(
            "The run reads no running text, so ordinary text is that of the shipped samples of SmolLM2."
        )
    taken = None if text.texts is None else ensure_texts(text.texts, home, check_stop=check_stop)
    corpus = Corpus(text, tokenizer, taken)

    def windows(split: CorpusSplit, count: int) -> list[list[int]]:
        drawn = corpus.draw(count, split, torch.Generator().manual_seed(config.seed + 11))
        return [ids for ids in drawn if len(ids) == text.window]

    bystanders: list[Question] = []
    if source is not None and source.suffix in (".yaml", ".yml"):
        data, more = read_set(source)
        facts = facts_of_relations(data, more, target, tokenizer)
    elif source is not None:
        read = read_prompt_file(source.read_text(encoding="utf-8"), format_of(source.name))
        facts, bystanders = facts_of_prompts(read, tokenizer, bos=run.bos)
    elif isinstance(run.data, FactsData):
        facts = facts_of_relations(run.data, shipped_questions(), target, tokenizer)
    elif isinstance(run.data, PromptsConfig):
        facts, bystanders = facts_of_prompts(run.data.prompts, tokenizer, bos=run.bos)
    elif isinstance(run.data, CorpusData):
        facts = phrases_of(corpus, target, tokenizer, config.seed, check_stop)
        notes.append(
            "The facts are phrases of held-out text whose next token the model predicts best, by the rule in "
            "docs/evidence.md; there is no reverse question of them."
        )
    else:
        raise ConfigError("This run's data names no facts. Give --facts or --prompts.")
    return Sources(
        facts,
        windows("train", LEARNT),
        windows("held_out", config.windows),
        tokenizer.piece,
        bystanders,
        notes,
    )


def _text_of(artifact: Artifact) -> CorpusData:
    """The text a run is quiet on, or reads; else the shipped samples, where the model is SmolLM2."""
    config = artifact.manifest.config
    if config.rest is not None:
        return config.rest.text
    if isinstance(config.data, CorpusData):
        return config.data
    if "SmolLM2" in artifact.manifest.target.model.name:
        return SAMPLES
    raise ConfigError(
        "This run has no running text (rest, or data of kind corpus), so there is nothing to measure side effects on."
    )
