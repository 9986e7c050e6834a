"""SPEC 24: with `C: auto` and `adapt`, a site grows where its remainder matters and loses what is dead."""

from pathlib import Path

import pytest
import torch

from tests.spd import tiny
from tests.spd.test_ci import KINDS, READS, SITES, build, data
from tests.spd.test_decompose import same_numbers, stop_at
from tests.spd.test_training import state, steps, trainer_of
from workers.spd.config import ConfigError
from workers.spd.evaluation.metrics import Evaluator
from workers.spd.method.adaptation import (
    Adaptation,
    Growth,
    adaptation_notes,
    remainder_directions,
    remainder_kl,
)
from workers.spd.method.adversary import Adversary
from workers.spd.method.ci import CIFunctions
from workers.spd.method.optimizer import trained_parameters
from workers.spd.method.start import random_start
from workers.spd.method.training import Trainer
from workers.spd.progress import RunProgress, Stopped
from workers.spd.run.checkpoint import load_checkpoint, save_checkpoint
from workers.spd.run.decompose import decompose

ADAPT = {"at": [0.25, 0.5], "grow_above": 0.01, "grow": 3}
RANDOM = {"C": "auto", "start": {"kind": "random"}, "adapt": ADAPT}  # full rank, but far from the weights


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def starved(**changes) -> tuple[Trainer, object]:
    """A trainer whose sites have kept 3 of 16 components of an exact start."""
    trainer, data = trainer_of(C="auto", start={"kind": "svd"}, steps=60, **changes)
    keep = {site: [0, 1, 2] for site in trainer.sites}
    trainer.ci.keep(keep)
    trainer.components.keep(keep)
    trainer.adopt(trainer.components, trainer.ci)
    return trainer, data


# --- what a remainder carries, and where it points ------------------------------------------------------------------


def test_a_remainders_cost_is_that_of_the_model_with_its_weights_replaced():
    trainer, data = starved()
    site, batch = trainer.sites[2], data.everything()
    model = tiny.llama_model()
    change = (trainer.components.V[site] @ trainer.components.U[site]).T.detach() - trainer.weights[site]
    tiny.edited_weight(model.get_submodule(site), change)
    with torch.no_grad():
        logits = torch.log_softmax(model(batch.tokens).logits[:, batch.keep], dim=-1)
    kl = (batch.log_probs.exp() * (batch.log_probs - logits)).sum(-1)
    expected = float(kl[batch.counted].mean())
    assert expected > 0.01
    assert remainder_kl(trainer.decomposition, batch, [site])[site] == pytest.approx(expected, rel=1e-4)


def test_the_directions_are_the_best_of_their_rank_on_the_data_and_blind_to_the_rest():
    W = torch.randn(6, 10, generator=generator(1))
    V, U = random_start(W, 2, generator(2))
    x = torch.randn(1, 5, 10, generator=generator(3))
    left = x[0] @ (W - (V @ U).T).T
    for count in (1, 3, 9):
        new_V, new_U = remainder_directions(W, V, U, x, torch.ones(1, 5, dtype=torch.bool), count)
        assert new_V.shape == (10, min(count, 5))
        error = (left - x[0] @ new_V @ new_U).pow(2).sum()
        tail = torch.linalg.svdvals(left)[count:].pow(2).sum()
        assert float(error) == pytest.approx(float(tail), rel=1e-3, abs=1e-6)
        assert (torch.linalg.svd(x[0]).Vh[5:] @ new_V).abs().max() < 1e-5
        torch.testing.assert_close(new_V.norm(dim=0), V.norm(dim=0).mean().expand(new_V.shape[1]))


def test_positions_that_do_not_count_point_nowhere():
    W = torch.randn(6, 10, generator=generator(1))
    V, U = random_start(W, 2, generator(2))
    x = torch.randn(1, 4, 10, generator=generator(3))
    valid = torch.tensor([[False, True, True, True]])
    other = x.clone()
    other[0, 0] = 1e3
    one, same = (remainder_directions(W, V, U, value, valid, 2) for value in (x, other))
    assert torch.equal(one[0], same[0])


def test_an_embeddings_directions_are_those_of_its_one_hot_inputs():
    W = torch.randn(6, 10, generator=generator(1))
    V, U = random_start(W, 2, generator(2))
    ids = torch.tensor([[3, 7, 3]])
    valid = torch.ones(1, 3, dtype=torch.bool)
    found = remainder_directions(W, V, U, ids, valid, 8)
    one_hot = torch.nn.functional.one_hot(ids, 10).float()
    expected = remainder_directions(W, V, U, one_hot, valid, 8)
    assert found[0].shape == (10, 2)
    torch.testing.assert_close(found[0] @ found[1], expected[0] @ expected[1], rtol=1e-4, atol=1e-5)


