"""SPEC 7 to 9, and the adversarial loss: what a step's passes are and what they cost."""

import pytest
import torch

from tests.spd.test_training import state, steps, trainer_of
from workers.spd.config import AdversaryOptions, ConfigError
from workers.spd.evaluation.metrics import Evaluator
from workers.spd.method.adversary import Adversary
from workers.spd.method.processes import World
from workers.spd.method.reconstruction import passes_of, reconstruction
from workers.spd.run.checkpoint import load_checkpoint, save_checkpoint
from workers.spd.targets.masks import masked

ADVERSARIAL = [
    {"kind": "faithfulness", "coefficient": 10},
    {"kind": "stochastic_reconstruction", "uniform": 1, "level": 0},
    {"kind": "adversarial_reconstruction", "coefficient": 0.5, "step_size": 0.2, "after": 0.25},
    {"kind": "importance_minimality", "coefficient": 0.05},
]


def test_passes_share_their_losss_weight():
    trainer, _ = trainer_of(
        losses=[
            {"kind": "stochastic_reconstruction", "coefficient": 3, "uniform": 1, "level": 2},
            {"kind": "partial_reconstruction", "coefficient": 0.5, "uniform": 2},
            {"kind": "importance_minimality"},
        ]
    )
    passes = passes_of(trainer.config.losses, 0.0)
    assert [(item.name, item.weight) for item in passes] == [
        ("stochastic_reconstruction_uniform", 1.0),
        ("stochastic_reconstruction_level", 1.0),
        ("stochastic_reconstruction_level", 1.0),
        ("partial_reconstruction_uniform", 0.25),
        ("partial_reconstruction_uniform", 0.25),
    ]


@pytest.mark.parametrize(
    ("distance", "positions"), [("kl", "all"), ("mse", "all"), ("kl", "answer"), ("mse", "answer")]
)
def test_a_uniform_pass_is_the_distance_under_masks_drawn_from_the_generator(distance, positions):
    losses = [{"kind": "stochastic_reconstruction", "uniform": 1, "level": 0}]
    trainer, data = trainer_of(losses=losses, reconstruction={"distance": distance, "positions": positions})
    batch = data.everything()
    g = {s: v.detach() for s, v in trainer.decomposition.importances(batch.inputs).g.items()}
    before = trainer.generator.get_state()
    total, figures = trainer.reconstruction(batch, g)
    trainer.generator.set_state(before)
    sizes = [v.shape[-1] + 1 for v in g.values()]
    r = torch.rand(*batch.tokens.shape, sum(sizes), generator=trainer.generator).split(sizes, -1)
    plan = trainer.decomposition.site_masks(
        {s: v + (1 - v) * own[..., :-1] for (s, v), own in zip(g.items(), r, strict=True)},
        {s: own[..., -1:] for s, own in zip(g, r, strict=True)},
    )
    with masked(plan), torch.no_grad():
        log_q = torch.log_softmax(trainer.target.logits(batch.tokens, batch.keep), -1)
    if distance == "kl":
        each = (batch.log_probs.exp() * (batch.log_probs - log_q)).sum(-1)
    else:
        each = (batch.log_probs - log_q).pow(2).mean(-1)
    expected = each[batch.counted].mean()
    assert float(total) == pytest.approx(float(expected), rel=1e-4)
    assert figures == {"stochastic_reconstruction_uniform": pytest.approx(float(expected), rel=1e-4)}


def test_the_distance_of_the_config_is_the_one_trained_on():
    runs = [trainer_of(reconstruction={"distance": distance}) for distance in ("kl", "mse")]
    kl, mse = (steps(trainer, data, 1)[0]["stochastic_reconstruction_uniform"] for trainer, data in runs)
    assert kl != pytest.approx(mse, rel=0.01)


def test_a_partial_pass_leaves_most_prompts_closer_to_the_target():
    losses = [
        {"kind": "stochastic_reconstruction", "uniform": 8, "level": 0},
        {"kind": "partial_reconstruction", "uniform": 8, "route": "site"},
    ]
    trainer, data = trainer_of(losses=losses, ci={"kind": "shared_mlp", "start": 0.0})
    figures = steps(trainer, data, 1)[0]
    assert figures["partial_reconstruction_uniform"] < figures["stochastic_reconstruction_uniform"]


# --- adversarial ----------------------------------------------------------------------------------------------------


def test_the_adversary_starts_after_its_share_of_the_run_and_then_stays():
    trainer, data = trainer_of(losses=ADVERSARIAL, steps=8)
    figures = steps(trainer, data, 4)
    assert ["adversarial_reconstruction" in line for line in figures] == [False, False, True, True]
    assert trainer.adversary is not None


def test_adversarial_sources_move_by_sign_steps_up_the_loss_and_stay_between_zero_and_one():
    trainer, data = trainer_of(losses=ADVERSARIAL, steps=8)
    trainer.step = 4
    steps(trainer, data, 1)
    assert trainer.adversary is not None
    before = {site: value.detach().clone() for site, value in trainer.adversary.sources.items()}
    steps(trainer, data, 1)
    for site, source in trainer.adversary.sources.items():
        assert source.shape == (5, trainer.components.V[site].shape[1] + 1)
        moved = (source - before[site]).abs()
        inside = (source > 0) & (source < 1) & (moved > 0)
        torch.testing.assert_close(moved[inside], torch.full_like(moved[inside], 0.2))
        assert source.min() >= 0
        assert source.max() <= 1


