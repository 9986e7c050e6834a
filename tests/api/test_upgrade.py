"""What earlier versions wrote opens, or is refused with what to do. tests/fixtures holds a small artefact, a database
and a checkpoint as each released version wrote them; they are never made anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from backend.commands.exchange import bring_in
from tests.conftest import Open
from workers.spd.ablation.loading import artifact_target, load_decomposition
from workers.spd.artifact import ArtifactError, read_artifact
from workers.spd.artifact_check import check_artifact
from workers.spd.config import ConfigError, parse_config
from workers.spd.progress import Stopped
from workers.spd.run.decompose import decompose

FIXTURES = Path(__file__).parents[1] / "fixtures"
VERSIONS = sorted(path.name for path in FIXTURES.iterdir() if path.is_dir())
LABELS = "/api/decompositions/tiny/components/layers.0.attn.q:0/labels"

each_version = pytest.mark.parametrize("version", VERSIONS)


@each_version
def test_an_artefact_opens_and_can_be_imported(home: Path, open_app: Open, version: str) -> None:
    artifact = read_artifact(FIXTURES / version / "artifact")
    check_artifact(artifact)
    assert load_decomposition(artifact, artifact_target(artifact, home)).sites
    source = shutil.copytree(FIXTURES / version / "artifact", home.parent / "tiny")
    bring_in(source, home, replace=False)
    client = open_app(home)
    assert client.get("/api/decompositions/tiny").json()["id"] == "tiny"
    assert client.get("/api/decompositions/tiny/components").json()["total"] == len(artifact.columns.site)


@each_version
def test_a_database_is_migrated_with_everything_in_it(home: Path, open_app: Open, version: str) -> None:
    shutil.copytree(FIXTURES / version / "artifact", home / "artifacts" / "tiny")
    shutil.copy(FIXTURES / version / "unweave.db", home / "unweave.db")
    client = open_app(home)
    [listed] = client.get("/api/findings").json()["items"]
    finding = client.get(f"/api/findings/{listed['slug']}").json()
    assert (finding["title"], finding["notes"]) == ("Woods leaves", "Of **0.1**.")
    assert finding["results"][0]["result"]["positions"]
    [collection] = client.get("/api/collections").json()["items"]
    assert collection["size"] == 1
    history = client.get(LABELS).json()
    assert (history["current"], history["items"][0]["author"]) == ("reads Woods", "a lab")


def interrupted(home: Path) -> dict[str, Any]:
    """A run that was stopped at a checkpoint."""
    config = parse_config(json.loads((FIXTURES / "0.1" / "checkpoint" / "config.json").read_text()))
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 25

    with pytest.raises(Stopped):
        decompose(config, home / "tiny", home=home, stop=stop)
    return config.model_dump(mode="json")


def change(home: Path, **changes: Any) -> None:
    """Write other values into the checkpoint's state; None takes one out."""
    path = home / "tiny.partial" / "checkpoint" / "state.json"
    state = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in state.items() if value is not None}))


def first_step(home: Path, config: dict[str, Any]) -> int:
    """The step at which a run begins."""
    seen: list[int] = []

    def stop() -> bool:
        return bool(seen)

    def report(progress: Any) -> None:
        if progress.stage == "train":
            seen.append(progress.step)

    with pytest.raises(Stopped):
        decompose(parse_config(config), home / "tiny", home=home, report=report, stop=stop)
    return seen[0]


def test_a_checkpoint_resumes_when_its_config_has_gained_a_field_since(home: Path) -> None:
    config = interrupted(home)
    older = {name: value for name, value in config.items() if name != "seed"}
    change(home, config="a hash of fewer fields", given=older)
    assert first_step(home, config) > 3


def test_a_checkpoint_of_another_config_is_left_for_a_fresh_beginning(home: Path) -> None:
    config = interrupted(home)
    assert first_step(home, {**config, "C": config["C"] + 1}) <= 1


def test_a_checkpoint_of_0_1_is_refused_with_what_to_do(home: Path) -> None:
    config = interrupted(home)
    shutil.rmtree(home / "tiny.partial" / "checkpoint")
    shutil.copytree(FIXTURES / "0.1" / "checkpoint", home / "tiny.partial" / "checkpoint")
    with pytest.raises(ConfigError, match=r"written by Unweave 0\.1 .* Begin the run anew"):
        decompose(parse_config(config), home / "tiny", home=home)


def test_a_checkpoint_of_a_newer_version_is_refused_with_what_to_do(home: Path) -> None:
    config = interrupted(home)
    change(home, format=9, config="another", given=None)
    with pytest.raises(ConfigError, match=r"has format 9; this version reads 2\. Upgrade Unweave"):
        decompose(parse_config(config), home / "tiny", home=home)


def test_an_artefact_of_a_newer_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    folder = shutil.copytree(FIXTURES / "0.1" / "artifact", tmp_path / "tiny")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": 2}))
    with pytest.raises(ArtifactError, match="Upgrade Unweave to open it"):
        read_artifact(folder)