# --- importance functions that grow ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "reads"), READS)
@pytest.mark.parametrize("pruned", [False, True])
def test_functions_take_in_new_components_and_the_others_compute_on(kind, reads, pruned):
    inner, inputs = data()
    functions = build(kind, reads)
    functions.set_scale(inner, inputs, torch.ones(2, 5, dtype=torch.bool))
    if pruned:  # a site that has nothing left grows too
        functions.keep({"a": [], "b": [0, 2]})
        inner = {"a": inner["a"][..., []], "b": inner["b"][..., [0, 2]]}
    before = functions(inner, inputs)
    more = {"a": torch.randn(2, 5, 2, generator=generator(8)), "b": torch.zeros(2, 5, 0)}
    functions.grow({"a": 2}, {"a": functions.units(more["a"].flatten(0, 1))}, generator(9))
    gamma = functions({site: torch.cat([x, more[site]], -1) for site, x in inner.items()}, inputs)
    for site, value in before.items():
        torch.testing.assert_close(gamma[site][..., : value.shape[-1]], value, rtol=1e-4, atol=1e-5)
    new = gamma["a"][..., -2:]
    assert new.shape == (2, 5, 2)
    assert new.mean().item() == pytest.approx(0.95, abs=0.1)
    assert (new - 0.95).abs().max() < 0.5
    shapes = {site: (SITES[site][0], value.shape[-1]) for site, value in gamma.items()}
    again = CIFunctions(shapes, functions.config, generator())
    again.load_state_dict(functions.state_dict())  # as a checkpoint builds it


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pruned", [False, True])
def test_a_new_components_importance_learns_to_follow_its_own_activation(kind, pruned):
    inner, inputs = data()
    functions = build(kind)
    functions.set_scale(inner, inputs, torch.ones(2, 5, dtype=torch.bool))
    if pruned:
        functions.keep({"a": [], "b": []})
        inner = {site: x[..., []] for site, x in inner.items()}
    own = torch.randn(2, 5, 1, generator=generator(8))
    functions.grow({"a": 1}, {"a": functions.units(own.flatten(0, 1))}, generator(9))
    inner = {**inner, "a": torch.cat([inner["a"], own], -1)}
    wanted = (own[..., 0] > 0).float()
    optimizer = torch.optim.Adam([p for p in functions.parameters() if p.requires_grad], lr=0.02)
    for _ in range(250):
        optimizer.zero_grad()
        error = (functions(inner, inputs)["a"][..., -1] - wanted).pow(2).mean()
        if float(error) < 0.02:
            return
        error.backward()
        optimizer.step()
    pytest.fail(f"still off by {float(error):.3f}")


# --- a trainer that adapts ------------------------------------------------------------------------------------------


def kl_components_only(trainer, batch) -> float:
    return Evaluator(trainer.decomposition, batch, 0.1).kl_components_only()


def test_too_few_components_grow_and_what_they_carry_alone_comes_nearer_at_once():
    trainer, data = starved(adapt={**ADAPT, "grow": 8})
    batch = data.everything()
    steps(trainer, data, 5)
    before = kl_components_only(trainer, batch)
    done = trainer.adapt(batch)
    assert done.step == 5
    assert {growth.site for growth in done.grown} == set(trainer.sites)
    assert all(growth.after < 0.1 * growth.before for growth in done.grown)
    assert kl_components_only(trainer, batch) < 0.1 * before
    for site in trainer.sites:  # 16 were there once: no key is given out twice
        assert trainer.components.index[site] == [0, 1, 2, *range(16, 24)]
    assert set(trainer.trained.values()) == {24}
    assert steps(trainer, data, 20)[-1]["loss"] < 10


def test_a_run_that_adapts_ends_nearer_to_the_target_than_one_that_does_not():
    ends = {}
    for grows in (False, True):
        trainer, data = starved(adapt={**ADAPT, "grow": 8})
        steps(trainer, data, 15)
        if grows:
            trainer.adapt(data.everything())
        steps(trainer, data, 45)
        ends[grows] = Evaluator(trainer.decomposition, data.everything(), 0.1).light()["kl_ci_masks"]
    assert ends[True] < 0.5 * ends[False]


