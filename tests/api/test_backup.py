"""`unweave backup` and `restore`: nothing that exists only in the database is lost."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from backend.cli import app
from tests.access import new_token, visitors
from tests.conftest import Open, wait_for_engine
from tests.factories import SITES, WOODS, hand_artifact

run = CliRunner()
KEY = f"{SITES[0]}:0"


@pytest.fixture
def used(home: Path, open_app: Open) -> tuple[TestClient, dict[str, Any]]:
    """A server that runs, with a finding, a collection and a label in it."""
    hand_artifact(home / "artifacts")
    client = open_app(home)
    wait_for_engine(client)
    asked = {"text": WOODS, "components": [{"key": KEY}]}
    finding = {"decomposition": "tiny", "title": "golf falls", "ablations": [asked]}
    slug = client.post("/api/findings", json=finding).json()["slug"]
    collection = client.post("/api/collections", json={"title": "mine", "findings": [slug]}).json()
    label = {"text": "fires on Woods", "author": "Ada", "version": 0}
    put = client.put(f"/api/decompositions/tiny/components/{KEY}/label", json=label)
    assert put.status_code == 200, put.text
    return client, {"finding": slug, "collection": collection["slug"]}


def said(*arguments: str | Path, code: int = 0) -> str:
    answer = run.invoke(app, [str(argument) for argument in arguments])
    assert answer.exit_code == code, answer.output
    return " ".join(answer.output.split())


def test_a_backup_of_a_running_server_brings_everything_back(
    used: tuple[TestClient, dict[str, Any]], home: Path, tmp_path: Path, open_app: Open
) -> None:
    client, made = used
    assert (home / "unweave.db-wal").stat().st_size > 0, "the file alone would lack this"
    words = said("backup", tmp_path / "b.zip", "--home", home)
    assert "1 findings, 1 collections, 1 labels" in words
    other = tmp_path / "other"
    words = said("restore", tmp_path / "b.zip", "--home", other)
    assert "Not in the home folder: tiny" in words
    hand_artifact(other / "artifacts")
    later = open_app(other)
    for path in (f"/api/findings/{made['finding']}", f"/api/collections/{made['collection']}"):
        assert later.get(path).json() == client.get(path).json()
    path = f"/api/decompositions/tiny/components/{KEY}/labels"
    assert later.get(path).json() == client.get(path).json()


def test_restore_replaces_only_when_told_and_keeps_what_was_there(
    used: tuple[TestClient, dict[str, Any]], home: Path, tmp_path: Path
) -> None:
    client, made = used
    said("backup", tmp_path / "b.zip", "--home", home)
    client.post("/api/collections", json={"title": "later", "findings": [made["finding"]]})
    assert "Give --replace" in said("restore", tmp_path / "b.zip", "--home", home, code=1)
    assert client.get("/api/collections").json()["total"] == 2
    said("restore", tmp_path / "b.zip", "--home", home, "--replace")
    assert client.get("/api/collections").json()["total"] == 1
    with closing(sqlite3.connect(home / "unweave.db.before-restore")) as before:
        assert before.execute("SELECT count(*) FROM collections").fetchone() == (2,)


@pytest.mark.parametrize("what", ["missing", "no zip", "another zip", "damaged", "newer"])
def test_what_is_no_backup_is_refused_and_changes_nothing(
    used: tuple[TestClient, dict[str, Any]], home: Path, tmp_path: Path, what: str
) -> None:
    path = tmp_path / "b.zip"
    said("backup", path, "--home", home)
    with zipfile.ZipFile(path) as archive:
        database, info = archive.read("unweave.db"), archive.read("backup.json")
    match what:
        case "missing":
            path.unlink()
        case "no zip":
            path.write_text("hello")
        case "another zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("manifest.json", "{}")
        case "damaged":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("unweave.db", database[:4096] + b"x" * (len(database) - 4096))
                archive.writestr("backup.json", info)
        case "newer":
            copy = tmp_path / "newer.db"
            copy.write_bytes(database)
            with closing(sqlite3.connect(copy)) as newer, newer:
                newer.execute("UPDATE alembic_version SET version_num = '9999_from_the_future'")
            with zipfile.ZipFile(path, "w") as archive:
                archive.write(copy, "unweave.db")
                archive.writestr("backup.json", json.dumps({"format": 1}))
    words = said("restore", path, "--home", home, "--replace", code=1)
    assert "unweave:" in words
    assert ("newer version of Unweave" in words) == (what == "newer")
    assert used[0].get("/api/collections").json()["total"] == 1
    assert not (home / "unweave.db.before-restore").exists()
    assert not list(home.glob(".restore-*"))


def test_a_home_without_a_database_has_nothing_to_back_up(tmp_path: Path) -> None:
    assert "nothing to back up" in said("backup", tmp_path / "b.zip", "--home", tmp_path / "empty", code=1)
    assert list(tmp_path.glob("b.zip*")) == []


def test_postgresql_has_tools_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNWEAVE_DATABASE_URL", "postgresql+psycopg://u:secret@db/unweave")
    words = said("backup", tmp_path / "b.zip", "--home", tmp_path, code=1)
    assert "pg_dump" in words
    assert "secret" not in words


def test_a_backup_holds_no_access_token_and_no_session(home: Path, tmp_path: Path, open_app: Open) -> None:
    client = open_app(home, open=False)
    sign_in = {"token": new_token(client, "admin", "Ada").secret}
    assert client.post("/api/session", json=sign_in).status_code == 204
    said("backup", tmp_path / "b.zip", "--home", home)
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        stored = archive.read("unweave.db")
    assert b"Ada" in (home / "unweave.db-wal").read_bytes() + (home / "unweave.db").read_bytes()
    assert b"Ada" not in stored
    said("restore", tmp_path / "b.zip", "--home", tmp_path / "other")
    assert not visitors(open_app(tmp_path / "other", open=False)).tokens.usable()
