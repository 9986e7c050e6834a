"""The facts a comparison asks about: questions with the subject's places, trained, held out, reversed, elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from workers.spd.config import ConfigError, FactsData, PromptData, Relation
from workers.spd.config.base import Frozen
from workers.spd.prompts.batches import Prompt
from workers.spd.prompts.facts import known_facts
from workers.spd.targets.target import Target
from workers.spd.targets.tokenizer import PromptTokenizer

QUESTIONS = Path(__file__).parents[1] / "texts" / "questions.yaml"


@dataclass(frozen=True)
class Question:
    """A prompt whose last position is asked for `answer`, a token; None: the target's own first choice. `subject`: the
    positions of what it is about."""

    ids: tuple[int, ...]
    answer: int | None
    subject: tuple[int, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Fact:
    """What a method chooses on (`train`) and what is measured. `reverse`: the answer is given and the subject asked
    for; `elsewhere`: the subject's words in other sentences, asked for the target's first choice."""

    name: str
    answer: str
    relation: str
    train: tuple[Question, ...]
    held_out: tuple[Question, ...]
    reverse: tuple[Question, ...] = ()
    elsewhere: tuple[Question, ...] = ()


class MoreQuestions(Frozen):
    """What is asked about the facts of a relation besides its templates. `reverse` ends with `{}` and holds `{answer}`:
    the subject's last token is asked for. `elsewhere`: `{}` is the subject, `{last}` its last word."""

    reverse: tuple[str, ...] = Field(
        default=(),
        max_length=20,
        description="holds {answer} and ends with {}, where the subject is asked for",
    )
    elsewhere: tuple[str, ...] = Field(
        default=(),
        max_length=20,
        description="holds {}, the subject, or {last}, its last word, in another sense",
    )


class AskedRelation(Relation, MoreQuestions):
    """A relation of a set of facts in a file of its own."""


def read_set(path: Path) -> tuple[FactsData, dict[str, MoreQuestions]]:
    """A YAML file with `relations`, each as in a config's, with `reverse` and `elsewhere`. Raises ConfigError."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        relations = TypeAdapter(tuple[AskedRelation, ...]).validate_python(data["relations"])
        rank = int(data.get("rank", 1))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise ConfigError(f"The facts in {path} cannot be read: {what}.") from None
    plain = tuple(
        Relation.model_validate(one.model_dump(include=set(Relation.model_fields))) for one in relations
    )
    more = {one.name: MoreQuestions(reverse=one.reverse, elsewhere=one.elsewhere) for one in relations}
    return FactsData(relations=plain, rank=rank), more


def shipped_questions() -> dict[str, MoreQuestions]:
    """Those that go with the shipped relations, by the relation's name."""
    data = yaml.safe_load(QUESTIONS.read_text(encoding="utf-8"))
    return TypeAdapter(dict[str, MoreQuestions]).validate_python(data)


def facts_of_relations(
    data: FactsData, more: Mapping[str, MoreQuestions], target: Target, tokenizer: PromptTokenizer
) -> list[Fact]:
    """Every fact that the target knows and whose relation has held-out templates. Raises ConfigError where there are
    none."""
    asker = Asker(tokenizer, data.bos)
    relation_of = {subject: one.name for one in data.relations for subject in one.facts}
    prompts, _ = known_facts(data, target, tokenizer)
    by_fact: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        by_fact.setdefault(prompt.data.fact or "", []).append(prompt)
    facts: list[Fact] = []
    for name, own in by_fact.items():
        answer, relation = own[0].data.answer or "", relation_of[name]
        asked = more.get(relation, MoreQuestions())
        facts.append(
            Fact(
                name, answer, relation,
                *(tuple(asker.question(p.data) for p in own if p.data.split == s) for s in ("train", "held_out")),
                reverse=tuple(asker.reverse(text, name, answer) for text in asked.reverse),
                elsewhere=tuple(asker.elsewhere(text, name) for text in asked.elsewhere),
            )
        )  # fmt: skip
    return _usable(facts)


def facts_of_prompts(
    prompts: Sequence[PromptData], tokenizer: PromptTokenizer, *, bos: bool
) -> tuple[list[Fact], list[Question]]:
    """The facts that prompts name, and the other prompts as bystanders. A fact's name is where its prompts say it."""
    asker = Asker(tokenizer, bos)
    named: dict[str, list[PromptData]] = {}
    for prompt in prompts:
        if prompt.fact and prompt.answer and prompt.fact in prompt.text and prompt.split != "bystander":
            named.setdefault(prompt.fact, []).append(prompt)
    facts = [
        Fact(
            name, own[0].answer or "", "",
            *(tuple(asker.question(p) for p in own if p.split == s) for s in ("train", "held_out")),
        )
        for name, own in named.items()
    ]  # fmt: skip
    bystanders = [asker.question(prompt) for prompt in prompts if prompt.split == "bystander"]
    return _usable(facts), bystanders


def _usable(facts: Iterable[Fact]) -> list[Fact]:
    usable = [fact for fact in facts if fact.train and fact.held_out]
    if not usable:
        raise ConfigError(
            "There is no fact with both a trained and a held-out prompt whose text names it. Give prompts with a "
            "“fact”, an “answer” and the splits “train” and “held_out”, or relations with “held_out” templates."
        )
    return usable


@dataclass(frozen=True)
class Asker:
    """Turns texts into questions."""

    tokenizer: PromptTokenizer
    bos: bool

    def question(self, prompt: PromptData) -> Question:
        """A prompt of the data; its subject is where the fact's name stands first."""
        answer = None if prompt.answer is None else self.tokenizer.token_id(prompt.answer)
        return self._asked(prompt.text, answer, prompt.fact or "")

    def reverse(self, template: str, subject: str, answer: str) -> Question:
        """The text up to the subject's last token, which is asked for."""
        ids = self.tokenizer.encode(template.format(subject, answer=answer.strip()), bos=self.bos)
        return Question(tuple(ids[:-1]), ids[-1], (), self.tokenizer.text(ids[:-1]))

    def elsewhere(self, template: str, subject: str) -> Question:
        """The subject, or its last word, in another sentence."""
        return self._asked(template.format(subject, last=subject.split()[-1]), None, subject.split()[-1])

    def _asked(self, text: str, answer: int | None, subject: str) -> Question:
        ids = self.tokenizer.encode(text, bos=self.bos)
        first = text.find(subject) if subject else -1
        spans = self.tokenizer.spans(text)
        before = len(ids) - len(spans)
        places = [
            at + before
            for at, (begin, end) in enumerate(spans)
            if first >= 0 and begin < first + len(subject) and end > first and end > begin
        ]
        return Question(tuple(ids), answer, tuple(places), text)
