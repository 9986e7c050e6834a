"""SPEC 27: the remainder masked at the subject of a prompt only."""

import pytest
import torch

from tests.spd import tiny
from tests.spd.test_training import TOKENIZER, trainer_of
from workers.spd.ablation.engine import AblationEngine
from workers.spd.ablation.regimes import RegimeRun
from workers.spd.ablation.trust import trust
from workers.spd.artifact import HarvestGroup
from workers.spd.config import ConfigError, PromptData
from workers.spd.evaluation.metrics import Evaluator
from workers.spd.keys import ComponentKey
from workers.spd.method.mask_sources import random_sources
from workers.spd.prompts.batches import Prompt, clean_batch, subject_of
from workers.spd.queries import AblationQuery, RegimeSpec
from workers.spd.statistics.prompt_statistics import _of_the_same_name

SITES = ("model.layers.0.mlp.down_proj", "model.layers.1.mlp.gate_proj")
PROMPTS = [
    {"text": "w5 w2 w7 w1", "answer": "w3", "fact": "w2 w7"},
    {"text": "w4 w9 w6", "answer": "w8", "fact": "w9"},
]
BY_SUBJECT = {"remainder": "subject", "positions": "answer"}


def by_subject(**changes):
    data = {"kind": "prompts", "prompts": PROMPTS}
    return trainer_of(**{"data": data, "reconstruction": BY_SUBJECT, "sites": SITES, **changes})


def made(start: float):
    """Two sites whose importances are the same everywhere, and two prompts with their subjects."""
    target = tiny.target_of(tiny.llama_model())
    decomposition = tiny.decomposition_of(target, SITES, ci=tiny.SharedMLPCI(hidden=8, start=start))
    for gamma in decomposition.ci.gammas:
        gamma.get_submodule("last").get_parameter("weight").data.zero_()
    decomposition.names, decomposition.by_subject = [[2, 7], [9]], True
    batch = clean_batch(target, [[5, 2, 7, 1], [4, 9, 6]], "answer", [[1, 2], [1]])
    return decomposition, batch


@pytest.mark.parametrize(("fact", "places"), [("w2 w7", (1, 2)), ("w5", (0,)), ("w7 w9", ()), (None, ())])
def test_the_subject_is_the_tokens_that_hold_any_of_the_fact(fact, places):
    assert subject_of(PromptData(text="w5 w2 w7 w1", fact=fact), TOKENIZER, bos=False) == places
    shifted = subject_of(PromptData(text="w5 w2 w7 w1", fact=fact), TOKENIZER, bos=True)
    assert shifted == tuple(place + 1 for place in places)


def test_the_remainder_stays_on_outside_the_subject():
    _, batch = made(start=0.0)
    delta = batch.remainder({site: torch.zeros(2, 2, 4, 1) for site in SITES})
    expected = torch.tensor([[1.0, 0, 0, 1], [1, 0, 1, 1]])[None, ..., None].expand(2, 2, 4, 1)
    for value in delta.values():
        torch.testing.assert_close(value, expected)


def test_everything_off_is_the_model_without_these_matrices_at_the_subject():
    decomposition, batch = made(start=1.0)
    for U in decomposition.components.U_list:
        U.data.zero_()  # outside the subject the components are off, too
    rows = torch.arange(2)

    def cut(module, args, output):
        output = output.clone()
        output[0, 1:3], output[1, 1] = 0, 0
        return output

    target = decomposition.target
    hooks = [target.model.get_submodule(site).register_forward_hook(cut) for site in SITES]
    logits = target.logits(batch.tokens, torch.arange(4))[rows, batch.answer_at]
    for hook in hooks:
        hook.remove()
    before = target.logits(batch.tokens, torch.arange(4))[rows, batch.answer_at].log_softmax(-1)
    kl = (before.exp() * (before - logits.log_softmax(-1))).sum(-1).mean()
    assert float(kl) > 1e-3
    assert Evaluator(decomposition, batch, 0.1).kl_everything_off() == pytest.approx(float(kl), rel=1e-4)


