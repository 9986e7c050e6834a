"""SPEC 18: a group holds only components that its effect needs."""

import math

from workers.spd.evaluation import bystanders
from workers.spd.keys import ComponentKey
from workers.spd.statistics.needed import needed

A, B, C, D = (ComponentKey("layers.0.attn.q", index) for index in range(4))


def table(drop):
    """Drops looked up: what suppressing a set of components does."""
    return lambda sets: [drop(set(keys)) for keys in sets]


def test_what_changes_the_drop_by_a_point_or_less_goes():
    worth = {A: 0.5, B: 0.3, C: 0.009, D: 0.0}
    drops = table(lambda keys: sum(worth[key] for key in keys))
    assert needed([A, B, C, D], drops) == [A, B]


def test_of_two_that_do_the_same_one_stays():
    drops = table(lambda keys: 0.9 if keys & {A, B} else 0.0)
    assert len(needed([A, B, C], drops)) == 1


def test_a_component_that_holds_the_others_back_is_needed_too():
    drops = table(lambda keys: 0.9 * (A in keys) - 0.2 * (B in keys))
    assert needed([A, B], drops) == [A, B]


def test_the_loudest_on_other_text_goes_where_the_others_do_without_it():
    drop = {A: 0.98, B: 0.6, C: 0.55}
    drops = table(lambda keys: 1 - math.prod(1 - drop[key] for key in keys))
    side = {A: 0.002, B: 0.0002, C: 0.0001}
    assert needed([A, B, C], drops) == [A, B]  # without other text: C adds less than a point to the rest
    assert needed([A, B, C], drops, side) == [A]  # 1 − 0.4 · 0.45 = 0.82 is less than 0.9 of the whole
    drop[B] = 0.85
    assert needed([A, B, C], drops, side) == [B, C]  # 1 − 0.15 · 0.45 = 0.93 is enough


def test_one_component_always_stays():
    assert needed([A], table(lambda keys: 0.0)) == [A]
    assert len(needed([A, B], table(lambda keys: 0.0))) == 1


def test_bystanders_are_drawn_by_a_seed_the_same_number_of_each_kind():
    lists = bystanders.kinds()
    drawn = bystanders.drawn(7)
    assert drawn == bystanders.drawn(7) != bystanders.drawn(8)
    assert len(set(drawn)) == 60
    assert not {*drawn, *bystanders.drawn(8)} & {*bystanders.drawn(bystanders.LOOKED_AT)}
    assert [sum(prompt in lists[kind] for prompt in drawn) for kind in lists] == [12] * 5


def test_no_bystander_names_what_the_shipped_run_is_about():
    for prompt in (prompt for prompts in bystanders.kinds().values() for prompt in prompts):
        assert not {"Tiger", "Woods", "Kobe", "Bryant"} & set(prompt.replace(",", " ").split())
