"""The evidence of a run: all of it at the end, and a few figures while it trains (SPEC 11 to 13)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from workers.spd.artifact import Metric
from workers.spd.config import DecomposeConfig
from workers.spd.evaluation.metrics import STOCHASTIC_SEEDS, Evaluator, Evidence
from workers.spd.evaluation.running_text import FEW, RunningText, ever_needed
from workers.spd.method.decomposition import Decomposition
from workers.spd.prompts.batches import Batch
from workers.spd.prompts.kinds import CorpusWindows
from workers.spd.prompts.training_data import TrainingData

LIGHT_PROMPTS = 32
NEEDED_WINDOWS = 256  # of the training text; what none of them needs counts as never needed
SPLITS = ("train", "held_out")


class LightEvidence:
    """What a run measures every `evidence_every` steps, on the first LIGHT_PROMPTS prompts of each split.

    A handful of passes without gradients. It draws from generators of its own, so that it changes nothing about
    the training. Figures of held-out prompts end in `_held_out`.
    """

    def __init__(self, config: DecomposeConfig, data: TrainingData) -> None:
        self.config, self.data = config, data
        self._batches: dict[str, Batch | None] | None = None

    def due(self, done: int) -> bool:
        """Whether it is time, after so many steps; after the last one it is, wherever it is wanted at all."""
        every = self.config.evidence_every
        return every is not None and (done % every == 0 or done == self.config.steps)

    def measure(self, decomposition: Decomposition, check_stop: Callable[[], None]) -> dict[str, float]:
        """KL in nats at the counted positions, L0 and alive components."""
        if self._batches is None:
            positions = self.config.reconstruction.positions
            self._batches = {split: self.data.split(split, positions, LIGHT_PROMPTS) for split in SPLITS}
        figures: dict[str, float] = {}
        for split, batch in self._batches.items():
            if batch is None:
                continue
            light = Evaluator(decomposition, batch, self.config.threshold, check_stop).light()
            end = "" if split == "train" else f"_{split}"
            figures |= {name + end: value for name, value in light.items()}
        if "l0" in figures:  # the step's own, of its own prompts, keeps its name
            figures["l0_train"] = figures.pop("l0")
        return figures


def full_evidence(
    config: DecomposeConfig, decomposition: Decomposition, data: TrainingData, check_stop: Callable[[], None]
) -> dict[str, Evidence]:
    """Everything a run must report, a split each. `check_stop` is called before every pass and may raise."""
    result: dict[str, Evidence] = {}
    for split in SPLITS:
        batch = data.split(split, config.reconstruction.positions)
        if batch is None:
            continue
        answers = [prompt.answer for prompt in data.prompts if prompt.data.split == split][
            : len(batch.tokens)
        ]
        known = None if None in answers else torch.tensor(answers, device=batch.tokens.device)
        result[split] = Evaluator(decomposition, batch, config.threshold, check_stop).evidence(known)
        if config.reconstruction.positions == "answer":
            everywhere = data.split(split, "all")
            assert everywhere is not None
            other = Evaluator(decomposition, everywhere, config.threshold, check_stop)
            result[split].figures["kl_ci_masks_all_positions"] = other.kl_ci_masks()
    if isinstance(data, CorpusWindows):
        needed = ever_needed(decomposition, data.more_windows("train", NEEDED_WINDOWS), config.threshold)
        for split, evidence in result.items():
            batch = data.split(split, config.reconstruction.positions)
            assert batch is not None
            budgets = data.adversary_budgets if split == "held_out" else FEW
            tests = RunningText(decomposition, batch, config.threshold, check_stop)
            evidence.figures.update(tests.figures(needed, budgets))
    return result


def metric_rows(evidence: dict[str, Evidence], faithfulness: float, alive: int) -> list[Metric]:
    """The evidence as the artefact keeps it."""
    train, held_out = evidence["train"], evidence.get("held_out")
    names = dict.fromkeys([*train.figures, *(held_out.figures if held_out else ())])
    metrics = [Metric(name="faithfulness", unit="squared weight units", train=faithfulness)]
    for name in names:
        unit = (
            "components"
            if name.startswith("l0")
            else "share"
            if name.startswith("ce_unrecovered")
            else "nats"
        )
        metrics.append(
            Metric(
                name=name,
                unit=unit,
                train=train.figures.get(name),
                held_out=held_out.figures.get(name) if held_out else None,
                spread=train.spread.get(name),
                seeds=STOCHASTIC_SEEDS if name in train.spread else None,
            )
        )
    return [*metrics, Metric(name="alive", unit="components", train=float(alive))]
