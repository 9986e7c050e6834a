"""SPEC 11 to 13: the evidence, with numbers that can be worked out by hand."""

import math

import pytest
import torch

from tests.spd import tiny
from workers.spd.config import AdversaryOptions
from workers.spd.evaluation.metrics import Evaluator, faithfulness_by_site
from workers.spd.method.components import Components
from workers.spd.method.decomposition import Decomposition, mean_counted
from workers.spd.prompts.batches import clean_batch
from workers.spd.targets.masks import masked

LISTS = [[1, 2, 3, 4], [5, 6], [7, 8, 9]]
SITES = ("model.layers.0.mlp.down_proj", "model.layers.1.mlp.gate_proj")


class FixedCI(torch.nn.Module):
    """Causal importances chosen by hand: the same at every position."""

    def __init__(self, values: dict[str, list[float]]) -> None:
        super().__init__()
        self.values = values

    def forward(self, inner, inputs=None, valid=None):
        return {site: torch.tensor(self.values[site]).expand_as(x) for site, x in inner.items()}


def with_importances(values: dict[str, list[float]], **options) -> Decomposition:
    made = tiny.decomposition_of(tiny.tiny_target("llama"), SITES, C=3, **options)
    made.ci = FixedCI(values)  # type: ignore[assignment]
    return made


@pytest.fixture(scope="module")
def values() -> dict[str, list[float]]:
    return {SITES[0]: [1.0, 0.3, 0.0], SITES[1]: [0.05, 0.2, 0.9]}


def evaluator(values, positions="all", **options) -> Evaluator:
    made = with_importances(values, **options)
    return Evaluator(made, clean_batch(made.target, LISTS, positions), threshold=0.1)


def by_hand(made: Evaluator, mask: dict[str, list[float]], delta: float) -> float:
    """KL averaged over the nine real positions, each prompt run alone."""
    total = 0.0
    for ids in LISTS:
        alone = clean_batch(made.decomposition.target, [ids], "all")
        plan = made.decomposition.site_masks(
            {s: torch.tensor(mask[s]).expand(1, len(ids), 3) for s in SITES},
            {s: torch.full((1, len(ids), 1), delta) for s in SITES},
        )
        with masked(plan), torch.no_grad():
            log_q = torch.log_softmax(made.decomposition.target.logits(alone.tokens), -1)[0]
        total += float((alone.log_probs[0].exp() * (alone.log_probs[0] - log_q)).sum())
    return total / 9


def test_a_mean_over_counted_positions_by_hand():
    values = torch.tensor([[1.0, 2.0, 100.0], [4.0, 100.0, 100.0]])
    counted = torch.tensor([[True, True, False], [True, False, False]])
    assert mean_counted(values, counted).item() == pytest.approx(7 / 3)


def test_every_regime_is_the_pass_it_is_named_after(values):
    made = evaluator(values)
    ones, zeros = {s: [1.0] * 3 for s in SITES}, {s: [0.0] * 3 for s in SITES}
    rounded = {SITES[0]: [1.0, 1.0, 0.0], SITES[1]: [0.0, 1.0, 1.0]}
    assert made.kl_components_only() == pytest.approx(by_hand(made, ones, 0.0), rel=1e-4)
    assert made.kl_ci_masks() == pytest.approx(by_hand(made, values, 0.0), rel=1e-4)
    assert made.kl_rounded_ci() == pytest.approx(by_hand(made, rounded, 0.0), rel=1e-4)
    assert made.kl_everything_off() == pytest.approx(by_hand(made, zeros, 0.0), rel=1e-4)
    assert made.kl_everything_on() < 1e-6
    assert made.kl_everything_off() > 0.01


def test_the_stochastic_figure_is_a_mean_over_seeds_with_its_spread(values):
    mean, spread = evaluator(values).kl_stochastic(seeds=8)
    assert mean > 0
    assert spread > 0
    assert evaluator(values).kl_stochastic(seeds=8) == (mean, spread)