def test_an_adversary_left_to_climb_finds_worse_masks_than_chance():
    trainer, data = trainer_of(losses=ADVERSARIAL, steps=8, ci={"kind": "shared_mlp", "start": 0.2})
    batch = data.everything()
    g = {s: v.detach() for s, v in trainer.decomposition.importances(batch.inputs).g.items()}
    passes = passes_of(trainer.config.losses, 1.0)[-1:]
    adversary = Adversary.drawn(g, torch.Generator().manual_seed(0), AdversaryOptions(step_size=0.1))
    values = []
    for _ in range(15):
        total, figures = reconstruction(
            trainer.decomposition, batch, g, passes, trainer.generator, adversary=adversary
        )
        total.backward()
        adversary.ascend(World())
        values.append(figures["adversarial_reconstruction"])
    assert values[-1] > 1.2 * values[0]


@pytest.mark.parametrize(
    ("shared", "shape"), [("batch", (5, 7)), ("batch_and_positions", (1, 7)), ("nothing", (3, 5, 7))]
)
def test_sources_are_shared_over_what_the_options_say(shared, shape):
    trainer, data = trainer_of()
    g = trainer.decomposition.importances(data.everything().inputs).g
    adversary = Adversary.drawn(g, torch.Generator(), AdversaryOptions(shared=shared))
    assert {tuple(source.shape) for source in adversary.sources.values()} == {shape}


def test_the_less_its_sources_share_the_worse_the_masks_an_adversary_finds():
    trainer, data = trainer_of(ci={"kind": "shared_mlp", "start": 0.2})
    evaluator = Evaluator(trainer.decomposition, data.everything(), 0.1)
    worst = [
        evaluator.kl_adversarial(options=AdversaryOptions(shared=shared))  # type: ignore[arg-type]
        for shared in ("batch_and_positions", "batch", "nothing")
    ]
    assert worst == sorted(worst)
    assert worst[0] < worst[2]


def test_an_adversary_without_the_remainder_leaves_it_off():
    trainer, data = trainer_of()
    g = trainer.decomposition.importances(data.everything().inputs).g
    adversary = Adversary.drawn(g, torch.Generator(), AdversaryOptions(remainder=False))
    before = {site: source.detach().clone() for site, source in adversary.sources.items()}
    for _ in adversary.climb(lambda sources: torch.cat([r.flatten() for r in sources.values()]).sum(), 3):
        pass
    for site, source in adversary.sources.items():
        assert not source[..., -1].any()
        torch.testing.assert_close(source[..., :-1], (before[site][..., :-1] + 0.3).clamp_max(1))


@pytest.mark.parametrize("shared", ["batch", "batch_and_positions", "nothing"])
def test_a_fresh_adversary_climbs_before_each_step_and_is_harder_with_more_steps(shared):
    figures = []
    for count in (1, 12):
        losses = [
            {"kind": "stochastic_reconstruction"},
            {
                "kind": "adversarial_reconstruction",
                "restart": 1,
                "shared": shared,
                "steps": count,
                "after": 0,
            },
        ]
        trainer, data = trainer_of(losses=losses, ci={"kind": "shared_mlp", "start": 0.2})
        figures.append(steps(trainer, data, 1)[0]["adversarial_reconstruction"])
    assert figures[1] > 1.2 * figures[0]


def test_a_persistent_adversary_may_take_further_steps_before_each_step():
    losses = [{"kind": "adversarial_reconstruction", "steps": 4, "step_size": 0.01, "after": 0}]
    trainer, data = trainer_of(losses=losses, steps=8)
    steps(trainer, data, 1)
    assert trainer.adversary is not None
    before = {site: value.detach().clone() for site, value in trainer.adversary.sources.items()}
    steps(trainer, data, 1)
    moved = [(source - before[site]).abs().max() for site, source in trainer.adversary.sources.items()]
    assert float(max(moved)) == pytest.approx(0.04, abs=1e-6)


def test_sources_of_one_prompt_alone_cannot_be_persistent():
    with pytest.raises(ConfigError, match="gives each prompt sources of its own"):
        trainer_of(losses=[{"kind": "adversarial_reconstruction", "shared": "nothing"}])


def test_an_adversary_is_pruned_with_the_components():
    adversary = Adversary({"a": torch.tensor([[0.1, 0.2, 0.3, 0.9]])})
    assert adversary.kept({"a": [0, 2]}).sources["a"].tolist() == [pytest.approx([0.1, 0.3, 0.9])]
    assert adversary.kept({"a": []}).sources["a"].tolist() == [pytest.approx([0.9])]


def test_a_run_with_an_adversary_resumes_with_the_same_numbers(tmp_path):
    whole, data = trainer_of(losses=ADVERSARIAL, steps=8)
    steps(whole, data, 8)
    first, data = trainer_of(losses=ADVERSARIAL, steps=8)
    steps(first, data, 5)
    save_checkpoint(tmp_path, first, seconds=0.0, log_lines=0)
    second, data = trainer_of(losses=ADVERSARIAL, steps=8)
    assert load_checkpoint(tmp_path, second) is not None
    steps(second, data, 3)
    assert all(torch.equal(value, state(whole)[name]) for name, value in state(second).items())
    assert whole.adversary is not None
    assert second.adversary is not None
    for site, source in whole.adversary.sources.items():
        assert torch.equal(source, second.adversary.sources[site])


# --- precision ------------------------------------------------------------------------------------------------------


def test_bf16_passes_come_near_the_float32_ones_and_losses_stay_float32():
    figures = {}
    for precision in ("float32", "bf16"):
        trainer, data = trainer_of(precision=precision)
        batch = data.everything()
        total, _ = trainer.reconstruction(batch, trainer.decomposition.importances(batch.inputs).g)
        assert total.dtype == torch.float32
        figures[precision] = steps(trainer, data, 3)[-1]
        assert all(p.dtype == torch.float32 for p in trainer.components.parameters())
    for name, value in figures["float32"].items():
        assert figures["bf16"][name] == pytest.approx(value, rel=0.1, abs=0.02)
