"""One run from step to step: losses add up, schedules act, a seed decides everything."""

import math
from types import SimpleNamespace

import pytest
import torch

from tests.spd import tiny
from workers.spd.config import ConfigError
from workers.spd.evaluation.metrics import Evaluator
from workers.spd.method import losses
from workers.spd.method.ci import upper
from workers.spd.method.training import DivergedError, Trainer
from workers.spd.prompts.kinds import training_data
from workers.spd.prompts.training_data import TrainingData
from workers.spd.targets.tokenizer import PromptTokenizer

TOKENIZER = PromptTokenizer(tiny.word_tokenizer(), bos_token_id=0, context_length=tiny.CONTEXT)


def trainer_of(seed_of_model: int = 0, **changes) -> tuple[Trainer, TrainingData]:
    config = tiny.run_config(**changes)
    target = tiny.target_of(tiny.llama_model(seed_of_model))
    sites = target.sites(config.sites)
    target.attach(sites)
    data = training_data(config, target, TOKENIZER)
    return Trainer(config, target, sites, data.everything()), data


def steps(trainer: Trainer, data: TrainingData, count: int) -> list[dict[str, float]]:
    return [trainer.train_step(data.next(trainer.generator)) for _ in range(count)]


def state(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {**trainer.components.state_dict(), **{f"ci.{k}": v for k, v in trainer.ci.state_dict().items()}}


# --- starts on real data --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["masked", "unmasked"])
def test_a_data_start_is_the_target_on_its_data_before_any_step(first):
    trainer, data = trainer_of(C="auto", start={"kind": "data"}, reconstruction={"first_position": first})
    evaluator = Evaluator(trainer.decomposition, data.everything(), 0.1)
    assert evaluator.kl_components_only() < 1e-5
    assert evaluator.kl_everything_off() > 1e-3


def test_c_auto_takes_one_component_a_token_input():
    trainer, _ = trainer_of(C="auto", start={"kind": "data"})
    assert set(trainer.trained.values()) == {4 + 3 + 5}


def test_c_auto_without_data_takes_full_rank():
    trainer, _ = trainer_of(C="auto", start={"kind": "svd"})
    assert set(trainer.trained.values()) == {16}


def test_causal_importances_start_where_the_config_says():
    trainer, data = trainer_of(ci={"kind": "shared_mlp", "start": 0.95})
    g = trainer.decomposition.importances(data.everything().inputs).g
    valid = data.everything().valid
    assert torch.cat([value[valid].flatten() for value in g.values()]).mean().item() == pytest.approx(
        0.95, abs=0.1
    )


# --- schedules ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("warmup", "step", "expected"),
    [(0.0, 0, 1.0), (0.0, 50, 0.5), (0.0, 25, 0.5 * (1 + math.cos(math.pi / 4))), (0.2, 0, 0.0), (0.2, 10, 0.5),
     (0.2, 20, 1.0), (0.2, 60, 0.5), (1.0, 50, 0.5)],
)  # fmt: skip
def test_the_learning_rate_warms_up_and_follows_a_cosine_to_zero(warmup, step, expected):
    trainer, _ = trainer_of(steps=100, optimizer={"warmup": warmup})
    trainer.step = step
    assert trainer.learning_rate(3.0) == pytest.approx(3 * expected)


def test_components_and_functions_have_learning_rates_of_their_own():
    trainer, data = trainer_of(optimizer={"ci_learning_rate": 1e-2, "component_learning_rate": 1e-12})
    before = {name: value.clone() for name, value in state(trainer).items()}
    steps(trainer, data, 2)
    after = state(trainer)
    assert all((after[n] - before[n]).abs().max() < 1e-9 for n in before if not n.startswith("ci."))
    assert any((after[n] - before[n]).abs().max() > 1e-3 for n in before if n.startswith("ci."))


def test_gradients_are_clipped_where_the_config_says():
    trainer, data = trainer_of(optimizer={"grad_clip": 1e-6})
    steps(trainer, data, 1)
    parameters = [
        p for group in trainer.optimizer.param_groups for p in group["params"] if p.grad is not None
    ]
    norm = torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()
    assert norm.item() <= 1.01e-6


# --- losses in a step -----------------------------------------------------------------------------------------------


