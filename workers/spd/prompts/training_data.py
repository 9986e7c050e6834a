"""What each training step reads, and what starts, harvest and evidence look at: the run's data (SPEC 20)."""

from __future__ import annotations

import torch

from workers.spd.config import (
    ConfigError,
    CorpusData,
    DecomposeConfig,
    FactsData,
    InductionSource,
    PromptData,
    PromptsConfig,
)
from workers.spd.corpora.corpus import Corpus, CorpusSplit
from workers.spd.corpora.dataset_texts import Taken
from workers.spd.prompts.batches import Batch, Prompt, clean_batch, induction_prompts, read_prompts
from workers.spd.prompts.facts import Candidate, known_facts
from workers.spd.targets.induction import sample_sequences
from workers.spd.targets.target import Target
from workers.spd.targets.tokenizer import PromptTokenizer


def _window(ids: list[int], split: str, tokenizer: PromptTokenizer) -> Prompt:
    """A window of running text as a prompt, to be shown and measured on."""
    text = "".join(tokenizer.piece(token) for token in ids)[:20_000]
    return Prompt(PromptData(text=text, split=split, watch=False), ids, None)  # type: ignore[arg-type]


class TrainingData:
    """Batches for training: the same prompts with their clean pass computed once, fresh induction sequences, or windows
    of a corpus (`taken`: the texts of its dataset, where it has one)."""

    def __init__(
        self,
        config: DecomposeConfig,
        target: Target,
        tokenizer: PromptTokenizer,
        taken: Taken | None = None,
    ) -> None:
        self.config, self.target, self.taken = config, target, taken
        positions = config.reconstruction.positions
        self.fixed: Batch | None = None
        self.candidates: list[Candidate] = []
        self.keeps_positions = any(loss.kind == "adversarial_reconstruction" for loss in config.losses)
        seed = torch.Generator().manual_seed(config.seed + 1)
        if isinstance(config.data, PromptsConfig):
            self.prompts = read_prompts(config.data, tokenizer)
        elif isinstance(config.data, FactsData):
            self.prompts, self.candidates = known_facts(config.data, target, tokenizer)
        if isinstance(config.data, PromptsConfig | FactsData):
            train = [prompt for prompt in self.prompts if prompt.data.split == "train"]
            if not train:
                raise ConfigError("data.prompts: at least one prompt must be in the split “train”.")
            self.fixed = clean_batch(target, [prompt.ids for prompt in train], positions)
        elif isinstance(config.data, CorpusData):
            self.corpus = Corpus(config.data, tokenizer, taken)
            self.prompts = [
                _window(ids, split, tokenizer)
                for split in ("train", "held_out")
                for ids in self.corpus.draw(config.data.evaluation, split, seed)
            ]
        else:
            if not isinstance(config.target, InductionSource):
                raise ConfigError("data.kind “induction” goes with target.kind “induction”.")
            data = config.data
            self.prompts = [
                *induction_prompts(config.target, tokenizer, data.evaluation, "train", seed),
                *induction_prompts(config.target, tokenizer, data.evaluation, "held_out", seed),
            ]

    def next(self, generator: torch.Generator) -> Batch:
        """The batch of one step."""
        if self.fixed is not None:
            size = getattr(self.config.data, "batch_size", None)
            count = self.fixed.tokens.shape[0]
            if size is None or size >= count:
                return self.fixed
            chosen = torch.randperm(count, generator=generator)[:size]
            batch = self.fixed.rows(chosen.to(self.target.device))
            return batch if self.keeps_positions else batch.trimmed()
        if isinstance(self.config.data, CorpusData):
            windows = self.corpus.draw(self.config.data.batch_size, "train", generator)
            return clean_batch(self.target, windows, self.config.reconstruction.positions)
        assert isinstance(self.config.target, InductionSource)
        drawn = sample_sequences(self.config.target, self.config.data.batch_size, generator)  # type: ignore[union-attr]
        return clean_batch(self.target, drawn.tokens.tolist(), self.config.reconstruction.positions)

    def everything(self) -> Batch:
        """What starts and pruning look at: all training prompts, a corpus's windows for evaluation, or for induction as
        many sequences as a step has."""
        if self.fixed is not None:
            return self.fixed
        if isinstance(self.config.data, CorpusData):
            windows = [prompt.ids for prompt in self.prompts if prompt.data.split == "train"]
            return clean_batch(self.target, windows, self.config.reconstruction.positions)
        return self.next(torch.Generator().manual_seed(self.config.seed))

    def more_windows(self, split: CorpusSplit, count: int, rows: int = 64) -> list[Batch]:
        """Windows of a corpus besides those that are kept, `rows` a batch, always the same ones."""
        generator = torch.Generator().manual_seed(self.config.seed + 2)
        drawn = self.corpus.draw(count, split, generator)
        positions = self.config.reconstruction.positions
        return [clean_batch(self.target, drawn[at : at + rows], positions) for at in range(0, count, rows)]

    def split(self, name: str, positions: str, limit: int = 64) -> Batch | None:
        """Up to `limit` prompts of a split with their clean pass; None where there are none."""
        chosen = [prompt.ids for prompt in self.prompts if prompt.data.split == name][:limit]
        return clean_batch(self.target, chosen, positions) if chosen else None
