"""SPEC 7, 8: where masks come from, and what a partial pass replaces."""

import pytest
import torch

from workers.spd.method.mask_sources import (
    Route,
    SourceKind,
    draw,
    routed,
    site_mask,
    uniform,
    uniform_by_row,
)

SITES = ["a0", "a1", "b0", "b1", "c0"]
LAYERS = {"a0": 0, "a1": 0, "b0": 1, "b1": 1, "c0": 2}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_uniform_sources_fill_zero_to_one():
    r = draw(["uniform"], (20_000,), generator())[0]
    assert 0 <= r.min() < 0.001
    assert 0.999 < r.max() <= 1
    assert r.mean().item() == pytest.approx(0.5, abs=0.01)
    assert r.var().item() == pytest.approx(1 / 12, abs=0.005)


def test_level_sources_are_coins_of_one_level_a_pass_and_levels_are_uniform():
    kinds: list[SourceKind] = ["level"] * 400
    r = draw(kinds, (500,), generator())
    assert set(r.unique().tolist()) == {0.0, 1.0}
    levels = r.mean(1)
    assert levels.mean().item() == pytest.approx(0.5, abs=0.05)
    assert levels.std().item() == pytest.approx(12**-0.5, abs=0.03)
    halves = r[:, :250].mean(1) - r[:, 250:].mean(1)
    assert halves.abs().max() < 0.2  # the same level throughout a pass


def test_the_same_seed_draws_the_same_sources():
    kinds: list[SourceKind] = ["uniform", "level"]
    assert torch.equal(draw(kinds, (5, 5), generator(3)), draw(kinds, (5, 5), generator(3)))


def test_rows_drawn_by_themselves_are_those_drawn_with_all_whoever_draws_them():
    """As on a GPU, where each row has a counter-based generator of its own."""
    shape, rows = (2, 5, 3), torch.tensor([1, 3])
    every = uniform_by_row(shape, generator(3), device="cpu", dim=1)
    assert every.shape == shape
    assert torch.equal(uniform_by_row(shape, generator(3), rows, device="cpu", dim=1), every[:, rows])
    assert torch.equal(
        uniform(shape, generator(3), rows, dim=1), uniform(shape, generator(3), dim=1)[:, rows]
    )
    one, other = generator(3), generator(3)
    uniform_by_row(shape, one, rows, device="cpu", dim=1)
    uniform_by_row(shape, other, device="cpu", dim=1)
    assert torch.equal(one.get_state(), other.get_state()), "all processes go on alike"
    many = uniform_by_row((400, 500), generator(), device="cpu")
    assert many.mean().item() == pytest.approx(0.5, abs=0.01)
    assert torch.corrcoef(many).triu(1).abs().max() < 0.3


def test_a_site_mask_carries_mask_less_remainder_where_it_is_replaced_and_nothing_elsewhere():
    V, U = torch.zeros(2, 3), torch.zeros(3, 2)
    mask = torch.tensor([[[0.9, 0.5, 0.0], [0.9, 0.5, 0.0]]])
    delta = torch.tensor([[[0.4], [0.4]]])
    made = site_mask(V, U, mask, delta, torch.tensor([[[True], [False]]]))
    torch.testing.assert_close(made.coefficient[0, 0], torch.tensor([0.5, 0.1, -0.4]))
    assert torch.equal(made.coefficient[0, 1], torch.zeros(3))
    assert made.delta is not None
    assert made.delta.flatten().tolist() == pytest.approx([0.4, 1.0])


def subsets(route: Route, rows: int = 400, seq: int = 4) -> dict[str, torch.Tensor]:
    valid = torch.ones(rows, seq, dtype=torch.bool)
    return routed(SITES, LAYERS, route, valid, generator())


def test_routing_by_site_replaces_a_subset_for_whole_prompts_and_never_none():
    chosen = torch.stack([subsets("site")[site].squeeze(-1) for site in SITES])  # [sites, rows, seq]
    assert (chosen == chosen[:, :, :1]).all()
    sizes = chosen[:, :, 0].sum(0)
    assert sizes.min() == 1
    assert sizes.max() == len(SITES)
    shares = torch.bincount(sizes, minlength=6)[1:] / len(sizes)
    assert shares.tolist() == pytest.approx([0.2] * 5, abs=0.07)  # every size alike


def test_routing_by_layer_takes_all_sites_of_a_layer_together():
    chosen = subsets("layer")
    assert torch.equal(chosen["a0"], chosen["a1"])
    assert torch.equal(chosen["b0"], chosen["b1"])
    assert not torch.equal(chosen["a0"], chosen["b0"])
    assert (chosen["a0"] | chosen["b0"] | chosen["c0"]).all()


def test_routing_by_position_takes_the_same_positions_at_every_site_and_never_none():
    chosen = subsets("position")
    assert all(torch.equal(chosen["a0"], chosen[site]) for site in SITES)
    sizes = chosen["a0"].sum((1, 2))
    assert sizes.min() == 1
    assert sizes.max() == 4


def test_routing_by_position_never_spends_its_choice_on_padding():
    valid = torch.tensor([[True, False, False, False]] * 50 + [[False, True, True, False]] * 50)
    chosen = routed(SITES, LAYERS, "position", valid, generator())["a0"].squeeze(-1)
    assert (chosen & valid).any(1).all()
    assert not (chosen & ~valid).any()


def test_each_prompt_of_a_batch_gets_a_subset_of_its_own():
    chosen = subsets("site")["a0"][:, 0, 0]
    assert chosen.any()
    assert not chosen.all()
