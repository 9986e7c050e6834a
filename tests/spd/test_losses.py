"""SPEC 5, 6, 9, 15: losses and schedules, with numbers worked out by hand."""

import math

import pytest
import torch

from workers.spd.method import losses

# --- faithfulness ---------------------------------------------------------------------------------------------


def test_squared_residual_of_a_two_by_two_by_hand():
    W = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    V, U = torch.tensor([[1.0], [0.0]]), torch.tensor([[1.0, 3.0]])
    # (V U)ᵀ = [[1, 0], [3, 0]]; what is left is the second column, 2² + 4²
    assert losses.squared_residual(W, V, U).item() == pytest.approx(20.0)


@pytest.mark.parametrize("C", [0, 1, 3, 4, 9, 40])
def test_both_ways_of_computing_the_residual_give_the_dense_one(C):
    generator = torch.Generator().manual_seed(C)
    W = torch.randn(8, 12, generator=generator)
    V, U = torch.randn(12, C, generator=generator), torch.randn(C, 8, generator=generator)
    dense = (W - (V @ U).T).pow(2).sum()
    torch.testing.assert_close(losses.squared_residual(W, V, U), dense, rtol=1e-5, atol=1e-4)


def test_the_residual_of_an_exact_decomposition_keeps_its_digits():
    generator = torch.Generator().manual_seed(0)
    V, U = torch.randn(8, 8, generator=generator), torch.randn(8, 8, generator=generator)
    assert losses.squared_residual((V @ U).T, V, U).item() < 1e-10


def test_faithfulness_is_a_mean_over_all_entries_of_all_sites_not_over_sites():
    W = {"a": torch.ones(2, 2), "b": torch.zeros(1, 4)}
    nothing = {"a": (torch.zeros(2, 1), torch.zeros(1, 2)), "b": (torch.zeros(4, 1), torch.zeros(1, 1))}
    V = {site: pair[0] for site, pair in nothing.items()}
    U = {site: pair[1] for site, pair in nothing.items()}
    assert losses.faithfulness(W, V, U).item() == pytest.approx(4 / 8)


# --- importance minimality --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        # two sites; per position Σ g^p: (0.25 + 1) + 0.04 and (0 + 1) + 0.36, then the mean of the two
        (1.0, ((0.25 + 1 + 0.04) + (0 + 1 + 0.36)) / 2),
        (0.5, ((0.5 + 1 + 0.2) + (0 + 1 + 0.6)) / 2),
        (2.0, ((0.0625 + 1 + 0.0016) + (0 + 1 + 0.1296)) / 2),
    ],
)
def test_minimality_sums_over_components_and_averages_over_positions(p, expected):
    g = {"a": torch.tensor([[[0.25, 1.0], [0.0, 1.0]]]), "b": torch.tensor([[[0.04], [0.36]]])}
    valid = torch.ones(1, 2, dtype=torch.bool)
    assert losses.importance_minimality(g, valid, p).item() == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(
    ("past_one", "p", "expected", "gradient"),
    [
        # g = 0.25 and an upper one of 4: 0.5 + 4^0.5, pulled down by 0.5 · 4^−0.5; or 0.5 + 1 + (4 − 1), pulled by 1
        ("power", 0.5, 2.5, 0.25),
        ("linear", 0.5, 4.5, 1.0),
        ("linear", 1.0, 4.25, 1.0),
    ],
)
def test_what_lies_past_one_is_counted_to_the_power_p_or_as_it_is(past_one, p, expected, gradient):
    g = torch.tensor([[[0.25, 4.0]]], requires_grad=True)
    value = losses.importance_minimality({"a": g}, torch.ones(1, 1, dtype=torch.bool), p, past_one)
    value.backward()
    assert value.item() == pytest.approx(expected, abs=1e-4)
    assert g.grad is not None
    assert g.grad[0, 0, 1].item() == pytest.approx(gradient, abs=1e-4)


def test_minimality_does_not_see_padding():
    g = {"a": torch.tensor([[[0.5], [0.9]]])}
    value = losses.importance_minimality(g, torch.tensor([[True, False]]), 1.0)
    assert value.item() == pytest.approx(0.5, abs=1e-5)


