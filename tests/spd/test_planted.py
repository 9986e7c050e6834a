"""The score means something: in a model whose facts are written by known rank-one terms, the terms themselves score
highest, random directions are at chance, and a decomposition that holds the terms finds them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.spd.tiny import target_of
from workers.spd.comparison.edits import Terms, attach_blocks
from workers.spd.comparison.evaluate import Comparison
from workers.spd.comparison.facts import Fact, Question
from workers.spd.comparison.locations import layer_effects
from workers.spd.comparison.measuring import Panel
from workers.spd.comparison.methods import FromPool, fixed
from workers.spd.comparison.registry import NAMES
from workers.spd.comparison.score import interval, summarise
from workers.spd.comparison.sources import Sources
from workers.spd.comparison.stored import EvaluationConfig, MethodCard
from workers.spd.comparison.text import statistics_of
from workers.spd.comparison.world import World
from workers.spd.config import SharedMLPCI
from workers.spd.method.ci import CIFunctions
from workers.spd.method.components import Components
from workers.spd.method.decomposition import Decomposition

FACTS, WIDTH, VOCABULARY, SITE = 8, 64, 64, "blocks.0.write"


class Block(torch.nn.Module):
    """h + W h: each fact is one rank-one term of W."""

    def __init__(self, W: Tensor) -> None:
        super().__init__()
        self.write = torch.nn.Linear(WIDTH, WIDTH, bias=False)
        self.write.weight.data = W

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.write(hidden)


class Planted(torch.nn.Module):
    """Token t is a random vector; behind the one block the logits are its products with an unembedding. Fact n: token n
    is followed by token 40 + n, because W holds the term (answer n)(token n)ᵀ."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.embed = torch.nn.Embedding(VOCABULARY, WIDTH)
        tokens = torch.linalg.qr(torch.randn(VOCABULARY, WIDTH, generator=generator))[0]
        tokens += torch.randn(VOCABULARY, WIDTH, generator=generator) * 0.06  # so that they overlap
        self.embed.weight.data = torch.nn.functional.normalize(tokens, dim=1)
        self.unembed = torch.nn.Linear(WIDTH, VOCABULARY, bias=False)
        directions = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator))[0]
        unembedding = torch.randn(VOCABULARY, WIDTH, generator=generator) * 0.05
        unembedding[40 : 40 + FACTS] += directions[:FACTS]
        self.unembed.weight.data = unembedding
        self.reads = torch.linalg.inv(self.embed.weight).T[:FACTS]  # 1 on the fact's token, 0 on every other
        self.writes = directions[:FACTS] * 8
        noise = torch.randn(WIDTH, WIDTH, generator=generator) * 0.02
        self.blocks = torch.nn.ModuleList([Block(self.writes.T @ self.reads + noise)])

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.embed

    def forward(self, input_ids: Tensor, use_cache: bool = False, logits_to_keep: object = 0) -> object:
        hidden = self.blocks[0](self.embed(input_ids))
        if isinstance(logits_to_keep, Tensor):
            hidden = hidden[:, logits_to_keep]

        class Output:
            logits = self.unembed(hidden)

        return Output


def comparison(components: Components | None = None, seed: int = 0) -> Comparison:
    """All methods on the planted facts; SPD's components are the planted terms unless others are given."""
    model = Planted()
    target = target_of(model)
    target.attach([SITE])
    target.card = target.card.model_copy(
        update={"model": target.card.model.model_copy(update={"d_model": WIDTH, "vocabulary": VOCABULARY})}
    )
    attach_blocks(list(model.blocks))
    planted = components or Components(
        {SITE: model.reads.T}, {SITE: model.writes}, {SITE: list(range(FACTS))}
    )
    ci = CIFunctions(
        {SITE: (planted.V[SITE].shape[0], planted.V[SITE].shape[1])},
        SharedMLPCI(hidden=4),
        torch.Generator().manual_seed(0),
    )
    decomposition = Decomposition(target, planted.requires_grad_(False), ci, first_unmasked=False)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(FACTS, VOCABULARY, (48, 6), generator=generator)
    drawn[::6, 3] = torch.arange(8)  # now and then a fact's token stands in the text
    windows = drawn.tolist()
    facts = [fact(n) for n in range(FACTS)]
    world = World(decomposition, statistics_of(target, [SITE], windows[:32]), [0], str, seed)
    names = [name for name in NAMES if name != "sae"]
    config = EvaluationConfig(seed=seed, budgets=[1, 2], main=1, windows=16, others=FACTS, methods=names)
    made = Comparison(world, Sources(facts, windows[:32], windows[32:], str), config)
    made.open_subjects()
    return made


