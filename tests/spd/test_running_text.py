"""SPEC 26: what a decomposition of running text must withstand."""

import pytest
import torch

from tests.spd.test_metrics import LISTS, SITES, with_importances
from workers.spd.evaluation.metrics import Evaluator
from workers.spd.evaluation.running_text import RunningText, ever_needed
from workers.spd.evaluation.side_effects import side_effects
from workers.spd.keys import ComponentKey
from workers.spd.prompts.batches import clean_batch

ONES = {site: [1.0, 1.0, 1.0] for site in SITES}
SOME = {SITES[0]: [1.0, 0.3, 0.0], SITES[1]: [0.05, 0.2, 0.9]}


def made(values: dict[str, list[float]]) -> RunningText:
    decomposition = with_importances(values)
    return RunningText(decomposition, clean_batch(decomposition.target, LISTS, "all"), threshold=0.1)


def same_masks(tests: RunningText) -> Evaluator:
    return Evaluator(tests.decomposition, tests.batch, 0.1)


def test_the_adversary_never_falls_with_its_budget_and_beats_chance() -> None:
    tests = made(SOME)
    found = tests.adversarial((0, 5, 40))
    assert found[0] <= found[5] <= found[40]
    assert found[40] > same_masks(tests).kl_stochastic()[0]
    assert tests.adversarial((5, 40)) == {5: found[5], 40: found[40]}


def test_an_adversary_of_every_position_is_at_least_as_strong() -> None:
    tests = made(SOME)
    assert tests.adversarial((60,), each_position=True)[60] > 0.95 * tests.adversarial((60,))[60]


def test_foreign_tokens_with_the_same_needs_add_nothing_and_others_do() -> None:
    tests = made(SOME)
    assert tests.aggregated(8) == pytest.approx(0, abs=1e-6)
    site = SITES[0]
    own = tests.g[site].clone()
    own[0, 0] = torch.tensor([0.0, 1.0, 1.0])  # one position needs what the others do not
    tests.g[site] = own
    assert tests.aggregated(64) != pytest.approx(0, abs=1e-6)


def test_what_is_never_needed_is_deleted_with_the_remainder() -> None:
    tests = made(SOME)
    needed = ever_needed(tests.decomposition, [tests.batch], 0.1)
    assert {s: v.tolist() for s, v in needed.items()} == {
        SITES[0]: [True, True, False],
        SITES[1]: [False, True, True],
    }
    assert tests.without_never_needed(needed) == pytest.approx(same_masks(tests).kl_rounded_ci(), rel=1e-5)
    all_of_it = {s: torch.ones(3, dtype=torch.bool) for s in SITES}
    assert tests.without_never_needed(all_of_it) == pytest.approx(
        same_masks(tests).kl_components_only(), rel=1e-5
    )


def test_cross_entropy_is_that_of_the_next_token() -> None:
    tests = made(SOME)
    log_p = tests.batch.log_probs
    expected = [
        -float(log_p[row, at, ids[at + 1]]) for row, ids in enumerate(LISTS) for at in range(len(ids) - 1)
    ]
    assert tests.cross_entropy(None) == pytest.approx(sum(expected) / 6, rel=1e-5)
    assert tests.cross_entropy(tests.g) != pytest.approx(tests.cross_entropy(None), rel=1e-4)


def test_controls_keep_as_many_and_do_worse_or_the_same_where_nothing_can_be_chosen() -> None:
    everything = made(ONES)
    assert everything.random_with_as_many() == pytest.approx(
        same_masks(everything).kl_components_only(), rel=1e-5
    )
    nothing = made({site: [0.0, 0.0, 0.0] for site in SITES})
    off = same_masks(nothing).kl_everything_off()
    assert nothing.random_with_as_many() == pytest.approx(off, rel=1e-5)
    assert nothing.start_with_as_many() == pytest.approx(off, rel=1e-5)
    assert 0 < everything.start_with_as_many() != pytest.approx(off, rel=1e-3)


def test_all_figures_have_names_and_the_change_of_cross_entropy_is_a_share_of_everything_off() -> None:
    tests = made(SOME)
    found = tests.figures(ever_needed(tests.decomposition, [tests.batch], 0.1), (2, 4))
    assert {
        "kl_adversarial_shared_2",
        "kl_adversarial_shared_4",
        "kl_adversarial_position_4",
        "kl_aggregated_64",
    } <= set(found)
    assert found["l0_above_zero"] == 2 + 3
    target = tests.cross_entropy(None)
    off = tests.cross_entropy({s: torch.zeros_like(g) for s, g in tests.g.items()})
    if off > target:
        assert found["ce_unrecovered_ci_masks"] == pytest.approx(
            found["ce_change_ci_masks"] / (off - target), rel=1e-4
        )


def test_side_effects_are_those_of_edited_weights() -> None:
    tests = made(SOME)
    decomposition, site = tests.decomposition, SITES[1]
    windows = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 3]])
    found = side_effects(decomposition, windows, [ComponentKey(site, 2)], answer=3)
    clean = torch.log_softmax(decomposition.target.logits(windows), -1)
    weight = decomposition.target.weight(site)
    V, U = decomposition.components.V[site][:, 2], decomposition.components.U[site][2]
    with torch.no_grad():
        weight -= torch.outer(U, V)
        changed = torch.log_softmax(decomposition.target.logits(windows), -1)
        weight += torch.outer(U, V)
    kl = (clean.exp() * (clean - changed)).sum(-1)
    assert found.positions == 8
    assert found.kl == pytest.approx(float(kl.mean()), rel=1e-4)
    assert found.follows == 2
    assert found.before == pytest.approx(float((clean[0, 1, 3].exp() + clean[1, 2, 3].exp()) / 2), rel=1e-4)
    assert found.after == pytest.approx(
        float((changed[0, 1, 3].exp() + changed[1, 2, 3].exp()) / 2), rel=1e-4
    )