def test_far_too_many_components_are_dropped_and_an_exact_site_does_not_grow():
    trainer, data = trainer_of(C="auto", start={"kind": "data"}, steps=60, adapt=ADAPT)
    with torch.no_grad():
        trainer.ci.gammas[0].last.bias[0, 4:] = -50.0
    before = trainer.components.count()
    keep = list(trainer.components.index[trainer.sites[0]][:4])
    done = trainer.adapt(data.everything())
    assert done.dropped == {trainer.sites[0]: before // 6 - 4}
    first = trainer.components.index[trainer.sites[0]]
    assert first[:4] == keep
    assert {growth.site for growth in done.grown} <= {trainer.sites[0]}  # the others start exact
    assert trainer.components.count() < before


def test_adams_moments_stay_with_their_components_and_new_ones_have_none():
    trainer, data = starved(adapt=ADAPT)
    steps(trainer, data, 3)
    old = [
        trainer.optimizer.state[p]["exp_avg"].clone()
        for p in trained_parameters(trainer.components, trainer.ci)
    ]
    trainer.adapt(data.everything())
    new = [trainer.optimizer.state[p] for p in trained_parameters(trainer.components, trainer.ci)]
    assert {int(entry["step"]) for entry in new} == {3}
    sites = len(trainer.sites)
    for place in range(sites):
        V, U = new[place]["exp_avg"], new[sites + place]["exp_avg"]
        assert torch.equal(V[:, :3], old[place])
        assert torch.equal(U[:3], old[sites + place])
        assert not V[:, 3:].any()
        assert not U[3:].any()
    for before, entry in zip(old[2 * sites :], new[2 * sites :], strict=True):
        own = tuple(slice(size) for size in before.shape)
        assert torch.equal(entry["exp_avg"][own], before)
        assert entry["exp_avg"].abs().sum() == pytest.approx(float(before.abs().sum()), rel=1e-5)
        assert entry["exp_avg_sq"].shape == entry["exp_avg"].shape


def test_an_adversary_gets_sources_for_what_grew_and_keeps_the_remainders_last():
    adversary = Adversary({"a": torch.tensor([[0.1, 0.2, 0.9]]), "b": torch.tensor([[0.3, 0.8]])})
    grown = adversary.grown({"a": 2}, generator())
    first = grown.sources["a"][0].tolist()
    assert first[:2] + first[-1:] == pytest.approx([0.1, 0.2, 0.9])
    assert len(first) == 5
    assert grown.sources["b"].tolist() == [pytest.approx([0.3, 0.8])]


@pytest.mark.parametrize("kind", ["mlp", "transformer"])
def test_a_checkpoint_after_an_adaptation_goes_on_with_the_same_numbers(tmp_path, kind):
    changes = {
        **RANDOM, "steps": 10, "ci": {"kind": kind},
        "losses": [{"kind": "stochastic_reconstruction"}, {"kind": "adversarial_reconstruction", "after": 0}],
    }  # fmt: skip
    whole, data = trainer_of(**changes)
    steps(whole, data, 4)
    assert whole.adapt(data.everything()).added > 0
    save_checkpoint(tmp_path, whole, seconds=0.0, log_lines=0)
    second, again = trainer_of(**changes)
    assert load_checkpoint(tmp_path, second) is not None
    assert second.adaptations == whole.adaptations
    assert second.trained == whole.trained
    for trainer, own in ((whole, data), (second, again)):
        steps(trainer, own, 3)
        trainer.adapt(own.everything())
        steps(trainer, own, 1)
    assert second.adaptations == whole.adaptations
    one, other = state(whole), state(second)
    assert all(torch.equal(value, other[name]) for name, value in one.items())


# --- whole runs -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("home")
    tiny.saved(tiny.llama_model(), home / "model")
    return home


def adapted_notes(artifact) -> list[str]:
    return [note for note in artifact.manifest.notes if "grew by" in note or "were dropped" in note]


@pytest.mark.slow
def test_a_run_says_what_it_grew_and_resumes_across_it_with_the_same_numbers(home):
    config = tiny.run_config(home / "model", **RANDOM)
    seen: list[RunProgress] = []
    whole = decompose(config, home / "whole", home=home, report=seen.append)
    logged = {line["step"]: (line["pruned"], line["grown"]) for line in whole.curves if "grown" in line}
    assert logged.keys() == {2, 5}
    assert logged[2] == (0, 18)
    assert any(progress.message.startswith("Step 3: 6 sites grew by 18 components") for progress in seen)
    notes = adapted_notes(whole)
    assert "model.layers.0.mlp.gate_proj grew by 3 to 19 components at step 3" in notes[0]
    for site in whole.manifest.sites:
        assert site.kept == list(range(site.trained))
        assert site.trained >= 19
    for step in (2, 4, 8):
        out = home / f"stopped-{step}"
        with pytest.raises(Stopped):
            decompose(config, out, home=home, **stop_at(step))
        again = decompose(config, out, home=home)
        same_numbers(again, whole)
        assert adapted_notes(again) == notes


def test_many_growths_are_told_in_ten_lines_and_a_count():
    grown = [Growth(f"s{place}", 8, 24, 0.314, 0.02) for place in range(7)]
    lines = adaptation_notes([Adaptation(30, {"s0": 2, "s1": 1}, grown), Adaptation(60, {}, grown)], 0.02)
    assert len(lines) == 12
    assert lines[0] == "s0 grew by 8 to 24 components at step 30: its remainder carried 0.31 nats, then 0.02."
    assert lines[10] == "4 more growths like these; 112 components were added in all."
    assert lines[11].startswith("At step 30, 3 components at 2 sites were dropped")
    assert adaptation_notes([Adaptation(30, {}, [])], 0.02)[0].startswith("C: auto changed nothing")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"C": 6}, r"adapt goes with C: auto; a fixed C \(6\) stays as it is"),
        ({"C": "auto", "prune": {"at": [0.5]}}, "adapt drops dead components itself; leave prune out"),
    ],
)
def test_adapting_a_fixed_number_or_pruning_twice_is_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        tiny.run_config(adapt=ADAPT, **changes)
