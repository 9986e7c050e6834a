"""The shapes in the signatures of `workers.spd` are checked while these tests run."""

import pytest
import torch
from jaxtyping import TypeCheckError

from workers.spd.method.losses import squared_residual


def test_a_wrong_shape_is_caught_so_shape_checking_is_really_on():
    W, V, U = torch.zeros(3, 4), torch.zeros(5, 2), torch.zeros(2, 3)
    with pytest.raises(TypeCheckError):
        squared_residual(W, V, U)


def test_right_shapes_pass():
    assert squared_residual(torch.zeros(3, 4), torch.zeros(4, 2), torch.zeros(2, 3)) == 0
