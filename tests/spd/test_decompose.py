"""SPEC 16: whole runs. Stopped, killed or pruned, a run that resumes ends with the numbers of an undisturbed one."""

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.jobs.conftest import config_of as jobs_config
from tests.spd import tiny
from workers.spd.ablation.engine import AblationEngine
from workers.spd.artifact_check import check_artifact
from workers.spd.config import ConfigError
from workers.spd.method.training import DivergedError, Trainer
from workers.spd.progress import RunProgress, Stopped
from workers.spd.queries import AblationQuery, Condition
from workers.spd.run import checkpoint
from workers.spd.run.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from workers.spd.run.decompose import decompose
from workers.spd.run.snapshot import snapshot
from workers.spd.targets.target import TargetError

FILES = ["components.safetensors", "ci.safetensors", "harvest/components.json", "metrics.jsonl"]
PRUNED = {"prune": {"at": [0.4], "below": 0.9}, "ci": {"kind": "shared_mlp", "hidden": 8, "start": 0.9}}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    tiny.saved(tiny.llama_model(), home / "model")
    return home


def config(home, **changes):
    return tiny.run_config(home / "model", **changes)


def stop_at(step: int):
    """A report and a stop that ask the run to end once it has done so many steps."""
    seen = {"step": 0}

    def report(progress: RunProgress) -> None:
        seen["step"] = max(seen["step"], progress.step)

    return {"report": report, "stop": lambda: seen["step"] >= step}


def same_numbers(one, other) -> None:
    for name in FILES:
        if name.endswith(".safetensors"):
            a, b = load_file(one.path / name), load_file(other.path / name)
            assert a.keys() == b.keys()
            assert all(torch.equal(a[key], b[key]) for key in a), name
        else:
            assert (one.path / name).read_text() == (other.path / name).read_text(), name
    assert one.manifest.metrics == other.manifest.metrics
    assert one.manifest.sites == other.manifest.sites


@pytest.fixture(scope="module")
def undisturbed(home):
    return decompose(config(home), home / "undisturbed", home=home)


@pytest.fixture(scope="module")
def undisturbed_pruned(home):
    return decompose(config(home, **PRUNED), home / "undisturbed-pruned", home=home)


def test_a_run_stores_an_artefact_with_its_evidence(undisturbed):
    manifest = undisturbed.manifest
    figures = {metric.name: metric for metric in manifest.metrics}
    assert {"faithfulness", "kl_everything_on", "kl_stochastic", "kl_adversarial", "l0", "alive"} <= set(
        figures
    )
    assert abs(figures["kl_everything_on"].train or 0) < 1e-6
    assert figures["kl_stochastic"].held_out is not None
    assert [site.trained for site in manifest.sites] == [6] * 6
    assert [line["step"] for line in undisturbed.curves] == [0, 3, 6, 9, 11]
    assert not (undisturbed.path / "checkpoint").exists()
    assert not (undisturbed.path.parent / "undisturbed.partial").exists()


LIGHT = {"kl_everything_on", "kl_ci_masks", "kl_rounded_ci", "kl_stochastic", "alive"}


def test_a_run_measures_a_small_evidence_table_on_its_way(home, undisturbed):
    seen: list[RunProgress] = []
    run = decompose(config(home, evidence_every=5), home / "light", home=home, report=seen.append)
    tables = {line["step"]: line for line in run.curves if "kl_ci_masks" in line}
    assert list(tables) == [4, 9, 11]  # after 5 and 10 steps, and after the last
    last = tables[11]
    assert {*LIGHT, *(f"{name}_held_out" for name in LIGHT), "l0_train", "l0_held_out"} <= set(last)
    figures = {metric.name: metric for metric in run.manifest.metrics}
    for name in ("kl_ci_masks", "kl_rounded_ci"):
        assert last[name] == pytest.approx(figures[name].train, rel=1e-3, abs=1e-6)
        assert last[f"{name}_held_out"] == pytest.approx(figures[name].held_out, rel=1e-3, abs=1e-6)
    assert last["alive"] == figures["alive"].train
    assert any("kl_ci_masks" in progress.figures for progress in seen if progress.step == 5)


