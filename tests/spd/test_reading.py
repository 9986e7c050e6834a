"""Which models are taken, which are refused in a sentence, and when two of them are the same."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertLMHeadModel,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GPT2Config,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
)

from tests.spd import tiny
from workers.spd.ablation.engine import AblationEngine
from workers.spd.artifact import ArtifactError
from workers.spd.config import FolderSource
from workers.spd.run.decompose import decompose
from workers.spd.targets import reading
from workers.spd.targets.target import Target, TargetError, ensure_target, load_target

IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])


def loaded(folder: Path, home: Path) -> Target:
    return load_target(ensure_target(FolderSource(path=str(folder)), home))


def llama(folder: Path, seed: int = 0, **changes) -> Path:
    return tiny.saved(tiny.llama_model(seed, **changes), folder)


def refused(folder: Path, home: Path, words: str) -> None:
    with pytest.raises(TargetError, match=words) as caught:
        loaded(folder, home)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith((".", "…"))
    assert not list((home / "targets").glob("folder-*/*"))


# --- what is no causal language model -----------------------------------------------------------------------------


def bert(folder: Path, *, architectures: list[str] | None) -> Path:
    torch.manual_seed(0)
    model = BertLMHeadModel(
        BertConfig(
            vocab_size=24, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=16, initializer_range=0.5, tie_word_embeddings=False,
        )
    )  # fmt: skip
    with torch.no_grad():
        model.cls.predictions.decoder.bias = torch.nn.Parameter(torch.zeros(24))
    tiny.saved(model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": architectures}))
    return folder


def test_a_masked_model_is_refused_before_its_weights_are_read(tmp_path):
    folder = bert(tmp_path / "bert", architectures=["BertForMaskedLM"])
    (folder / "model.safetensors").write_bytes(b"never read")
    refused(folder, tmp_path, "“bert” is a masked language model")


def test_a_model_that_sees_later_tokens_is_refused_whatever_it_is_called(tmp_path):
    refused(
        bert(tmp_path / "m", architectures=None),
        tmp_path,
        r"“m” \(BertLMHeadModel\) is not causal: .*after it",
    )


def test_an_encoder_decoder_model_is_refused(tmp_path):
    T5Config(vocab_size=24, d_model=8, num_layers=1).save_pretrained(tmp_path / "t5")
    (tmp_path / "t5" / "model.safetensors").write_bytes(b"never read")
    refused(tmp_path / "t5", tmp_path, r"“t5” is an encoder–decoder model \(T5Config\)")


def test_of_a_model_that_reads_images_the_language_model_is_taken(tmp_path):
    text = {
        "vocab_size": 24, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4, "max_position_embeddings": 16,
        "sliding_window": 4, "initializer_range": 0.3,
    }  # fmt: skip
    vision = {
        "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8,
        "patch_size": 4,
    }  # fmt: skip
    torch.manual_seed(0)
    whole = Gemma3ForConditionalGeneration(
        Gemma3Config(
            text_config=text, vision_config=vision, image_token_index=20, boi_token_index=21, eoi_token_index=22,
            mm_tokens_per_image=4,
        )
    ).eval()  # fmt: skip
    target = loaded(tiny.saved(whole, tmp_path / "gemma"), tmp_path)
    assert target.card.model.architecture == "Gemma3ForCausalLM"
    assert not any("vision" in name for name, _ in target.model.named_modules())
    with torch.no_grad():
        torch.testing.assert_close(target.logits(IDS), whole(input_ids=IDS).logits)
    assert len(target.sites(("model.layers.*.mlp.*_proj",))) == 6


def test_weights_that_are_not_there_are_never_made_up(tmp_path):
    folder = llama(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    refused(folder, tmp_path, r"lacks weights that its config asks for \(model\.layers\.2\..* and \d more\)")


# --- folders that lack something ----------------------------------------------------------------------------------


def test_a_folder_without_a_config_is_refused(tmp_path):
    folder = llama(tmp_path / "m")
    (folder / "config.json").unlink()
    refused(folder, tmp_path, r"holds no config\.json")


def test_a_folder_of_pickles_is_refused_with_the_way_out(tmp_path):
    folder = llama(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(folder, tmp_path, r"a pickle \(pytorch_model\.bin\).*never read.*save_pretrained")


def test_a_folder_without_weights_is_refused(tmp_path):
    folder = llama(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    refused(folder, tmp_path, "holds no weights")


def test_a_folder_without_a_tokenizer_is_refused_with_the_way_out(tmp_path):
    folder = llama(tmp_path / "m")
    for file in folder.glob("*token*"):
        file.unlink()
    refused(folder, tmp_path, r"Unweave needs a tokenizer\.json")


def test_a_sentencepiece_file_alone_is_refused_with_the_way_out(tmp_path, monkeypatch):
    folder = llama(tmp_path / "m")
    for file in folder.glob("*token*"):
        file.unlink()
    (folder / "tokenizer.model").write_bytes(b"not a model")
    with monkeypatch.context() as installed:
        installed.setattr(reading, "find_spec", lambda name: object())
        refused(folder, tmp_path, r"no tokenizer that can be read.*needs a tokenizer\.json")
    monkeypatch.setattr(reading, "find_spec", lambda name: None)
    refused(
        folder,
        tmp_path,
        r"SentencePiece model alone \(tokenizer\.model\).*pip install sentencepiece protobuf",
    )


def test_the_tokenizer_is_the_folders_own_whatever_its_model_is(tmp_path):
    """`transformers` rebuilds a tokenizer for some kinds of model, and drops what does not fit that kind."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=24, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=16,
    )  # fmt: skip
    target = loaded(tiny.saved(Qwen2ForCausalLM(config), tmp_path / "m"), tmp_path)
    assert target.tokenizer_path is not None
    stored = json.loads(target.tokenizer_path.read_text())
    assert stored["model"] == json.loads((tmp_path / "m" / "tokenizer.json").read_text())["model"]


