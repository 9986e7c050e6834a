"""The kinds of data a run can read: fixed prompts, facts, induction sequences, windows of a corpus (SPEC 20, 22)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from workers.spd.config import (
    ConfigError,
    CorpusData,
    DecomposeConfig,
    FactsData,
    InductionData,
    InductionSource,
    PromptData,
    PromptsConfig,
)
from workers.spd.corpora.corpus import Corpus, CorpusSplit
from workers.spd.corpora.dataset_texts import Taken
from workers.spd.prompts.batches import Batch, Prompt, clean_batch, induction_prompts, read_prompts
from workers.spd.prompts.facts import Candidate, known_facts
from workers.spd.prompts.training_data import Positions, TrainingData
from workers.spd.targets.induction import sample_sequences
from workers.spd.targets.target import Target
from workers.spd.targets.tokenizer import PromptTokenizer

CORPUS_EFFECTS = 1_000
"""Over running text thousands of components are alive; at most so many are suppressed alone at the end."""

MOST_CHARACTERS = 20_000


def training_data(
    config: DecomposeConfig, target: Target, tokenizer: PromptTokenizer, texts: Taken | None = None
) -> TrainingData:
    """The data of a run; `texts`: those of its dataset, where it has one. Raises ConfigError for data that cannot be
    used."""
    data, positions = config.data, config.reconstruction.positions
    by_subject = config.reconstruction.remainder == "subject"
    same_length = config.adversary is not None and config.adversary.keeps_positions
    match data:
        case PromptsConfig():
            prompts = read_prompts(data, tokenizer)
            return FixedPrompts(
                target, prompts, positions, data.batch_size, same_length=same_length, by_subject=by_subject
            )
        case FactsData():
            return KnownFacts(
                data, target, tokenizer, positions, same_length=same_length, by_subject=by_subject
            )
        case CorpusData():
            return CorpusWindows(data, target, tokenizer, positions, texts, seed=config.seed)
        case InductionData():
            if not isinstance(config.target, InductionSource):
                raise ConfigError("data.kind “induction” goes with target.kind “induction”.")
            return InductionSequences(data, config.target, target, tokenizer, positions, seed=config.seed)


class FixedPrompts(TrainingData):
    """The same prompts throughout, their clean pass computed once: all of them in every step, or a random few.

    A random few lose the padding that none of them needs, except with `same_length`.
    """

    def __init__(
        self,
        target: Target,
        prompts: Sequence[Prompt],
        positions: Positions,
        batch_size: int | None,
        *,
        same_length: bool = False,
        by_subject: bool = False,
    ) -> None:
        super().__init__(target, prompts, positions)
        self.batch_size, self.same_length, self.by_subject = batch_size, same_length, by_subject
        train = self.of_split("train")
        if not train:
            raise ConfigError("data.prompts: at least one prompt must be in the split “train”.")
        if by_subject:
            for prompt in [*train, *self.of_split("held_out")]:
                _names_its_subject(prompt)
        self.fixed = self.batch(train, positions)

    def next(self, generator: torch.Generator) -> Batch:
        count = self.fixed.tokens.shape[0]
        if self.batch_size is None or self.batch_size >= count:
            return self.fixed
        chosen = torch.randperm(count, generator=generator)[: self.batch_size]
        batch = self.fixed.rows(chosen.to(self.target.device))
        return batch if self.same_length else batch.trimmed()

    def everything(self) -> Batch:
        return self.fixed


class KnownFacts(FixedPrompts):
    """The facts that the target knows, in all their templates. `candidates`: every fact it was asked for; `rank`: the
    place up to which an answer counts as known."""

    extra = "facts_table"

    def __init__(
        self,
        data: FactsData,
        target: Target,
        tokenizer: PromptTokenizer,
        positions: Positions,
        *,
        same_length: bool = False,
        by_subject: bool = False,
    ) -> None:
        prompts, candidates = known_facts(data, target, tokenizer)
        super().__init__(
            target, prompts, positions, data.batch_size, same_length=same_length, by_subject=by_subject
        )
        self.candidates: list[Candidate] = candidates
        self.rank = data.rank
        # The prompts go through the facts template by template: this shows each fact once per split.
        self.shown = sum(candidate.kept for candidate in candidates)


class InductionSequences(TrainingData):
    """Fresh sequences in every step; others, drawn once from `seed`, are shown and measured on."""

    extra = "paper_table"

    def __init__(
        self,
        data: InductionData,
        source: InductionSource,
        target: Target,
        tokenizer: PromptTokenizer,
        positions: Positions,
        *,
        seed: int,
    ) -> None:
        generator = torch.Generator().manual_seed(seed + 1)
        train = induction_prompts(source, tokenizer, data.evaluation, "train", generator)
        held_out = induction_prompts(source, tokenizer, data.evaluation, "held_out", generator)
        super().__init__(target, [*train, *held_out], positions)
        self.source, self.batch_size, self.seed, self.shown = source, data.batch_size, seed, data.shown

    def next(self, generator: torch.Generator) -> Batch:
        drawn = sample_sequences(self.source, self.batch_size, generator)
        return clean_batch(self.target, drawn.tokens.tolist(), self.positions)

    def everything(self) -> Batch:
        """As many sequences as a step has."""
        return self.next(torch.Generator().manual_seed(self.seed))


class CorpusWindows(TrainingData):
    """Windows of running text, new ones in every step; others, drawn once from `seed`, are measured on. The first of
    them, which are shown too, begin at a sentence."""

    most_effects = CORPUS_EFFECTS

    def __init__(
        self,
        data: CorpusData,
        target: Target,
        tokenizer: PromptTokenizer,
        positions: Positions,
        texts: Taken | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self.corpus, self.seed, self.adversary_budgets = (
            Corpus(data, tokenizer, texts), seed, data.adversary_budgets,
        )  # fmt: skip
        generator = torch.Generator().manual_seed(seed + 1)
        shown = min(data.shown, data.evaluation)
        splits: tuple[CorpusSplit, ...] = ("train", "held_out")
        prompts = [
            _window(ids, split, tokenizer)
            for split in splits
            for ids in self.corpus.draw(shown, split, generator, sentences=True)
            + self.corpus.draw(data.evaluation - shown, split, generator)
        ]
        super().__init__(target, prompts, positions)
        self.batch_size, self.shown, self.texts = data.batch_size, data.shown, texts

    def next(self, generator: torch.Generator) -> Batch:
        windows = self.corpus.draw(self.batch_size, "train", generator)
        return clean_batch(self.target, windows, self.positions)

    def everything(self) -> Batch:
        """The windows for evaluation of the training split."""
        return clean_batch(self.target, [prompt.ids for prompt in self.of_split("train")], self.positions)

    def more_windows(self, split: CorpusSplit, count: int, rows: int = 64) -> list[Batch]:
        """Windows besides those that are kept, `rows` per batch, always the same ones."""
        drawn = self.corpus.draw(count, split, torch.Generator().manual_seed(self.seed + 2))
        return [
            clean_batch(self.target, drawn[at : at + rows], self.positions) for at in range(0, count, rows)
        ]


def _names_its_subject(prompt: Prompt) -> None:
    """Raise ConfigError where the remainder could be masked nowhere."""
    if not prompt.subject:
        raise ConfigError(
            "reconstruction.remainder “subject” needs to know what every prompt is about: give "
            f"“{prompt.data.text[:60]}” a `fact` that stands in it, word for word."
        )


def _window(ids: list[int], split: CorpusSplit, tokenizer: PromptTokenizer) -> Prompt:
    """A window of running text as a prompt, to be shown and measured on."""
    text = "".join(tokenizer.piece(token) for token in ids)[:MOST_CHARACTERS]
    return Prompt(PromptData(text=text, split=split, watch=False), ids, None)
