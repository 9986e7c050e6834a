"""An evaluation from the command to the API: the same seed, the same file; resumed where it was stopped; skipped where
it is of something else."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from backend.app import create_app
from backend.cli import app
from tests.factories import hand_artifact, settings, tiny_config, tiny_llama
from workers.spd.artifact import write_json
from workers.spd.comparison import dictionaries
from workers.spd.comparison.stored import Evaluation, evaluation_place
from workers.spd.config import parse_config
from workers.spd.run.decompose import decompose

PROMPTS = [
    {"text": "Tiger Woods is an American professional", "answer": " golf", "fact": "Woods"},
    {"text": "Woods is an American professional", "answer": " golf", "fact": "Woods", "split": "held_out"},
    {"text": "Kobe Bryant was an American professional", "answer": " basketball", "fact": "Bryant"},
    {"text": "Bryant was an American", "answer": " professional", "fact": "Bryant", "split": "held_out"},
    {"text": "The capital of France is", "answer": " Paris", "split": "bystander"},
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a decomposition of a tiny Llama over two facts, and text to be quiet on."""
    home = tmp_path_factory.mktemp("evaluated")
    text = home / "text.txt"
    text.write_text("The capital of France was Paris. Kobe was a basketball player. " * 200, encoding="utf-8")
    rest = {"text": {"kind": "corpus", "path": str(text), "window": 8, "batch_size": 2, "evaluation": 4}}
    config = tiny_config(
        target={"kind": "folder", "path": str(tiny_llama(home / "llama"))},
        sites=["model.layers.*.mlp.*_proj"], C=6, start={"kind": "svd"}, ci={"kind": "shared_mlp", "hidden": 4},
        losses=[{"kind": "stochastic_reconstruction"}, {"kind": "importance_minimality", "coefficient": 1e-2}],
        data={"kind": "prompts", "prompts": PROMPTS}, rest=rest, steps=2,
    )  # fmt: skip
    decompose(parse_config(config), home / "artifacts" / "tiny", home=home)
    return home


def evaluate(home: Path, *options: str):
    command = [
        "evaluate",
        "tiny",
        "--home",
        str(home),
        "--k",
        "1",
        "--k",
        "2",
        "--main",
        "2",
        "--windows",
        "6",
    ]
    return CliRunner().invoke(app, [*command, *options])


def test_a_decomposition_is_compared_with_every_method_and_the_api_shows_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dictionaries, "STEPS", 3)
    result = evaluate(home)
    assert result.exit_code == 0, result.output
    (path,) = _stored(home)
    first = json.loads(path.read_text(encoding="utf-8"))
    assert {row["method"] for row in first["rows"]} >= {
        "spd",
        "start",
        "ridge",
        "random",
        "neurons",
        "patch",
        "rome",
    } | ({"sae"} if find_spec("sparsify") else set())
    assert first["kinds"] == ["others", "text"]
    for row in first["rows"]:
        assert row["score"] == pytest.approx(row["forgets"] - row["damage"])

    with TestClient(create_app(settings(home)), base_url="http://127.0.0.1") as client:
        listing = client.get("/api/decompositions/tiny/evaluations").json()
        assert [(item["id"], item["facts"]) for item in listing["items"]] == [(path.stem, 2)]
        whole = client.get(f"/api/decompositions/tiny/evaluations/{path.stem}").json()
        assert whole["summary"] == client.get("/api/decompositions/tiny/evaluations/latest").json()["summary"]
        assert client.get("/api/decompositions/tiny/evaluations/none").status_code == 404

    stored = path.read_bytes()
    path.unlink()
    assert evaluate(home).exit_code == 0  # from the rows it has
    assert [one.name for one in _stored(home)] == [path.name]
    assert json.loads(stored)["rows"] == first["rows"]


def _stored(home: Path) -> list[Path]:
    return sorted((home / "evaluations").glob("*/*.json"))


def test_an_evaluation_of_another_artefact_is_skipped(home: Path, tmp_path: Path) -> None:
    artifact = hand_artifact(tmp_path / "artifacts", "tiny")
    place = evaluation_place(tmp_path, artifact.hash)
    other = {
        "artifact_hash": "0" * 64,
        "created_at": "2026-01-02T00:00:00Z",
        "config": {},
        "methods": [],
        "facts": [],
    }
    write_json(
        place / "a.json",
        Evaluation(**other, kinds=[], rows=[], summary=[], seconds=1).model_dump(mode="json"),
    )
    write_json(place / "b.json", {"rows": "none"})
    with TestClient(create_app(settings(tmp_path)), base_url="http://127.0.0.1") as client:
        assert client.get("/api/decompositions/tiny/evaluations").json()["items"] == []
        answer = client.get("/api/decompositions/tiny/evaluations/latest")
    assert answer.status_code == 404
    assert "unweave evaluate tiny" in answer.json()["message"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--methods", "magic"), "There is no method “magic”"),
        (("--facts", "a.yaml", "--prompts", "b.csv"), "not both"),
        (("--prompts", "nowhere.csv"), "There is no file"),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_a_sentence(
    home: Path, options: tuple[str, ...], sentence: str
) -> None:
    result = evaluate(home, *options)
    assert result.exit_code in (1, 2)
    assert sentence in " ".join(result.output.split())