def test_with_every_importance_one_only_the_remainder_moves_and_with_zero_all_does():
    all_on = evaluator({s: [1.0] * 3 for s in SITES})
    assert all_on.kl_stochastic(4)[0] < evaluator({s: [0.0] * 3 for s in SITES}).kl_stochastic(4)[0] * 1.5


def test_adversarial_masks_are_worse_than_the_stochastic_mean(values):
    made = evaluator(values)
    assert made.kl_adversarial() > made.kl_stochastic()[0]
    few, many = (made.kl_adversarial(options=AdversaryOptions(steps=steps)) for steps in (0, 20))
    assert many >= few


def test_adversarial_masks_never_pass_below_the_importances():
    """With g = 1 everywhere and components that are the whole matrix, there is nothing left to attack."""
    made = tiny.decomposition_of(tiny.tiny_target("llama"), SITES, C=16)
    from workers.spd.method.start import svd_start

    pairs = {s: svd_start(made.target.weight(s), 16, torch.Generator()) for s in SITES}
    made.components = Components(
        {s: p[0] for s, p in pairs.items()},
        {s: p[1] for s, p in pairs.items()},
        {s: list(range(16)) for s in SITES},
    )
    made.ci = FixedCI({s: [1.0] * 16 for s in SITES})  # type: ignore[assignment]
    assert Evaluator(made, clean_batch(made.target, LISTS, "all"), 0.1).kl_adversarial() < 1e-4


def test_l0_counts_importances_above_the_threshold(values):
    assert evaluator(values).l0_by_site() == {SITES[0]: 2.0, SITES[1]: 2.0}


def test_l0_leaves_out_a_first_position_that_is_the_targets(values):
    assert evaluator(values, first_unmasked=True).l0_by_site() == {SITES[0]: 2.0, SITES[1]: 2.0}


def test_ce_unrecovered_by_hand(values):
    made = evaluator(values, "answer")
    answers = torch.tensor([3, 4, 5])

    def ce(mask: dict[str, list[float]] | None) -> float:
        total = 0.0
        for ids, answer in zip(LISTS, answers.tolist(), strict=True):
            plan = (
                {}
                if mask is None
                else made.decomposition.site_masks(
                    {s: torch.tensor(mask[s]).expand(1, len(ids), 3) for s in SITES},
                    {s: torch.zeros(1, len(ids), 1) for s in SITES},
                )
            )
            with masked(plan), torch.no_grad():
                logits = made.decomposition.target.logits(torch.tensor([ids]))[0, -1]
            total -= float(torch.log_softmax(logits, -1)[answer])
        return total / 3

    target, off = ce(None), ce({s: [0.0] * 3 for s in SITES})
    found = made.ce_unrecovered(answers)
    if off <= target:
        assert found is None
    else:
        assert found == pytest.approx((ce(values) - target) / (off - target), rel=1e-3)


def test_evidence_holds_all_of_it(values):
    found = evaluator(values, "answer").evidence(torch.tensor([3, 4, 5]))
    assert set(found.figures) >= {
        "kl_everything_on", "kl_components_only", "kl_ci_masks", "kl_rounded_ci", "kl_stochastic",
        "kl_adversarial", "kl_everything_off", "l0",
    }  # fmt: skip
    assert set(found.spread) == {"kl_stochastic"}
    assert all(math.isfinite(value) for value in found.figures.values())


def test_faithfulness_by_site_adds_up_to_the_whole(values):
    made = with_importances(values)
    whole, each = faithfulness_by_site(made)
    sizes = {site: made.target.weight(site).numel() for site in SITES}
    assert whole == pytest.approx(sum(each[s] * sizes[s] for s in SITES) / sum(sizes.values()), rel=1e-5)
    dense = made.target.weight(SITES[0]) - (made.components.V[SITES[0]] @ made.components.U[SITES[0]]).T
    assert each[SITES[0]] == pytest.approx(float(dense.pow(2).mean()), rel=1e-4)


def test_no_gradient_reaches_the_decomposition_from_its_evidence(values):
    made = evaluator(values)
    made.evidence(None)
    assert all(p.grad is None for p in made.decomposition.components.parameters())
