"""SPEC 3: embeddings, fused and tied matrices as sites, and what is refused."""

import pytest
import torch

from tests.spd import tiny
from tests.spd.test_training import TOKENIZER
from workers.spd.config import ConfigError
from workers.spd.evaluation.metrics import Evaluator
from workers.spd.method.training import Trainer
from workers.spd.prompts.kinds import training_data
from workers.spd.prompts.training_data import TrainingData
from workers.spd.run.decompose import decompose
from workers.spd.targets.sites import check_sites, slice_names, tied_notes, write_slices
from workers.spd.targets.target import TargetError

C_ATTN = "transformer.h.0.attn.c_attn"


def trainer_of(kind: str, sites: list[str], **changes) -> tuple[Trainer, TrainingData]:
    config = tiny.run_config(sites=sites, **changes)
    target = tiny.target_of(tiny.MODELS[kind]())
    names = target.sites(config.sites)
    target.attach(names)
    check_sites(target, names)
    data = training_data(config, target, TOKENIZER)
    return Trainer(config, target, names, data.everything()), data


def test_a_component_of_a_fused_matrix_says_where_it_writes_most():
    U = torch.zeros(4, 12)
    U[0, :4], U[1, 4:8], U[2, 8:], U[3] = 1, 1, 1, torch.arange(12.0)
    assert write_slices(C_ATTN, U) == ["query", "key", "value", "value"]
    assert slice_names(C_ATTN) == ("query", "key", "value")


def test_a_matrix_that_is_not_fused_has_no_slices():
    assert write_slices("model.layers.0.self_attn.q_proj", torch.ones(2, 12)) == [None, None]


@pytest.mark.parametrize(
    ("kind", "sites"),
    [
        ("llama", ["model.embed_tokens", "model.layers.*.self_attn.?_proj", "model.layers.*.mlp.*_proj"]),
        (
            "gpt2",
            ["transformer.wte", "transformer.wpe", "transformer.h.*.attn.c_*", "transformer.h.*.mlp.c_*"],
        ),
    ],
)
def test_every_matrix_of_a_model_can_be_a_site_at_once(kind, sites):
    trainer, data = trainer_of(kind, sites, C="auto", start={"kind": "data"})
    evaluator = Evaluator(trainer.decomposition, data.everything(), 0.1)
    assert evaluator.kl_components_only() < 1e-5
    assert evaluator.kl_everything_on() < 1e-6
    figures = [trainer.train_step(data.next(trainer.generator)) for _ in range(2)]
    assert all(value == value for value in figures[-1].values())


def test_an_embeddings_data_start_has_one_component_a_token_that_occurs():
    trainer, _ = trainer_of("llama", ["model.embed_tokens"], C="auto", start={"kind": "data"})
    assert trainer.trained == {"model.embed_tokens": len({1, 2, 3, 4, 6, 7, 9, 10, 11})}


def test_functions_that_read_inputs_cannot_read_token_ids():
    with pytest.raises(ConfigError, match=r"ci\.reads “input” cannot read model\.embed_tokens"):
        trainer_of("llama", ["model.embed_tokens"], ci={"kind": "shared_mlp", "reads": "input"})


def test_the_unembedding_is_refused_in_a_sentence():
    for kind, site in (("llama", "lm_head"), ("gpt2", "lm_head"), ("induction", "unembed")):
        target = tiny.target_of(tiny.MODELS[kind]())
        target.attach([site])
        with pytest.raises(TargetError, match=f"“{site}” cannot be a site: it writes the logits"):
            check_sites(target, [site])


def test_a_module_the_model_never_runs_is_refused():
    model = tiny.llama_model()
    model.model.spare = torch.nn.Linear(2, 2)
    target = tiny.target_of(model)
    target.attach(["model.spare"])
    with pytest.raises(TargetError, match="the model does not run it on text"):
        check_sites(target, ["model.spare"])


def test_a_module_that_runs_twice_is_refused():
    model = tiny.llama_model()
    model.model.layers[1].mlp.down_proj = model.model.layers[0].mlp.down_proj
    site = "model.layers.0.mlp.down_proj"
    target = tiny.target_of(model)
    target.attach([site])
    with pytest.raises(TargetError, match="runs it 2 times in a pass"):
        check_sites(target, [site])


def test_tied_weights_are_said_and_untied_ones_are_not():
    gpt2, llama = tiny.tiny_target("gpt2"), tiny.tiny_target("llama")
    assert tied_notes(gpt2, ["transformer.wte", C_ATTN]) == [
        "transformer.wte shares its weight with lm_head. The decomposition acts on transformer.wte alone; lm_head "
        "keeps the target's weight."
    ]
    assert tied_notes(llama, ["model.embed_tokens"]) == []


def test_a_run_over_gpt2_says_slices_tied_weights_and_the_cost_of_its_functions(tmp_path):
    folder = tiny.saved(tiny.gpt2_model(), tmp_path / "gpt2")
    config = tiny.run_config(
        folder, sites=["transformer.wte", "transformer.h.0.attn.c_attn"], steps=2, start={"kind": "svd"}
    )
    artifact = decompose(config, tmp_path / "out", home=tmp_path)
    columns = artifact.columns
    fused = [s for s, site in zip(columns.slice, columns.site, strict=True) if site == C_ATTN]
    assert len(fused) == 6
    assert set(fused) <= {"query", "key", "value"}
    assert all(s is None for s, site in zip(columns.slice, columns.site, strict=True) if site != C_ATTN)
    notes = " ".join(artifact.manifest.notes)
    assert "transformer.wte shares its weight with lm_head" in notes
    count = 2 * (6 * 8 + 8 + 8 * 6 + 6)
    assert f"(shared_mlp) have {count} parameters" in notes


def test_a_check_that_watches_no_single_token_is_refused_before_training(tmp_path):
    folder = tiny.saved(tiny.llama_model(), tmp_path / "m")
    check = {"groups": ["w1"], "prompt": "w1 w2", "answer": "w1 w2", "role": "target"}
    with pytest.raises(ConfigError, match=r"checks\.0: the answer “w1 w2” is not a single token"):
        decompose(tiny.run_config(folder, checks=[check]), tmp_path / "out", home=tmp_path)
