"""SPEC 4: every branch of the leaky hard sigmoids, value and gradient."""

import pytest
import torch

from workers.spd.method.ci import lower, upper


def value_and_gradient(function, x: float, grad: float) -> tuple[float, float]:
    at = torch.tensor([x], requires_grad=True)
    out = function(at)
    out.backward(torch.tensor([grad]))
    assert at.grad is not None
    return out.item(), at.grad.item()


@pytest.mark.parametrize(
    ("x", "grad", "value", "expected"),
    [
        # below 0: only a gradient that would raise x (descent subtracts it) passes, at 0.01
        (-2.0, -1.0, 0.0, -0.01),
        (-2.0, 1.0, 0.0, 0.0),
        (-0.001, -3.0, 0.0, -0.03),
        (0.0, -1.0, 0.0, -0.01),
        (0.0, 1.0, 0.0, 0.0),
        # between: straight through
        (0.25, 1.0, 0.25, 1.0),
        (0.25, -2.0, 0.25, -2.0),
        (1.0, 1.0, 1.0, 1.0),
        # above 1: nothing
        (1.5, 1.0, 1.0, 0.0),
        (1.5, -1.0, 1.0, 0.0),
    ],
)
def test_the_lower_sigmoid_lets_a_dead_component_come_back_and_never_sink(x, grad, value, expected):
    assert value_and_gradient(lower, x, grad) == pytest.approx((value, expected))


@pytest.mark.parametrize(
    ("x", "grad", "value", "expected"),
    [
        (-2.0, 1.0, 0.0, 0.0),
        (-2.0, -1.0, 0.0, 0.0),
        (0.0, 1.0, 0.0, 0.0),
        (0.25, 1.0, 0.25, 1.0),
        (0.25, -2.0, 0.25, -2.0),
        (1.0, 1.0, 1.0, 1.0),
        # above 1 it leaks, so the sparsity loss still sees a component that is fully on
        (1.5, 1.0, 1.005, 0.01),
        (3.0, -1.0, 1.02, -0.01),
    ],
)
def test_the_upper_sigmoid_leaks_above_one_only(x, grad, value, expected):
    assert value_and_gradient(upper, x, grad) == pytest.approx((value, expected))


def test_both_agree_between_zero_and_one():
    x = torch.linspace(0, 1, 11)
    assert torch.equal(lower(x), x)
    assert torch.equal(upper(x), x)
