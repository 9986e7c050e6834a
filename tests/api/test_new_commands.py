"""`unweave sites` and `unweave new`: a run of one's own from a shell."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from backend.cli import app
from tests.spd import tiny
from workers.spd.config import load_config

SITES = "model.layers.[0-1].mlp.down_proj"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.saved(tiny.llama_model(), tmp_path_factory.mktemp("models") / "llama")


def run(home: Path, *arguments: str):
    return CliRunner().invoke(app, [*arguments, "--home", str(home)], env={"COLUMNS": "200"})


def test_sites_lists_the_modules_that_match_with_shapes_and_refusals(home: Path, model: Path) -> None:
    done = run(home, "sites", str(model))
    assert done.exit_code == 0, done.output
    assert "LlamaForCausalLM" in done.output
    assert "It writes the logits" in done.output
    some = run(home, "sites", str(model), SITES)
    assert some.output.count("down_proj") == 2
    assert "16 × 24" in some.output
    assert "q_proj" not in some.output
    none = run(home, "sites", str(model / "nothing"))
    assert none.exit_code == 2


def test_new_writes_a_config_that_can_be_run_and_asks_the_model(
    home: Path, model: Path, tmp_path: Path
) -> None:
    prompts, out = tmp_path / "mine.csv", tmp_path / "mine.yaml"
    prompts.write_text("text,answer,split\nw1 w2,w3,train\nw4 w5,w6 w7,held_out\n")
    given = [
        "new",
        "mine",
        "--model",
        str(model),
        "--prompts",
        str(prompts),
        "--sites",
        SITES,
        "--out",
        str(out),
    ]
    done = run(home, *given)
    assert done.exit_code == 0, done.output
    assert "w1 w2: rank " in done.output
    assert "The answer is not one token of this model: w6|w7." in done.output
    config = load_config(str(out))
    assert (config.name, config.sites, len(config.data.listed())) == ("mine", (SITES,), 2)
    assert config.rest is not None
    bad = run(home, *given[:-4], "--sites", "nothing.*")
    assert (bad.exit_code, "matches no module" in bad.output) == (2, True)
