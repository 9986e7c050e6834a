"""SPEC 16 with real processes: killed with -9 and resumed; two that give the numbers of one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.spd import tiny
from tests.spd.test_decompose import PRUNED, same_numbers
from workers.spd.artifact import read_artifact

ROOT = Path(__file__).parents[2]
ADVERSARIAL = [
    *tiny.run_config().model_dump(mode="json")["losses"],
    {"kind": "adversarial_reconstruction", "after": 0.3},
]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("home")
    tiny.saved(tiny.llama_model(), home / "model")
    return home


def run(home: Path, name: str, config: dict, *more: str, processes: int = 1) -> int:
    path = home / f"{name}.yaml"
    data = tiny.run_config(home / "model", **config).model_dump(mode="json")
    path.write_text(json.dumps(data))
    if processes > 1:  # as docs/decompose.md says it
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={processes}",
        ]
        command += [
            "-m",
            "backend.cli",
            "decompose",
            str(path),
            "--out",
            str(home / name),
            "--home",
            str(home),
        ]
    else:
        command = [sys.executable, "-m", "tests.spd.runs", str(path), str(home / name), str(home), *more]
    return subprocess.run(
        command, cwd=ROOT, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ).returncode


@pytest.mark.long
@pytest.mark.parametrize("step", [2, 8])
def test_a_run_killed_with_minus_nine_goes_on_and_ends_with_the_same_numbers(home, step):
    config = {**PRUNED, "losses": ADVERSARIAL}
    if not (home / "whole").exists():
        assert run(home, "whole", config) == 0
    name = f"killed-{step}"
    assert run(home, name, config, str(step)) == -signal.SIGKILL
    assert not (home / name).exists()
    assert (home / f"{name}.partial" / "checkpoint").exists() == (step > 5)
    assert run(home, name, config) == 0
    same_numbers(read_artifact(home / name), read_artifact(home / "whole"))


@pytest.mark.parametrize("data", [pytest.param("prompts", marks=pytest.mark.long), "two of three prompts"])
def test_two_processes_give_the_numbers_of_one(home, data):
    prompts = tiny.run_config().data.model_dump(mode="json")
    size = 2 if data == "two of three prompts" else None
    config = {"data": {**prompts, "batch_size": size}, "losses": ADVERSARIAL, "steps": 8}
    names = [f"one-{size}", f"two-{size}"]
    assert run(home, names[0], config) == 0
    assert run(home, names[1], config, processes=2) == 0
    one, two = (read_artifact(home / name) for name in names)
    for a, b in zip(one.curves, two.curves, strict=True):
        assert b == pytest.approx(a, rel=1e-3, abs=1e-5)
    for name in ("components.safetensors", "ci.safetensors"):
        a, b = load_file(one.path / name), load_file(two.path / name)
        for key in a:
            torch.testing.assert_close(b[key], a[key], rtol=1e-3, atol=2e-4)


@pytest.mark.long
def test_two_processes_prune_and_eliminate_the_same_components_as_one(home):
    config = {
        "losses": ADVERSARIAL, "steps": 8, "prune": {"at": [0.3], "below": 0.9},
        "eliminate": {"at": [0.6], "budget": 0.002, "rounds": 1},
        "ci": {"kind": "shared_mlp", "hidden": 8, "start": 0.9},
    }  # fmt: skip
    assert run(home, "one-pruned", config) == 0
    assert run(home, "two-pruned", config, processes=2) == 0
    one, two = (read_artifact(home / name) for name in ("one-pruned", "two-pruned"))
    logged = {name for line in one.curves for name in line}
    assert {"pruned", "eliminated"} <= logged
    assert sum(line.get("eliminated", 0) for line in one.curves) > 0
    assert [site.kept for site in two.manifest.sites] == [site.kept for site in one.manifest.sites]
    assert any(len(site.kept) < site.trained for site in one.manifest.sites)
    for a, b in zip(one.curves, two.curves, strict=True):
        assert b == pytest.approx(a, rel=1e-3, abs=1e-5)
    gates = [load_file(run.path / "ci.safetensors") for run in (one, two)]
    for key in (key for key in gates[0] if key.startswith("gates")):
        assert torch.equal(gates[0][key], gates[1][key])


@pytest.mark.long
def test_two_processes_grow_the_same_components_as_one(home):
    config = {
        "C": "auto", "start": {"kind": "random"}, "losses": ADVERSARIAL, "steps": 8, "ci": {"kind": "mlp"},
        "adapt": {"at": [0.5], "grow": 3},
    }  # fmt: skip
    assert run(home, "one-grown", config) == 0
    assert run(home, "two-grown", config, processes=2) == 0
    one, two = (read_artifact(home / name) for name in ("one-grown", "two-grown"))
    assert sum(line.get("grown", 0) for line in one.curves) > 0
    assert [site.kept for site in two.manifest.sites] == [site.kept for site in one.manifest.sites]
    for a, b in zip(one.curves, two.curves, strict=True):
        assert b == pytest.approx(a, rel=1e-3, abs=1e-5)


@pytest.mark.long
def test_more_processes_than_prompts_are_refused(home):
    config = {"data": {"kind": "prompts", "prompts": [{"text": "w1 w2"}]}, "steps": 2}
    assert run(home, "too-many", config, processes=2) != 0
    assert not (home / "too-many").exists()
