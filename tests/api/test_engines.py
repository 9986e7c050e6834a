"""Weights load in the background; what can be had without them is had meanwhile, and a failure has a way out."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, replace
from math import inf, isfinite
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend.errors import ApiError
from tests import factories
from tests.conftest import Open, wait_for_engine
from tests.factories import WOODS, FakeAblator, hand_artifact
from workers.spd.answers import NotFiniteError
from workers.spd.queries import AblationQuery, Condition, Edit

IMPORTANCES = "/api/decompositions/tiny/importances"
ABLATIONS = "/api/decompositions/tiny/ablations"


@dataclass
class Progress:
    state: str
    fraction: float | None
    message: str


class SlowLoader:
    """Says that it is half way, then waits to be let go."""

    def __init__(self) -> None:
        self.reported, self.go = threading.Event(), threading.Event()

    def __call__(self, entry: Any, settings: Any, report: Any) -> FakeAblator:
        report(Progress("fetching", 0.5, "Fetching tiny: 40 MB of 80 MB."))
        self.reported.set()
        assert self.go.wait(20)
        return FakeAblator()


@pytest.fixture
def slow(home: Path, open_app: Open) -> Any:
    loader = SlowLoader()
    hand_artifact(home / "artifacts")
    client = open_app(home, loader=loader, load_engines=True)
    assert loader.reported.wait(20)
    yield client, loader
    loader.go.set()


def test_while_weights_are_fetched_their_state_is_in_health_and_in_the_gallery(slow: Any) -> None:
    client, _ = slow
    (target,) = client.get("/api/health").json()["engine"]
    assert (target["state"], target["progress"]) == ("fetching", 0.5)
    assert "40 MB" in target["message"]
    assert client.get("/api/decompositions").json()["items"][0]["target"] == target


def test_an_ablation_without_weights_is_a_503_with_the_state_and_when_to_come_back(slow: Any) -> None:
    client, loader = slow
    answer = client.post(ABLATIONS, json={"text": WOODS})
    assert (answer.status_code, answer.json()["code"]) == (503, "weights_not_ready")
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["details"]["state"] == "fetching"
    assert "50%" in answer.json()["message"]
    loader.go.set()
    wait_for_engine(client)
    assert client.post(ABLATIONS, json={"text": WOODS}).status_code == 200


def test_bad_input_is_said_before_the_weights_are_there(slow: Any) -> None:
    client, _ = slow
    assert client.post(ABLATIONS, json={"text": ""}).json()["code"] == "empty_prompt"


def test_stored_importances_are_shown_before_the_weights_are_there(slow: Any) -> None:
    client, loader = slow
    stored = client.post(IMPORTANCES, json={"text": WOODS, "threshold": 0.4}).json()
    assert stored["source"] == "stored"
    assert (stored["site"], stored["position"], stored["ci"]) == ([0, 1], [1, 1], [0.9, 0.45])
    assert stored["below_threshold"] == 1
    assert client.post(IMPORTANCES, json={"text": "another prompt"}).status_code == 503
    loader.go.set()
    wait_for_engine(client)
    assert client.post(IMPORTANCES, json={"text": WOODS}).json()["source"] == "live"


def tokenized(client: TestClient, **asked: Any) -> dict[str, Any]:
    answer = client.post("/api/decompositions/tiny/tokenize", json=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_control_token_in_a_text_is_named_and_can_be_read_as_text(client: TestClient) -> None:
    asked = {"text": "Tiger<bos> Woods"}
    named = tokenized(client, **asked)
    assert [w["code"] for w in named["warnings"]] == ["control_tokens"]
    assert "“<bos>”" in named["warnings"][0]["message"]
    assert named["tokens"][1] == {"id": 0, "piece": "<bos>"}
    plain = tokenized(client, **asked, plain_text=True)
    assert plain["warnings"] == []
    assert len(plain["tokens"]) > len(named["tokens"])
    assert plain["text"] == named["text"] == asked["text"]
    run = client.post("/api/decompositions/tiny/importances", json={**asked, "plain_text": True}).json()
    assert run["tokens"] == plain["tokens"]


def test_the_text_of_a_prompt_given_as_ids_is_whole_and_makes_the_same_ids(client: TestClient) -> None:
    ids = [token["id"] for token in tokenized(client, text="né 👩", bos=True)["tokens"]]
    again = tokenized(client, token_ids=ids, bos=True)
    assert (again["text"], again["warnings"]) == ("né 👩", [])
    assert [token["id"] for token in tokenized(client, text=again["text"], bos=True)["tokens"]] == ids


def test_ids_that_the_text_would_not_make_are_warned_of(client: TestClient) -> None:
    split = [token["id"] for word in ("T", "i", "ger") for token in tokenized(client, text=word)["tokens"]]
    answer = tokenized(client, token_ids=split)
    assert answer["text"] == "Tiger"
    assert [warning["code"] for warning in answer["warnings"]] == ["other_tokens"]


@pytest.mark.parametrize("bos", [0, 1, "true", None])
def test_bos_is_true_or_false_and_nothing_like_it(client: TestClient, bos: Any) -> None:
    for what in ("tokenize", "importances", "ablations"):
        answer = client.post(f"/api/decompositions/tiny/{what}", json={"text": "Tiger", "bos": bos})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
        assert "bos" in answer.json()["message"]


def test_tokenising_needs_no_weights(slow: Any) -> None:
    client, _ = slow
    answer = client.post("/api/decompositions/tiny/tokenize", json={"text": f"{WOODS} ", "bos": True}).json()
    assert [token["piece"] for token in answer["tokens"]][:3] == ["<bos>", "Tiger", " Woods"]
    assert [warning["code"] for warning in answer["warnings"]] == ["trailing_space"]
    long = client.post("/api/decompositions/tiny/tokenize", json={"text": "golf " * 40}).json()
    assert "too_long" in [warning["code"] for warning in long["warnings"]]
    assert len(long["tokens"]) > long["limit"] == 32
    assert (
        client.post("/api/decompositions/tiny/tokenize", json={"text": ""}).json()["warnings"][0]["code"]
        == "empty"
    )


def test_a_failed_load_says_why_and_can_be_tried_again(home: Path, open_app: Open) -> None:
    tries: list[int] = []

    def loader(*_: Any) -> FakeAblator:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("no route to host")
        return FakeAblator()

    hand_artifact(home / "artifacts")
    client = open_app(home, loader=loader)
    services: Any = client.app.state.services
    services.engines.wait(services.catalogue.get("tiny"), 20)
    answer = client.post(ABLATIONS, json={"text": WOODS})
    assert (answer.status_code, answer.json()["code"]) == (503, "weights_failed")
    assert "no route to host" in answer.json()["message"]
    assert client.get("/api/health").json()["status"] == "degraded"
    assert len(tries) == 1, "a failure is not tried again by itself"
    assert client.post("/api/decompositions/tiny/target").json()["state"] == "loading"
    wait_for_engine(client)
    assert client.post(ABLATIONS, json={"text": WOODS}).status_code == 200


def test_several_decompositions_are_ready_side_by_side_up_to_the_limit(home: Path, open_app: Open) -> None:
    for number, name in enumerate(["one", "two", "three"]):
        hand_artifact(home / "artifacts", name, components=5 + number)
    client = open_app(home, max_engines=2)
    for name in ["one", "two"]:
        wait_for_engine(client, name)
    states = {
        item["id"]: item["target"]["state"] for item in client.get("/api/decompositions").json()["items"]
    }
    assert states == {"one": "ready", "two": "ready", "three": "absent"}
    assert client.post("/api/decompositions/one/ablations", json={"text": WOODS}).status_code == 200
    wait_for_engine(client, "three")
    states = {
        item["id"]: item["target"]["state"] for item in client.get("/api/decompositions").json()["items"]
    }
    assert states == {"one": "ready", "two": "absent", "three": "ready"}, "the least recently used leaves"


def test_what_cannot_fit_the_memory_is_refused_with_both_numbers(home: Path, open_app: Open) -> None:
    loaded: list[int] = []

    def loader(*_: Any) -> FakeAblator:
        loaded.append(1)
        return FakeAblator()

    hand_artifact(home / "artifacts", parameters=2 * 2**20)
    client = open_app(home, loader=loader, memory_budget_mb=8)
    services: Any = client.app.state.services
    services.engines.wait(services.catalogue.get("tiny"), 20)
    answer = client.post(ABLATIONS, json={"text": WOODS})
    assert (answer.status_code, answer.json()["code"]) == (503, "weights_failed")
    for said in ("needs about 10 MB", "the budget is 8 MB", "UNWEAVE_MEMORY_BUDGET_MB"):
        assert said in answer.json()["message"]
    assert loaded == [], "it is said before anything is loaded"


def test_under_a_memory_budget_the_least_recently_used_leaves(home: Path, open_app: Open) -> None:
    for name in ("one", "two", "three"):
        hand_artifact(home / "artifacts", name, weights=f"weights of {name}", parameters=2 * 2**20)
    client = open_app(home, memory_budget_mb=25)

    def ready() -> set[str]:
        items = client.get("/api/decompositions").json()["items"]
        return {item["id"] for item in items if item["target"]["state"] == "ready"}

    wait_for_engine(client, "one")
    wait_for_engine(client, "two")
    assert ready() == {"one", "two"}
    assert client.post("/api/decompositions/one/ablations", json={"text": WOODS}).status_code == 200
    wait_for_engine(client, "three")
    assert ready() == {"one", "three"}


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory: you tried")]
)
def test_an_out_of_memory_fails_its_own_request_alone(
    real_client: TestClient, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    services: Any = real_client.app.state.services  # type: ignore[attr-defined]
    passes = services.engines.get(services.catalogue.get("tiny")).engine.passes
    real = passes.resumed

    def scarce(clean: Any, *args: Any, **options: Any) -> Any:
        if len(clean.token_ids) > 5:
            raise error
        return real(clean, *args, **options)

    monkeypatch.setattr(passes, "resumed", scarce)
    key = real_client.get("/api/decompositions/tiny/components?limit=1").json()["items"][0]["key"]
    body = {"components": [{"key": key}], "recompute": True}
    answers: dict[str, Any] = {}

    def ask(text: str) -> None:
        answers[text] = real_client.post(ABLATIONS, json={"text": text, **body})

    threads = [threading.Thread(target=ask, args=(text,)) for text in (WOODS, "Tiger", "Tiger Woods")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (answers[WOODS].status_code, answers[WOODS].json()["code"]) == (507, "out_of_memory")
    assert "Shorten the prompt" in answers[WOODS].json()["message"]
    assert [answers[text].status_code for text in ("Tiger", "Tiger Woods")] == [200, 200]
    lines = real_client.post(
        "/api/decompositions/tiny/sweeps", json={"text": WOODS, "components": [{"key": key}]}
    ).text.splitlines()
    assert [json.loads(line)["event"] for line in lines][-1] == "error"
    assert json.loads(lines[-1])["code"] == "out_of_memory"
    monkeypatch.undo()
    assert real_client.post(ABLATIONS, json={"text": WOODS, **body}).status_code == 200


def test_past_the_queue_the_answer_is_429_and_nothing_is_lost(home: Path, open_app: Open) -> None:
    held, entered = threading.Event(), threading.Semaphore(0)

    class Held(FakeAblator):
        def ablate(self, *args: Any, **options: Any) -> Any:
            entered.release()
            assert held.wait(20)
            return super().ablate(*args, **options)

    hand_artifact(home / "artifacts")
    client = open_app(home, loader=lambda *_: Held(), compute_threads=1, compute_queue=1)
    wait_for_engine(client)
    statuses: list[int] = []

    def ask(top_k: int) -> None:
        statuses.append(client.post(ABLATIONS, json={"text": WOODS, "top_k": top_k}).status_code)

    threads = [threading.Thread(target=ask, args=(top_k,)) for top_k in (3, 4)]
    threads[0].start()
    assert entered.acquire(timeout=20)
    threads[1].start()
    services: Any = client.app.state.services
    for _ in range(200):
        if services.pool.inside == 2:
            break
        threading.Event().wait(0.01)
    refused = client.post(ABLATIONS, json={"text": WOODS})
    assert (refused.status_code, refused.json()["code"]) == (429, "busy")
    assert "retry-after" in refused.headers
    held.set()
    for thread in threads:
        thread.join(20)
    assert statuses == [200, 200]


def test_an_empty_selection_reports_a_self_check_of_about_zero(real_client: TestClient) -> None:
    answer = real_client.post(ABLATIONS, json={"text": WOODS, "components": []}).json()
    assert answer["self_check"]["max_kl"] < 1e-6
    assert answer["max_kl"] < 1e-6
    assert answer["provenance"]["dtype"] == "float32"
    assert set(answer["provenance"]["versions"]) >= {"unweave", "torch", "transformers"}


def test_removing_a_component_moves_the_output_and_strength_scales_it(real_client: TestClient) -> None:
    row = real_client.get("/api/decompositions/tiny/components?sort=mean_ci&order=desc&limit=1").json()[
        "items"
    ][0]

    def kl(strength: float, positions: list[int] | None = None) -> list[float]:
        chosen = [{"key": row["key"], "strength": strength, "positions": positions}]
        answer = real_client.post(ABLATIONS, json={"text": WOODS, "components": chosen}).json()
        return [place["kl"] for place in answer["positions"]]

    assert sum(kl(0.0)) == pytest.approx(0, abs=1e-9)
    assert 0 < sum(kl(0.5)) < sum(kl(1.0))
    last_only = kl(1.0, [5])
    assert last_only[:5] == pytest.approx([0] * 5, abs=1e-9), "a causal model cannot see what comes later"
    assert last_only[5] > 0


def test_keeping_nothing_is_not_the_model(real_client: TestClient) -> None:
    answer = real_client.post(ABLATIONS, json={"text": WOODS, "components": [], "mode": "keep_only"}).json()
    assert answer["max_kl"] > 0.01
    assert answer["self_check"]["max_kl"] < 1e-6


def test_live_importances_equal_the_stored_ones(real_client: TestClient) -> None:
    live = real_client.post(IMPORTANCES, json={"text": WOODS}).json()
    assert live["source"] == "live"
    services: Any = real_client.app.state.services  # type: ignore[attr-defined]
    stored = services.catalogue.get("tiny").artifact.prompts[0]
    assert live["site"] == stored.site
    assert live["component"] == stored.component
    assert live["ci"] == pytest.approx(stored.ci, abs=1e-5)


def test_watched_tokens_and_the_top_of_a_position_are_reported(real_client: TestClient) -> None:
    body = {"text": WOODS, "watch": [" golf", 5], "positions": [5], "top_k": 4}
    (place,) = real_client.post(ABLATIONS, json=body).json()["positions"]
    assert place["position"] == 5
    assert place["watched"][0]["token"] == " golf"
    assert place["watched"][1]["token_id"] == 5
    probabilities = [row["baseline"]["probability"] for row in place["top"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert [row["baseline"]["rank"] for row in place["top"]] == [1, 2, 3, 4]


def test_numbers_that_are_not_finite_are_an_error_that_says_so() -> None:
    import torch

    from backend.services.ablation.adapter import LocalAblator
    from tests.spd import tiny
    from workers.spd.ablation.engine import AblationEngine

    site = "model.layers.1.mlp.down_proj"
    engine = AblationEngine(tiny.decomposition_of(tiny.tiny_target("llama"), (site,)))
    asked = AblationQuery((3, 1, 4), (Condition((Edit(site, 0),)),))
    assert all(map(isfinite, engine.ablate(asked)[0].kl))
    with torch.no_grad():
        engine.decomposition.components.U[site][0] = inf
    with pytest.raises(NotFiniteError):
        engine.ablate(replace(asked, recompute=True))
    with pytest.raises(ApiError, match="not finite") as caught:
        LocalAblator(engine).ablate(replace(asked, recompute=True))
    assert (caught.value.status, caught.value.code) == (500, "not_finite")


def test_engines_of_the_same_weights_share_them(real_home: Path) -> None:
    from backend.services.ablation.adapter import LocalAblator, LocalLoader
    from backend.services.entries import Entry
    from workers.spd.artifact import read_artifact

    load, settings = LocalLoader(), factories.settings(real_home)
    entry = Entry("tiny", False, read_artifact(real_home / "artifacts/tiny"), settings)
    one, other = (load(entry, settings, lambda _: None) for _ in range(2))
    assert isinstance(one, LocalAblator)
    assert isinstance(other, LocalAblator)
    assert one is not other
    assert one.engine.target is other.engine.target
