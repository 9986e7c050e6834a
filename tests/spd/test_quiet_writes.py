"""SPEC 27: writes that other text does not notice."""

import pytest
import torch

from tests.spd import tiny
from tests.spd.test_subject import PROMPTS, SITES
from tests.spd.test_training import trainer_of
from workers.spd.config import QuietWrites
from workers.spd.evaluation.rest import rest_figures
from workers.spd.keys import ComponentKey
from workers.spd.method.quiet_writes import output_gradients, quiet_writes
from workers.spd.prompts.batches import clean_batch
from workers.spd.statistics.needed import Suppressions


def test_the_gradients_foretell_what_a_small_change_of_a_write_costs():
    """½ ε² uᵀ F u is the KL, summed over all positions, of adding εu at one position."""
    site = SITES[0]
    target = tiny.target_of(tiny.llama_model())
    target.attach(list(SITES))
    batch = clean_batch(target, [[3, 1, 4, 1, 5]] * 64, "all")
    u, epsilon, at = torch.randn(16, generator=torch.Generator().manual_seed(0)), 0.01, 2
    generator = torch.Generator().manual_seed(1)
    drawn = [output_gradients(target, SITES, batch, generator)[site][:, at] @ u for _ in range(80)]

    def add(module, args, output):
        output = output.clone()
        output[:, at] += epsilon * u
        return output

    hook = target.model.get_submodule(site).register_forward_hook(add)
    after = target.logits(batch.tokens[:1], batch.keep).log_softmax(-1)
    hook.remove()
    kl = (batch.log_probs[:1].exp() * (batch.log_probs[:1] - after)).sum()
    assert 0.5 * epsilon**2 * float(torch.cat(drawn).pow(2).mean()) == pytest.approx(float(kl), rel=0.1)


def quietened(weight: float):
    """Figures before and after: KL on other text with every component off, and the fall of the prompts' answers."""
    trainer, data = trainer_of(
        C="auto", start={"kind": "data", "contexts": 0}, sites=SITES,
        data={"kind": "prompts", "prompts": PROMPTS}, reconstruction={"remainder": "subject"},
    )  # fmt: skip
    made, batch = trainer.decomposition, data.everything()
    rest = [clean_batch(made.target, tiny.tokens(24, 8, seed).tolist(), "all") for seed in (5, 6)]
    other = [clean_batch(made.target, tiny.tokens(24, 8, 7).tolist(), "all")]
    keys = [ComponentKey(site, place) for site, U in made.components.U.items() for place in range(len(U))]

    def figures() -> tuple[float, float]:
        fall = Suppressions.on(made, batch, [prompt.answer for prompt in data.of_split("train")]).drops(
            [keys]
        )
        return rest_figures(made, other, 0.1)["kl_rest_off"], fall[0]

    before = figures()
    config = QuietWrites(weight=weight, draws=64)
    writes = quiet_writes(made, batch, rest, config, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for site, U in made.components.U.items():
            U.copy_(writes[site])
    return before, figures()


def test_other_text_misses_less_and_the_prompts_as_much():
    (loud, fall), (quiet, after) = quietened(weight=0.1)
    assert quiet < 0.8 * loud
    assert after >= 0.8 * fall > 0


def test_without_weight_nothing_changes():
    before, after = quietened(weight=1e-9)
    assert after == pytest.approx(before, rel=1e-4)
