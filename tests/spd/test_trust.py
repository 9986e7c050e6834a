"""How far a decomposition describes a prompt: the figures beside the plainest way to compute them."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from tests.spd import tiny
from workers.spd.ablation import trust as module
from workers.spd.ablation.engine import AblationEngine
from workers.spd.ablation.trust import trust
from workers.spd.evaluation.metrics import Evaluator
from workers.spd.method.decomposition import mean_counted
from workers.spd.prompts.batches import clean_batch

IDS = (3, 1, 4, 1, 5, 9, 2, 6)
THRESHOLD = 0.1


@cache
def engine(kind: str, first_unmasked: bool = False) -> AblationEngine:
    target = tiny.tiny_target(kind)
    return AblationEngine(tiny.decomposition_of(target, tiny.SITES[kind], first_unmasked=first_unmasked))


def mean(values: list[float] | None) -> float:
    assert values
    return sum(values) / len(values)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "induction"])
@pytest.mark.parametrize("first_unmasked", [False, True])
def test_the_figures_of_a_prompt_are_those_of_a_runs_evidence_on_it(kind, first_unmasked):
    made = engine(kind, first_unmasked)
    batch = clean_batch(made.target, [list(IDS)], "all")
    evaluator = Evaluator(made.decomposition, batch, THRESHOLD)
    figures = trust(made, IDS, THRESHOLD, rest=True)
    assert mean(figures.kl) == pytest.approx(evaluator.kl_ci_masks(), rel=1e-4, abs=1e-7)
    assert mean(figures.kl_off) == pytest.approx(evaluator.kl_everything_off(), rel=1e-4, abs=1e-7)
    on = {site: torch.ones_like(g[..., :1]) for site, g in evaluator.g.items()}
    masks = made.decomposition.site_masks(evaluator.g, on)
    with torch.no_grad():
        rest = float(mean_counted(made.decomposition.kl(batch, masks)[0], batch.counted))
    assert mean(figures.kl_rest) == pytest.approx(rest, rel=1e-4, abs=1e-7)
    positions = len(IDS) - first_unmasked
    assert figures.fires_per_position * len(IDS) == pytest.approx(
        sum(evaluator.l0_by_site().values()) * positions
    )
    assert figures.fires == evaluator.alive()


def test_the_figures_are_kept_with_the_prompt_and_the_other_text_is_added_when_asked_for():
    made = AblationEngine(engine("llama").decomposition)
    first = trust(made, IDS, THRESHOLD)
    assert (first.cached, first.kl_rest) == (False, None)
    assert trust(made, IDS, THRESHOLD).cached
    more = trust(made, IDS, THRESHOLD, rest=True)
    assert not more.cached
    assert more.kl == pytest.approx(first.kl, rel=1e-4, abs=1e-7)
    assert trust(made, IDS, 2.0, rest=True).fires == 0, "the threshold is no part of what is kept"


def test_a_prompt_too_long_for_one_pass_gives_the_same_figures(monkeypatch):
    decomposition = engine("gpt2").decomposition
    together = trust(AblationEngine(decomposition), IDS, THRESHOLD, rest=True)
    monkeypatch.setattr(module, "BATCH_BYTES", 1)
    apart = trust(AblationEngine(decomposition), IDS, THRESHOLD, rest=True)
    for one, other in (
        (together.kl, apart.kl),
        (together.kl_off, apart.kl_off),
        (together.kl_rest, apart.kl_rest),
    ):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-7)
