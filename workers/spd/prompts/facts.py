"""Facts that a target knows: the candidates of a config, asked of the target and put into templates (SPEC 22)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from workers.spd.config import ConfigError, FactsData, PromptData
from workers.spd.prompts.batches import Prompt, answer_column, clean_batch, subject_of
from workers.spd.targets.target import Target
from workers.spd.targets.tokenizer import PromptTokenizer

ROWS = 64


@dataclass(frozen=True)
class Candidate:
    """A fact asked of the target after its relation's first template: the answer's place (1: the likeliest) and
    probability; None where the answer is not one token."""

    subject: str
    relation: str
    answer: str
    rank: int | None
    probability: float | None
    kept: bool


@torch.no_grad()
def answers_of(target: Target, prompts: list[Prompt]) -> tuple[list[int], list[float]]:
    """Rank and probability of each prompt's answer under the target."""
    ranks: list[int] = []
    probabilities: list[float] = []
    for first in range(0, len(prompts), ROWS):
        part = prompts[first : first + ROWS]
        batch = clean_batch(target, [prompt.ids for prompt in part], "answer")
        rows = torch.arange(len(part), device=batch.tokens.device)
        logs = batch.log_probs[rows, answer_column(batch)]
        own = logs[rows, torch.tensor([prompt.answer for prompt in part], device=logs.device)]
        ranks += ((logs > own[:, None]).sum(1) + 1).tolist()
        probabilities += own.exp().tolist()
    return ranks, probabilities


def known_facts(
    config: FactsData, target: Target, tokenizer: PromptTokenizer
) -> tuple[list[Prompt], list[Candidate]]:
    """Ask the target for every candidate and put those it knows into all templates.

    The prompts go through the facts template by template, so that the first of a split hold every fact once. Raises
    ConfigError where nothing is known, or two relations have the same subject.
    """

    def prompt(template: str, subject: str, answer: str, split: str) -> Prompt:
        text = template.replace("{}", subject)
        ids = tokenizer.encode(text, bos=config.bos)
        if not 1 <= len(ids) <= tokenizer.context_length:
            raise ConfigError(
                f"data.relations: “{text[:40]}…” has {len(ids)} tokens; between 1 and {tokenizer.context_length} are "
                "possible."
            )
        data = PromptData(text=text, answer=answer, fact=subject, split=split, watch=False)  # type: ignore[arg-type]
        return Prompt(
            data,
            ids,
            tokenizer.token_id(answer),
            subject=subject_of(data, tokenizer, bos=config.bos),
        )

    candidates: list[Candidate] = []
    known: dict[str, list[tuple[str, str]]] = {}
    for relation in config.relations:
        asked = {
            subject: prompt(relation.templates[0], subject, answer, "train")
            for subject, answer in relation.facts.items()
        }
        usable = {subject: one for subject, one in asked.items() if one.answer is not None}
        answers = dict(zip(usable, zip(*answers_of(target, list(usable.values())), strict=True), strict=True))
        for subject, answer in relation.facts.items():
            rank, probability = answers.get(subject, (None, None))
            kept = rank is not None and rank <= config.rank
            candidates.append(Candidate(subject, relation.name, answer, rank, probability, kept))
            if kept:
                known.setdefault(relation.name, []).append((subject, answer))
    subjects = [subject for facts in known.values() for subject, _ in facts]
    if not subjects:
        raise ConfigError(f"data.relations: the target has none of these answers at rank {config.rank}.")
    twice = next((subject for subject in subjects if subjects.count(subject) > 1), None)
    if twice is not None:
        raise ConfigError(
            f"data.relations: “{twice}” stands in two relations; a fact is named by its subject."
        )

    prompts: list[Prompt] = []
    for split in ("train", "held_out"):
        lists = {r.name: r.templates if split == "train" else r.held_out for r in config.relations}
        for place in range(max(map(len, lists.values()))):
            for name, facts in known.items():
                if place < len(lists[name]):
                    prompts += [prompt(lists[name][place], *fact, split) for fact in facts]
    return prompts, candidates
