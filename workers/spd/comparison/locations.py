"""Where the knowledge sits: the edit's components one layer at a time, beside causal tracing on the same questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from workers.spd.comparison.edits import State, Terms, blocks_changed, states
from workers.spd.comparison.facts import Fact, Question
from workers.spd.comparison.methods import FromPool
from workers.spd.comparison.stored import LayerEffect
from workers.spd.comparison.subject import Asking, askings, last_log_probs
from workers.spd.targets.masks import masked

if TYPE_CHECKING:
    from workers.spd.comparison.evaluate import Comparison

NOISE = 3.0  # times the standard deviation of the embeddings, as in Meng et al. 2022
LEAST = 0.1  # nats: where noise takes less from the answer, a share of it says nothing


def layer_effects(comparison: Comparison) -> list[LayerEffect]:
    """Means over all facts; layers without components have only the tracing, and a model without blocks neither."""
    suppressed: dict[int, list[float]] = {}
    restored: dict[int, list[float]] = {}
    for fact in comparison.facts:
        comparison.check_stop()
        for layer, nats in _suppressed(comparison, fact).items():
            suppressed.setdefault(layer, []).append(nats)
        for layer, share in _restored(comparison, fact).items():
            restored.setdefault(layer, []).append(share)
    return [
        LayerEffect(layer=layer, suppressed=_mean(suppressed.get(layer)), restored=_mean(restored.get(layer)))
        for layer in sorted(suppressed.keys() | restored.keys())
    ]


def _mean(values: Sequence[float] | None) -> float | None:
    return sum(values) / len(values) if values else None


def _suppressed(comparison: Comparison, fact: Fact) -> dict[int, float]:
    """The main edit's components of each layer alone; 0 for a layer with sites that it takes nothing from."""
    world = comparison.world
    method = next((one for one in comparison.methods if one.card.name == "spd"), None)
    if not isinstance(method, FromPool):
        return {}
    subject = world.subjects[fact.name]
    pool = method.pool(subject)
    places = method.places(subject, pool, comparison.config.main)
    parts = askings(world.target, world.first, fact.held_out)
    result: dict[int, float] = {}
    for layer in sorted({world.target.layer(site) for site in world.sites}):
        own = [place for place in places if world.target.layer(place[0]) == layer]
        result[layer] = _change(parts, pool.terms.chosen(own)) if own else 0.0
    return result


def _change(parts: Sequence[tuple[list[int], Asking]], terms: Terms) -> float:
    return float(torch.cat([part.under(terms)[0] - part.before for _, part in parts]).double().mean())


@dataclass(frozen=True)
class _Noised:
    """What an embedding gives, with noise added at some positions."""

    noise: Float[Tensor, "batch seq d_model"]

    def applied(
        self, module: nn.Module, x: Int[Tensor, "batch seq"], output: Float[Tensor, "batch seq d_model"]
    ) -> Float[Tensor, "batch seq d_model"]:
        return output + self.noise


@torch.no_grad()
def _restored(comparison: Comparison, fact: Fact) -> dict[int, float]:
    """Of every block, in one pass: the held-out questions once for each, each time with that block put back. Questions
    that end with their subject are left out: there putting back any block brings back all."""
    questions = [one for one in fact.held_out if one.subject and one.subject[-1] < len(one.ids) - 1]
    world = comparison.world
    target = world.target
    site = _embedding_site(target.model)
    if not world.blocks or site is None or not questions:
        return {}
    target.attach([site])
    asking = Asking.of(target, world.first, questions)
    with states() as clean:
        last_log_probs(target, asking.tokens, asking.last)
    here = _subject(questions, asking.tokens)
    generator = world.generator("tracing", fact.name)
    table = target.embedding()
    noise = torch.randn(*here.shape, table.shape[1], generator=generator).to(table)
    noise = noise * here[..., None] * float(table.std()) * NOISE
    blocks = sorted(clean)
    rows, count = len(here), len(blocks) + 1  # the first group stays noised
    changes = {
        block: _put_back(slice((at + 1) * rows, (at + 2) * rows), clean[block], here)
        for at, block in enumerate(blocks)
    }
    with masked({site: _Noised(noise.repeat(count, 1, 1))}), blocks_changed(changes):
        logs = last_log_probs(target, asking.tokens.repeat(count, 1), asking.last.repeat(count))
    own = (
        logs.gather(1, asking.answers.repeat(count)[:, None])[:, 0]
        .unflatten(0, (count, rows))
        .double()
        .mean(1)
    )
    lost = float(asking.before.double().mean() - own[0])
    if lost < LEAST:
        return {}
    return {block: float(own[at + 1] - own[0]) / lost for at, block in enumerate(blocks)}


def _put_back(rows: slice, clean: State, here: Bool[Tensor, "batch seq"]) -> Callable[[State], State]:
    def change(hidden: State) -> State:
        hidden = hidden.clone()
        hidden[rows] = torch.where(here[..., None], clean, hidden[rows])
        return hidden

    return change


def _subject(questions: Sequence[Question], tokens: Int[Tensor, "batch seq"]) -> Bool[Tensor, "batch seq"]:
    here = torch.zeros_like(tokens, dtype=torch.bool)
    for row, question in enumerate(questions):
        here[row, list(question.subject)] = True
    return here


def _embedding_site(model: nn.Module) -> str | None:
    """The path of the module that token ids read."""
    found = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None  # type: ignore[operator]
    return next((name for name, module in model.named_modules() if module is found), None)
