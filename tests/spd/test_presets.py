"""Every preset over a real model runs end to end on random weights of its architecture, a few steps, tiny sizes."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.factories import BOS, KOBE, WOODS, tiny_tokenizer
from workers.spd.config import load_config, parse_config, preset_names, with_overrides
from workers.spd.run.decompose import decompose

VOCABULARY = tiny_tokenizer().get_vocab_size()
REAL = [name for name in preset_names() if load_config(name).target.kind in ("hub", "package")]


def random_model(name: str):
    torch.manual_seed(0)
    shared = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.3}
    if "gpt2" in name:
        return GPT2LMHeadModel(GPT2Config(n_embd=12, n_layer=2, n_head=2, n_positions=64, **shared))
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=18, intermediate_size=24, num_hidden_layers=2, num_attention_heads=9, num_key_value_heads=3,
            head_dim=2, max_position_embeddings=64, tie_word_embeddings=True, **shared,
        )
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_a_preset_runs_end_to_end_on_random_weights_of_its_shape(name, tmp_path):
    folder = tmp_path / "model"
    random_model(name).save_pretrained(folder, safe_serialization=True)
    PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer(), bos_token=BOS).save_pretrained(folder)
    prompts = [
        {"text": WOODS, "answer": " golf", "fact": "Tiger Woods"},
        {"text": KOBE, "answer": " basketball", "fact": "Kobe Bryant"},
        {"text": "Tiger Woods is", "answer": " an", "fact": "Tiger Woods", "split": "held_out"},
    ]
    data = with_overrides(
        load_config(name).model_dump(mode="json"),
        {"steps": 3, "checks": [], "prune": None, "eliminate": None},
    )
    if data["rest"] is not None:
        data["rest"]["start_windows"] = data["rest"]["text"]["evaluation"] = 8
        if data["rest"]["quiet_writes"] is not None:
            data["rest"]["quiet_writes"] |= {"windows": 8, "draws": 2}
    if data["data"]["kind"] == "facts":
        facts = {"Tiger Woods": " golf", "Kobe Bryant": " basketball"}
        names = {"name": "sport", "templates": ["{} is an American"], "held_out": ["{} was an American"]}
        data["data"] |= {"relations": [{**names, "facts": facts}], "rank": 10_000}
    else:
        data["data"]["prompts"] = prompts
    config = parse_config({**data, "target": {"kind": "folder", "path": str(folder)}})
    artifact = decompose(config, tmp_path / "out", home=tmp_path)
    figures = {metric.name: metric for metric in artifact.manifest.metrics}
    assert figures["kl_everything_on"].train == pytest.approx(0, abs=1e-6)
    assert figures["kl_stochastic"].held_out is not None
    layers = {
        site.name.split(".h.")[-1].split(".layers.")[-1].split(".")[0] for site in artifact.manifest.sites
    }
    assert layers >= {"0", "1"}
    if data["data"]["kind"] == "facts":
        assert artifact.manifest.facts is not None
        assert [row.kept for row in artifact.manifest.facts.rows] == [True, True]
    if name == "sports-smollm2-all":
        assert len(artifact.manifest.sites) == 1 + 2 * 7
    if name == "sports-gpt2":
        assert len(artifact.manifest.sites) == 2 * 4
        assert {s for s in artifact.columns.slice if s} <= {"query", "key", "value"}
