"""What each component contributes to a token: first order against finite differences, exact against edited weights."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from tests.spd import naive, tiny
from workers.spd.ablation.attribution import attribution_steps
from workers.spd.ablation.engine import AblationEngine
from workers.spd.answers import Attribution
from workers.spd.keys import ComponentKey
from workers.spd.queries import AttributionQuery, Condition, Edit

IDS = (3, 1, 4, 1, 5, 9, 2, 6)
TOKEN = 7
STEP = 1e-4


@cache
def engine(kind: str, first_unmasked: bool = False) -> AblationEngine:
    target = tiny.tiny_target(kind)
    return AblationEngine(tiny.decomposition_of(target, tiny.SITES[kind], first_unmasked=first_unmasked))


def answer(made: AblationEngine, **query) -> Attribution:
    (*_, last) = attribution_steps(made, AttributionQuery(IDS, **{"position": len(IDS) - 1, **query}))
    assert last is not None
    return last


def log_p(made: AblationEngine, edits: list[Edit], position: int = len(IDS) - 1, token: int = TOKEN) -> float:
    masks = naive.masks_of(made.decomposition, Condition(tuple(edits)), len(IDS))
    logits = naive.edited_logits(made.decomposition, list(IDS), masks)
    return float(torch.log_softmax(logits[position].double(), -1)[token])


@pytest.mark.parametrize("kind", ["gpt2", "llama", "induction"])
@pytest.mark.parametrize("first_unmasked", [False, True])
def test_first_order_is_the_slope_of_really_edited_weights(kind, first_unmasked):
    """(log p at strength 10⁻⁴ − log p) / 10⁻⁴, one component at a time, at all positions and at one."""
    made = engine(kind, first_unmasked)
    found = answer(made, token=TOKEN)
    before = log_p(made, [])
    assert found.log_probability == pytest.approx(before, abs=1e-5)
    listed = zip(found.components.site, found.components.component, found.components.effect, strict=True)
    effects = {(site, index): effect for site, index, effect in listed}
    assert len(effects) == 5 * len(made.decomposition.sites)
    for (site, index), effect in list(effects.items())[:8]:
        edit = Edit(made.decomposition.sites[site], index, STEP)
        assert effect == pytest.approx((log_p(made, [edit]) - before) / STEP, rel=1e-2, abs=2e-3)
    places = list(
        zip(
            found.places.site,
            found.places.position,
            found.places.component,
            found.places.effect,
            strict=True,
        )
    )
    site, position, index, effect = max(places, key=lambda row: abs(row[3]))
    edit = Edit(made.decomposition.sites[site], index, STEP, (position,))
    assert effect == pytest.approx((log_p(made, [edit]) - before) / STEP, rel=1e-2, abs=2e-3)
    assert all(abs(row[3]) >= found.least for row in places)
    if first_unmasked:
        assert 0 not in found.places.position


@pytest.mark.parametrize("kind", ["gpt2", "llama", "induction"])
def test_exact_effects_are_those_of_really_edited_weights(kind):
    made = engine(kind)
    first, second = made.decomposition.sites[0], made.decomposition.sites[-1]
    group = (ComponentKey(first, 1), ComponentKey(second, 4))
    found = answer(made, token=TOKEN, exact=3, exact_groups=1, groups=(("pair", group),))
    before = log_p(made, [])
    assert sorted(one.kind for one in found.exact) == ["component"] * 3 + ["group"]
    for one in found.exact:
        keys = group if one.kind == "group" else (ComponentKey.parse(one.name),)
        after = log_p(made, [Edit(key.site, key.index) for key in keys])
        assert one.effect == pytest.approx(after - before, abs=1e-4)
        assert one.probability == pytest.approx(torch.tensor(after).exp().item(), abs=1e-5)
        assert one.kl >= 0
    sizes = [abs(one.effect) for one in found.exact]
    assert sizes == sorted(sizes, reverse=True)
    largest = [
        f"{made.decomposition.sites[site]}:{index}"
        for site, index in zip(found.components.site[:3], found.components.component[:3], strict=True)
    ]
    assert {one.name for one in found.exact if one.kind == "component"} == set(largest)
    members = {str(key) for key in group}
    summed = sum(
        effect
        for site, index, effect in zip(
            found.components.site, found.components.component, found.components.effect, strict=True
        )
        if f"{made.decomposition.sites[site]}:{index}" in members
    )
    assert found.groups[0].effect == pytest.approx(summed, rel=1e-3, abs=1e-5)


def test_what_is_measured_can_be_kept_to_positions_and_sites():
    made = engine("llama")
    site = made.decomposition.sites[3]
    found = answer(made, token=TOKEN, exact=2, positions=(5,), sites=(site,))
    before = log_p(made, [])
    assert [ComponentKey.parse(one.name).site for one in found.exact] == [site, site]
    for one in found.exact:
        key = ComponentKey.parse(one.name)
        assert one.effect == pytest.approx(
            log_p(made, [Edit(key.site, key.index, 1.0, (5,))]) - before, abs=1e-4
        )


def test_an_earlier_position_is_explained_by_what_stands_before_it():
    made = engine("gpt2")
    found = answer(made, position=3)
    logits = made.clean(IDS).logits[3]
    assert found.token == int(logits.argmax())
    assert max(found.places.position) <= 3
    assert answer(made, position=3, exact=1, positions=(6,)).exact[0].effect == 0
