"""One edit measured: the fact on held-out templates, every kind of bystander, ordinary text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import torch

from workers.spd.comparison.edits import Edit
from workers.spd.comparison.facts import Question
from workers.spd.comparison.methods import Choice
from workers.spd.comparison.score import damage
from workers.spd.comparison.stored import Asked, EvaluationRow
from workers.spd.comparison.subject import Subject, askings
from workers.spd.comparison.text import Windows
from workers.spd.targets.target import Target


@dataclass(frozen=True)
class Panel:
    """Questions with the target's own answers."""

    questions: Sequence[Question]
    parts: list  # of (places, Asking)

    @classmethod
    def of(cls, target: Target, first: int, questions: Sequence[Question]) -> Panel:
        """Ask the target."""
        return cls(questions, askings(target, first, questions))

    def under(self, edit: Edit) -> Answers:
        """Ask the edited model."""
        count = len(self.questions)
        nats, before, after = [0.0] * count, [1] * count, [1] * count
        for places, asking in self.parts:
            logs, ranks = asking.under(edit)
            changes = (logs - asking.before).double().tolist()
            for place, change, was, now in zip(
                places, changes, asking.ranks.tolist(), ranks.tolist(), strict=True
            ):
                nats[place], before[place], after[place] = change, was, now
        return Answers(self.questions, nats, before, after)


@dataclass(frozen=True)
class Answers:
    """Change of each answer's log-probability, nats; its rank before and after."""

    questions: Sequence[Question]
    nats: list[float]
    before: list[int]
    after: list[int]

    @property
    def falls(self) -> list[float]:
        """1 − p′/p of each, at least −1."""
        return [max(-1.0, -float(torch.tensor(change, dtype=torch.float64).expm1())) for change in self.nats]

    def pick(self, chosen: slice) -> Answers:
        """Some of them."""
        return Answers(self.questions[chosen], self.nats[chosen], self.before[chosen], self.after[chosen])

    def asked(self) -> Asked | None:
        """As bystanders are reported; None where none were asked."""
        if not self.questions:
            return None
        changes = [min(1.0, abs(fall)) for fall in self.falls]
        at = max(range(len(changes)), key=changes.__getitem__)
        return Asked(
            questions=len(changes), change=sum(changes) / len(changes), worst=changes[at],
            worst_text=self.questions[at].text,
        )  # fmt: skip


Part = Literal["trained", "own", "others", "reverse", "elsewhere"]


@dataclass(frozen=True)
class FactPanels:
    """All that is asked of one fact's edits, in one panel: `parts` says which questions are which. `text` only at the
    main budget."""

    subject: Subject
    panel: Panel
    parts: dict[Part, slice]
    text: Windows | None

    @classmethod
    def of(
        cls,
        subject: Subject,
        target: Target,
        first: int,
        parts: dict[Part, list[Question]],
        text: Windows | None,
    ) -> FactPanels:
        """Ask the target all of it."""
        questions: list[Question] = []
        slices: dict[Part, slice] = {}
        for name, own in parts.items():
            slices[name] = slice(len(questions), len(questions) + len(own))
            questions += own
        return cls(subject, Panel.of(target, first, questions), slices, text)

    def row(self, method: str, budget: int, choice: Choice, *, main: bool) -> EvaluationRow:
        """Run the edit on everything."""
        answers = self.panel.under(choice.edit)
        trained, own, *bystanders = (answers.pick(one) for one in self.parts.values())
        others, reverse, elsewhere = (one.asked() for one in bystanders)
        text = None
        if main and self.text is not None:
            text = self.text.under(choice.edit, self.subject.asked[0].first)
        forgets, harm = _mean(own.falls), damage([others, reverse, elsewhere, text])
        return EvaluationRow(
            fact=self.subject.fact.name, method=method, budget=budget, parts=choice.parts, trained=_mean(trained.falls),
            forgets=forgets, nats=_mean(own.nats), rank_before=median(own.before), rank_after=median(own.after),
            others=others, reverse=reverse, elsewhere=elsewhere, text=text, damage=harm, score=forgets - harm,
        )  # fmt: skip


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
