"""What a job asked for over HTTP may be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backend.services import container
from tests.factories import FakeAblator, settings
from tests.jobs.conftest import config_of
from workers.jobs.limits import Limits
from workers.spd.config import ConfigError, DecomposeConfig, load_config, parse_config, preset_names
from workers.spd.statistics.config import parse_harvest

PROMPTS = {
    "target": {"kind": "hub", "repo": "a/b"},
    "data": {"kind": "prompts", "prompts": [{"text": "x" * 1_000}] * 3},
}


def of_folder(path: Path) -> DecomposeConfig:
    return config_of(**PROMPTS | {"target": {"kind": "folder", "path": str(path)}})


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_within_the_limits(name: str, home: Path) -> None:
    Limits().check(load_config(name), home)


@pytest.mark.parametrize(
    ("changes", "limits", "named"),
    [
        ({"steps": 11}, {"steps": 10}, "“steps” is 11 and may be at most 10"),
        ({"faithfulness_steps": 11, "steps": 5}, {"steps": 10}, "faithfulness_steps"),
        ({"C": 5}, {"C": 4}, "“C” is 5"),
        ({"sites": ["a", "b"]}, {"sites": 1}, "“sites” is 2"),
        (PROMPTS, {"prompts": 2}, "data.prompts"),
        (PROMPTS, {"prompt_characters": 2_999}, "3,000"),
        ({}, {"batch_elements": 1_000}, "target.batch_size × length × vocabulary"),
        (
            {"data": {"kind": "induction", "batch_size": 9}},
            {"batch_elements": 12 * 10 * 8},
            "data.batch_size",
        ),
        (
            {"losses": [{"kind": "stochastic_reconstruction", "uniform": 3, "level": 2}]},
            {"samples": 4},
            "losses.stochastic_reconstruction",
        ),
    ],
)
def test_a_config_over_a_limit_is_refused_with_the_key_named(
    changes: dict[str, Any], limits: dict[str, Any], named: str, home: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        Limits(**limits).check(config_of(**changes), home)
    assert named in str(caught.value)


def test_a_folder_outside_the_home_is_refused_unless_its_owner_allows_it(home: Path, tmp_path: Path) -> None:
    outside = of_folder(tmp_path / "models" / "mine")
    with pytest.raises(ConfigError, match=r"target\.path"):
        Limits().check(outside, home)
    Limits(folders=(tmp_path / "models",)).check(outside, home)
    Limits().check(of_folder(home / "models" / "mine"), home)


def test_a_corpus_outside_the_home_is_refused_so_that_no_stranger_reads_the_machines_files(
    home: Path, tmp_path: Path
) -> None:
    def over(path: Path) -> DecomposeConfig:
        data = of_folder(home / "models" / "mine").model_dump(mode="json")
        start = {"kind": "svd"}
        return parse_config({**data, "start": start, "data": {"kind": "corpus", "path": str(path)}})

    with pytest.raises(ConfigError, match=r"data\.path"):
        Limits().check(over(tmp_path / "letters"), home)
    Limits().check(over(home / "texts"), home)


def test_a_way_out_of_the_home_folder_by_dots_or_links_is_seen(home: Path, tmp_path: Path) -> None:
    (home / "models").mkdir(parents=True)
    (home / "models" / "link").symlink_to(tmp_path)
    for path in (home / "models" / ".." / ".." / "secret", home / "models" / "link" / "secret"):
        with pytest.raises(ConfigError, match=r"target\.path"):
            Limits().check(of_folder(path), home)


@pytest.mark.parametrize(
    "inside", ["", "jobs", "artifacts", "unweave.db", "texts/../jobs", "~nobody-of-that-name/texts"]
)
def test_what_the_home_folder_holds_besides_texts_is_not_read_as_one(home: Path, inside: str) -> None:
    """The database, the jobs' logs and the worker's are not texts."""
    for path in (str(home / inside), inside or "."):
        with pytest.raises(ConfigError, match=r"“path” must lie inside “texts” in Unweave's home folder"):
            Limits().check_harvest(parse_harvest({"path": path, "glob": "*"}), home)
    Limits().check_harvest(parse_harvest({"path": str(home / "texts" / "letters")}), home)


@pytest.mark.parametrize("revision", ["a/../../b", "..", "main?x=1", "main#x", "a b", "v1..v2"])
def test_a_revision_is_a_name_that_git_would_take(revision: str) -> None:
    hub = {"kind": "hub", "repo": "a/b"}
    assert config_of(**PROMPTS | {"target": hub | {"revision": "refs/pr/1"}})
    with pytest.raises(ConfigError, match=r"target.*revision"):
        config_of(**PROMPTS | {"target": hub | {"revision": revision}})
    with pytest.raises(ConfigError, match=r"dataset\.revision"):
        parse_harvest({"dataset": {"name": "a/b", "revision": revision}})


def test_a_package_that_no_preset_names_is_refused_unless_its_owner_allows_it(home: Path) -> None:
    target = {
        "kind": "package",
        "package": "other",
        "version": "1",
        "wheel_sha256": "0" * 64,
        "gguf": "a.gguf",
    }
    with pytest.raises(ConfigError, match=r"target\.package"):
        Limits().check(config_of(**PROMPTS | {"target": target}), home)
    Limits(packages=("other",)).check(config_of(**PROMPTS | {"target": target}), home)


def test_the_owner_of_a_server_sets_queue_folders_and_packages_by_settings(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNWEAVE_JOB_QUEUE", "3")
    monkeypatch.setenv("UNWEAVE_JOB_FOLDERS", json.dumps([str(tmp_path / "models")]))
    monkeypatch.setenv("UNWEAVE_JOB_PACKAGES", '["other"]')
    services = container.build(settings(home), loader=lambda *_: FakeAblator())
    services.close()
    limits = services.jobs.queue.limits
    assert (limits.queued, limits.packages) == (3, ("other",))
    limits.check(of_folder(tmp_path / "models" / "mine"), home)


def over_dataset(home: Path, **dataset: Any) -> DecomposeConfig:
    data = of_folder(home / "models" / "mine").model_dump(mode="json")
    return parse_config({**data, "start": {"kind": "svd"}, "data": {"kind": "corpus", "dataset": dataset}})


def test_a_dataset_is_read_from_the_hub_or_the_home_folder_and_from_nowhere_else(
    home: Path, tmp_path: Path
) -> None:
    Limits().check(over_dataset(home, name="a/b"), home)
    Limits().check(over_dataset(home, path=str(home / "texts")), home)
    Limits(folders=(tmp_path / "texts",)).check(over_dataset(home, path=str(tmp_path / "texts")), home)
    for path in (tmp_path / "letters", home / ".." / "letters", Path("/etc")):
        with pytest.raises(ConfigError, match=r"data\.dataset\.path"):
            Limits().check(over_dataset(home, path=str(path)), home)
        with pytest.raises(ConfigError, match=r"“dataset\.path” must lie inside"):
            Limits().check_harvest(parse_harvest({"dataset": {"path": str(path)}}), home)


def test_no_more_of_a_dataset_is_taken_than_the_limits_say(home: Path) -> None:
    limits = Limits(dataset_texts=10, dataset_characters=1_000)
    with pytest.raises(ConfigError, match=r"data\.dataset\.texts.* 11 .*data\.dataset\.characters"):
        limits.check(over_dataset(home, name="a/b", texts=11, characters=1_001), home)
    with pytest.raises(ConfigError, match=r"“dataset\.texts” is 11"):
        limits.check_harvest(parse_harvest({"dataset": {"name": "a/b", "texts": 11, "characters": 9}}), home)
