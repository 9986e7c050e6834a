"""What a run reads, whatever its kind: what each training step gets, and what starts, harvest and evidence look at
(SPEC 20).

`workers.spd.prompts.kinds` has the kinds there are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch

from workers.spd.corpora.dataset_texts import Taken
from workers.spd.prompts.batches import Batch, Prompt, clean_batch
from workers.spd.targets.target import Target

Positions = Literal["answer", "all"]
ExtraEvidence = Literal["facts_table", "paper_table"]


class TrainingData(ABC):
    """One kind of data of a run.

    prompts: all that is shown and measured on, with their splits; positions: which outputs the reconstruction counts.
    A stream beside another one (other text, say) is one more object of this class: nothing here is global to a run.
    """

    extra: ClassVar[ExtraEvidence | None] = None
    """The table that a run over this kind of data reports beside the figures of every run."""

    shown: int | None = None
    """How many prompts per split the page shows with their importances; None: all."""

    most_effects: int | None = None
    """How many components are suppressed alone at the end, those with the highest mean importance; None: all alive."""

    by_subject = False
    """Whether the remainder of a prompt is masked at its subject only."""

    texts: Taken | None = None
    """The texts of a dataset, where they come from one."""

    def __init__(self, target: Target, prompts: Sequence[Prompt], positions: Positions) -> None:
        self.target, self.prompts, self.positions = target, list(prompts), positions

    @abstractmethod
    def next(self, generator: torch.Generator) -> Batch:
        """The batch of one step, for all processes together. The generator alone decides what is in it."""

    @abstractmethod
    def everything(self) -> Batch:
        """What start values, pruning and growing look at."""

    def of_split(self, name: str) -> list[Prompt]:
        """The prompts of a split."""
        return [prompt for prompt in self.prompts if prompt.data.split == name]

    def split(self, name: str, positions: Positions, limit: int = 64) -> Batch | None:
        """Up to `limit` prompts of a split with their clean pass; None where there are none."""
        chosen = self.of_split(name)[:limit]
        return self.batch(chosen, positions) if chosen else None

    def batch(self, prompts: Sequence[Prompt], positions: Positions) -> Batch:
        """These prompts with their clean pass."""
        subjects = [prompt.subject for prompt in prompts] if self.by_subject else None
        return clean_batch(self.target, [prompt.ids for prompt in prompts], positions, subjects)

    @property
    def texts_hash(self) -> str | None:
        """SHA-256 of a dataset's texts: a run resumes only over the texts it began with."""
        return None if self.texts is None else self.texts.card.sha256

    def notes(self) -> list[str]:
        """What a reader of the result should know about the data."""
        return [] if self.texts is None else [self.texts.summary]
