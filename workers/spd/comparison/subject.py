"""What a method may know of a fact: the target's passes over its trained questions, and what an edit does there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from workers.spd.comparison.edits import Edit, Terms, states
from workers.spd.comparison.facts import Fact, Question
from workers.spd.prompts.batches import padded
from workers.spd.targets.masks import SiteInput, inner_activation, masked
from workers.spd.targets.target import Target

ROWS = 64


@dataclass(frozen=True)
class Asking:
    """Questions in one pass, padded on the right. `last`: where each ends; `answers`: token ids; `before`, `ranks`: the
    target's log-probability and rank of each."""

    target: Target
    first: int
    tokens: Int[Tensor, "batch seq"]
    last: Int[Tensor, " batch"]
    answers: Int[Tensor, " batch"]
    before: Float[Tensor, " batch"]
    ranks: Int[Tensor, " batch"]

    @classmethod
    @torch.no_grad()
    def of(cls, target: Target, first: int, questions: Sequence[Question]) -> Asking:
        """A question without an answer is asked for the target's first choice."""
        tokens, valid = padded([list(question.ids) for question in questions])
        tokens, last = tokens.to(target.device), (valid.sum(1) - 1).to(target.device)
        logs = last_log_probs(target, tokens, last)
        given = torch.tensor([-1 if q.answer is None else q.answer for q in questions], device=tokens.device)
        answers = torch.where(given >= 0, given, logs.argmax(-1))
        before = logs.gather(1, answers[:, None])
        return cls(target, first, tokens, last, answers, before[:, 0], (logs > before).sum(1) + 1)

    @torch.no_grad()
    def under(self, edit: Edit) -> tuple[Float[Tensor, " batch"], Int[Tensor, " batch"]]:
        """The answers' log-probabilities and ranks in the edited model."""
        with edit.running(self.tokens, self.first):
            logs = last_log_probs(self.target, self.tokens, self.last)
        after = logs.gather(1, self.answers[:, None])
        return after[:, 0], (logs > after).sum(1) + 1

    @torch.no_grad()
    def terms_alone(self, terms: Terms) -> Float[Tensor, "terms batch"]:
        """Change of the answers' log-probabilities with each term alone taken out, nats."""
        rows, seq = self.tokens.shape
        at_once = max(1, ROWS // rows)
        places = [(site, column) for site, V in terms.V.items() for column in range(V.shape[1])]
        result: list[Tensor] = []
        for start in range(0, len(places), at_once):
            part = terms.chosen(places[start : start + at_once])
            with masked(part.each_alone(rows, seq, self.first)):
                tokens, last = self.tokens.repeat(part.count, 1), self.last.repeat(part.count)
                logs = last_log_probs(self.target, tokens, last)
            own = logs.gather(1, self.answers.repeat(part.count)[:, None])[:, 0]
            result.append(own.unflatten(0, (part.count, rows)) - self.before)
        return torch.cat(result)


def last_log_probs(
    target: Target, tokens: Int[Tensor, "batch seq"], last: Int[Tensor, " batch"]
) -> Float[Tensor, "batch vocab"]:
    """Of the token after each prompt."""
    keep = last.unique()
    logits = target.logits(tokens, keep)[
        torch.arange(len(last), device=last.device), torch.searchsorted(keep, last)
    ]
    return torch.log_softmax(logits.float(), -1)


def askings(target: Target, first: int, questions: Sequence[Question]) -> list[tuple[list[int], Asking]]:
    """Questions of like length together, with their places in the list."""
    order = sorted(range(len(questions)), key=lambda place: len(questions[place].ids))
    parts = [order[at : at + ROWS] for at in range(0, len(order), ROWS)]
    return [(own, Asking.of(target, first, [questions[place] for place in own])) for own in parts]


@dataclass
class _Tap:
    """Notes what a site reads and, as a leaf, what is added to what it gives."""

    x: SiteInput | None = None
    added: Float[Tensor, "batch seq d_out"] | None = None
    output: Float[Tensor, "batch seq d_out"] | None = None

    def applied(
        self, module: nn.Module, x: SiteInput, output: Float[Tensor, "batch seq d_out"]
    ) -> Float[Tensor, "batch seq d_out"]:
        self.x, self.output = x.detach(), output.detach()
        self.added = torch.zeros_like(output, requires_grad=True)
        return output + self.added


@contextmanager
def tapped(sites: Sequence[str]) -> Iterator[dict[str, _Tap]]:
    """Within this block, passes note every site."""
    taps = {site: _Tap() for site in sites}
    with torch.enable_grad(), masked(taps):
        yield taps


@dataclass(frozen=True)
class Place:
    """One token of the subject: its id, and how far it stands behind the subject's first token."""

    token: int
    offset: int


@dataclass
class Subject:
    """A fact with the passes over its trained questions.

    inputs, outputs, gradients: by site, of every subject place over all questions, [places, d]; the gradient is of the
    answer's log-probability by what the site gives. tokens: which place a row is of. blocks: outputs of blocks there.
    orders: what methods have chosen, by the method's name.
    """

    fact: Fact
    asked: list[Asking]
    tokens: list[Place] = field(default_factory=list)
    inputs: dict[str, Float[Tensor, "places d_in"]] = field(default_factory=dict)
    outputs: dict[str, Float[Tensor, "places d_out"]] = field(default_factory=dict)
    gradients: dict[str, Float[Tensor, "places d_out"]] = field(default_factory=dict)
    blocks: dict[int, Float[Tensor, "places d_model"]] = field(default_factory=dict)
    orders: dict[str, list[tuple[str, int]]] = field(default_factory=dict)

    @property
    def places(self) -> list[Place]:
        """The subject's different tokens in order."""
        return sorted(dict.fromkeys(self.tokens), key=lambda place: (place.offset, place.token))

    def mean(self, values: Float[Tensor, "rows d"], place: Place) -> Float[Tensor, " d"]:
        """Over the rows of one token of the subject."""
        rows = [row for row, own in enumerate(self.tokens) if own == place]
        return values[rows].mean(0)

    def first_order(self, terms: Terms) -> dict[str, Float[Tensor, " _n"]]:
        """What taking out each term at the subject's places adds to the answer's log-probability, to first order, mean
        over the questions, nats."""
        questions = sum(len(part.tokens) for part in self.asked)
        effects: dict[str, Tensor] = {}
        for site, V in terms.V.items():
            reads = inner_activation(self.inputs[site], V)
            effects[site] = -(reads * (self.gradients[site] @ terms.U[site].T)).sum(0) / questions
        return effects

    def exact(self, edit: Edit) -> float:
        """Mean change of the answer's log-probability over the trained questions, nats."""
        changes = [part.under(edit)[0] - part.before for part in self.asked]
        return float(torch.cat(changes).double().mean())

    def exact_terms(self, terms: Terms) -> Float[Tensor, " terms"]:
        """The same for each term alone."""
        return torch.cat([part.terms_alone(terms) for part in self.asked], 1).double().mean(1)


def open_subject(target: Target, sites: Sequence[str], first: int, fact: Fact, choose_on: int) -> Subject:
    """Run the fact's first `choose_on` trained questions, forward and back."""
    questions = [question for question in fact.train if any(at >= first for at in question.subject)][
        :choose_on
    ]
    subject = Subject(fact, [])
    rows: dict[str, dict[str, list[Tensor]]] = {name: {} for name in ("x", "y", "g")}
    hidden: dict[int, list[Tensor]] = {}
    for places, asking in askings(target, first, questions):
        subject.asked.append(asking)
        with tapped(sites) as taps, states() as blocks:
            logs = last_log_probs(target, asking.tokens, asking.last)
            score = logs.gather(1, asking.answers[:, None]).sum()
            leaves = [tap.added for tap in taps.values()]
            gradients = torch.autograd.grad(score, leaves)  # type: ignore[arg-type]
        here = _subject_mask([questions[place] for place in places], asking.tokens, first)
        for place in places:
            own = questions[place]
            subject.tokens += [Place(own.ids[at], at - own.subject[0]) for at in own.subject if at >= first]
        for (site, tap), gradient in zip(taps.items(), gradients, strict=True):
            assert tap.x is not None, site
            assert tap.output is not None, site
            x = tap.x if len(tap.x) == len(here) else tap.x.expand(len(here), *tap.x.shape[1:])
            for name, value in (("x", x), ("y", tap.output), ("g", gradient)):
                rows[name].setdefault(site, []).append(value[here])
        for block, state in blocks.items():
            hidden.setdefault(block, []).append(state.detach()[here])
    subject.inputs, subject.outputs, subject.gradients = (
        {site: torch.cat(parts) for site, parts in rows[name].items()} for name in ("x", "y", "g")
    )
    subject.blocks = {block: torch.cat(parts) for block, parts in hidden.items()}
    return subject


def _subject_mask(
    questions: Sequence[Question], tokens: Int[Tensor, "batch seq"], first: int
) -> Bool[Tensor, "batch seq"]:
    here = torch.zeros_like(tokens, dtype=torch.bool)
    for row, question in enumerate(questions):
        here[row, [at for at in question.subject if at >= first]] = True
    return here