def test_a_closed_component_counts_nothing_in_the_figure_that_is_reported():
    """At p = 0.1 the loss counts each of the two closed components as (1e-6)^0.1 = 0.251, and 0.5 as 0.933."""
    g = {"a": torch.tensor([[[0.0, 0.5], [0.0, 0.5]], [[0.0, 0.0], [0.0, 0.0]]])}
    valid = torch.tensor([[True, True], [False, False]])
    value = losses.importance_minimality(g, valid, 0.1)
    assert value.item() == pytest.approx(0.251 + 0.933, abs=1e-3)
    assert losses.minimality_figure(value, g, valid, 0.1).item() == pytest.approx(0.933, abs=1e-3)


def test_minimality_has_a_finite_gradient_at_zero_even_below_power_one():
    g = torch.zeros(1, 1, 2, requires_grad=True)
    losses.importance_minimality({"a": g}, torch.ones(1, 1, dtype=torch.bool), 0.5).backward()
    assert g.grad is not None
    assert torch.isfinite(g.grad).all()


# --- distances --------------------------------------------------------------------------------------------------


def test_kl_goes_from_the_target_to_the_masked_model_in_nats():
    target = torch.tensor([[0.5, 0.5]]).log()
    masked = torch.tensor([[0.9, 0.1]]).log()
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert losses.kl_divergence(target, masked).item() == pytest.approx(expected, rel=1e-5)
    back = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert losses.kl_divergence(masked, target).item() == pytest.approx(back, rel=1e-5)


def test_kl_does_not_see_a_constant_added_to_the_logits():
    target = torch.tensor([[0.2, 0.3, 0.5]]).log()
    assert losses.kl_divergence(target, target + 7).item() == pytest.approx(0, abs=1e-6)


def test_the_gradient_of_kl_is_the_masked_models_probabilities_less_the_targets():
    target = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    logits = torch.randn(
        3, 2, 4, generator=torch.Generator().manual_seed(1)
    ).requires_grad_()  # three samples
    weigh = torch.tensor([[1.0, 2.0], [0.5, 0.0], [3.0, 1.0]])
    (losses.kl_divergence(target, logits) * weigh).sum().backward()
    expected = (logits.detach().softmax(-1) - target.exp()) * weigh[..., None]
    torch.testing.assert_close(logits.grad, expected)


def test_mean_squared_error_compares_log_probabilities():
    target = torch.tensor([[0.5, 0.5]]).log()
    masked = torch.tensor([[0.8, 0.2]]).log() + 3
    expected = (math.log(0.5 / 0.8) ** 2 + math.log(0.5 / 0.2) ** 2) / 2
    assert losses.mean_squared_error(target, masked).item() == pytest.approx(expected, rel=1e-5)


def test_distances_of_half_precision_logits_are_float32():
    target = torch.tensor([[0.2, 0.8]]).log()
    for distance in (losses.kl_divergence, losses.mean_squared_error):
        assert distance(target, target.bfloat16()).dtype == torch.float32


# --- schedules ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "steps", "expected"), [(0, 11, 1.0), (5, 11, 0.75), (10, 11, 0.5), (99, 11, 0.5), (0, 1, 1.0)]
)
def test_the_exponent_falls_linearly_and_stays(step, steps, expected):
    assert losses.exponent(step, steps, 1.0, 0.5) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("step", "share", "expected"),
    [(0, 0.25, 0.0), (10, 0.25, 0.4), (25, 0.25, 1.0), (80, 0.25, 1.0), (0, 0.0, 1.0)],
)
def test_a_coefficient_warms_up_linearly_over_its_share_of_100_steps(step, share, expected):
    assert losses.warmed(step, 100, share) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("step", "share", "end", "expected"),
    [
        (10, 0.2, 0.01, 0.5),  # still warming up
        (20, 0.2, 0.01, 1.0),
        (60, 0.2, 0.01, 0.1),  # half of what is left: the root of the end
        (100, 0.2, 0.01, 0.01),
        (50, 0.0, 0.25, 0.5),
        (100, 1.0, 0.25, 1.0),  # no time left to fall in
    ],
)
def test_a_coefficient_then_falls_geometrically_to_its_end(step, share, end, expected):
    assert losses.warmed(step, 101, share, end) == pytest.approx(expected, rel=2e-2)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (10, 0.5),
        (20, 1.0),
        (45, 1.0),
        (70, 1.0),
        (85, 0.1),
        (100, 0.01),
    ],  # half way down, the root of the end
)
def test_a_coefficient_can_be_held_before_it_falls(step, expected):
    assert losses.warmed(step, 101, 0.2, 0.01, hold=0.5) == pytest.approx(expected, rel=2e-2)