def test_a_data_start_takes_the_subjects_tokens_alone_and_reproduces_them():
    trainer, data = by_subject(C="auto", start={"kind": "data", "contexts": 0})
    assert [V.shape[1] for V in trainer.components.V.values()] == [3, 3]
    assert Evaluator(trainer.decomposition, data.everything(), 0.1).kl_components_only() < 1e-6


def test_a_step_asks_nothing_of_the_words_around_the_subject():
    """With components that say nothing, only the subject's own writing can be lost."""
    trainer, data = by_subject(losses=[{"kind": "stochastic_reconstruction", "uniform": 0, "level": 1}])
    everywhere, other = trainer_of(
        data={"kind": "prompts", "prompts": PROMPTS}, reconstruction={"positions": "answer"}, sites=SITES,
        losses=[{"kind": "stochastic_reconstruction", "uniform": 0, "level": 1}],
    )  # fmt: skip
    for one in (trainer, everywhere):
        for U in one.components.U_list:
            U.data.zero_()
    assert trainer.train_step(data.everything())["loss"] < everywhere.train_step(other.everything())["loss"]


def test_rows_and_trimming_keep_the_subject():
    _, batch = made(start=0.0)
    short = batch.rows(torch.tensor([1])).trimmed()
    assert short.subject is not None
    assert short.subject.tolist() == [[False, True, False]]


def test_a_typed_prompt_is_described_at_the_names_that_stand_in_it():
    decomposition = made(start=0.0)[0]
    for U in decomposition.components.U_list:
        U.data.zero_()
    assert decomposition.remainder_mask((5, 2, 7, 1, 9)).flatten().tolist() == [1, 0, 0, 1, 0]
    engine = AblationEngine(decomposition)
    silent, named = (trust(engine, ids, 0.1, rest=True) for ids in ((5, 2, 1, 7), (5, 2, 7, 1)))
    assert not silent.described
    assert max(silent.kl_off) < 1e-6
    assert named.described
    assert named.kl_off[0] < 1e-6 < 1e-4 < max(named.kl_off)
    batch = clean_batch(decomposition.target, [[5, 2, 7, 1]], "answer", [[1, 2]])
    assert named.kl_off[-1] == pytest.approx(
        Evaluator(decomposition, batch, 0.1).kl_everything_off(), rel=1e-4
    )


def test_so_are_its_other_masks():
    decomposition = made(start=0.0)[0]
    for U in decomposition.components.U_list:
        U.data.zero_()
    engine = AblationEngine(decomposition)
    for ids, changes in (((5, 2, 1, 7), False), ((5, 2, 7, 1), True)):
        run = RegimeRun(engine, AblationQuery(ids), RegimeSpec("stochastic", threshold=0.1))
        drawn = random_sources({s: f[None] for s, f in run.floor.items()}, torch.Generator().manual_seed(0))
        for sources in (None, [{site: value[0] for site, value in drawn.items()}]):
            assert torch.allclose(run.logits(sources)[0], run.clean.logits, atol=1e-4) != changes


def test_a_prompt_that_does_not_say_what_it_is_about_is_refused():
    nameless = [{"text": "w5 w2 w7 w1", "answer": "w3", "fact": "w9"}]
    with pytest.raises(ConfigError, match=r"“w5 w2 w7 w1” a `fact` that stands in it"):
        by_subject(data={"kind": "prompts", "prompts": nameless})


def test_running_text_has_no_subject(tmp_path):
    with pytest.raises(ConfigError, match="remainder “subject” goes with"):
        by_subject(data={"kind": "corpus", "path": str(tmp_path)}, start={"kind": "svd"})


def test_a_token_of_a_name_is_judged_beside_what_its_other_tokens_have_kept():
    judged = [
        HarvestGroup(name=w, token=w, components=[f"a:{place}"], why="")
        for place, w in enumerate(("w2", "w9"))
    ]
    asked = [Prompt(PromptData(text="w5 w2 w7 w1", fact="w2 w7"), [5, 2, 7, 1], 3, subject=(1, 2))]
    assert _of_the_same_name(judged, asked, TOKENIZER) == [ComponentKey("a", 0)]
