"""Backward elimination, and what a component does alone."""

import copy

import pytest
import torch

from tests.spd import tiny
from workers.spd.method.decomposition import mean_counted
from workers.spd.method.elimination import eliminate
from workers.spd.method.losses import kl_divergence
from workers.spd.prompts.batches import clean_batch
from workers.spd.statistics.single_effects import single_effects

SITES = ("model.layers.0.mlp.down_proj", "model.layers.1.mlp.gate_proj")


@pytest.fixture
def made():
    target = tiny.tiny_target("llama")
    decomposition = tiny.decomposition_of(target, SITES, C=4)
    return decomposition, clean_batch(target, tiny.tokens().tolist(), "answer")


def kl_ci_masks(decomposition, batch) -> float:
    g = decomposition.importances(batch.inputs).g
    delta = {site: torch.zeros_like(value[..., :1]) for site, value in g.items()}
    return float(mean_counted(decomposition.kl(batch, decomposition.site_masks(g, delta))[0], batch.counted))


def close(decomposition, dropped) -> None:
    for site, place in dropped:
        decomposition.ci.close(site, place)


def test_elimination_stays_within_its_budget_and_says_where_it_ended(made):
    decomposition, batch = made
    before = kl_ci_masks(decomposition, batch)
    found = eliminate(decomposition, batch, budget=before + 0.05, rounds=2)
    assert found.before == pytest.approx(before, abs=1e-6)
    close(decomposition, found.dropped)
    assert kl_ci_masks(decomposition, batch) == pytest.approx(found.after, abs=1e-6)
    assert found.after <= before + 0.05 + 1e-6


def test_a_component_that_writes_nothing_goes_first(made):
    decomposition, batch = made
    with torch.no_grad():
        decomposition.components.U[SITES[0]][2].zero_()
    found = eliminate(decomposition, batch, budget=0.0, rounds=1)
    assert (SITES[0], 2) in found.dropped


def test_a_closed_component_is_off_everywhere_and_gets_no_gradient(made):
    decomposition, batch = made
    decomposition.ci.close(SITES[1], 3)
    found = decomposition.importances(batch.inputs)
    assert (found.g[SITES[1]][..., 3] == 0).all()
    found.gamma[SITES[1]][..., 3].sum().backward()
    gradients = [p.grad for p in decomposition.ci.parameters() if p.grad is not None]
    assert all(not gradient.any() for gradient in gradients)


def test_a_closed_gate_survives_the_dropping_of_others(made):
    decomposition, _ = made
    decomposition.ci.close(SITES[0], 2)
    decomposition.ci.keep({SITES[0]: [1, 2], SITES[1]: [0]})
    assert [gate.tolist() for gate in decomposition.ci.gates] == [[1.0, 0.0], [1.0]]


def test_the_effect_of_a_component_is_that_of_editing_the_weights(made):
    decomposition, batch = made
    site, place = SITES[0], 1
    effects = single_effects(decomposition, batch, {site: [1, 3]})
    V, U = decomposition.components.V[site][:, place], decomposition.components.U[site][place]
    model = copy.deepcopy(decomposition.target.model)
    tiny.edited_weight(model.get_submodule(site), -torch.outer(U, V).detach())
    with torch.no_grad():
        edited = model(input_ids=batch.tokens).logits[:, -1]
    expected = kl_divergence(batch.log_probs[:, 0].double(), edited.double()).max()
    assert float(effects[site][place]) == pytest.approx(float(expected), rel=1e-3)
    assert effects[site][[0, 2]].tolist() == [0.0, 0.0]
    assert not effects[SITES[1]].any()
