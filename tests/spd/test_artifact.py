"""SPEC 19: the artefact folder, and a sentence for everything that is not one."""

import errno
import json
import os
from pathlib import Path

import pytest

from tests.factories import hand_artifact
from workers.spd.artifact import (
    FORMAT,
    ArtifactError,
    HarvestColumns,
    HarvestGroup,
    HarvestPrompt,
    Manifest,
    TargetCard,
    is_full,
    read_artifact,
    recover,
    seal,
    write_json,
)


@pytest.fixture
def stored(tmp_path):
    return hand_artifact(tmp_path)


def edit_manifest(folder, **changes) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_is_stored_reads_back(stored):
    again = read_artifact(stored.path)
    assert again.manifest == stored.manifest
    assert again.hash == stored.hash
    assert again.columns.site[0] == stored.manifest.sites[0].name
    assert [prompt.split for prompt in again.prompts] == ["train", "train", "held_out"]
    assert again.groups[0].name == "␣Woods"
    assert [line["step"] for line in again.curves] == [0, 20, 40]


def test_its_identity_is_the_hash_of_its_manifest_which_names_every_other_file(stored):
    files = {str(p.relative_to(stored.path)) for p in stored.path.rglob("*") if p.is_file()}
    assert set(stored.manifest.files) == files - {"manifest.json"}