def test_measuring_on_the_way_changes_nothing_about_the_training(home, undisturbed):
    run = decompose(config(home, evidence_every=None), home / "no-light", home=home)
    assert all("kl_ci_masks" not in line for line in run.curves)
    a, b = (load_file(path / "components.safetensors") for path in (run.path, undisturbed.path))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_progress_names_its_stages_in_order_and_reaches_one(home):
    seen: list[RunProgress] = []
    decompose(config(home), home / "progress", home=home, report=seen.append)
    assert list(dict.fromkeys(progress.stage for progress in seen)) == [
        "target", "train", "harvest", "evidence", "store",
    ]  # fmt: skip
    training = [progress for progress in seen if progress.stage == "train"]
    assert [progress.step for progress in training] == list(range(1, 13))
    assert training[-1].fraction == 1.0
    assert "loss" in training[-1].figures


@pytest.mark.parametrize("step", [1, 7, 11])
def test_stopped_and_resumed_ends_with_the_same_numbers(home, undisturbed, step):
    out = home / f"stopped-{step}"
    with pytest.raises(Stopped, match=f"Stopped at step {step} of 12; the checkpoint is kept"):
        decompose(config(home), out, home=home, **stop_at(step))
    same_numbers(decompose(config(home), out, home=home), undisturbed)


@pytest.mark.parametrize("step", [3, 8])
def test_stopped_before_or_after_a_prune_and_resumed_ends_with_the_same_numbers(
    home, undisturbed_pruned, step
):
    assert any(len(site.kept) < site.trained for site in undisturbed_pruned.manifest.sites)
    out = home / f"pruned-{step}"
    with pytest.raises(Stopped):
        decompose(config(home, **PRUNED), out, home=home, **stop_at(step))
    same_numbers(decompose(config(home, **PRUNED), out, home=home), undisturbed_pruned)


def test_a_run_that_dies_between_checkpoints_goes_on_from_the_last_one(home, undisturbed):
    class Died(Exception):
        pass

    def die(progress: RunProgress) -> None:
        if progress.step == 8:
            raise Died

    out = home / "died"
    with pytest.raises(Died):
        decompose(config(home), out, home=home, report=die)
    meta = json.loads((home / "died.partial" / "checkpoint" / "state.json").read_text())
    assert meta["step"] == 5
    same_numbers(decompose(config(home), out, home=home), undisturbed)


def test_without_resume_a_run_starts_afresh(home, undisturbed):
    out = home / "afresh"
    with pytest.raises(Stopped):
        decompose(config(home), out, home=home, **stop_at(6))
    seen: list[int] = []
    again = decompose(
        config(home),
        out,
        home=home,
        resume=False,
        report=lambda p: seen.append(p.step) if p.stage == "train" else None,
    )
    assert seen[0] == 1
    same_numbers(again, undisturbed)


def test_a_checkpoint_of_another_config_is_not_gone_on_from(home):
    out = home / "other-config"
    with pytest.raises(Stopped):
        decompose(config(home), out, home=home, **stop_at(6))
    seen: list[int] = []
    decompose(
        config(home, steps=9),
        out,
        home=home,
        report=lambda p: seen.append(p.step) if p.stage == "train" else None,
    )
    assert seen[0] == 1


def test_a_disk_that_is_full_leaves_the_last_good_checkpoint(home, undisturbed, monkeypatch):
    """The write at step 10 fails; the run ends with an OSError, and resumes from step 5 once there is room."""
    real, calls = checkpoint.save_file, []

    def full(tensors, path, *rest):
        calls.append(path)
        if len(calls) == 2:
            path.write_bytes(b"half a file")
            raise OSError(28, "No space left on device")
        return real(tensors, path, *rest)

    monkeypatch.setattr(checkpoint, "save_file", full)
    out = home / "full"
    with pytest.raises(OSError, match=r"checkpoint of step 10 could not be written: .*No space left"):
        decompose(config(home), out, home=home)
    work = home / "full.partial"
    assert json.loads((work / "checkpoint" / "state.json").read_text())["step"] == 5
    assert not (work / "checkpoint.new").exists()
    monkeypatch.setattr(checkpoint, "save_file", real)
    same_numbers(decompose(config(home), out, home=home), undisturbed)


