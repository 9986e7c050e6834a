"""To a hub and back: the same bytes, a card that says what it is, and refusals in a sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from huggingface_hub import constants
from typer.testing import CliRunner

import unweave as uw
from backend.cli import app
from tests.factories import hand_artifact
from tests.spd import hub


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[hub.Hub]:
    """A hub of our own, the only one that is known here."""
    with hub.running({}) as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        template = f"{running.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("UNWEAVE_SHIPPED", str(tmp_path / "none"))
        yield running


def unweave(home: Path, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*arguments, "--home", str(home)])
    return done.exit_code, done.output


def test_a_decomposition_goes_to_a_hub_and_comes_back_byte_by_byte(
    server: hub.Hub, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = hand_artifact(
        home / "artifacts",
        target={"kind": "hub", "repo": "HuggingFaceTB/SmolLM2-135M", "license": "apache-2.0"},
    )
    refused, said = unweave(home, "push", "tiny", "me/tiny")
    assert refused == 1
    assert "HF_TOKEN" in said
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    code, said = unweave(home, "push", "tiny", "me/tiny")
    assert code == 0, said
    files = server.repositories["me/tiny"]
    assert set(files) == {"manifest.json", "README.md", *made.manifest.files}
    server.repositories["me/tiny"]["stale.txt"] = b"of an older push"
    assert unweave(home, "push", "tiny", "me/tiny")[0] == 0
    assert "stale.txt" not in files

    _, head, text = files["README.md"].decode().split("---\n", 2)
    data = yaml.safe_load(head)
    assert (data["library_name"], data["license"]) == ("unweave", "mit")
    assert data["base_model"] == "HuggingFaceTB/SmolLM2-135M"
    assert made.hash in text
    assert text.count("\n| ") > len(made.manifest.metrics) / 2

    other = tmp_path / "other"
    d = uw.load("me/tiny@main", home=other)
    assert (d.hash, d.id) == (made.hash, "tiny")
    before = len(server.asked)
    assert uw.load("me/tiny@main", home=other).hash == made.hash
    assert len(server.asked) == before, "what was pulled is opened without the hub"
    for name in ["manifest.json", *made.manifest.files]:
        assert (other / "artifacts/tiny" / name).read_bytes() == (made.path / name).read_bytes()
    server.repositories["me/broken"] = {**files, "tokenizer.json": json.dumps({}).encode()}
    for name, why in (
        ("me/broken", "tokenizer.json"), ("me/none", "no me/none on the hub"), ("me/tiny@v9", "no such revision"),
        ("tiny", "is not owner/name"),
    ):  # fmt: skip
        code, said = unweave(tmp_path / "third", "pull", name)
        assert (code, why in said) == (1, True), said
    assert not list((tmp_path / "third/artifacts").glob("*"))
