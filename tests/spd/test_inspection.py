"""A model looked at before a run: what it is, and which of its modules can be sites."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.spd import architectures as table
from tests.spd import hub, tiny
from tests.spd.test_reading import gguf_file
from workers.spd.config import FolderSource, InductionSource, PackageSource, load_config
from workers.spd.targets.inspection import inspect_model
from workers.spd.targets.reading import TargetError
from workers.spd.targets.sites import check_sites
from workers.spd.targets.target import Target, ensure_target, load_target

ROOT = Path(__file__).parents[2]
CASES = {architecture.title: architecture for architecture in table.ARCHITECTURES}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    tiny.saved(tiny.llama_model(), home / "llama")
    (home / "llama" / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    tiny.saved(tiny.gpt2_model(), home / "gpt2")
    return home


def test_a_folder_answers_with_architecture_size_licence_and_tokenizer(home):
    view = inspect_model(FolderSource(path=str(home / "llama")), home)
    model = tiny.llama_model()
    assert (view.name, view.architecture, view.layers, view.d_model) == ("llama", "LlamaForCausalLM", 2, 16)
    assert (view.vocabulary, view.context_length, view.license) == (24, 16, "apache-2.0")
    assert view.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert view.weight_bytes == 4 * view.parameters < view.available_bytes
    assert view.tokenizer == "WordLevel, 24 tokens"
    assert not (home / "targets").exists(), "nothing is converted for it"


def test_the_tree_has_every_module_with_its_shape_and_why_some_are_refused(home):
    view = inspect_model(FolderSource(path=str(home / "llama")), home)
    modules = {module.path: module for module in view.modules}
    down = modules["model.layers.1.mlp.down_proj"]
    assert (down.kind, down.d_out, down.d_in, down.parameters, down.refused) == (
        "Linear", 16, 24, 384, None,
    )  # fmt: skip
    assert modules["model.embed_tokens"].refused is None
    assert "writes the logits" in (modules["lm_head"].refused or "")
    assert "LlamaRMSNorm cannot be decomposed" in (modules["model.norm"].refused or "")


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_what_is_offered_is_what_a_run_takes_before_and_after_it_is_converted(home, kind):
    source = FolderSource(path=str(home / kind))
    before = inspect_model(source, home)
    folder = ensure_target(source, home)
    after = inspect_model(source, home)
    assert before.modules == after.modules
    offered = tuple(module.path for module in before.modules if module.refused is None)
    assert load_target(folder).sites(offered) == list(offered)


def test_a_model_that_is_trained_here_is_known_before_it_is(home):
    view = inspect_model(InductionSource(vocabulary=22, length=16, d_model=8), home)
    assert "layers.1.attn.o" in [module.path for module in view.modules if module.refused is None]
    assert view.notes == ["It is trained here before it is decomposed, in 1,500 steps."]
    shown = inspect_model(load_config("bible-lm").target, home)
    assert (shown.layers, shown.d_model) == (2, 128)


def test_what_cannot_be_a_target_is_refused_in_a_sentence(home, tmp_path):
    with pytest.raises(TargetError, match="There is no model folder “nothing”"):
        inspect_model(FolderSource(path=str(tmp_path / "nothing")), home)
    with pytest.raises(TargetError, match=r"holds no config\.json"):
        inspect_model(FolderSource(path=str(tmp_path)), home)
    with pytest.raises(TargetError, match=r"There is no file “a\.gguf”"):
        inspect_model(FolderSource(path=str(tmp_path / "a.gguf")), home)
    package = load_config("sports-smollm2").target
    assert isinstance(package, PackageSource)
    with pytest.raises(TargetError, match="have not been fetched yet"):
        inspect_model(package, home)


@pytest.mark.slow
@pytest.mark.parametrize("title", CASES)
def test_of_every_architecture_what_is_offered_is_what_a_run_takes(tmp_path, title):
    source = FolderSource(path=str(table.saved(CASES[title], tmp_path / "model")))
    view = inspect_model(source, tmp_path)
    target = load_target(ensure_target(source, tmp_path))
    differ = {
        module.path: (module.refused, found)
        for module in view.modules
        if (module.refused is None) != ((found := refusal(target, module.path)) is None)
    }
    assert not differ


def refusal(target: Target, path: str) -> str | None:
    """Why a run would refuse this site."""
    try:
        target.attach(target.sites((path,)))
        check_sites(target, [path])
    except TargetError as error:
        return str(error)
    return None


def test_a_gguf_file_answers_from_its_header(tmp_path):
    gguf_file(tmp_path / "tiny.gguf")
    source = FolderSource(path=str(tmp_path / "tiny.gguf"))
    before = inspect_model(source, tmp_path)
    assert (before.name, before.layers, before.d_model, before.vocabulary) == ("tiny", 1, 16, 24)
    ensure_target(source, tmp_path)
    assert inspect_model(source, tmp_path).modules == before.modules


LOOK = """
import json, sys
from pathlib import Path
from workers.spd.config import HubSource
from workers.spd.targets.inspection import inspect_model
from workers.spd.targets.reading import TargetError
said = []
for repo in sys.argv[2:]:
    try:
        view = inspect_model(HubSource(repo=repo), Path(sys.argv[1]))
        said.append([view.name, view.architecture, view.license, view.parameters, view.tokenizer])
    except TargetError as error:
        said.append(str(error))
print(json.dumps(said))
"""


def seen_at(url: str, home: Path, *repos: str) -> list[Any]:
    """What a process that knows the hub at `url` says of these models."""
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(home), *repos],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_model_of_the_hub_answers_without_its_weights(home, tmp_path):
    files = {file.name: file.read_bytes() for file in (home / "llama").iterdir()}
    with hub.running({"a/llama": files}) as server:
        one, gone = seen_at(server.url, tmp_path, "a/llama", "a/other")
        asked = [request for request, _ in server.asked]
    parameters = sum(parameter.numel() for parameter in tiny.llama_model().parameters())
    assert one == ["a/llama", "LlamaForCausalLM", "apache-2.0", parameters, "WordLevel, 24 tokens"]
    assert not [request for request in asked if "safetensors" in request and request.startswith("GET")]
    assert gone.startswith("“a/other” cannot be loaded: a/other is not a local folder")
