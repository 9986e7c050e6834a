"""The process that answers before a run: model, prompts, and what a run will take."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs.conftest import config_of
from tests.spd import tiny
from workers.spd.run.decompose import decompose
from workers.spd.run.estimate import estimate

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    tiny.saved(tiny.llama_model(), home / "llama")
    return home


def test_it_answers_a_line_a_question_and_refuses_in_a_sentence(home):
    source = {"kind": "folder", "path": str(home / "llama")}
    questions = [
        {"about": "model", "source": source},
        {"about": "prompts", "source": source, "prompts": [{"text": "w1 w2", "answer": "w3"}], "bos": False},
        {"about": "model", "source": {"kind": "folder", "path": str(home / "nothing")}},
        {"about": "prompts", "source": {"kind": "induction"}, "prompts": [{"text": "a"}], "bos": False},
    ]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "workers.spd.run.scout", str(home), "cpu"],
        input="".join(json.dumps(one) + "\n" for one in questions),
        capture_output=True, text=True, check=True, cwd=ROOT, env=None,
    )  # fmt: skip
    model, prompts, refused, untrained = map(json.loads, done.stdout.splitlines())
    assert model["answer"]["architecture"] == "LlamaForCausalLM"
    assert 1 <= prompts["answer"][0]["rank"] <= tiny.VOCABULARY
    assert refused == {"refused": "There is no model folder “nothing”."}
    assert untrained == {"refused": "This model is trained by its first run. It can be asked after that."}


def test_an_estimate_times_every_part_and_counts_components(home, tmp_path):
    config = tiny.run_config(home / "llama", steps=300)
    found = estimate(config, home)
    assert set(found.seconds) == {"target", "start", "train", "harvest", "evidence"}
    assert all(seconds > 0 for seconds in found.seconds.values())
    assert found.components["model.layers.0.mlp.down_proj"] == 6
    assert found.steps == 8
    assert (
        found.seconds["train"]
        > 10 * estimate(tiny.run_config(home / "llama", steps=3), home).seconds["train"]
    )
    assert found.memory_bytes > 50_000_000
    assert any("bystander" in note for note in found.notes)


def test_an_estimate_leaves_nothing_behind_and_counts_a_target_that_is_trained_first(home, tmp_path):
    config = config_of(
        target={"kind": "induction", "vocabulary": 8, "length": 12, "steps": 4_000, "batch_size": 16}
    )
    found = estimate(config, tmp_path)
    assert found.seconds["target"] > found.seconds["train"], "4,000 steps against 40"
    assert [path.name for path in tmp_path.iterdir()] == ["corpora"]


def test_an_estimate_changes_nothing_about_the_run(home, tmp_path):
    config = tiny.run_config(home / "llama")
    estimate(config, home)
    one, other = (decompose(config, tmp_path / name, home=home) for name in ("one", "other"))
    assert one.manifest.metrics == other.manifest.metrics