def test_a_device_that_is_not_there_is_refused_with_the_way_out(tmp_path, monkeypatch):
    folder = ensure_target(FolderSource(path=str(llama(tmp_path / "m"))), tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TargetError, match="PyTorch sees no GPU here, so nothing can run on “cuda”"):
        load_target(folder, device="cuda")
    with pytest.raises(TargetError, match="There is no device “gpu”"):
        load_target(folder, device="gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(TargetError, match="There is no “cuda:2”: this machine has 2 GPUs"):
        load_target(folder, device="cuda:2")


# --- which model it is ----------------------------------------------------------------------------------------------


def test_weights_that_changed_on_disk_are_read_again_and_old_runs_keep_theirs(tmp_path):
    folder = llama(tmp_path / "m", seed=0)
    first = loaded(folder, tmp_path)
    artifact = decompose(tiny.run_config(folder, steps=1), tmp_path / "out", home=tmp_path)
    shutil.rmtree(folder)
    llama(folder, seed=1)
    second = loaded(folder, tmp_path)
    assert first.card.weights_hash != second.card.weights_hash
    with torch.no_grad():
        torch.testing.assert_close(second.logits(IDS), tiny.llama_model(1).eval()(IDS).logits)
    engine = AblationEngine.load(artifact, tmp_path)
    assert engine.target.card.weights_hash == first.card.weights_hash
    shutil.rmtree(folder)
    assert loaded(folder, tmp_path).card.weights_hash == second.card.weights_hash


def test_a_file_written_in_place_with_the_same_size_and_time_is_noticed(tmp_path):
    folder = llama(tmp_path / "m", seed=0)
    first = loaded(folder, tmp_path).card.weights_hash
    file, other = folder / "model.safetensors", llama(tmp_path / "n", seed=1) / "model.safetensors"
    times = file.stat()
    file.write_bytes(other.read_bytes())
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_size == times.st_size
    assert loaded(folder, tmp_path).card.weights_hash != first


def test_equal_weights_under_another_config_are_another_model(tmp_path):
    cards = {}
    for name, changes in (("one", {}), ("same", {}), ("rope", {"rope_theta": 50.0})):
        folder = llama(tmp_path / name)
        config = json.loads((folder / "config.json").read_text())
        if changes:
            config["rope_parameters"] = {**config["rope_parameters"], **changes}
        config["transformers_version"] = f"of {name}"
        (folder / "config.json").write_text(json.dumps(config))
        cards[name] = loaded(folder, tmp_path).card
    assert len({card.weights_hash for card in cards.values()}) == 1
    assert cards["one"].identity == cards["same"].identity != cards["rope"].identity
    assert cards["one"].fits(cards["same"])
    assert not cards["one"].fits(cards["rope"])
    eager = cards["one"].model_copy(update={"attention": "eager"})
    assert not cards["one"].fits(eager)
    assert cards["one"].identity != eager.identity


def test_a_card_from_before_configs_were_hashed_fits_by_its_weights(tmp_path):
    card = loaded(llama(tmp_path / "m"), tmp_path).card
    old = card.model_copy(update={"config_hash": None, "attention": None})
    assert old.fits(card)
    assert card.fits(old)
    moved = old.model_copy(update={"source": FolderSource(path="/elsewhere")})
    assert moved.identity != old.identity  # nothing says that their configs are the same


def test_an_artefact_refuses_equal_weights_under_another_config(tmp_path):
    folder = llama(tmp_path / "m")
    artifact = decompose(tiny.run_config(folder, steps=1), tmp_path / "out", home=tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] = 50.0
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match="under another config or attention implementation"):
        AblationEngine.from_artifact(artifact, loaded(folder, tmp_path))


