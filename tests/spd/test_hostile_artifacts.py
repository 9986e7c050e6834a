"""SPEC 19: an artefact with the right hashes and the wrong content is refused in a sentence before it is stored."""

from __future__ import annotations

import json
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from backend.commands.exchange import ExchangeError, bring_in
from backend.settings import SHIPPED
from tests.conftest import Open
from tests.factories import SITES, hand_artifact, tiny_llama, trained_artifact
from workers.spd.ablation.loading import artifact_target, load_decomposition
from workers.spd.artifact import ArtifactError, parse_json, read_artifact, sha256
from workers.spd.artifact_check import check_artifact, tensors_of
from workers.spd.targets.reading import TargetError
from workers.spd.targets.target_check import check_target

DEEP = "[" * 200_000
V = f"{SITES[0]}.V"


def seal_again(folder: Path) -> Path:
    """Let the manifest name the hashes of what lies there now, as a forger would."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = {name: sha256(folder / name) for name in manifest["files"]}
    path.write_text(json.dumps(manifest))
    return folder


def header(path: Path, entries: dict[str, Any], body: bytes = b"", length: int | None = None) -> None:
    text = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)


def tensors(change: Callable[[dict[str, np.ndarray]], Any]) -> Callable[[Path], Any]:
    def edit(folder: Path) -> None:
        stored = load_file(folder / "components.safetensors")
        change(stored)
        save_file(stored, folder / "components.safetensors")

    return edit


def manifest(**changes: Any) -> Callable[[Path], Any]:
    def edit(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


def in_json(name: str, edit: Callable[[Any], Any]) -> Callable[[Path], Any]:
    def change(folder: Path) -> None:
        data = json.loads((folder / name).read_text())
        edit(data)
        (folder / name).write_text(json.dumps(data))

    return change


def first_site(**changes: Any) -> Callable[[Path], Any]:
    return in_json("manifest.json", lambda data: data["sites"][0].update(changes))


F32 = {"dtype": "F32", "data_offsets": [0, 4]}
HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a pickle": (lambda f: (f / "components.safetensors").write_bytes(b"\x80\x04cos\nsystem\n."), "does not fit its"),
    "an empty file": (lambda f: (f / "ci.safetensors").write_bytes(b""), "does not fit its 0 bytes"),
    "a header of 2^63 bytes": (
        lambda f: header(f / "ci.safetensors", {}, length=2**63), "header of 9,223,372,036,854,775,808 bytes"),
    "a header nested deeply": (
        lambda f: (f / "ci.safetensors").write_bytes(struct.pack("<Q", len(DEEP)) + DEEP.encode()), "cannot be read"),
    "dimensions of 2^40 × 2^20": (
        lambda f: header(f / "ci.safetensors", {"a": F32 | {"shape": [2**40, 2**20]}}, bytes(4)), "does not fit its"),
    "negative dimensions": (
        lambda f: header(f / "ci.safetensors", {"a": F32 | {"shape": [-1, -1]}}, bytes(4)), "cannot be read"),
    "tensors that overlap": (
        lambda f: header(f / "ci.safetensors", {n: F32 | {"shape": [1]} for n in "ab"}, bytes(4)), "overlap"),
    "bytes of no tensor": (
        lambda f: header(f / "ci.safetensors", {"a": F32 | {"shape": [1]}}, bytes(8)), "belong to no tensor"),
    "an unknown type": (
        lambda f: header(f / "ci.safetensors", {"a": {**F32, "dtype": "O", "shape": [1]}}, bytes(4)), "cannot be read"),
    "a site less": (tensors(lambda t: t.pop(V)), "its sites differ in"),
    "another shape": (
        tensors(lambda t: t.update({V: np.ones((4, 7), np.float32)})), r"V is F32 \[4, 7\], where \[8, 7\]"
    ),
    "NaN in a tensor": (tensors(lambda t: t[V].__setitem__((0, 0), np.nan)), "holds a number that is not finite"),
    "infinity in half precision": (
        tensors(lambda t: t.update({V: np.full((8, 7), np.inf, np.float16)})), "holds a number that is not finite"),
    "another index": (tensors(lambda t: t[f"{SITES[0]}.index"].__setitem__(0, 5)), "is not the list of components"),
    "sizes of no matrix": (first_site(d_in=0), "sizes that cannot be"),
    "components that were not trained": (first_site(trained=3), "keeps components that it did not train"),
    "more components than can be named": (first_site(trained=10**9), "cannot be a site"),
    "a model of 10^12 layers": (
        in_json("manifest.json", lambda d: d["target"]["model"].update(layers=10**12)), "layers cannot be"),
    "NaN in the metrics": (
        lambda f: (f / "manifest.json").write_text((f / "manifest.json").read_text().replace("1e-9", "NaN", 1)),
        "not valid JSON"),
    "a metric beyond every float": (
        lambda f: (f / "manifest.json").write_text((f / "manifest.json").read_text().replace("1e-9", "1e999", 1)),
        "finite"),
    "NaN in the curves": (lambda f: (f / "metrics.jsonl").write_text('{"step": 0, "loss": NaN}'), "metrics.jsonl"),
    "words in the curves": (lambda f: (f / "metrics.jsonl").write_text('{"step": "first"}'), "metrics.jsonl"),
    "JSON nested deeply": (lambda f: (f / "harvest/groups.json").write_text(DEEP), "nested too deeply"),
    "a manifest nested deeply": (lambda f: (f / "manifest.json").write_text(DEEP), "not valid JSON"),
    "columns of two lengths": (in_json("harvest/components.json", lambda d: d["effect"].pop()), "different lengths"),
    "a component that is not stored": (
        in_json("harvest/components.json", lambda d: d["index"].__setitem__(0, 7)), "which it does not store"),
    "a component of no site": (
        in_json("harvest/prompts.json", lambda d: d[0]["site"].__setitem__(0, -1)), "outside its sites"),
    "a token of no vocabulary": (
        in_json("harvest/prompts.json", lambda d: d[0]["token_ids"].__setitem__(0, 10**6)), "outside the vocabulary"),
    "a group of nothing": (
        in_json("harvest/groups.json", lambda d: d[0]["components"].append("../../x")), "names no component"),
}  # fmt: skip


def damaged(root: Path, what: str) -> tuple[Path, str]:
    change, sentence = HOSTILE[what]
    folder = hand_artifact(root, "odd").path
    before = (folder / "manifest.json").read_text()
    change(folder)
    if (folder / "manifest.json").read_text() == before:
        seal_again(folder)
    return folder, sentence


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_artefact_is_refused_at_import_and_nothing_is_stored(tmp_path: Path, what: str) -> None:
    folder, sentence = damaged(tmp_path, what)
    with pytest.raises(ExchangeError, match=sentence):
        bring_in(folder, tmp_path / "home", replace=False)
    assert list((tmp_path / "home" / "artifacts").iterdir()) == []


def test_no_artefact_in_the_home_folder_stops_the_server(home: Path, open_app: Open) -> None:
    """All of them at once, beside a good one; health names each with a reason."""
    hand_artifact(home / "artifacts", "good")
    for number, what in enumerate(HOSTILE):
        folder, _ = damaged(home / f"made-{number}", what)
        shutil.move(folder, home / "artifacts" / f"odd-{number}")
    client = open_app(home)
    assert [item["id"] for item in client.get("/api/decompositions").json()["items"]] == ["good"]
    warnings = client.get("/api/health").json()["warnings"]
    assert len(warnings) == len(HOSTILE)
    assert client.get("/api/decompositions/good").status_code == 200


def test_whatever_an_artefact_makes_a_parser_raise_it_is_skipped(
    home: Path, open_app: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_artifact(home / "artifacts", "good")
    hand_artifact(home / "artifacts", "odd", components=6)

    def raises(artifact: Any) -> None:
        if artifact.path.name == "odd":
            raise MemoryError

    monkeypatch.setattr("backend.services.catalogue.check_artifact", raises)
    client = open_app(home)
    assert [item["id"] for item in client.get("/api/decompositions").json()["items"]] == ["good"]
    assert client.get("/api/health").json()["warnings"] == [
        "“odd” cannot be read as a decomposition: MemoryError."
    ]


def test_the_header_says_where_each_tensor_lies(tmp_path: Path) -> None:
    save_file({"a": np.arange(6, dtype=np.float32).reshape(2, 3)}, tmp_path / "x.safetensors")
    tensor = tensors_of(tmp_path / "x.safetensors")["a"]
    assert (tensor.dtype, tensor.shape, tensor.end - tensor.begin) == ("F32", (2, 3), 24)
    assert (tmp_path / "x.safetensors").read_bytes()[tensor.begin : tensor.begin + 8] == struct.pack(
        "<2f", 0, 1
    )


@pytest.mark.parametrize("text", ["NaN", '{"a": -Infinity}', DEEP, "{"])
def test_json_from_elsewhere_is_read_strictly(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a number that JSON has|nested too deeply|Expecting"):
        parse_json(text)


# --- archives -------------------------------------------------------------------------------------------------


def zipped(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_an_archive_past_the_limit_names_the_setting(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {"a/manifest.json": bytes(2**21)})
    with pytest.raises(
        ExchangeError, match=r"unpacks to 2 MB; the most is 1 MB\. Raise UNWEAVE_MAX_IMPORT_BYTES"
    ):
        bring_in(archive, tmp_path / "home", replace=False, most_bytes=2**20)


def test_an_archive_that_unpacks_to_hundreds_of_times_its_size_is_not_opened(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {"a/manifest.json": bytes(40 * 2**20)})
    assert archive.stat().st_size < 2**16
    with pytest.raises(ExchangeError, match="claims to unpack to far more than it can hold"):
        bring_in(archive, tmp_path / "home", replace=False)
    assert list((tmp_path / "home" / "artifacts").iterdir()) == []


# --- the engine -----------------------------------------------------------------------------------------------


def test_the_engine_refuses_what_does_not_fit_its_target_or_config(tmp_path: Path) -> None:
    """Files exchanged after the check: other matrices, functions of another size, and a config that asks for 2^40."""
    trained_artifact(tmp_path)
    artifact = read_artifact(tmp_path / "artifacts" / "tiny")
    target = artifact_target(artifact, tmp_path)
    check_artifact(artifact)
    assert load_decomposition(artifact, target).sites

    huge = artifact.manifest.config.model_copy(
        update={"ci": artifact.manifest.config.ci.model_copy(update={"hidden": 2**40})}
    )
    asks = type(artifact)(artifact.path, artifact.manifest.model_copy(update={"config": huge}), artifact.hash)
    with pytest.raises(ArtifactError, match=r"ci\.safetensors does not fit the config"):
        load_decomposition(asks, target)

    site = artifact.manifest.sites[0]
    wide = [site.model_copy(update={"d_in": site.d_in + 1}), *artifact.manifest.sites[1:]]
    other = type(artifact)(artifact.path, artifact.manifest.model_copy(update={"sites": wide}), artifact.hash)
    with pytest.raises(ArtifactError, match=r"tiny. has .* as \d+ × \d+; it is"):
        load_decomposition(other, target)

    for content in (b"\x80\x04.", struct.pack("<Q", 2**63), b""):
        (artifact.path / "ci.safetensors").write_bytes(content)
        with pytest.raises(ArtifactError, match="is not whole"):
            load_decomposition(artifact, target)


# --- a model that came inside ---------------------------------------------------------------------------------


def nested(depth: int) -> dict[str, Any]:
    config: dict[str, Any] = {"model_type": "llama"}
    for _ in range(depth):
        config = {"model_type": "llama", "text_config": config}
    return config


CONFIGS: dict[str, tuple[Callable[[dict[str, Any]], str], str]] = {
    "10^9 layers": (lambda c: json.dumps({**c, "num_hidden_layers": 10**9}), "“num_hidden_layers” is 1,000,000,000"),
    "a layer more": (lambda c: json.dumps({**c, "num_hidden_layers": 3}), "it lacks model.layers.2"),
    "10^9 wide": (lambda c: json.dumps({**c, "hidden_size": 10**9}), "cannot be used"),
    "a vocabulary of 2^30": (lambda c: json.dumps({**c, "vocab_size": 2**30}), "does not ask for"),
    "a number beyond every size": (lambda c: json.dumps({**c, "head_dim": 10**30}), "which cannot be"),
    "NaN": (lambda c: json.dumps({**c, "rms_norm_eps": float("nan")}), "not a number that JSON has"),
    "a float beyond every float": (
        lambda c: json.dumps({**c, "rms_norm_eps": 0.5}).replace("0.5", "1e999"), "which cannot be"),
    "code of its own": (
        lambda c: json.dumps({**c, "auto_map": {"AutoModelForCausalLM": "evil.Model"}}), "names code of its own"),
    "an unknown type": (lambda c: json.dumps({**c, "model_type": "evil"}), "cannot be used"),
    "no type": (lambda c: json.dumps({k: v for k, v in c.items() if k != "model_type"}), "names no model_type"),
    "a list": (lambda c: "[]", "names no model_type"),
    "nested a little": (lambda c: json.dumps(nested(200)), "cannot be used"),
    "nested deeply": (lambda c: DEEP, "nested too deeply"),
    "words for numbers": (lambda c: json.dumps({**c, "hidden_size": "16"}), "cannot be used"),
    "zero heads": (lambda c: json.dumps({**c, "num_attention_heads": 0}), "cannot be used"),
    "many megabytes": (lambda c: json.dumps({**c, "x": "x" * 2**21}), "too large"),
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tiny_llama(tmp_path_factory.mktemp("model") / "llama")
    check_target(made)  # which is none of those below
    return made


@pytest.mark.parametrize("what", CONFIGS)
def test_a_hostile_config_of_a_model_is_refused_before_it_costs_memory(
    model: Path, tmp_path: Path, what: str
) -> None:
    write, said = CONFIGS[what]
    folder = shutil.copytree(model, tmp_path / "odd" / "target")
    (folder / "config.json").write_text(write(json.loads((folder / "config.json").read_text())))
    with pytest.raises(TargetError, match=said) as refused:
        check_target(folder)
    assert str(refused.value).startswith("The model inside “odd” cannot be used: ")


def test_gigabytes_of_tables_are_refused(tmp_path: Path) -> None:
    """GPT-2 makes a mask of positions × positions that is no weight."""
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes: dict[str, Any] = {"n_embd": 8, "n_head": 2, "n_layer": 1, "vocab_size": 16}
    folder = tmp_path / "odd" / "target"
    GPT2LMHeadModel(GPT2Config(n_positions=8, **sizes)).save_pretrained(folder)
    check_target(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "n_positions": 10**6}))
    with pytest.raises(TargetError, match="cannot be used"):
        check_target(folder)


def test_the_models_that_ship_are_what_their_weights_say() -> None:
    for name in ("induction", "bible-lm"):
        check_target(SHIPPED / name / "target")
