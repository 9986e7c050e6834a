"""Before a run, over HTTP: models, prompts, configs, and what a run will take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from backend.app import create_app
from tests.factories import settings
from tests.spd import tiny

RUN = {"start": {"kind": "svd"}, "ci": {"kind": "shared_mlp", "hidden": 8}, "C": 6, "steps": 12}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    tiny.saved(tiny.llama_model(), home / "models" / "lab" / "llama")
    tiny.saved(tiny.llama_model(), home / "elsewhere" / "llama")
    (home / "models" / "empty").mkdir()
    return home


@pytest.fixture(scope="module")
def api(home: Path) -> Iterator[TestClient]:
    with TestClient(create_app(settings(home)), base_url="http://127.0.0.1") as client:
        yield client


def folder(home: Path, name: str = "models/lab/llama") -> dict[str, Any]:
    return {"kind": "folder", "path": str(home / name)}


def config(home: Path, **changes: Any) -> dict[str, Any]:
    given = tiny.run_config(home / "models" / "lab" / "llama", **changes)
    return given.model_dump(mode="json", exclude_unset=True)


def test_the_models_at_hand_are_those_of_the_presets_and_of_the_folders_that_are_allowed(
    api: TestClient, home: Path
) -> None:
    answer = api.get("/api/models").json()
    assert answer["items"][0] == {
        "name": "llama", "where": "folder", "source": {**folder(home), "license": None},
    }  # fmt: skip
    kinds = [item["source"]["kind"] for item in answer["items"][1:]]
    assert sorted(kinds) == ["hub", "induction", "package", "text_model"]
    assert answer["rooms"] == [str(home / "models")]
    assert answer["setting"] == "UNWEAVE_JOB_FOLDERS"


def test_a_folder_answers_with_what_it_is_and_one_elsewhere_names_the_setting(
    api: TestClient, home: Path
) -> None:
    view = api.post("/api/models/inspect", json={"source": folder(home)}).json()
    assert (view["architecture"], view["layers"]) == ("LlamaForCausalLM", 2)
    assert "model.layers.0.mlp.up_proj" in [module["path"] for module in view["modules"]]
    for name, said in [
        ("elsewhere/llama", "UNWEAVE_JOB_FOLDERS"),
        ("models/../elsewhere/llama", "UNWEAVE_JOB_FOLDERS"),
        ("models/empty", "holds no config.json"),
        ("models/nothing", "There is no model folder “nothing”"),
    ]:
        answer = api.post("/api/models/inspect", json={"source": folder(home, name)})
        assert answer.status_code == 422, answer.text
        assert said in answer.json()["message"]
        assert str(home) not in answer.json()["message"]


def test_what_is_free_is_of_the_moment(api: TestClient, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"source": folder(home)}
    assert not api.post("/api/models/inspect", json=body).json()["notes"]
    monkeypatch.setattr("backend.services.models.available_bytes", lambda device: 7)
    view = api.post("/api/models/inspect", json=body).json()
    assert view["available_bytes"] == 7
    assert view["notes"] == [
        "Its weights take 0.0 GiB in float32 and 0.0 GiB are free: it does not fit here."
    ]


def test_prompts_are_asked_of_the_model_and_read_from_files(api: TestClient, home: Path) -> None:
    prompts = [{"text": "w1 w2", "answer": "w3"}, {"text": "w1", "answer": "w3 w4"}]
    items = api.post("/api/models/prompts", json={"source": folder(home), "prompts": prompts}).json()["items"]
    assert [token["piece"] for token in items[0]["tokens"]] == ["w1", "w2"]
    assert 1 <= items[0]["rank"] <= tiny.VOCABULARY
    assert items[1]["fault"] == "The answer is not one token of this model: w3|w4."

    read = api.post("/api/prompts/read", json={"text": "text,answer\na, b\n", "name": "mine.csv"}).json()
    assert [(item["text"], item["answer"]) for item in read["items"]] == [("a", " b")]
    bad = api.post("/api/prompts/read", json={"text": "{", "name": "mine.jsonl"})
    assert (bad.status_code, bad.json()["code"]) == (422, "invalid_prompts")


def test_a_review_lists_sites_and_says_what_gives_reason_to_think(api: TestClient, home: Path) -> None:
    given = config(home, C=20, sites=["model.layers.[0-1].mlp.*_proj"], rest=None)
    answer = api.post("/api/configs/review", json={"config": given}).json()
    assert [site["path"] for site in answer["sites"]][:2] == [
        "model.layers.0.mlp.gate_proj",
        "model.layers.0.mlp.up_proj",
    ]
    assert (answer["components"], answer["parameters"]) == (6 * 20, 6 * 16 * 24)
    assert (
        "C is 20, and the rank of model.layers.0.mlp.gate_proj and 5 more is at most 16" in answer["notes"][0]
    )
    assert any("No prompt is a bystander" in note for note in answer["notes"])
    assert yaml.safe_load(answer["yaml"]) == answer["config"] == given
    again = api.post("/api/configs/review", json={"yaml": answer["yaml"]}).json()
    assert again == answer


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"yaml": "a: [b"}, "It is not YAML"),
        ({"yaml": "just words"}, "The config cannot be used."),
        ({"config": {}}, "name: Field required"),
        ({}, "Send either “config” or “yaml”"),
    ],
)
def test_a_config_that_is_none_is_refused(api: TestClient, body: dict[str, Any], said: str) -> None:
    answer = api.post("/api/configs/review", json=body)
    assert answer.status_code == 422
    assert said in answer.json()["message"]


@pytest.mark.parametrize(
    ("sites", "said"),
    [
        (["model.layers.7.mlp.*"], "“model.layers.7.mlp.*” matches no module of llama"),
        (["lm_*"], "“lm_*” matches lm_head, which cannot be a site. It writes the logits"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_with_why(
    api: TestClient, home: Path, sites: list[str], said: str
) -> None:
    answer = api.post("/api/configs/review", json={"config": config(home, sites=sites)})
    assert answer.status_code == 422
    assert said in answer.json()["message"]


def test_a_recipe_with_a_model_sites_and_data_is_a_config(api: TestClient, home: Path) -> None:
    recipes = api.get("/api/configs/recipes").json()["items"]
    assert {(one["kind"], one["size"]) for one in recipes} >= {("prompts", "quick"), ("corpus", "thorough")}
    quick = next(one for one in recipes if (one["kind"], one["size"]) == ("prompts", "quick"))
    assert quick["config"]["rest"]["text"]["shipped"] == "smollm2-samples", (
        "the rest stream is there by default"
    )
    whole = {
        "name": "mine", "target": folder(home), "sites": ["model.layers.*.mlp.down_proj"],
        "data": config(home)["data"], **quick["config"],
    }  # fmt: skip
    answer = api.post("/api/configs/review", json={"config": whole})
    assert answer.status_code == 200, answer.text
    assert answer.json()["components"] is None, "the data decide"


def test_an_estimate_is_made_before_the_run(api: TestClient, home: Path) -> None:
    answer = api.post("/api/configs/estimate", json={"config": config(home)})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["total_seconds"] == pytest.approx(sum(found["seconds"].values()), abs=0.1)
    assert found["memory_bytes"] > 50_000_000
    assert not list((home / "artifacts").glob("*"))
