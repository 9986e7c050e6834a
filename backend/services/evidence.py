"""What the figures of a run mean, in plain words, and where they are weak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backend.schemas.decompositions import EvidenceRow, Headline
from workers.spd.artifact import Manifest, Metric

Status = Literal["good", "weak", "info"]
Split = Literal["train", "held_out"]
SPLITS: dict[Split, str] = {"train": "training prompts", "held_out": "held out"}

EXACT = 1e-4  # nats: more than float32 rounding over a deep model leaves
SMALL = 0.1  # nats, or this share of the KL with everything off
FAITHFUL = 1e-3
QUIET = 0.01  # nats a position of running text
NOT_JUDGED = (
    "kl_everything_off",
    "kl_ci_masks_all_positions",
    "kl_start_as_many",
    "kl_random_as_many",
    "l0_above_zero",
    "l0",
    "rest_l0",
    "alive",
)  # scales and counts, not claims
FACT_FALLS, FACT_STAYS = 0.8, 0.05  # shares of the answers' probabilities, medians
HELD_OUT_FACTOR = 3.0
ADVERSARIAL_FACTOR = 5.0


@dataclass(frozen=True)
class Words:
    label: str
    explain: str


WORDS: dict[str, Words] = {
    "faithfulness": Words(
        "Faithfulness",
        "Mean squared difference between the weights and the sum of their components. What is left over is kept as a "
        "remainder, so ablations stay exact.",
    ),
    "kl_everything_on": Words(
        "KL, everything on",
        "All components and the remainder switched on: the model itself again. It must be about 0; this is the "
        "self-check.",
    ),
    "kl_components_only": Words(
        "KL, components without the remainder",
        "All components on and the remainder dropped: how much of the model the components carry by themselves.",
    ),
    "kl_ci_masks": Words(
        "KL, causal importances as masks",
        "Each component is multiplied by its causal importance and the remainder is off: only what the run calls "
        "important stays.",
    ),
    "kl_ci_masks_all_positions": Words(
        "KL, causal importances as masks, all positions",
        "The same over every position, those included that the reconstruction did not count: what the run does not "
        "promise.",
    ),
    "kl_rounded_ci": Words(
        "KL, rounded causal importances",
        "Components above the threshold are fully on, all others and the remainder off.",
    ),
    "kl_stochastic": Words(
        "KL, stochastic masks",
        "Unimportant components are switched partly off at random: what the run was trained to withstand.",
    ),
    "kl_adversarial": Words(
        "KL, adversarial masks",
        "Unimportant components are switched off in the worst way that gradient ascent finds (20 sign steps).",
    ),
    "kl_everything_off": Words(
        "KL, everything off", "All components and the remainder off: the scale for the rows above."
    ),
    "ce_unrecovered_ci_masks": Words(
        "Cross-entropy not recovered",
        "With causal importances as masks, the share of the loss between the model and everything off that is lost.",
    ),
    "ce_unrecovered_rounded_ci": Words(
        "Cross-entropy not recovered, rounded",
        "The same with components fully on above the threshold and off below.",
    ),
    "ce_change_ci_masks": Words(
        "Cross-entropy lost, causal importances as masks",
        "By how many nats a token the model predicts the text worse when only what the run calls important stays.",
    ),
    "ce_change_rounded_ci": Words(
        "Cross-entropy lost, rounded causal importances",
        "The same with components fully on above the threshold and off below.",
    ),
    "l0_above_zero": Words(
        "Components in use at all",
        "Mean number of components with a causal importance above 0 at one position.",
    ),
    "kl_without_never_needed": Words(
        "KL, never-needed parts deleted",
        "Components that stay below the threshold on 256 windows of the training text are deleted, and so is the "
        "remainder; all others are fully on. It should cost next to nothing.",
    ),
    "kl_start_as_many": Words(
        "Control: as many singular directions",
        "Each position keeps as many singular directions of every matrix, where training starts, as the run uses "
        "components there, chosen by how much they write. The run should be far below.",
    ),
    "kl_random_as_many": Words(
        "Control: as many components at random",
        "Each position keeps as many components as the run uses there, drawn at random in proportion to how often each "
        "is used. The run should be far below.",
    ),
    "l0": Words("Components in use (L0)", "Mean number of components above the threshold at one position."),
    "rest_l0": Words(
        "Components in use on other text",
        "Mean number of components above the threshold at one position of running text that the run is not about.",
    ),
    "kl_rest_ci_masks": Words(
        "KL on other text, causal importances as masks",
        "Running text that the run is not about: each component is multiplied by its causal importance, the remainder "
        "stays on.",
    ),
    "kl_rest_rounded_ci": Words(
        "KL on other text, rounded causal importances",
        "The same with components fully on above the threshold and off below, the remainder on.",
    ),
    "kl_rest_off": Words(
        "KL on other text, every component off",
        "All components removed at once, whatever their importance, the remainder on: what the decomposition costs "
        "text that it is not about.",
    ),
    "alive": Words("Alive components", "Components above the threshold at least once in the run's data."),
}

COUNTED: dict[str, Words] = {
    "kl_adversarial_shared_": Words(
        "KL, adversary shared over positions, {} steps",
        "The worst masks that {} sign steps of 0.1 have found from a fresh random start, one source per component for "
        "all of 16 windows and their positions, as the field judges a run.",
    ),
    "kl_adversarial_position_": Words(
        "KL, adversary per position, {} steps",
        "The same with a source of its own for each position: a stronger opponent, and the second figure.",
    ),
    "kl_aggregated_": Words(
        "KL added by {} foreign tokens",
        "By how much the KL under causal importances as masks rises where what {} other tokens need is switched on "
        "too: it must not disturb.",
    ),
}
"""Figures that carry a number in their name."""


def words(name: str) -> Words:
    """Label and explanation of a figure; one we have no words for gets its own name."""
    for split, named in (("_held_out", "held-out prompts"), ("_train", "training prompts")):
        known = WORDS.get(name.removesuffix(split))
        if name.endswith(split) and known:
            return Words(f"{known.label}, {named}", known.explain)
    for prefix, template in COUNTED.items():
        count = name.removeprefix(prefix)
        if count != name and count.isdigit():
            return Words(template.label.format(count), template.explain.format(count))
    return WORDS.get(name) or Words(name.replace("_", " "), "A figure this run measured.")


class Evidence:
    """The figures of one manifest, judged against each other."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.metrics = {metric.name: metric for metric in manifest.metrics}

    def rows(self) -> list[EvidenceRow]:
        """The evidence table, in the order the run reported it."""
        return [self._row(metric) for metric in self.manifest.metrics]

    def headlines(self, alive: int, trained: int) -> list[Headline]:
        """A few figures for the gallery, each held out where that was measured: the two that decide whether to trust
        the run first, then its size."""
        shown: list[Headline] = []
        shared = "kl_adversarial_shared_20"  # as the field judges a run, where that was measured
        for name in ("kl_ci_masks", shared if shared in self.metrics else "kl_adversarial"):
            metric = self.metrics.get(name)
            if metric is None:
                continue
            split: Split = "train" if metric.held_out is None else "held_out"
            value = getattr(metric, split)
            if value is None:
                continue
            row, scale = self._row(metric), self._value("kl_everything_off", split)
            beside = "" if scale is None else f" With everything off it is {scale:.3g}."
            shown.append(
                Headline(
                    label=f"{row.label}, {SPLITS[split]}", value=value, unit=metric.unit, status=row.status,
                    explain=f"{row.warning or row.explain}{beside}",
                )
            )  # fmt: skip
        if (facts := self.manifest.facts) is not None and facts.held_out_drop is not None:
            moved = facts.others_change or 0.0
            shown.append(
                Headline(
                    label="A fact suppressed", value=round(100 * facts.held_out_drop, 1), unit="% falls",
                    explain=f"On held-out prompts the fact's answer falls by that much, the others move by {moved:.1%} "
                    f"(medians over {sum(row.kept for row in facts.rows)} facts).",
                    status="good" if facts.held_out_drop >= FACT_FALLS and moved <= FACT_STAYS else "weak",
                )
            )  # fmt: skip
        passed = sum(check.ok for check in self.manifest.checks)
        if self.manifest.checks:
            total = len(self.manifest.checks)
            shown.append(
                Headline(
                    label="Selectivity checks", value=float(passed), unit=f"of {total}",
                    explain=f"{passed} of {total} ablations did what a selective decomposition should.",
                    status="good" if passed == total else "weak",
                )
            )  # fmt: skip
        shown.append(
            Headline(
                label="Alive components", value=float(alive), unit="components", status="info",
                explain=f"{alive:,} of {trained:,} components are used somewhere in the run's data.",
            )
        )  # fmt: skip
        return shown

    def _value(self, name: str, split: Split = "train") -> float | None:
        metric = self.metrics.get(name)
        return getattr(metric, split) if metric is not None else None

    def _small(self, value: float, split: Split = "train") -> bool:
        scale = self._value("kl_everything_off", split) or self._value("kl_everything_off")
        return value <= SMALL or (scale is not None and value <= SMALL * scale * 0.5)

    def _row(self, metric: Metric) -> EvidenceRow:
        named = words(metric.name)
        warning = self._warning(metric)
        counted = metric.name.rsplit("_", 1)[0] + "_" in COUNTED
        judged = (metric.name in WORDS or counted) and metric.name not in NOT_JUDGED
        measured = metric.train is not None or metric.held_out is not None
        status: Status = "weak" if warning else "good" if judged and measured else "info"
        return EvidenceRow(
            name=metric.name, label=named.label, explain=named.explain, unit=metric.unit, train=metric.train,
            held_out=metric.held_out, spread=metric.spread, seeds=metric.seeds, status=status, warning=warning,
        )  # fmt: skip

    def _warning(self, metric: Metric) -> str | None:
        train, held_out = metric.train, metric.held_out
        if metric.name == "kl_everything_on":
            worst = max((value for value in (train, held_out) if value is not None), default=0.0)
            return "This should be about 0: the decomposed model is not the model." if worst > EXACT else None
        if metric.name == "faithfulness" and train is not None and train > FAITHFUL:
            return "The components leave much of the weights to the remainder."
        if metric.name.startswith("ce_unrecovered"):
            lost = max((value for value in (train, held_out) if value is not None), default=0.0)
            return "Much of what the model knows is lost under these masks." if lost > SMALL else None
        if not metric.name.startswith("kl_") or metric.name in NOT_JUDGED:
            return None
        if metric.name.startswith("kl_rest_"):
            loudest = max((value for value in (train, held_out) if value is not None), default=0.0)
            return "Text that the run is not about changes." if loudest > QUIET else None
        split: Split = "train" if held_out is None else "held_out"
        worst = train if held_out is None else held_out
        if metric.name.startswith("kl_adversarial") and worst is not None and not self._small(worst, split):
            stochastic = self._value("kl_stochastic", split)
            steep = stochastic is not None and worst > ADVERSARIAL_FACTOR * max(stochastic, 1e-6)
            if stochastic is not None and steep and self._small(stochastic, split):
                return (
                    "Random masks do little and chosen ones do much: components called unimportant still matter "
                    "together. Read this decomposition with care."
                )
            return "Components called unimportant still matter when they are switched off together."
        if train is not None and not self._small(train):
            return "Large beside the KL with everything off: the output is not kept."
        if held_out is not None and not self._small(held_out, "held_out"):
            if train is None or held_out > HELD_OUT_FACTOR * train:
                return "Much worse on prompts the run did not see: it may be a look-up table of its training prompts."
            return "Large on prompts the run did not see."
        return None


def reconstruction_in_words(manifest: Manifest) -> str:
    """Which positions the reconstruction counted."""
    config = manifest.config.reconstruction
    counted = "the answer's position only" if config.positions == "answer" else "all positions"
    distance = "KL" if config.distance == "kl" else "mean squared error of the logits"
    first = (
        "; the first position runs the model's own weights"
        if config.first_position == "unmasked"
        else "; the first position is masked like the others"
    )
    return f"{distance} at {counted}{first}."
