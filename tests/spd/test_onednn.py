"""oneDNN's products: PyTorch's own to rounding, with its gradients, and only where they apply."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from workers.spd.targets import onednn

pytestmark = pytest.mark.skipif(not onednn.available(), reason="this PyTorch has no oneDNN")


def frozen(module: nn.Module) -> nn.Module:
    return nn.Sequential(module).requires_grad_(False)


@pytest.mark.parametrize(
    "make", [lambda: nn.Linear(40, 70), lambda: nn.Linear(40, 70, bias=False), lambda: Conv1D(70, 40)]
)
@pytest.mark.parametrize("shape", [(40,), (1, 40), (2, 7, 40), (3, 2, 5, 40)])
def test_a_product_and_its_gradient_are_those_of_the_module(make, shape) -> None:
    torch.manual_seed(0)
    model = frozen(make())
    nn.init.normal_(model[0].weight)
    x = torch.randn(shape, requires_grad=True)
    wanted = model(x)
    (wanted_gradient,) = torch.autograd.grad(wanted.square().sum(), x)
    assert onednn.adopt(model, large=0) == 1
    found = model(x)
    (gradient,) = torch.autograd.grad(found.square().sum(), x)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-4, atol=1e-3)
    with torch.inference_mode():
        torch.testing.assert_close(model(x.detach()), wanted.detach(), rtol=1e-5, atol=1e-5)


def test_a_row_does_not_depend_on_what_else_is_in_the_batch() -> None:
    model = frozen(nn.Linear(96, 320))
    assert onednn.adopt(model, large=0) == 1
    x = torch.randn(6, 5, 96)
    with torch.inference_mode():
        assert torch.equal(model(x)[2:4], model(x[2:4]))


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(40, 70)),
        frozen(nn.Linear(40, 70).bfloat16()),
        frozen(nn.Linear(4, 4)),
        frozen(nn.Embedding(40, 70)),
        frozen(type("Own", (nn.Linear,), {})(400, 700)),
    ],
    ids=["trainable", "bfloat16", "small", "no product", "a subclass with a forward of its own"],
)
def test_what_it_is_not_for_keeps_its_own(model) -> None:
    assert onednn.adopt(model) == 0
    assert "forward" not in model[0].__dict__


def test_a_product_that_does_not_agree_is_not_used(monkeypatch) -> None:
    monkeypatch.setattr(onednn, "product", lambda x, weight, bias: x @ weight.T + 0.1)
    assert onednn.adopt(frozen(nn.Linear(40, 70)), large=0) == 0


def test_where_it_is_the_slower_of_the_two_it_is_not_used(monkeypatch) -> None:
    assert 0 < onednn.ratio() < float("inf")
    onednn.available.cache_clear()
    with monkeypatch.context() as slow:
        slow.setattr(onednn, "ratio", lambda: 2.0)
        assert onednn.adopt(frozen(nn.Linear(400, 700))) == 0
    onednn.available.cache_clear()
    assert onednn.adopt(frozen(nn.Linear(400, 700))) == 1
