"""One frozen config: unknown keys are an error that names them, and nothing is accepted that would be ignored."""

import pytest
import yaml

from tests.spd import tiny
from workers.spd.config import (
    PRESETS,
    ConfigError,
    load_config,
    parse_config,
    preset_names,
    with_overrides,
)


def plain(**changes) -> dict:
    return {**tiny.run_config().model_dump(mode="json"), **changes}


def test_a_config_survives_json():
    config = tiny.run_config()
    assert parse_config(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("stepz", "stepz: is not a known key"),
        ("optimizer.momentum", "optimizer.momentum: is not a known key"),
        ("reconstruction.metric", "reconstruction.metric: is not a known key"),
        ("target.url", "target.folder.url: is not a known key"),
    ],
)
def test_an_unknown_key_is_named(path, named):
    with pytest.raises(ConfigError, match=named):
        parse_config(with_overrides(plain(), {path: 1}))


def test_an_unknown_key_inside_a_loss_is_named():
    with pytest.raises(ConfigError, match=r"losses\.0\.faithfulness\.power: is not a known key"):
        parse_config(plain(losses=[{"kind": "faithfulness", "power": 2}]))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"steps": 0}, "steps: "),
        ({"C": 0}, "C must lie between 1 and 100,000"),
        ({"C": "many"}, "C\\."),
        ({"threshold": float("nan")}, "threshold: "),
        ({"name": "Not A Slug"}, "name: "),
        ({"losses": []}, "losses: "),
        ({"losses": [{"kind": "hope"}]}, "losses.0: "),
        ({"losses": [{"kind": "faithfulness"}] * 2}, "Each kind of loss may stand once"),
        ({"target": {"kind": "hub", "repo": "../x"}}, "target.hub.repo: "),
        ({"data": {"kind": "prompts", "prompts": []}}, "data.prompts.prompts: "),
        ({"seed": 10**30}, "seed: .*less than or equal to"),
        ({"seed": -1}, "seed: .*greater than or equal to"),
        ({"target": {"kind": "induction", "seed": 10**30}}, "target.induction.seed: "),
        ({"target": {"kind": "induction", "batch_size": 10**30}}, "target.induction.batch_size: "),
        ({"data": {"kind": "induction"}}, "“induction” does not go with target.kind “folder”"),
        ({"target": {"kind": "induction"}}, "“prompts” does not go with target.kind “induction”"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(changes, named):
    with pytest.raises(ConfigError, match=named):
        parse_config(plain(**changes))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"start": {"kind": "svd", "background": "rest"}}, "background goes with kind “data”"),
        ({"start": {"kind": "data", "ridge": 3}}, "ridge weighs a background"),
        ({"ci": {"kind": "mlp", "reads": "input"}}, "ci.mlp.reads: "),
        (
            {"ci": {"kind": "transformer", "d_model": 12, "heads": 4}},
            "must be a multiple of twice the heads, 8",
        ),
        ({"prune": {"at": [1.0]}}, "prune.at.0: "),
        (
            {"losses": [{"kind": "partial_reconstruction", "uniform": 0}]},
            "at least one of uniform and level must be above 0",
        ),
        (
            {"losses": [{"kind": "importance_minimality", "warmup": 0.4, "hold": 0.6, "end": 0.1}]},
            "so end would be ignored",
        ),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(changes, named):
    with pytest.raises(ConfigError, match=named):
        parse_config(plain(**changes))


def test_a_config_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        tiny.run_config().steps = 3


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_that_ships_parses_and_bears_its_files_name(name):
    assert load_config(name).name == name


def test_an_unknown_preset_is_answered_with_those_there_are():
    with pytest.raises(ConfigError, match=r"There is no preset “indction”\. Presets: .*induction"):
        load_config("indction")


def test_a_file_that_is_missing_or_no_yaml_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(str(tmp_path / "none.yaml"))
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(ConfigError, match="is not valid YAML"):
        load_config(str(tmp_path / "bad.yaml"))
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="The config cannot be used"):
        load_config(str(tmp_path / "list.yaml"))


def test_overrides_set_dotted_keys_on_a_copy():
    data = yaml.safe_load((PRESETS / "induction.yaml").read_text())
    changed = with_overrides(data, {"steps": 7, "optimizer.warmup": 0.1, "start.kind": "random"})
    assert (changed["steps"], changed["optimizer"]["warmup"], changed["start"]["kind"]) == (7, 0.1, "random")
    assert data["steps"] != 7


def test_an_override_reaches_no_other_value_that_shared_its_place():
    shared = {"warmup": 0.5}
    changed = with_overrides({"optimizer": shared, "other": (shared,)}, {"optimizer.warmup": 0.1})
    assert (changed["optimizer"], shared) == ({"warmup": 0.1}, {"warmup": 0.5})


def test_an_override_that_names_no_place_is_refused():
    with pytest.raises(ConfigError, match="does not name a place"):
        with_overrides({"steps": 3}, {"steps.more": 1})
