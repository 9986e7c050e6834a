"""Jobs over HTTP. Most tests need no worker; one watches a job's events to the end."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.services import container
from tests.factories import FakeAblator, settings
from tests.jobs.conftest import Workers, config_of
from workers.jobs.limits import Limits
from workers.spd.config import preset_names
from workers.spd.progress import Stopped
from workers.spd.run.decompose import decompose


@pytest.fixture
def api(home: Path) -> Iterator[TestClient]:
    services = container.build(settings(home), loader=lambda *_: FakeAblator())
    services.jobs.queue.limits = Limits(queued=3)
    with TestClient(create_app(services.settings, services), base_url="http://127.0.0.1") as client:
        yield client
    services.jobs.close()


def plain(**changes: Any) -> dict[str, Any]:
    return config_of(**changes).model_dump(mode="json")


def test_the_presets_that_ship_are_listed_with_their_configs(api: TestClient) -> None:
    answer = api.get("/api/jobs/presets").json()
    assert [preset["name"] for preset in answer["items"]] == preset_names()
    for preset in answer["items"]:
        assert preset["config"]["name"] == preset["name"]
        assert preset["title"]


def test_a_preset_with_overrides_and_a_name_becomes_a_queued_job(api: TestClient) -> None:
    asked = {"preset": "induction", "overrides": {"steps": 50, "target.steps": 10}, "name": "mine"}
    answer = api.post("/api/jobs", json=asked)
    assert answer.status_code == 201
    job = answer.json()
    assert (job["state"], job["stage"], job["name"], job["preset"]) == (
        "queued",
        "queued",
        "mine",
        "induction",
    )
    assert (job["steps"], job["step"], job["progress"], job["place"], job["curve"]) == (50, 0, 0.0, 0, [])
    assert api.get(f"/api/jobs/{job['id']}").json() == job


def test_a_preset_becomes_a_run_over_a_dataset_as_the_documentation_says(api: TestClient) -> None:
    page = (Path(__file__).parents[2] / "docs" / "decompose.md").read_text(encoding="utf-8")
    overrides = json.loads(page.split("```json\n")[1].split("```")[0])
    answer = api.post("/api/jobs", json={"preset": "sports-smollm2", "overrides": overrides})
    assert (answer.status_code, answer.json().get("name")) == (201, "stories")


def test_a_whole_config_becomes_a_queued_job(api: TestClient) -> None:
    job = api.post("/api/jobs", json={"config": plain(name="whole")}).json()
    assert (job["name"], job["preset"]) == ("whole", None)


@pytest.mark.parametrize(
    ("asked", "code", "named"),
    [
        ({}, "invalid_request", "either “preset” or “config”"),
        ({"preset": "induction", "config": {}}, "invalid_request", "either “preset” or “config”"),
        ({"preset": "induction", "sparkle": 1}, "invalid_request", "sparkle"),
        (
            {"preset": "nothing"},
            "invalid_config",
            "There is no preset “nothing”. Presets: bible-lm, facts-smollm2, induction",
        ),
        ({"preset": "../../etc/passwd"}, "invalid_config", "There is no preset"),
        ({"preset": "induction", "overrides": {"stepz": 5}}, "invalid_config", "stepz: is not a known key"),
        ({"preset": "induction", "overrides": {"steps": "many"}}, "invalid_config", "steps"),
        ({"preset": "induction", "overrides": {"steps.deep": 1}}, "invalid_config", "steps.deep"),
        ({"preset": "induction", "overrides": {"steps": 10**7}}, "invalid_config", "“steps” is 10,000,000"),
        ({"preset": "induction", "name": "Not A Slug"}, "invalid_request", "name"),
        ({"config": {"name": "x"}}, "invalid_config", "target"),
        (
            {
                "preset": "sports-smollm2",
                "overrides": {
                    "start": {"kind": "svd"},
                    "rest": None,
                    "reconstruction.remainder": "everywhere",
                    "data": {"kind": "corpus", "dataset": {"path": "/etc"}},
                },
            },
            "invalid_config",
            "“data.dataset.path” must lie inside “texts”",
        ),
        (
            {"preset": "sports-smollm2", "overrides": {"target": {"kind": "folder", "path": "/etc"}}},
            "invalid_config",
            "target.path",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_key_named(
    api: TestClient, asked: dict[str, Any], code: str, named: str
) -> None:
    answer = api.post("/api/jobs", json=asked)
    assert answer.status_code == 422
    error = answer.json()
    assert set(error) == {"code", "message", "details"}
    assert error["code"] == code
    assert named in error["message"]
    assert api.get("/api/jobs").json()["total"] == 0


def test_a_chosen_name_that_is_taken_gives_409_with_a_free_one(api: TestClient) -> None:
    for status in (201, 409):
        answer = api.post("/api/jobs", json={"config": plain(), "name": "mine"})
        assert answer.status_code == status
    assert answer.json()["code"] == "name_taken"
    assert answer.json()["details"] == {"suggestion": "mine-2"}


def test_a_full_queue_gives_429_with_a_time_to_come_back(api: TestClient) -> None:
    for _ in range(3):
        assert api.post("/api/jobs", json={"config": plain()}).status_code == 201
    answer = api.post("/api/jobs", json={"config": plain()})
    assert answer.status_code == 429
    assert answer.json()["code"] == "queue_full"
    assert int(answer.headers["retry-after"]) >= 5


def test_the_list_is_paged_newest_first(api: TestClient) -> None:
    for name in ("one", "two", "three"):
        api.post("/api/jobs", json={"config": plain(name=name)})
    first = api.get("/api/jobs?limit=2").json()
    assert ([job["name"] for job in first["items"]], first["total"]) == (["three", "two"], 3)
    second = api.get("/api/jobs", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert ([job["name"] for job in second["items"]], second["next_cursor"]) == (["one"], None)
    assert api.get("/api/jobs?cursor=elsewhere").json()["code"] == "invalid_cursor"


def test_a_waiting_job_can_be_cancelled(api: TestClient) -> None:
    job = api.post("/api/jobs", json={"config": plain()}).json()
    cancelled = api.post(f"/api/jobs/{job['id']}/cancel").json()
    assert (cancelled["state"], cancelled["place"]) == ("cancelled", None)
    assert cancelled["finished_at"] is not None


def test_a_job_that_waits_for_a_worker_that_is_not_there_says_so(
    api: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = api.post("/api/jobs", json={"config": plain()}).json()
    assert job["message"] is None, "a worker that starts with the server needs a moment"
    monkeypatch.setattr("backend.services.job_views.WORKER_STARTS_SECONDS", 0.0)
    assert api.get(f"/api/jobs/{job['id']}").json()["message"].startswith("No worker is running.")


@pytest.mark.slow
def test_a_job_whose_worker_has_gone_says_so_and_shows_no_rate(
    api: TestClient, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.jobs.heartbeat.LOST_SECONDS", 5.0)
    job = api.post("/api/jobs", json={"config": plain(steps=2_000, wishes="sleep=0.05")}).json()
    child = workers.start()
    follow(api, job["id"], lambda now: now["step"] > 5)
    child.kill()
    gone = follow(api, job["id"], lambda now: "Its worker has gone." in (now["message"] or ""))
    assert (gone["state"], gone["rate"], gone["remaining_seconds"]) == ("running", None, None)


def follow(api: TestClient, id: str, is_there: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    end = time.monotonic() + 60
    while not is_there(job := api.get(f"/api/jobs/{id}").json()):
        assert time.monotonic() < end, job
        time.sleep(0.1)
    return job


def test_a_failed_job_comes_with_the_end_of_its_log_and_names_no_place_of_the_machine(
    api: TestClient, workers: Workers, home: Path
) -> None:
    job = api.post("/api/jobs", json={"config": plain(wishes="raise=bug at=3")}).json()
    workers.start()
    seen = frames(api.get(f"/api/jobs/{job['id']}/events").text)
    failed = api.get(f"/api/jobs/{job['id']}").json()
    assert failed["state"] == "failed"
    assert failed["error"].startswith("The job stopped on an unexpected error (KeyError), a fault of Unweave")
    assert any("KeyError" in line for line in failed["log"])
    assert len(failed["log"]) <= 30
    assert str(home) not in str(failed["log"])
    assert seen[-2][1]["log"] == failed["log"]
    assert api.get("/api/jobs").json()["items"][0]["log"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("POST", "/cancel"),
        ("GET", "/events"),
        ("GET", "/log"),
        ("POST", "/retry"),
        ("DELETE", ""),
    ],
)
def test_an_unknown_job_gives_404(api: TestClient, method: str, path: str) -> None:
    answer = api.request(method, f"/api/jobs/nothing{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_job")


def frames(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The events of a stream, as (name, data)."""
    found = []
    for block in text.strip().split("\n\n"):
        if not block.startswith(":"):
            name, data = block.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_the_events_of_an_ended_job_are_its_last_state_and_the_end(api: TestClient) -> None:
    job = api.post("/api/jobs", json={"config": plain()}).json()
    last = api.post(f"/api/jobs/{job['id']}/cancel").json()
    answer = api.get(f"/api/jobs/{job['id']}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    without = {**last, "config": None}
    assert frames(answer.text) == [("job", without), ("end", {"state": "cancelled"})]


@pytest.mark.slow
def test_the_events_of_a_running_job_follow_it_to_its_end(api: TestClient, workers: Workers) -> None:
    job = api.post("/api/jobs", json={"config": plain(steps=60, wishes="sleep=0.05")}).json()
    workers.start()
    seen = frames(api.get(f"/api/jobs/{job['id']}/events").text)
    assert [name for name, _ in seen] == ["job"] * (len(seen) - 1) + ["end"]
    jobs = [data for name, data in seen if name == "job"]
    states = [job["state"] for job in jobs]
    assert sorted(set(states), key=states.index) == ["queued", "running", "done"]
    running = [job for job in jobs if job["state"] == "running" and job["stage"] == "train"]
    assert [job["progress"] for job in running] == sorted(job["progress"] for job in running)
    assert running[-1]["rate"] == 10.0
    assert running[-1]["worker"] == api.get("/api/health").json()["workers"][0]["id"]
    assert jobs[-1]["decomposition"] == "tiny"
    assert [point["step"] for point in jobs[-1]["curve"]][-1] == 60
    assert "rate" in jobs[-1]
    assert jobs[-1]["rate"] is None


@pytest.mark.slow
def test_health_shows_the_workers(api: TestClient, workers: Workers) -> None:
    assert api.get("/api/health").json()["workers"] == []
    workers.start()
    end = time.monotonic() + 120
    while not (found := api.get("/api/health").json()["workers"]):
        assert time.monotonic() < end
        time.sleep(0.1)
    [worker] = found
    assert (worker["state"], worker["device"], worker["job_id"]) == ("idle", "cpu", None)


def test_a_locked_database_is_told_at_once_and_nothing_is_lost(
    api: TestClient, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = api.post("/api/jobs", json={"config": plain(name="first")}).json()
    monkeypatch.setattr("workers.jobs.queue.LOCKED_MS", 100)
    with closing(sqlite3.connect(home / "unweave-jobs.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        asked = [
            ("/api/jobs", {"config": plain(name="second")}),
            (f"/api/jobs/{first['id']}/cancel", None),
        ]
        for path, body in asked:
            answer = api.post(path, json=body)
            assert (answer.status_code, answer.json()["code"]) == (503, "database_busy")
            assert answer.headers["retry-after"]
        other.rollback()
    assert api.post("/api/jobs", json={"config": plain(name="second")}).status_code == 201
    assert {job["name"] for job in api.get("/api/jobs").json()["items"]} == {"first", "second"}


def test_a_job_comes_with_all_that_it_was_given_but_not_in_a_list(api: TestClient) -> None:
    asked = plain(name="whole", steps=7)
    job = api.post("/api/jobs", json={"config": asked}).json()
    assert job["config"] == asked
    assert api.get("/api/jobs").json()["items"][0]["config"] is None


def test_a_job_whose_target_is_trained_first_says_so(api: TestClient) -> None:
    job = api.post("/api/jobs", json={"preset": "induction", "overrides": {"steps": 400}}).json()
    steps = job["config"]["target"]["steps"]
    assert steps > 400
    assert f"The target itself is trained first, in {steps:,} steps" in job["notes"][0]
    assert "400 steps follow" in job["notes"][0]


def test_a_job_that_has_ended_is_repeated_with_its_config_and_deleted(api: TestClient, home: Path) -> None:
    first = api.post("/api/jobs", json={"config": plain(name="mine", steps=7)}).json()
    for method, path in (("POST", "/retry"), ("DELETE", "")):
        answer = api.request(method, f"/api/jobs/{first['id']}{path}")
        assert (answer.status_code, answer.json()["code"]) == (409, "job_active")
    api.post(f"/api/jobs/{first['id']}/cancel")

    again = api.post(f"/api/jobs/{first['id']}/retry")
    assert again.status_code == 201
    assert (again.json()["name"], again.json()["config"]) == ("mine", first["config"])
    assert again.json()["id"] != first["id"]

    (home / "jobs" / first["id"]).mkdir(parents=True)
    assert api.delete(f"/api/jobs/{first['id']}").status_code == 204
    assert api.get(f"/api/jobs/{first['id']}").status_code == 404
    assert not (home / "jobs" / first["id"]).exists()
    assert [job["id"] for job in api.get("/api/jobs").json()["items"]] == [again.json()["id"]]


def test_the_log_of_a_job_tells_its_stages_and_figures(api: TestClient, workers: Workers) -> None:
    job = api.post("/api/jobs", json={"config": plain(steps=20)}).json()
    assert api.get(f"/api/jobs/{job['id']}/log").json() == {"lines": []}
    workers.start()
    follow(api, job["id"], lambda now: now["state"] == "done")
    lines = api.get(f"/api/jobs/{job['id']}/log").json()["lines"]
    assert any("step 20 of 20: kl 0.05" in line for line in lines)
    assert lines[-1].endswith("published as tiny")
    assert api.get(f"/api/jobs/{job['id']}/log?lines=1").json()["lines"] == lines[-1:]


@pytest.mark.slow
def test_the_last_checkpoint_of_a_job_is_a_decomposition_until_the_job_ends(
    api: TestClient, home: Path
) -> None:
    config = config_of("mine")
    job = api.post("/api/jobs", json={"config": config.model_dump(mode="json")}).json()
    refused = api.post(f"/api/jobs/{job['id']}/checkpoint")
    assert (refused.status_code, refused.json()["code"]) == (409, "no_checkpoint")
    assert refused.json()["message"].endswith("no checkpoint yet. It writes one every 10 steps.")
    seen = {"step": 0}
    with pytest.raises(Stopped):  # what a worker does, up to a step
        decompose(
            config, home / "jobs" / job["id"] / "mine", home=home, stop=lambda: seen["step"] >= 3,
            report=lambda progress: seen.update(step=progress.step),
        )  # fmt: skip
    slug = api.post(f"/api/jobs/{job['id']}/checkpoint").json()["decomposition"]
    shown = api.get(f"/api/decompositions/{slug}").json()
    assert shown["title"] == "mine (step 3 of 40, still training)"
    assert api.post(f"/api/jobs/{job['id']}/cancel").json()["state"] == "cancelled"
    api.delete(f"/api/jobs/{job['id']}")
    assert not (home / "artifacts" / job["id"]).exists()