def fact(n: int) -> Fact:
    """Its token after different beginnings, asked for its answer."""
    asked = [Question((beginning, n), 40 + n, (1,), f"{beginning} {n}") for beginning in (20, 21, 22, 23)]
    return Fact(f"fact{n}", str(40 + n), "planted", tuple(asked[:2]), tuple(asked[2:]))


@pytest.fixture(scope="module")
def rows() -> list:
    made = comparison()
    return [row for one in made.facts for row in made.rows_of(one)]


def scores(rows: list) -> dict[str, float]:
    """Mean score of each method at the main budget."""
    names = list(dict.fromkeys(row.method for row in rows))
    return {one.method: one.score.mean for one in summarise(rows, names, 0, "spd") if one.budget == 1}


def test_the_planted_terms_score_highest_and_random_directions_nothing(rows: list) -> None:
    found = scores(rows)
    gated = {"patch"}  # acts only where the fact's token stands
    chance = 1 / VOCABULARY  # what the planted term leaves of the answer, and a trained write can push below
    assert found["spd"] > max(found[name] for name in found.keys() - gated) - chance
    assert found["spd"] > 0.95
    assert abs(found["random"]) < 0.05
    assert found["own"] < found["spd"] - 0.01  # it also takes away what other tokens share with it


def test_every_fact_is_taken_out_by_its_own_term(rows: list) -> None:
    own = {(row.method, row.fact): row for row in rows if row.budget == 1}
    assert all(own["spd", f"fact{n}"].parts == [f"{SITE}:{n}"] for n in range(FACTS))


def test_the_rule_finds_the_planted_term_among_many() -> None:
    """Recovered against truth by cosine, where the pool holds each term beside ten random ones."""
    model, generator = Planted(), torch.Generator().manual_seed(3)
    V = torch.cat([model.reads.T, torch.randn(WIDTH, 10, generator=generator)], 1)
    U = torch.cat([model.writes, torch.randn(10, WIDTH, generator=generator)])
    made = comparison(Components({SITE: V}, {SITE: U}, {SITE: list(range(len(U)))}))
    method = made.methods[0]
    assert isinstance(method, FromPool)
    for n in range(FACTS):
        (choice,) = method.choose(made.world.subjects[f"fact{n}"], [1]).values()
        assert isinstance(choice.edit, Terms)
        read, write = choice.edit.V[SITE][:, 0], choice.edit.U[SITE][0]
        assert torch.cosine_similarity(read, model.reads[n], dim=0) > 0.999
        assert torch.cosine_similarity(write, model.writes[n], dim=0) > 0.999


def test_taking_everything_away_scores_nothing() -> None:
    """A sledgehammer forgets the fact and every other one."""
    made = comparison()
    world = made.world
    W = world.weight(SITE)
    everything = Terms({SITE: torch.eye(WIDTH)}, {SITE: W.T.contiguous()})
    hammer = FromPool(MethodCard(name="hammer", title="", about=""), fixed(everything, lambda site, at: site))
    subject, panels = world.subjects["fact0"], made.panels(made.facts[0])
    (choice,) = hammer.choose(subject, [WIDTH]).values()
    row = panels.row("hammer", WIDTH, choice, main=True)
    assert row.forgets > 0.9
    assert row.others is not None
    assert row.others.change > 0.9
    assert row.score < 0.5


def test_a_score_is_forgetting_less_damage_by_hand(rows: list) -> None:
    row = next(row for row in rows if row.method == "own" and row.budget == 1)
    assert row.others is not None
    assert row.text is not None
    assert row.damage == pytest.approx((row.others.change + row.text.damage) / 2)
    assert row.score == pytest.approx(row.forgets - row.damage)


def test_a_bootstrap_of_equal_values_is_a_point_and_the_seed_decides_the_rest() -> None:
    assert interval([0.25] * 5, 0).model_dump() == {"mean": 0.25, "low": 0.25, "high": 0.25}
    assert interval([0.0, 1.0, 0.5], 3) == interval([0.0, 1.0, 0.5], 3)
    spread = interval([0.0, 1.0] * 50, 1)
    assert 0.35 < spread.low < 0.5 < spread.high < 0.65


def test_an_answer_outside_the_edit_is_not_moved() -> None:
    made = comparison()
    nothing = Terms({SITE: torch.zeros(WIDTH, 1)}, {SITE: torch.zeros(1, WIDTH)})
    panel = Panel.of(made.world.target, 0, made.facts[0].held_out)
    assert panel.under(nothing).nats == [0.0, 0.0]


def test_the_planted_layer_is_where_the_fact_sits() -> None:
    """Suppressing its one layer takes the answer. Questions that end with their subject are not traced."""
    made = comparison()
    (layer,) = layer_effects(made)
    assert layer.layer == 0
    assert layer.suppressed is not None
    assert layer.suppressed < -2
    assert layer.restored is None
