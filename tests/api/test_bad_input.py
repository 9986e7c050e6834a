"""Bad input is answered with one shape: a code, a sentence that names what is wrong, and nothing of the inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import Open
from tests.factories import CONTEXT, SITES, WOODS, hand_artifact

KEY = f"{SITES[0]}:0"
ABLATE = "/api/decompositions/tiny/ablations"


def ablation(**changes: Any) -> dict[str, Any]:
    return {"text": WOODS, "components": [{"key": KEY}], "top_k": 3, **changes}


def component(**changes: Any) -> dict[str, Any]:
    return ablation(components=[{"key": KEY, **changes}])


CASES = [
    ("an empty prompt", ablation(text=""), 422, "empty_prompt", ["empty"]),
    ("no token ids", ablation(text=None, token_ids=[]), 422, "empty_prompt", ["empty"]),
    ("neither text nor ids", {"components": []}, 422, "invalid_request", ["text", "token_ids"]),
    ("text and ids", ablation(token_ids=[1]), 422, "invalid_request", ["one of the two"]),
    ("a prompt over the limit", ablation(text="golf " * 40), 422, "prompt_too_long", [str(CONTEXT), "42"]),
    (
        "a token outside the vocabulary",
        ablation(text=None, token_ids=[1, 9_999]),
        422,
        "unknown_token",
        ["9999"],
    ),
    ("a negative token", ablation(text=None, token_ids=[-1]), 422, "invalid_request", ["token_ids"]),
    (
        "an unknown site",
        component(key="model.layers.9.mlp.down_proj:0"),
        422,
        "unknown_component",
        ["layers.9"],
    ),
    ("an index past the end", component(key=f"{SITES[0]}:99"), 422, "unknown_component", [":99", "8"]),
    ("a pruned component", component(key=f"{SITES[0]}:7"), 422, "unknown_component", [":7", "unused"]),
    (
        "something that is no key",
        component(key="<b>hello</b>"),
        422,
        "bad_component_key",
        ["not a component key"],
    ),
    ("strength over 3", component(strength=3.5), 422, "invalid_strength", ["strength", "at most 3"]),
    ("strength under −2", component(strength=-2.1), 422, "invalid_strength", ["strength", "at least -2"]),
    (
        "a position past the end",
        component(positions=[6]),
        422,
        "position_out_of_range",
        ["6 tokens", "0 to 5"],
    ),
    (
        "a reported position past the end",
        ablation(positions=[77]),
        422,
        "position_out_of_range",
        ["77", "6 tokens"],
    ),
    (
        "a component twice",
        ablation(components=[{"key": KEY}] * 2),
        422,
        "duplicate_component",
        [KEY, "twice"],
    ),
    ("watching two tokens", ablation(watch=[" golf player"]), 422, "watch_not_one_token", ["2 tokens"]),
    ("watching nothing", ablation(watch=[""]), 422, "watch_not_one_token", ["empty"]),
    ("watching an unknown id", ablation(watch=[99_999]), 422, "unknown_token", ["99999"]),
    ("a huge top_k", ablation(top_k=10**9), 422, "invalid_request", ["top_k", "at most 50"]),
    ("a negative position", component(positions=[-1]), 422, "invalid_request", ["positions", "at least 0"]),
    (
        "a negative reported position",
        ablation(positions=[-1]),
        422,
        "invalid_request",
        ["positions", "at least 0"],
    ),
    ("a negative start", component(start=-1), 422, "invalid_request", ["start", "at least 0"]),
    ("a start past the end", component(start=6), 422, "position_out_of_range", ["6 tokens", "0 to 5"]),
    (
        "a token id beyond any integer",
        ablation(text=None, token_ids=[10**30]),
        422,
        "unknown_token",
        [str(10**30)],
    ),
    ("half a character", ablation(text="\ud800"), 422, "invalid_request", ["text"]),
    ("a text over the limit", ablation(text="a " * 15_000), 422, "invalid_request", ["text", "20,000"]),
    (
        "a component twice at one position",
        ablation(
            components=[{"key": KEY, "positions": [1, 2]}, {"key": KEY, "positions": [2], "strength": 0.5}]
        ),
        422,
        "duplicate_component",
        ["position 2"],
    ),
    ("an unknown remainder", ablation(remainder="half"), 422, "invalid_request", ["remainder"]),
    ("an answer of two tokens", ablation(answer=" golf player"), 422, "watch_not_one_token", ["2 tokens"]),
    ("more watched tokens than fit", ablation(watch=[1] * 33), 422, "invalid_request", ["watch", "32"]),
    ("a top_k of 0", ablation(top_k=0), 422, "invalid_request", ["top_k", "at least 1"]),
    ("an unknown mode", ablation(mode="explode"), 422, "invalid_request", ["mode"]),
    ("an unknown key", ablation(colour="red"), 422, "invalid_request", ["colour", "not a known key"]),
]


@pytest.mark.parametrize(
    ("body", "status", "code", "named"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_an_ablation_refuses_and_says_why(
    client: TestClient, body: dict[str, Any], status: int, code: str, named: list[str]
) -> None:
    answer = client.post(ABLATE, content=json.dumps(body), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    for word in named:
        assert word in answer.json()["message"]
    assert set(answer.json()) == {"code", "message", "details"}


@pytest.mark.parametrize(
    ("what", "body", "named"),
    [
        ("comparisons", {"prompts": []}, "prompts"),
        ("comparisons", {"prompts": [{"text": WOODS}] * 9}, "prompts"),
        ("comparisons", {"prompts": [{"text": WOODS}], "conditions": ["C"]}, "conditions"),
        ("regimes", {"text": WOODS, "samples": 10**6}, "samples"),
        ("regimes", {"text": WOODS, "steps": 10**6}, "steps"),
        ("regimes", {"text": WOODS, "seed": -1}, "seed"),
        ("regimes", {"text": WOODS, "kinds": []}, "kinds"),
        ("attention", {"text": WOODS, "heads": []}, "heads"),
        ("attention", {"text": WOODS, "heads": [{"layer": -1, "head": 0}]}, "layer"),
        ("continuations", {"text": WOODS, "tokens": 21}, "tokens"),
        ("continuations", {"text": WOODS, "tokens": 0}, "tokens"),
        ("sweeps", {"text": WOODS, "kind": "strengths", "strengths": [1.5]}, "strengths"),
        ("sweeps", {"text": WOODS, "kind": "strengths", "strengths": [0] * 102}, "strengths"),
        ("sweeps", {"text": WOODS, "rank_by": "watched"}, "watch"),
        ("sweeps", {"text": WOODS, "top": 0}, "top"),
        ("importances", {"text": WOODS, "threshold": 2}, "threshold"),
    ],
)
def test_the_other_modes_refuse_and_say_what(
    client: TestClient, what: str, body: dict[str, Any], named: str
) -> None:
    answer = client.post(f"/api/decompositions/tiny/{what}", json=body)
    assert answer.status_code == 422
    assert named in answer.json()["message"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_strength_that_is_not_a_number_is_refused_in_words(client: TestClient, number: str) -> None:
    body = f'{{"text": "Tiger", "components": [{{"key": "{KEY}", "strength": {number}}}]}}'
    answer = client.post(ABLATE, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_strength"
    assert "strength" in answer.json()["message"]


@pytest.mark.parametrize("body", ["{", "", "[1,2", "\x00"])
def test_malformed_json_is_named_as_such(client: TestClient, body: str) -> None:
    answer = client.post(ABLATE, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["code"] in ("malformed_json", "invalid_request")


def test_a_body_that_is_not_sent_as_json_is_refused_so_that_other_sites_cannot_post(
    client: TestClient,
) -> None:
    body = json.dumps(ablation())
    assert client.post(ABLATE, content=body, headers={"content-type": "text/plain"}).status_code == 422


def test_a_body_over_the_limit_is_refused_before_it_is_read(client: TestClient) -> None:
    answer = client.post(ABLATE, json=ablation(watch=["x" * 3_000_000]))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_a_body_without_a_told_length_is_refused_when_it_grows_too_large(client: TestClient) -> None:
    chunks = (b" " * 100_000 for _ in range(40))
    answer = client.post(ABLATE, content=chunks, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/api/decompositions/nope", "unknown_decomposition"),
        ("GET", "/api/decompositions/nope/components", "unknown_decomposition"),
        ("GET", "/api/decompositions/nope/groups", "unknown_decomposition"),
        ("GET", f"/api/decompositions/tiny/components/{SITES[0]}:99", "unknown_component"),
        ("GET", "/api/findings/nope", "unknown_finding"),
        ("POST", "/api/findings/nope/replay", "unknown_finding"),
        ("GET", "/api/jobs/nope", "unknown_job"),
        ("GET", "/api/what/is/this", "not_found"),
        ("DELETE", "/api/decompositions/nope", "unknown_decomposition"),
    ],
)
def test_what_is_not_there_is_a_404_that_names_it(
    client: TestClient, method: str, path: str, code: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code in (404, 405)
    assert answer.json()["code"] in (code, "method_not_allowed")


@pytest.mark.parametrize(
    "query", ["sort=colour", "order=up", "limit=0", "limit=99999", "cursor=zzz", "site=nope"]
)
def test_a_list_refuses_parameters_it_does_not_have(client: TestClient, query: str) -> None:
    answer = client.get(f"/api/decompositions/tiny/components?{query}")
    assert answer.status_code == 422
    assert answer.json()["message"].endswith(".")


def test_a_bos_is_refused_where_the_model_has_none(home: Path, open_app: Open) -> None:
    hand_artifact(home / "artifacts", bos_token_id=None)
    answer = open_app(home).post("/api/decompositions/tiny/tokenize", json={"text": "Tiger", "bos": True})
    assert (answer.status_code, answer.json()["code"]) == (422, "no_bos_token")


def test_an_unexpected_error_shows_nothing_of_the_inside(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    services: Any = client.app.state.services  # type: ignore[attr-defined]

    def explode() -> None:
        raise RuntimeError("secret of the house")

    monkeypatch.setattr(services.catalogue, "entries", explode)
    quiet = TestClient(client.app, base_url="http://127.0.0.1", raise_server_exceptions=False)
    answer = quiet.get("/api/decompositions")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_a_locked_database_is_said_to_be_busy(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    services: Any = client.app.state.services  # type: ignore[attr-defined]

    def locked(**_: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception("database is locked"))

    monkeypatch.setattr(services.findings, "listing", locked)
    answer = client.get("/api/findings")
    assert (answer.status_code, answer.json()["code"]) == (503, "database_busy")
    assert answer.headers["retry-after"] == "2"
    assert "SELECT" not in answer.text
