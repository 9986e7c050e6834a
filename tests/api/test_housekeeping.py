"""Decompositions are renamed, put away and deleted; what depends on them is named first and keeps its numbers."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from backend.cli import app
from backend.services import catalogue
from tests.conftest import Open, wait_for_engine
from tests.factories import KOBE, hand_artifact


@pytest.fixture
def client(home: Path, open_app: Open) -> TestClient:
    """An app over a decomposition of its own: these tests change and delete it."""
    hand_artifact(home / "artifacts", "tiny")
    client = open_app(home)
    wait_for_engine(client)
    return client


@pytest.fixture(autouse=True)
def _look_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "RESCAN_SECONDS", 0.0)


def test_a_decomposition_is_renamed_on_this_server_and_its_content_stays(client: TestClient) -> None:
    before = client.get("/api/decompositions/tiny").json()
    renamed = client.patch(
        "/api/decompositions/tiny", json={"title": "Mine", "description": "About golf."}
    ).json()
    assert (renamed["title"], renamed["description"]) == ("Mine", "About golf.")
    assert renamed["artifact_hash"] == before["artifact_hash"]
    (item,) = client.get("/api/decompositions").json()["items"]
    assert (item["id"], item["title"]) == ("tiny", "Mine")
    again = client.patch("/api/decompositions/tiny", json={"title": None}).json()
    assert (again["title"], again["description"]) == (before["title"], "About golf.")
    empty = client.patch("/api/decompositions/tiny", json={"title": ""})
    assert empty.status_code == 422


def test_a_decomposition_is_put_away_and_taken_out_again(client: TestClient) -> None:
    assert client.patch("/api/decompositions/tiny", json={"archived": True}).json()["archived"] is True
    assert client.get("/api/decompositions").json()["items"][0]["archived"] is True
    assert client.patch("/api/decompositions/tiny", json={"archived": False}).json()["archived"] is False


def test_a_decomposition_is_found_by_its_tags(
    client: TestClient, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagged = client.patch("/api/decompositions/tiny", json={"tags": [" golf ", "first try"]}).json()
    assert (tagged["tags"], tagged["title"]) == (["golf", "first try"], "Tiny")
    assert client.get("/api/decompositions").json()["items"][0]["tags"] == ["golf", "first try"]
    for tags in (["a,b"], [" "], ["x"] * 21):
        assert client.patch("/api/decompositions/tiny", json={"tags": tags}).status_code == 422
    for name, value in {"SHIPPED": home / "shipped", "FEATURED": home / "featured"}.items():
        monkeypatch.setenv(f"UNWEAVE_{name}", str(value))
    monkeypatch.setenv("UNWEAVE_DATABASE_URL", f"sqlite:///{home}/other.db")
    run = partial(CliRunner().invoke, app)
    listed = json.loads(run(["list", "--tag", "golf", "--json", "--home", str(home)]).stdout)
    assert [item["id"] for item in listed] == ["tiny"]
    assert json.loads(run(["list", "--tag", "try", "--json", "--home", str(home)]).stdout) == []
    assert "golf, first try" in run(["list", "--home", str(home)], env={"COLUMNS": "200"}).stdout
    assert client.patch("/api/decompositions/tiny", json={"tags": []}).json()["tags"] == []


def test_what_depends_on_it_is_named_and_its_findings_keep_their_numbers(
    client: TestClient, home: Path
) -> None:
    asked = {
        "decomposition": "tiny", "title": "A finding",
        "ablations": [{"text": KOBE, "components": [{"key": "model.layers.0.mlp.down_proj:0"}]}],
    }  # fmt: skip
    made = client.post("/api/findings", json=asked)
    assert made.status_code == 201, made.text
    slug = made.json()["slug"]
    found = client.get("/api/decompositions/tiny/dependents").json()
    assert (found["findings"], found["findings_total"], found["shipped"]) == ([slug], 1, False)
    assert found["disk_bytes"] > 1_000

    assert client.delete("/api/decompositions/tiny").status_code == 204
    assert client.get("/api/decompositions/tiny").status_code == 404
    assert client.get("/api/decompositions").json()["items"] == []
    assert not list((home / "artifacts").iterdir())
    kept = client.get(f"/api/findings/{slug}").json()
    assert kept["results"] == made.json()["results"]


def test_what_comes_with_unweave_is_not_deleted(open_app: Open, home: Path) -> None:
    hand_artifact(home / "shipped", "given")
    client = open_app(home)
    answer = client.delete("/api/decompositions/given")
    assert (answer.status_code, answer.json()["code"]) == (409, "shipped")
    assert client.get("/api/decompositions/given").status_code == 200