# --- tokenizers and embeddings of different sizes ------------------------------------------------------------------


def test_an_embedding_with_more_rows_than_tokens_is_decomposed_whole(tmp_path):
    """Qwen and Pythia pad so; rows without a token show as their number."""
    folder = llama(tmp_path / "m", vocab_size=40)
    artifact = decompose(tiny.run_config(folder, steps=1), tmp_path / "out", home=tmp_path)
    assert artifact.manifest.target.model.vocabulary == 40
    written = {word for words in artifact.columns.writes for word in words}
    assert any(word.startswith("<") for word in written)
    assert written <= {f"w{i}" for i in range(24)} | {f"<{i}>" for i in range(24, 40)}


def test_a_token_that_the_model_has_no_row_for_is_named_before_training(tmp_path):
    folder = llama(tmp_path / "m", vocab_size=10)
    with pytest.raises(TargetError, match="The tokenizer gives token 10, and m knows 10 tokens"):
        decompose(tiny.run_config(folder, steps=1), tmp_path / "out", home=tmp_path)


# --- GGUF -----------------------------------------------------------------------------------------------------------


def gguf_file(path: Path) -> LlamaForCausalLM:
    """A tiny Llama with one word per token, written as a GGUF file; returns the same model as `transformers` has it."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=24, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=2, max_position_embeddings=16, tie_word_embeddings=False, rms_norm_eps=1e-6,
        )
    ).eval()  # fmt: skip
    writer = gguf.GGUFWriter(path, "llama")
    for write, value in (
        (writer.add_context_length, 16), (writer.add_embedding_length, 16), (writer.add_block_count, 1),
        (writer.add_feed_forward_length, 24), (writer.add_head_count, 2), (writer.add_head_count_kv, 2),
        (writer.add_layer_norm_rms_eps, 1e-6), (writer.add_vocab_size, 24), (writer.add_rope_dimension_count, 8),
    ):  # fmt: skip
        write(value)  # type: ignore[arg-type]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*(f"w{i}" for i in range(22)), "w", "1"])
    writer.add_token_merges(["w 1"])
    writer.add_bos_token_id(0)
    state = model.state_dict()

    def add(name: str, key: str, heads: int | None = None) -> None:
        weight = state[key].float()
        if heads is not None:  # GGUF keeps rotary pairs side by side
            weight = weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)
        writer.add_tensor(name, np.ascontiguousarray(weight.numpy()))

    add("token_embd.weight", "model.embed_tokens.weight")
    add("output_norm.weight", "model.norm.weight")
    add("output.weight", "lm_head.weight")
    layer = "model.layers.0."
    for name, key, heads in (
        ("attn_q", "self_attn.q_proj", 2), ("attn_k", "self_attn.k_proj", 2), ("attn_v", "self_attn.v_proj", None),
        ("attn_output", "self_attn.o_proj", None), ("ffn_gate", "mlp.gate_proj", None), ("ffn_up", "mlp.up_proj", None),
        ("ffn_down", "mlp.down_proj", None), ("attn_norm", "input_layernorm", None),
        ("ffn_norm", "post_attention_layernorm", None),
    ):  # fmt: skip
        add(f"blk.0.{name}.weight", f"{layer}{key}.weight", heads)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def test_a_gguf_file_on_disk_is_a_source_like_any_other(tmp_path):
    model = gguf_file(tmp_path / "tiny.gguf")
    target = loaded(tmp_path / "tiny.gguf", tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(target.logits(IDS), model(IDS).logits, rtol=1e-4, atol=1e-4)
    assert target.card.model.name == "tiny"
    assert target.card.config_hash is not None


def test_a_gguf_file_that_is_gone_or_is_none_is_refused(tmp_path):
    refused(tmp_path / "none.gguf", tmp_path, r"There is no file “none\.gguf”")
    (tmp_path / "bad.gguf").write_bytes(b"not a gguf")
    refused(tmp_path / "bad.gguf", tmp_path, r"“bad\.gguf” cannot be loaded")


def test_the_config_of_another_kind_is_refused(tmp_path):
    (tmp_path / "m").mkdir()
    GPT2Config(vocab_size=24).save_pretrained(tmp_path / "m")
    llama(tmp_path / "l")
    shutil.copy(tmp_path / "l" / "model.safetensors", tmp_path / "m")
    refused(tmp_path / "m", tmp_path, "lacks weights that its config asks for")