def test_a_kill_between_the_two_renames_of_a_checkpoint_leaves_the_old_one(home, undisturbed):
    out, work = home / "renames", home / "renames.partial"
    with pytest.raises(Stopped):
        decompose(config(home), out, home=home, **stop_at(6))
    (work / "checkpoint").rename(work / "checkpoint.old")
    (work / "checkpoint.new").mkdir()
    same_numbers(decompose(config(home), out, home=home), undisturbed)


def test_a_checkpoint_that_cannot_be_read_is_told(home):
    out, work = home / "damaged", home / "damaged.partial"
    with pytest.raises(Stopped):
        decompose(config(home), out, home=home, **stop_at(6))
    (work / "checkpoint" / "state.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="cannot be read"):
        decompose(config(home), out, home=home)


def test_a_checkpoint_is_safetensors_and_json_and_nothing_else(home):
    out = home / "kinds"
    with pytest.raises(Stopped):
        decompose(config(home), out, home=home, **stop_at(6))
    names = {path.name for path in (home / "kinds.partial" / "checkpoint").iterdir()}
    assert names == {"state.safetensors", "state.json"}


def test_functions_without_a_checkpoint_say_so(home, tmp_path):
    from tests.spd.test_training import trainer_of

    trainer, data = trainer_of()
    assert load_checkpoint(tmp_path, trainer) is None
    trainer.train_step(data.everything())
    save_checkpoint(tmp_path, trainer, seconds=1.0, log_lines=2)
    again, _ = trainer_of()
    found = load_checkpoint(tmp_path, again)
    assert found is not None
    assert (found.step, found.seconds, found.log_lines) == (1, 1.0, 2)
    assert torch.equal(again.generator.get_state(), trainer.generator.get_state())


def test_a_run_that_diverges_keeps_the_checkpoint_from_before(home, monkeypatch):
    real = Trainer.train_step

    def diverging(self, batch, rest=None):
        if self.step == 7:
            with torch.no_grad():
                self.components.V_list[0].fill_(float("inf"))
        return real(self, batch, rest)

    monkeypatch.setattr(Trainer, "train_step", diverging)
    with pytest.raises(DivergedError, match="at step 7 of 12"):
        decompose(config(home), home / "diverged", home=home)
    kept = load_file(home / "diverged.partial" / "checkpoint" / "state.safetensors")
    assert all(bool(value.isfinite().all()) for value in kept.values())
    assert json.loads((home / "diverged.partial" / "checkpoint" / "state.json").read_text())["step"] == 5


@pytest.mark.parametrize("stage", ["target", "harvest", "evidence"])
def test_a_run_can_be_stopped_outside_its_training_and_gone_on_with(home, undisturbed, stage):
    seen: list[str] = []
    out = home / f"stopped-{stage}"
    place = home if stage != "target" else home / "elsewhere"
    with pytest.raises(Stopped):
        decompose(
            config(home), out, home=place, report=lambda p: seen.append(p.stage), stop=lambda: stage in seen
        )
    assert seen[-1] == stage
    same_numbers(decompose(config(home), out, home=home), undisturbed)


def test_the_training_of_the_induction_model_can_be_stopped_and_leaves_nothing_half_made(tmp_path):
    induction = jobs_config(target={"kind": "induction", "vocabulary": 8, "length": 12, "steps": 1_000_000})
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 5

    with pytest.raises(Stopped):
        decompose(induction, tmp_path / "out", home=tmp_path, stop=stop)
    assert [path.name for path in (tmp_path / "targets").iterdir() if path.is_dir()] == []


def test_an_induction_model_that_diverges_is_not_stored(tmp_path):
    target = {"kind": "induction", "vocabulary": 8, "length": 12, "steps": 50, "learning_rate": 1e30}
    with pytest.raises(
        TargetError, match=r"diverged at step \d+ of 50. Lower “target.learning_rate” \(1e\+30\)"
    ):
        decompose(jobs_config(target=target), tmp_path / "out", home=tmp_path)
    assert [path.name for path in (tmp_path / "targets").iterdir() if path.is_dir()] == []


def test_a_check_that_names_a_group_nobody_found_counts_as_missed_with_a_remark(home):
    check = {"groups": ["nowhere"], "prompt": "w1 w2", "answer": "w5", "role": "target"}
    artifact = decompose(config(home, steps=2, checks=[check]), home / "unknown-group", home=home)
    assert [found.ok for found in artifact.manifest.checks] == [False]
    assert any(
        "names the group “nowhere”, which the harvest did not find" in n for n in artifact.manifest.notes
    )


def test_a_check_whose_prompt_is_empty_or_too_long_is_refused_before_training(home):
    for prompt in ("", "w1 " * 17):
        check = {"groups": ["w1"], "prompt": prompt, "answer": "w5", "role": "target"}
        with pytest.raises(ConfigError, match=r"checks\.0: the prompt has (0|17) tokens; between 1 and 16"):
            decompose(config(home, checks=[check]), home / "no-prompt", home=home)


@pytest.mark.parametrize(
    "stage", ["prompt_statistics", "full_evidence", "extra_evidence", "store_statistics", "remarks", "seal"]
)
def test_a_run_that_fails_after_training_has_stored_what_it_trained_and_does_not_train_again(
    home, undisturbed, monkeypatch, tmp_path, stage
):
    with monkeypatch.context() as broken:
        broken.setattr(f"workers.spd.run.decompose.{stage}", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            decompose(config(home), tmp_path / "out", home=home)
    trained = load_file(tmp_path / "out.partial" / "components.safetensors")
    wanted = load_file(undisturbed.path / "components.safetensors")
    assert all(torch.equal(trained[key], wanted[key]) for key in wanted)

    monkeypatch.setattr(Trainer, "train_step", lambda *_: pytest.fail("it trains again"))
    same_numbers(decompose(config(home), tmp_path / "out", home=home), undisturbed)


def test_the_last_checkpoint_opens_like_a_decomposition_and_is_marked(home, tmp_path):
    """Its ablations are those of what was trained so far, and the run goes on as if nobody had looked."""
    out = tmp_path / "run"
    with pytest.raises(CheckpointError, match="has written no checkpoint yet"):
        snapshot(tmp_path / "run.partial", tmp_path / "seen", home=home)
    with pytest.raises(Stopped):
        decompose(config(home, title="Mine"), out, home=home, **stop_at(5))
    before = load_file(tmp_path / "run.partial" / "checkpoint" / "state.safetensors")
    seen = snapshot(tmp_path / "run.partial", tmp_path / "seen", home=home)
    assert seen.name == "tiny-step-5"
    assert seen.manifest.config.title == "Mine (step 5 of 12, still training)"
    assert "Still training: this is the checkpoint at step 5 of 12" in seen.manifest.notes[0]
    check_artifact(seen)
    engine = AblationEngine.load(seen, home)
    V = engine.decomposition.components.V[engine.decomposition.sites[0]]
    assert torch.equal(V, before["components.V_list.0"])
    assert engine.ablate(AblationQuery((1, 2, 3), (Condition(),)))[0].kl == pytest.approx([0, 0, 0], abs=1e-6)
    assert snapshot(tmp_path / "run.partial", tmp_path / "seen", home=home).name == seen.name, (
        "it is replaced"
    )
    assert decompose(config(home, title="Mine"), out, home=home).manifest.metrics


def test_a_target_held_in_bfloat16_is_decomposed_near_to_one_in_float32(home, undisturbed, tmp_path):
    """In half the memory, with what is trained in float32."""
    half = decompose(config(home, target_weights="bfloat16"), tmp_path / "half", home=home)
    assert half.manifest.dtype == "bfloat16"
    assert all(value.dtype == torch.float32 for value in load_file(half.path / "ci.safetensors").values())
    for metric, other in zip(undisturbed.manifest.metrics, half.manifest.metrics, strict=True):
        assert metric.name == other.name
        if metric.name == "faithfulness":
            assert other.train == pytest.approx(metric.train, rel=0.05)
    engine = AblationEngine.load(half, home)
    assert engine.ablate(AblationQuery((1, 2, 3), (Condition(),)))[0].kl == pytest.approx([0, 0, 0], abs=1e-6)
