"""How far single effects add up: pairs of components within a fact's edit."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING

from workers.spd.comparison.edits import Terms
from workers.spd.comparison.facts import Fact
from workers.spd.comparison.measuring import Panel
from workers.spd.comparison.methods import FromPool
from workers.spd.comparison.stored import PairEffect

if TYPE_CHECKING:
    from workers.spd.comparison.evaluate import Comparison

MOST = 4
"""Components of a fact's edit whose pairs are measured: six pairs."""


def pair_effects(comparison: Comparison, fact: Fact) -> Iterator[PairEffect]:
    """On the fact's held-out templates."""
    method = next((one for one in comparison.methods if one.card.name == "spd"), None)
    if not isinstance(method, FromPool):
        return
    world = comparison.world
    subject, panel = world.subjects[fact.name], Panel.of(world.target, world.first, fact.held_out)
    pool = method.pool(subject)
    places = method.places(subject, pool, min(MOST, comparison.config.main))

    def effect(*chosen: tuple[str, int]) -> float:
        nats = panel.under(pool.terms.chosen(chosen)).nats
        return sum(nats) / len(nats)

    assert isinstance(pool.terms, Terms)
    alone = {place: effect(place) for place in places}
    for first, second in combinations(places, 2):
        comparison.check_stop()
        both = effect(first, second)
        yield PairEffect(
            fact=fact.name, first=pool.name(*first), second=pool.name(*second), effect_first=alone[first],
            effect_second=alone[second], effect_both=both, interaction=both - alone[first] - alone[second],
        )  # fmt: skip
