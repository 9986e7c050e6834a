"""A component's page: its harvest, its label and its history, and what comes before and after it in a list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.conftest import Open
from tests.factories import SITES, hand_artifact, hand_harvest
from workers.jobs.harvesting import harvest_place
from workers.spd.statistics.store import BATCH, HarvestStore

PATH = "/api/decompositions/tiny/components"
KEY = f"{SITES[1]}:0"


@pytest.fixture
def own(home: Path, open_app: Open) -> TestClient:
    """The API over a home of its own, with one harvest."""
    artifact = hand_artifact(home / "artifacts")
    hand_harvest(artifact, harvest_place(home, artifact.hash))
    return open_app(home)


def put(client: TestClient, text: str | None, version: int, **more: Any) -> Any:
    return client.put(f"{PATH}/{KEY}/label", json={"text": text, "version": version, **more})


# --- the harvest ----------------------------------------------------------------------------------------------


def test_a_page_without_a_harvest_says_so_and_keeps_the_runs_own_prompts(client: TestClient) -> None:
    page = client.get(f"{PATH}/{KEY}").json()
    assert page["harvest"] is None
    assert page["examples"] != []
    assert client.get("/api/decompositions/tiny/harvests").json() == {
        "items": [], "next_cursor": None, "total": 0,
    }  # fmt: skip


def test_a_page_shows_what_was_harvested(own: TestClient) -> None:
    listing = own.get("/api/decompositions/tiny/harvests").json()
    page = own.get(f"{PATH}/{KEY}").json()["harvest"]
    assert page["harvest"] == listing["items"][0]
    assert page["harvest"]["positions"] == 100
    assert (page["fires"], page["density"], page["zeros"]) == (7, 0.07, 75)
    assert page["inputs"][0] == page["outputs"][0]
    assert page["inputs"][0]["recall"] == 0.8571
    assert page["cofiring"][0]["component"]["key"] == f"{SITES[1]}:1"
    assert [row["cosine"] for row in page["nearest"]["reads"]] == [-0.5]
    assert page["writes"]["items"][0]["token"] is not None
    assert page["reads"]["items"][0] == {"kind": "neuron", "number": 4, "token": None, "score": 0.75}
    assert [band["quantile"] for band in page["bands"]] == ["top", "90-100", "50-90", "10-50"]
    example = page["bands"][0]["examples"][0]
    assert len(example["tokens"]) == len(example["ci"]) == len(example["inner_activation"]) == 3
    assert example["ci"][example["at"]] == max(example["ci"])
    assert page["effect_mean"] == 0.01
    assert page["affected"][0]["kl"] == [0.0, 0.5]


def test_a_harvest_that_comes_later_is_seen_and_one_can_be_named(own: TestClient, home: Path) -> None:
    services: Any = own.app.state.services  # type: ignore[attr-defined]
    entry = services.catalogue.get("tiny")
    hand_harvest(entry.artifact, harvest_place(home, entry.hash), id="later-1", fires=3, hour=9)
    assert own.get(f"{PATH}/{KEY}").json()["harvest"]["fires"] == 3
    first = own.get("/api/decompositions/tiny/harvests").json()["items"][1]["id"]
    assert own.get(f"{PATH}/{KEY}", params={"harvest": first}).json()["harvest"]["fires"] == 7
    missing = own.get(f"{PATH}/{KEY}", params={"harvest": "nothing"})
    assert (missing.status_code, missing.json()["code"]) == (404, "unknown_harvest")


def test_a_harvest_names_components_and_scores_the_names(own: TestClient, home: Path) -> None:
    services: Any = own.app.state.services  # type: ignore[attr-defined]
    entry = services.catalogue.get("tiny")
    assert (
        own.get(f"{PATH}/{KEY}").json()["label_f1"] is None
    )  # the first harvest is of before labels had scores
    put(own, "Sports people", 0)
    hand_harvest(entry.artifact, harvest_place(home, entry.hash), id="later-1", hour=9, labels="corpus")
    rows = own.get(PATH, params={"sort": "label_f1", "order": "desc", "limit": 100}).json()["items"]
    named = {row["key"]: row for row in rows}
    second = named[f"{SITES[1]}:1"]
    piece = entry.piece(5).replace(" ", "␣")
    assert second["label"].startswith(f"fires on {piece}")
    assert second["label_f1"] == pytest.approx(2 * 6 / (8 + 7))
    assert (named[KEY]["label"], named[KEY]["label_f1"]) == ("Sports people", None)
    assert own.get(PATH, params={"q": f"fires on {piece}"}).json()["total"] > 0
    page = own.get(f"{PATH}/{KEY}").json()
    assert page["automatic_label"] == second["label"]
    score = page["harvest"]["label"]
    assert (score["precision"], score["fires"], score["positions"]) == (0.75, 7, 50)
    assert score["balanced_accuracy"] == pytest.approx((6 / 7 + 1 - 2 / 43) / 2)


def test_a_harvest_of_another_decomposition_is_passed_over(own: TestClient, home: Path) -> None:
    services: Any = own.app.state.services  # type: ignore[attr-defined]
    entry = services.catalogue.get("tiny")
    hand_harvest(entry.artifact, harvest_place(home, entry.hash), id="foreign", artifact_hash="0" * 64)
    assert own.get("/api/decompositions/tiny/harvests").json()["total"] == 1


def test_a_page_reads_one_batch_of_the_store_however_many_components_there_are(
    own: TestClient, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = hand_artifact(home / "artifacts", "many", components=301)
    folder = hand_harvest(artifact, harvest_place(home, artifact.hash))
    store = HarvestStore(folder)
    read: list[int] = []
    original = store._reader.get_batch
    monkeypatch.setattr(
        store, "_reader", type("Reader", (), {"get_batch": lambda _, n: read.append(n) or original(n)})()
    )
    store.row(700)
    assert read == [700 // BATCH]
    assert original(0).num_rows == BATCH


# --- before and after -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("sort", ["key", "mean_ci", "density", "label"])
def test_next_walks_the_list_as_it_is_sorted_and_filtered(client: TestClient, sort: str, order: str) -> None:
    view = {"sort": sort, "order": order, "alive": True, "q": "fires on"}
    whole = [row["key"] for row in client.get(PATH, params={**view, "limit": 100}).json()["items"]]
    walked = [whole[0]]
    while (page := client.get(f"{PATH}/{walked[-1]}", params=view).json())["next"]:
        walked.append(page["next"])
    assert walked == whole
    assert page["previous"] == whole[-2]


def test_an_offset_opens_the_list_anywhere(client: TestClient) -> None:
    whole = client.get(PATH, params={"limit": 100, "sort": "mean_ci"}).json()
    part = client.get(PATH, params={"limit": 5, "sort": "mean_ci", "offset": 11}).json()
    assert part["items"] == whole["items"][11:16]
    assert part["total"] == whole["total"]
    both = client.get(PATH, params={"offset": 1, "cursor": part["next_cursor"]})
    assert both.json()["code"] == "cursor_and_offset"


# --- labels ---------------------------------------------------------------------------------------------------


def test_a_label_is_versions_and_is_found_by_search(own: TestClient) -> None:
    before = own.get(f"{PATH}/{KEY}").json()
    assert (before["label"], before["label_version"]) == (before["automatic_label"], 0)
    answer = put(own, "  Sports\tpeople ", 0, author="Ada").json()
    assert (answer["current"], answer["version"], answer["items"][0]["author"]) == ("Sports people", 1, "Ada")
    page = own.get(f"{PATH}/{KEY}").json()
    assert (page["label"], page["automatic_label"], page["label_version"]) == (
        "Sports people", before["label"], 1,
    )  # fmt: skip
    assert [row["key"] for row in own.get(PATH, params={"q": "sports PEO"}).json()["items"]] == [KEY]
    back = put(own, None, 1).json()
    assert (back["current"], back["version"]) == (before["label"], 2)
    assert [item["text"] for item in back["items"]] == [None, "Sports people"]
    assert own.get(PATH, params={"q": "sports peo"}).json()["total"] == 0


def test_of_two_editors_the_second_is_shown_what_the_first_wrote(own: TestClient) -> None:
    assert put(own, "one", 0).status_code == 200
    late = put(own, "two", 0)
    assert (late.status_code, late.json()["code"]) == (409, "label_changed")
    assert late.json()["details"]["current"]["current"] == "one"
    assert put(own, "two", late.json()["details"]["current"]["version"]).json()["current"] == "two"


@pytest.mark.parametrize(
    ("text", "code"), [("", "empty_label"), (" \n ", "empty_label"), ("x" * 201, None), (3, None)]
)
def test_a_label_that_cannot_be_used_is_refused(own: TestClient, text: Any, code: str | None) -> None:
    answer = put(own, text, 0)
    assert answer.status_code == 422
    assert code is None or answer.json()["code"] == code
    assert own.get(f"{PATH}/{KEY}/labels").json()["version"] == 0


def test_a_label_is_plain_text_whatever_is_typed(own: TestClient) -> None:
    answer = put(own, "<b>bold</b>\u202e\x00 x", 0).json()
    assert answer["current"] == "<b>bold</b> x"


def test_labels_outlive_the_index(own: TestClient, home: Path, open_app: Open) -> None:
    put(own, "kept", 0)
    (home / "artifacts" / "tiny" / "manifest.json").touch()
    again = open_app(home)
    assert again.get(f"{PATH}/{KEY}").json()["label"] == "kept"
    assert again.get(PATH, params={"q": "kept"}).json()["total"] == 1


def test_labels_travel_with_an_export_and_do_not_replace_others(
    own: TestClient, home: Path, open_app: Open
) -> None:
    put(own, "one", 0, author="Ada")
    put(own, "two", 1)
    services: Any = own.app.state.services  # type: ignore[attr-defined]
    items = services.labels.export(services.catalogue.get("tiny"))
    other = home.parent / "other"
    hand_artifact(other / "artifacts")
    there: Any = open_app(other)
    labels, entry = there.app.state.services.labels, there.app.state.services.catalogue.get("tiny")
    assert labels.bring_in(entry, items) == 1
    history = there.get(f"{PATH}/{KEY}/labels").json()
    assert [(item["text"], item["author"]) for item in history["items"]] == [("two", ""), ("one", "Ada")]
    assert there.get(f"{PATH}/{KEY}").json()["label"] == "two"
    assert labels.bring_in(entry, items) == 0


# --- any text -------------------------------------------------------------------------------------------------


def test_any_text_can_be_tried(client: TestClient) -> None:
    answer = client.post(f"{PATH}/{KEY}/try", json={"text": "Tiger Woods"}).json()
    assert len(answer["tokens"]) == len(answer["ci"]) == len(answer["inner_activation"])
    assert client.post(f"{PATH}/{KEY}/try", json={"text": ""}).json()["code"] == "empty_prompt"
    assert client.post(f"{PATH}/{SITES[0]}:99/try", json={"text": "x"}).status_code == 404


# --- jobs -----------------------------------------------------------------------------------------------------


def test_a_harvest_is_a_job_and_only_one_waits(own: TestClient) -> None:
    path = "/api/decompositions/tiny/harvests"
    job = own.post(path, json={"config": {"text": "Tiger Woods"}}).json()
    assert (job["kind"], job["name"], job["state"]) == ("harvest", "tiny", "queued")
    again = own.post(path, json={"config": {}})
    assert (again.status_code, again.json()["code"]) == (409, "harvest_waits")
    assert own.get("/api/jobs").json()["items"][0]["kind"] == "harvest"
    assert own.post(f"/api/jobs/{job['id']}/cancel").json()["state"] == "cancelled"
    assert own.post(path, json={"config": {}}).status_code == 201


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"path": "/etc"}, "home folder"),
        ({"path": ".", "glob": "../../../../etc/passwd"}, "must lie below its folder"),
        ({"path": "texts", "glob": "/etc/passwd"}, "must lie below its folder"),
        ({"path": "texts\0"}, "NUL"),
        ({"tokens": 10**9}, "tokens"),
        ({"nonsense": 1}, "nonsense"),
        ({"ablate_components": 10**6}, "ablate_components"),
    ],
)
def test_a_harvest_that_may_not_be_asked_for_is_refused(
    own: TestClient, config: dict[str, Any], said: str
) -> None:
    answer = own.post("/api/decompositions/tiny/harvests", json={"config": config})
    assert answer.status_code == 422
    assert said in answer.json()["message"]


def test_numbers_of_the_store_are_plain(own: TestClient) -> None:
    page = own.get(f"{PATH}/{KEY}").json()["harvest"]
    assert np.isfinite([row["pmi"] for row in page["inputs"]]).all()