def test_a_steps_loss_is_the_weighted_sum_of_its_parts():
    trainer, data = trainer_of(steps=100)
    trainer.step = 10  # minimality warms up over 25 steps
    batch = data.everything()
    g = trainer.decomposition.importances(batch.inputs)
    p = losses.exponent(10, 100, 1.0, 0.5)
    minimality = losses.importance_minimality({s: upper(v) for s, v in g.gamma.items()}, batch.valid, p)
    faithful = losses.faithfulness(trainer.weights, trainer.components.V, trainer.components.U)
    figures = trainer.train_step(batch)
    assert figures["importance_minimality"] == pytest.approx(float(minimality), rel=1e-5)
    assert figures["faithfulness"] == pytest.approx(float(faithful), rel=1e-4, abs=1e-12)
    reconstruction = (
        figures["stochastic_reconstruction_uniform"] + figures["stochastic_reconstruction_level"]
    ) / 2 + figures["partial_reconstruction_uniform"]
    expected = reconstruction + 10 * float(faithful) + 0.05 * 0.4 * float(minimality)
    assert figures["loss"] == pytest.approx(expected, rel=1e-4)


def test_stochastic_masks_with_every_importance_one_and_exact_components_cost_nothing():
    trainer, data = trainer_of(C=16, start={"kind": "svd"}, ci={"kind": "shared_mlp", "start": 1.0})
    batch = data.everything()
    ones = {site: torch.ones_like(g) for site, g in trainer.decomposition.importances(batch.inputs).g.items()}
    total, _ = trainer.reconstruction(batch, ones)
    assert float(total) < 1e-4


def test_reconstruction_falls_to_the_targets_weights_where_nothing_may_be_replaced():
    """The first position alone is masked in no pass: with one-token prompts the loss is 0 whatever the masks."""
    prompts = [{"text": "w1"}, {"text": "w2"}]
    trainer, data = trainer_of(
        data={"kind": "prompts", "prompts": prompts}, reconstruction={"first_position": "unmasked"}
    )
    batch = data.everything()
    g = trainer.decomposition.importances(batch.inputs).g
    assert all((value == 0).all() for value in g.values())
    assert abs(float(trainer.reconstruction(batch, g)[0])) < 1e-6


def test_padding_changes_no_figure_of_a_step():
    one, data = trainer_of()
    other, padded = trainer_of()
    wide = padded.everything()
    inputs = {s: x.clone() for s, x in wide.inputs.items()}
    for x in inputs.values():
        x[~wide.valid] = 1e3  # what stands on padding must not matter
    from dataclasses import replace

    first = one.train_step(data.everything())
    second = other.train_step(replace(wide, inputs=inputs))
    for name in ("importance_minimality", "l0", "faithfulness"):
        assert second[name] == pytest.approx(first[name], rel=1e-5)


def test_only_faithfulness_is_a_run_too():
    trainer, data = trainer_of(losses=[{"kind": "faithfulness"}])
    assert steps(trainer, data, 1)[0]["loss"] > 0


def test_a_reconstruction_without_samples_is_refused():
    with pytest.raises(ConfigError, match="at least one of uniform and level must be above 0"):
        tiny.run_config(losses=[{"kind": "stochastic_reconstruction", "uniform": 0, "level": 0}])


def test_a_faithfulness_warm_up_brings_it_down():
    trainer, _ = trainer_of(C=16, start={"kind": "random"})
    before = float(losses.faithfulness(trainer.weights, trainer.components.V, trainer.components.U))
    after = trainer.warm_up_faithfulness(200)
    assert after == float(losses.faithfulness(trainer.weights, trainer.components.V, trainer.components.U))
    assert after < before * 1e-3


def test_training_lowers_what_it_trains_on():
    trainer, data = trainer_of(steps=60, C="auto", start={"kind": "data"})
    figures = steps(trainer, data, 60)
    assert figures[-1]["l0"] < figures[0]["l0"]


# --- repetition -----------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others():
    runs = {}
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        trainer, data = trainer_of(seed=seed, start={"kind": "random"})
        runs[name] = (steps(trainer, data, 4), state(trainer))
    assert runs["one"][0] == runs["same"][0]
    assert all(torch.equal(runs["one"][1][n], runs["same"][1][n]) for n in runs["one"][1])
    assert runs["one"][0] != runs["other"][0]


# --- pruning --------------------------------------------------------------------------------------------------------


def test_pruning_drops_what_is_dead_on_all_the_data_and_keeps_the_rest_in_place():
    trainer, data = trainer_of()
    with torch.no_grad():
        for gamma in trainer.ci.gammas:
            gamma.last.bias[0, 2] = -50.0  # component 2 of every site is dead
    before = {site: U.clone() for site, U in trainer.components.U.items()}
    assert trainer.prune(data.everything(), 0.02) == len(trainer.sites)
    for site in trainer.sites:
        assert trainer.components.index[site] == [0, 1, 3, 4, 5]
        assert torch.equal(trainer.components.U[site], before[site][[0, 1, 3, 4, 5]])
    assert trainer.trained == dict.fromkeys(trainer.sites, 6)
    steps(trainer, data, 2)