@pytest.mark.parametrize("name", ["harvest/components.json", "tokenizer.json", "metrics.jsonl"])
def test_a_damaged_file_is_found(stored, name):
    with (stored.path / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(ArtifactError, match=f"is damaged: {name} does not have the hash"):
        read_artifact(stored.path)


def test_a_missing_file_is_found_even_when_hashes_are_not_compared(stored):
    (stored.path / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match=r"lacks the file tokenizer\.json"):
        read_artifact(stored.path, verify=False)


def test_a_folder_of_something_else_is_told(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(ArtifactError, match="“photos” is not a decomposition"):
        read_artifact(tmp_path / "photos")
    with pytest.raises(ArtifactError, match="“nothing” is not a decomposition"):
        read_artifact(tmp_path / "nothing")


@pytest.mark.parametrize("text", ["", "{", "\udcff"])
def test_a_manifest_that_is_no_json_is_told(stored, text):
    (stored.path / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ArtifactError, match="that is not valid JSON"):
        read_artifact(stored.path)


@pytest.mark.parametrize("value", [2, None, "1"])
def test_another_format_is_named(stored, value):
    edit_manifest(stored.path, format=value)
    with pytest.raises(ArtifactError, match=f"has artefact format {value!r}; .* reads format 1"):
        read_artifact(stored.path)


def test_a_list_for_a_manifest_is_told(stored):
    (stored.path / "manifest.json").write_text("[]")
    with pytest.raises(ArtifactError, match="has artefact format None"):
        read_artifact(stored.path)


def test_a_manifest_that_does_not_fit_names_the_place(stored):
    edit_manifest(stored.path, sites="all")
    with pytest.raises(ArtifactError, match="does not fit: sites: "):
        read_artifact(stored.path)
    edit_manifest(stored.path, sites=[], surprise=1)
    with pytest.raises(ArtifactError, match="has “surprise”, which this version does not know"):
        read_artifact(stored.path)


@pytest.mark.parametrize("name", ["../outside.json", "/etc/hostname"])
def test_a_manifest_cannot_reach_out_of_its_folder(stored, name):
    (stored.path.parent / "outside.json").write_text("{}")
    edit_manifest(stored.path, files={name: "0" * 64})
    with pytest.raises(ArtifactError, match="names a file outside its folder"):
        read_artifact(stored.path)


def test_a_link_out_of_the_folder_is_not_followed(stored):
    (stored.path.parent / "outside.json").write_text("{}")
    os.symlink(stored.path.parent / "outside.json", stored.path / "link.json")
    edit_manifest(stored.path, files={"link.json": "0" * 64})
    with pytest.raises(ArtifactError, match="names a file outside its folder"):
        read_artifact(stored.path)


def test_a_harvest_that_cannot_be_read_is_told(stored):
    (stored.path / "harvest/groups.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"harvest/groups\.json cannot be read"):
        _ = read_artifact(stored.path, verify=False).groups


def test_sealing_drops_the_checkpoint_and_replaces_an_older_artefact_whole(stored, tmp_path):
    work = tmp_path / "tiny.partial"
    (work / "checkpoint").mkdir(parents=True)
    (work / "checkpoint" / "state.json").write_text("{}")
    (work / "half.json.part").write_text("{")
    write_json(work / "new.json", {"α": 1})
    fresh = seal(work, stored.manifest, stored.path)
    assert set(fresh.manifest.files) == {"new.json"}
    assert not (stored.path / "harvest").exists()
    assert not (stored.path / "checkpoint").exists()
    assert not work.exists()
    assert not list(tmp_path.glob("*.old"))


def test_a_disk_that_is_full_while_sealing_leaves_the_checkpoint_and_the_older_artefact(
    stored, tmp_path, monkeypatch
):
    work = tmp_path / "tiny.partial"
    (work / "checkpoint").mkdir(parents=True)
    (work / "checkpoint" / "state.json").write_text("{}")

    def full(self, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space left") as caught:
            seal(work, stored.manifest, stored.path)
    assert is_full(caught.value)
    assert (work / "checkpoint" / "state.json").is_file()
    assert read_artifact(stored.path).hash == stored.hash
    assert seal(work, stored.manifest, stored.path).manifest.files == {}


def test_json_without_a_number_is_refused_and_the_old_file_stays(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}


# What a stored file must hold, by format. A field that becomes required makes every older artefact unreadable: give it
# a default, or raise FORMAT and say in the CHANGELOG what to do; then this table is written anew.
REQUIRED = {
    1: {
        Manifest: "config created_at device dtype faithfulness_by_site files l0_by_site metrics sites target "
        "training_seconds versions",
        TargetCard: "model source weights_hash",
        HarvestColumns: "alive density effect index label max_ci mean_ci reads site top_token top_tokens write_norm "
        "writes",
        HarvestPrompt: "answer answer_probability bos ci component fact inner_activation pieces position site split "
        "text token_ids",
        HarvestGroup: "components name token why",
    }
}


@pytest.mark.parametrize("shape", REQUIRED[1])
def test_no_field_becomes_required_without_a_new_format(shape):
    required = {name for name, field in shape.model_fields.items() if field.is_required()}
    assert required == set(REQUIRED[FORMAT][shape].split())


def test_an_artefact_of_another_version_says_which_file_and_what_to_do(stored):
    path = stored.path / "harvest/components.json"
    columns = json.loads(path.read_text())
    del columns["writes"]
    path.write_text(json.dumps(columns))
    with pytest.raises(
        ArtifactError, match=r"lacks “writes”, so it comes from an older version.*unweave decompose"
    ):
        _ = read_artifact(stored.path, verify=False).columns
    path.write_text(json.dumps({**columns, "writes": [], "halo": []}))
    with pytest.raises(ArtifactError, match=r"has “halo”, which this version does not know. Upgrade"):
        _ = read_artifact(stored.path, verify=False).columns
    edit_manifest(stored.path, format=FORMAT + 1)
    with pytest.raises(ArtifactError, match="Upgrade Unweave to open it"):
        read_artifact(stored.path)


def test_a_kill_between_the_two_renames_of_a_replacement_loses_nothing(tmp_path, monkeypatch):
    first = hand_artifact(tmp_path)
    real = os.replace

    def killed(source, target):
        if str(source).endswith(".partial"):
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        hand_artifact(tmp_path, description="another")
    monkeypatch.undo()
    assert not first.path.exists()
    assert recover(tmp_path) == [], "what was set aside this moment may belong to a run that is still going"
    assert recover(tmp_path, older_than=0.0) == ["tiny"]
    assert read_artifact(first.path).hash == first.hash
    assert recover(tmp_path, older_than=0.0) == []
