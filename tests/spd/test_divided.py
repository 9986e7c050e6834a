"""SPEC 7: a step's prompts shared out among its passes, and an adversary as strong as the one that judges."""

import itertools

import pytest
import torch

from tests.spd import tiny
from tests.spd.test_training import state, steps, trainer_of
from workers.spd.config import ConfigError, parse_config
from workers.spd.targets.masks import masked

LOSSES = [
    {"kind": "stochastic_reconstruction", "coefficient": 2, "uniform": 1, "level": 1},
    {
        "kind": "adversarial_reconstruction",
        "coefficient": 0.5,
        "after": 0,
        "shared": "batch_and_positions",
        "restart": 3,
    },
]
DIVIDED = {"passes": "divided"}


def test_each_prompt_meets_one_pass_with_masks_of_its_own():
    trainer, data = trainer_of(losses=LOSSES, reconstruction=DIVIDED, ci={"kind": "shared_mlp", "start": 0.3})
    trainer.step = 1
    batch = data.everything()
    assert len(batch.tokens) == 3
    g = {s: v.detach() for s, v in trainer.decomposition.importances(batch.inputs).g.items()}
    trainer.reconstruction(batch, g)  # draws the adversary
    assert trainer.adversary is not None
    before = trainer.generator.get_state()
    total, figures = trainer.reconstruction(batch, g)
    trainer.generator.set_state(before)
    sizes, seq = [v.shape[-1] + 1 for v in g.values()], batch.tokens.shape[1]
    r = torch.rand(2, seq, sum(sizes), generator=trainer.generator)
    level = torch.rand(2, 1, 1, generator=trainer.generator)
    r[1] = (r[1] < level[1]).float()
    sources = dict(zip(g, r.split(sizes, -1), strict=True))
    found = []
    for row in range(3):
        own = {
            s: trainer.adversary.sources[s].detach().expand(seq, -1) if row == 2 else sources[s][row]
            for s in g
        }
        plan = trainer.decomposition.site_masks(
            {s: g[s][row : row + 1] + (1 - g[s][row : row + 1]) * own[s][..., :-1] for s in g},
            {s: own[s][None, :, -1:] for s in g},
        )
        with masked(plan), torch.no_grad():
            log_q = torch.log_softmax(trainer.target.logits(batch.tokens[row : row + 1], batch.keep), -1)[0]
        kl = (batch.log_probs[row].exp() * (batch.log_probs[row] - log_q)).sum(-1)
        found.append(float(kl[batch.counted[row]].mean()))
    names = [
        "stochastic_reconstruction_uniform",
        "stochastic_reconstruction_level",
        "adversarial_reconstruction",
    ]
    assert figures == {name: pytest.approx(value, rel=1e-3) for name, value in zip(names, found, strict=True)}
    assert float(total.detach()) == pytest.approx(found[0] + found[1] + 0.5 * found[2], rel=1e-3)


def test_a_partial_pass_leaves_sites_to_the_target_for_its_own_prompts_only(monkeypatch):
    losses = [
        {"kind": "stochastic_reconstruction", "uniform": 2, "level": 0},
        {"kind": "partial_reconstruction", "uniform": 1, "route": "site"},
    ]
    trainer, data = trainer_of(losses=losses, reconstruction=DIVIDED)
    batch = data.everything()
    g = trainer.decomposition.importances(batch.inputs).g
    plan, seen = trainer.decomposition.site_masks, []

    def noted(mask, delta, replaced):
        seen.append(torch.stack([replaced[site].flatten(1).all(1) for site in g]))  # [sites, prompts]
        return plan(mask, delta, replaced)

    monkeypatch.setattr(trainer.decomposition, "site_masks", noted)
    for _ in range(20):
        trainer.reconstruction(batch, g)
    replaced = torch.stack(seen)
    assert replaced[:, :, :2].all()
    assert 0 < int(replaced[:, :, 2].sum()) < replaced[:, :, 2].numel()
    assert bool(replaced[:, :, 2].any(1).all())


def test_shared_sources_serve_all_positions_climb_and_start_afresh_after_so_many_steps():
    trainer, data = trainer_of(losses=LOSSES, reconstruction=DIVIDED, steps=8)
    seen = []
    for _ in range(6):
        steps(trainer, data, 1)
        assert trainer.adversary is not None
        seen.append({s: v.detach().clone() for s, v in trainer.adversary.sources.items()})
    for site, V in trainer.components.V.items():
        assert seen[0][site].shape == (1, V.shape[1] + 1)
        moved = [(after[site] - before[site]).abs().max() for before, after in itertools.pairwise(seen)]
        assert max(moved[0], moved[1], moved[3], moved[4]) <= 0.1 + 1e-6
        assert moved[2] > 0.1 + 1e-6


def test_a_divided_run_is_the_same_again():
    runs = [trainer_of(losses=LOSSES, reconstruction=DIVIDED, steps=8) for _ in range(2)]
    for trainer, data in runs:
        steps(trainer, data, 5)
    first, second = (state(trainer) for trainer, _ in runs)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_fewer_prompts_than_passes_are_refused():
    raw = tiny.run_config(losses=LOSSES).model_dump()
    raw["reconstruction"]["passes"] = "divided"
    raw["data"]["batch_size"] = 2
    with pytest.raises(ConfigError, match=r"2 prompts a step out among 3 passes"):
        parse_config(raw)
