"""SPEC 14: start values."""

import pytest
import torch

from tests.spd import tiny
from workers.spd.method import losses
from workers.spd.method.components import Components
from workers.spd.method.start import contrasts, data_start, random_start, svd_start


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weight(d_out: int = 6, d_in: int = 10) -> torch.Tensor:
    return torch.randn(d_out, d_in, generator=generator(7))


def test_a_random_start_has_the_stated_variances():
    V, U = random_start(torch.zeros(300, 200), 400, generator())
    assert V.shape == (200, 400)
    assert U.shape == (400, 300)
    assert V.var().item() == pytest.approx(1 / 200, rel=0.05)
    assert U.var().item() == pytest.approx(1 / 400, rel=0.05)


def test_a_start_follows_its_seed():
    assert torch.equal(random_start(weight(), 3, generator(1))[0], random_start(weight(), 3, generator(1))[0])
    assert not torch.equal(
        random_start(weight(), 3, generator(1))[0], random_start(weight(), 3, generator(2))[0]
    )


@pytest.mark.parametrize("C", [6, 9])
def test_an_svd_start_at_full_rank_or_above_is_exact(C):
    V, U = svd_start(weight(), C, generator())
    torch.testing.assert_close((V @ U).T, weight(), rtol=1e-4, atol=1e-5)
    assert V.shape == (10, C)
    assert V.norm(dim=0).min() > 0  # components past the rank read something, so they can learn to write


def test_an_svd_start_below_full_rank_leaves_the_smallest_singular_values():
    V, U = svd_start(weight(), 4, generator())
    left = torch.linalg.svdvals(weight())[4:].pow(2).sum()
    assert losses.squared_residual(weight(), V, U).item() == pytest.approx(left.item(), rel=1e-4)


def test_a_data_start_reproduces_the_weight_on_its_data_and_is_dual_to_it():
    X = torch.randn(4, 10, generator=generator(1)) * 50
    V, U = data_start(weight(), X)
    torch.testing.assert_close((X @ V) @ U, X @ weight().T, rtol=1e-4, atol=1e-3)
    inner = X @ V
    off = inner - torch.diag(inner.diag())
    assert off.abs().max() < 1e-4 * inner.diag().abs().min()  # each component reads its own token alone
    torch.testing.assert_close(V.norm(dim=0), torch.ones(4))


def test_a_data_start_explains_nothing_at_right_angles_to_its_data():
    X = torch.randn(4, 10, generator=generator(1))
    V, U = data_start(weight(), X)
    away = torch.linalg.svd(X).Vh[4:]
    assert ((away @ V) @ U).abs().max() < 1e-5


def test_a_background_keeps_the_start_exact_on_the_data_and_makes_it_quieter_elsewhere():
    shared = torch.randn(1, 10, generator=generator(2)) * 5  # a direction all text shares
    X = torch.randn(3, 10, generator=generator(3)) + shared
    background = torch.randn(200, 10, generator=generator(4)) * 0.3 + shared
    moments = background.T @ background / len(background)
    plain, quiet = data_start(weight(), X), data_start(weight(), X, moments, 100.0)
    torch.testing.assert_close((X @ quiet[0]) @ quiet[1], X @ weight().T, rtol=1e-4, atol=1e-4)

    def loudness(start: tuple[torch.Tensor, torch.Tensor]) -> float:
        own = (X @ start[0]).diag().abs()  # how loud a component is on its own token
        return float(((background @ start[0]) / own).pow(2).mean())

    assert loudness(quiet) < 0.7 * loudness(plain)


def test_contrasts_turn_repeated_tokens_into_their_mean_and_deviations_of_the_same_span():
    X = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 5.0]])
    turned = contrasts(X, torch.tensor([7, 8, 7, 9]))
    assert turned.tolist() == [[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 5.0]]


def test_an_occurrence_like_the_one_before_has_no_contrast():
    X = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    assert contrasts(X, torch.tensor([7, 7, 8])).tolist() == [[1.0, 0.0], [0.0, 2.0]]


def test_contrasts_of_three_occurrences_are_orthogonal_turns():
    X = torch.eye(3)
    turned = contrasts(X, torch.tensor([4, 4, 4]))
    assert turned[0].tolist() == pytest.approx([1 / 3] * 3)
    assert turned[1].tolist() == pytest.approx([-1, 1, 0])
    assert turned[2].tolist() == pytest.approx([-0.5, -0.5, 1])


def test_a_data_start_on_one_hot_inputs_gives_an_embedding_its_rows():
    table = torch.randn(8, 5, generator=generator(5))  # [vocab, d]
    X = torch.nn.functional.one_hot(torch.tensor([2, 6]), 8).float()
    V, U = data_start(table.T, X)
    torch.testing.assert_close(V, X.T)
    torch.testing.assert_close(U, table[[2, 6]])


def test_pruned_components_keep_their_index_as_trained():
    made = Components(
        {"a": torch.arange(8.0).reshape(2, 4)}, {"a": torch.arange(12.0).reshape(4, 3)}, {"a": [0, 1, 2, 3]}
    )
    made.keep({"a": [1, 3]})
    assert made.index == {"a": [1, 3]}
    made.keep({"a": [1]})
    assert made.index == {"a": [3]}
    assert torch.equal(made.V["a"], torch.tensor([[3.0], [7.0]]))
    assert torch.equal(made.U["a"], torch.tensor([[9.0, 10.0, 11.0]]))
    made.keep({"a": []})
    assert made.count() == 0


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_components_of_a_full_rank_svd_start_alone_are_the_target(kind):
    target = tiny.tiny_target(kind)
    sites = tiny.SITES[kind][1:]
    V, U = {}, {}
    for site in sites:
        V[site], U[site] = svd_start(target.weight(site), min(target.weight(site).shape), generator())
    index = {site: list(range(V[site].shape[1])) for site in sites}
    decomposition = tiny.decomposition_of(target, sites)
    decomposition.components = Components(V, U, index)
    ids = tiny.tokens()
    masks = decomposition.site_masks(
        {site: torch.ones(3, 6, len(index[site])) for site in sites},
        {site: torch.zeros(3, 6, 1) for site in sites},
    )
    from workers.spd.targets.masks import masked

    with torch.no_grad():
        before = target.logits(ids)
        with masked(masks):
            torch.testing.assert_close(target.logits(ids), before, rtol=1e-3, atol=1e-4)