def test_pruning_keeps_adams_moments_of_what_remains():
    trainer, data = trainer_of()
    steps(trainer, data, 3)
    with torch.no_grad():
        for gamma in trainer.ci.gammas:
            gamma.last.bias[0, 2] = -50.0
    site = trainer.sites[0]
    moment = trainer.optimizer.state[trainer.components.U_list[0]]["exp_avg"].clone()
    trainer.prune(data.everything(), 0.02)
    kept = trainer.optimizer.state[trainer.components.U_list[0]]
    assert torch.equal(kept["exp_avg"], moment[trainer.components.index[site]])
    assert int(kept["step"]) == 3


def test_a_component_on_at_too_few_positions_is_dropped_though_it_is_fully_on_there():
    trainer, data = trainer_of(C=6)
    batch = data.everything()
    valid = batch.masked(trainer.decomposition.first_unmasked)
    g = {
        site: value.clone().zero_()
        for site, value in trainer.decomposition.importances(batch.inputs).g.items()
    }
    rows = valid.nonzero()
    for value in g.values():
        value[rows[0][0], rows[0][1]] = 1.0  # one odd position, where everything is on
        for row, at in rows[1:3]:
            value[row, at, 2] = 0.5
    trainer.decomposition.importances = lambda *_: SimpleNamespace(g=g)  # type: ignore[method-assign,assignment]
    assert trainer.prune(batch, 0.02, positions=3) == 5 * len(trainer.sites)
    assert all(index == [2] for index in trainer.components.index.values())


def test_a_site_may_be_pruned_to_nothing_and_the_run_goes_on():
    trainer, data = trainer_of()
    with torch.no_grad():
        trainer.ci.gammas[0].last.bias.fill_(-50.0)
    trainer.prune(data.everything(), 0.02)
    assert trainer.components.index[trainer.sites[0]] == []
    assert all(math.isfinite(value) for value in steps(trainer, data, 2)[-1].values())


# --- what cannot continue ---------------------------------------------------------------------------------------


def test_a_run_that_diverges_stops_with_the_step_and_what_to_lower():
    trainer, data = trainer_of(optimizer={"component_learning_rate": 1e30})
    with pytest.raises(
        DivergedError, match=r"diverged at step 1 of 12: the loss .*component_learning_rate” \(1e\+30\)"
    ):
        steps(trainer, data, 3)


def test_parameters_that_are_no_numbers_are_seen_before_they_are_stored():
    trainer, _ = trainer_of()
    trainer.check_finite()
    with torch.no_grad():
        next(trainer.ci.parameters()).view(-1)[0] = float("nan")
    with pytest.raises(DivergedError, match="importance functions are not a finite number"):
        trainer.check_finite()


def test_the_faithfulness_warm_up_can_be_left():
    class Left(Exception):
        pass

    asked = []

    def check_stop() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise Left

    with pytest.raises(Left):
        trainer_of(start={"kind": "random"})[0].warm_up_faithfulness(200, check_stop)


# --- gradients ------------------------------------------------------------------------------------------------------


def norms(trainer: Trainer) -> list[float]:
    """The gradient's norm in every V and U and in every importance function."""
    parts = [[p] for p in [*trainer.components.V_list, *trainer.components.U_list]]
    parts += [list(gamma.parameters()) for gamma in trainer.ci.gammas]
    grads = [[p.grad for p in part if p.grad is not None] for part in parts]
    return [float(torch.stack([grad.norm() for grad in part]).norm()) for part in grads]


def test_gradients_clipped_by_part_are_scaled_down_each_by_itself():
    free, free_data = trainer_of()
    steps(free, free_data, 1)
    whole = norms(free)
    limit = sorted(whole)[len(whole) // 2]
    clipped, data = trainer_of(optimizer={"grad_clip": limit, "grad_clip_by": "part"})
    steps(clipped, data, 1)
    assert norms(clipped) == pytest.approx([min(norm, limit) for norm in whole], rel=1e-4)


def test_gradients_clipped_together_keep_their_proportions():
    free, free_data = trainer_of()
    steps(free, free_data, 1)
    whole = norms(free)
    clipped, data = trainer_of(optimizer={"grad_clip": 1e-3})
    steps(clipped, data, 1)
    length = math.sqrt(sum(norm**2 for norm in whole))
    assert norms(clipped) == pytest.approx([norm * 1e-3 / length for norm in whole], rel=1e-3)


def test_gradients_far_below_adams_epsilon_hardly_move_anything():
    moved = []
    for epsilon in (1e-8, 1e4):
        trainer, data = trainer_of(optimizer={"epsilon": epsilon})
        before = {name: value.clone() for name, value in state(trainer).items()}
        steps(trainer, data, 1)
        moved.append(max(float((value - before[name]).abs().max()) for name, value in state(trainer).items()))
    assert moved[0] > 1e-3
    assert moved[1] < 1e-4 * moved[0]
