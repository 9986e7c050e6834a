"""Conditions side by side, sweeps, regimes, attention and continuations over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.factories import KOBE, WOODS

TINY = "/api/decompositions/tiny"


@pytest.fixture(scope="module")
def keys(real_client: TestClient) -> list[str]:
    rows = real_client.get(f"{TINY}/components?limit=30&sort=max_ci&order=desc").json()["items"]
    return [row["key"] for row in rows]


def post(client: TestClient, what: str, **body: Any) -> dict[str, Any]:
    answer = client.post(f"{TINY}/{what}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def frames(client: TestClient, **body: Any) -> list[dict[str, Any]]:
    with client.stream("POST", f"{TINY}/sweeps", json=body) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        return [json.loads(line) for line in answer.iter_lines() if line]


def test_conditions_side_by_side_equal_the_single_ablations(real_client: TestClient, keys: list[str]) -> None:
    a, b = [{"key": keys[0]}, {"key": keys[1]}], [{"key": keys[1], "strength": 0.5}, {"key": keys[2]}]
    found = post(
        real_client, "comparisons", prompts=[{"text": WOODS}, {"text": KOBE}],
        a={"components": a}, b={"components": b}, watch=[" golf"],
    )  # fmt: skip
    both = [{"key": keys[0]}, {"key": keys[1]}, {"key": keys[2]}]
    for prompt, text in zip(found["prompts"], (WOODS, KOBE), strict=True):
        by_name = {c["condition"]: c for c in prompt["conditions"]}
        assert by_name["none"]["max_kl"] == 0
        for name, basket in (("A", a), ("B", b), ("A+B", both)):
            alone = post(real_client, "ablations", text=text, components=basket, watch=[" golf"])
            assert by_name[name]["kl"] == pytest.approx(alone["kl"], rel=1e-3, abs=1e-6)
        logit = {n: c["positions"][0]["watched"][0]["ablated"]["logit"] for n, c in by_name.items()}
        term = logit["A+B"] - logit["A"] - logit["B"] + logit["none"]
        assert prompt["interactions"][0]["logit"] == pytest.approx(term, abs=1e-9)
        assert prompt["self_check"]["max_kl"] < 1e-6


def test_a_comparison_reports_where_it_is_asked_in_each_prompt(
    real_client: TestClient, keys: list[str]
) -> None:
    body = {"prompts": [{"text": WOODS}, {"text": "Tiger Woods"}], "watch": [" golf"], "at": [2, -1]}
    # Position 6 is past the end of the second prompt, and does nothing there.
    long = len(post(real_client, "tokenize", text=WOODS)["tokens"])
    a = {"components": [{"key": keys[0], "positions": [long - 1]}, {"key": keys[1], "start": long - 1}]}
    found = post(real_client, "comparisons", a=a, **body)["prompts"]
    assert [c["positions"][0]["position"] for c in found[0]["conditions"]] == [2] * 4
    assert [c["positions"][0]["position"] for c in found[1]["conditions"]] == [
        len(found[1]["tokens"]) - 1
    ] * 4
    assert [c["components"] for c in found[0]["conditions"]] == [0, 2, 0, 2]
    assert [c["components"] for c in found[1]["conditions"]] == [0, 0, 0, 0]
    assert found[0]["conditions"][1]["max_kl"] > 0
    assert found[1]["conditions"][1]["max_kl"] == 0
    nowhere = {"components": [{"key": keys[0], "positions": [long]}]}
    for wrong, code in (
        ({"at": [0]}, "invalid_request"), ({"at": [long, 0]}, "position_out_of_range"),
        ({"a": nowhere}, "position_out_of_range"),
    ):  # fmt: skip
        answer = real_client.post(f"{TINY}/comparisons", json={**body, **wrong})
        assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_a_sweep_streams_its_rows_and_ranks_them(real_client: TestClient, keys: list[str]) -> None:
    lines = frames(
        real_client, text=WOODS, components=[{"key": key} for key in keys], watch=[" golf"],
        contrast=[" golf", " player"], answer=" golf",
    )  # fmt: skip
    assert (lines[0]["event"], lines[-1]["event"]) == ("start", "end")
    items = {item["number"]: item for line in lines for item in line.get("items", [])}
    assert len(items) == len(keys) == lines[-1]["done"]
    ranking = lines[-1]["ranking"]
    assert [items[n]["kl"] for n in ranking] == sorted((i["kl"] for i in items.values()), reverse=True)
    best = items[ranking[0]]
    alone = post(real_client, "ablations", text=WOODS, components=[{"key": best["key"]}], answer=" golf")
    assert best["kl"] == pytest.approx(alone["kl"][-1], rel=1e-3, abs=1e-6)
    change = alone["answer"]["ablated_ce"] - alone["answer"]["baseline_ce"]
    assert best["ce"] == pytest.approx(change, rel=1e-3, abs=1e-5)


def test_strengths_run_along_a_line_from_nothing(real_client: TestClient, keys: list[str]) -> None:
    lines = frames(
        real_client, text=WOODS, kind="strengths", components=[{"key": k} for k in keys[:5]], strengths=[0, 0.5, 1]
    )  # fmt: skip
    items = {item["number"]: item for line in lines for item in line.get("items", [])}
    assert items[0]["kl"] == 0
    assert 0 < items[1]["kl"] < items[2]["kl"]


def test_every_alive_component_of_a_site_can_be_swept(real_client: TestClient) -> None:
    rows = real_client.get(f"{TINY}/components?alive=true&limit=200").json()["items"]
    site = rows[0]["key"].rpartition(":")[0]
    alive = {row["key"] for row in rows if row["key"].rpartition(":")[0] == site}
    lines = frames(real_client, text=WOODS, kind="alive", sites=[site])
    assert {item["key"] for line in lines for item in line.get("items", [])} == alive


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"components": []}, "empty_sweep"),
        ({"components": [{"key": "nowhere:0"}]}, "unknown_component"),
        ({"kind": "alive", "sites": ["nowhere"]}, "unknown_site"),
        ({"rank_by": "ce"}, "invalid_request"),
        ({"position": 99, "kind": "alive"}, "position_out_of_range"),
        ({"kind": "alive", "contrast": [" golf", " golf"]}, "same_tokens"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_before_it_streams(
    real_client: TestClient, body: dict[str, Any], code: str
) -> None:
    answer = real_client.post(f"{TINY}/sweeps", json={"text": WOODS, **body})
    assert answer.status_code in (404, 422)
    assert answer.json()["code"] == code


def test_regimes_give_kl_with_a_band_and_top_tokens(real_client: TestClient) -> None:
    found = post(real_client, "regimes", text=WOODS, samples=4, steps=3, top_k=3, positions=[5])
    by_kind = {regime["kind"]: regime for regime in found["regimes"]}
    assert list(by_kind) == ["ci", "rounded", "stochastic", "adversarial"]
    for regime in by_kind.values():
        assert len(regime["kl"]) == len(found["tokens"])
        assert len(regime["positions"][0]["top"]) >= 3
    assert by_kind["stochastic"]["samples"] == 4
    assert sum(by_kind["stochastic"]["high"]) > sum(by_kind["stochastic"]["low"])
    again = post(real_client, "regimes", text=WOODS, samples=4, kinds=["stochastic"], positions=[5])
    assert again["regimes"][0]["kl"] == by_kind["stochastic"]["kl"]


def test_attention_and_continuations_before_and_after(real_client: TestClient, keys: list[str]) -> None:
    basket = [{"key": key} for key in keys[:10]]
    seen = post(real_client, "attention", text=WOODS, heads=[{"layer": 1, "head": 0}], components=basket)
    rows = seen["heads"][0]["ablated"]
    assert [len(row) for row in rows] == list(range(1, len(seen["tokens"]) + 1))
    assert all(sum(row) == pytest.approx(1, abs=1e-4) for row in rows)
    whole = post(real_client, "attention", text=WOODS, heads=[{"layer": 1}], components=basket)["heads"]
    assert [head["head"] for head in whole] == list(range(len(whole)))
    assert whole[0] == seen["heads"][0]
    far = post(real_client, "continuations", text=WOODS, components=basket, tokens=4)
    assert len(far["baseline"]) == len(far["ablated"]) == 4
    missing = real_client.post(f"{TINY}/attention", json={"text": WOODS, "heads": [{"layer": 9, "head": 0}]})
    assert (missing.status_code, missing.json()["code"]) == (422, "no_such_pattern")


def test_an_equal_request_is_answered_from_what_is_kept_and_says_so(
    real_client: TestClient, keys: list[str]
) -> None:
    body = {"text": WOODS, "components": [{"key": keys[3], "strength": 0.75}], "top_k": 7}
    first, second = post(real_client, "ablations", **body), post(real_client, "ablations", **body)
    again = post(real_client, "ablations", **body, recompute=True)
    assert [first["cached"], second["cached"], again["cached"]] == [False, True, False]
    assert first["positions"] == second["positions"]


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("regimes", {"samples": 2, "steps": 1}),
        ("attention", {"heads": [{"layer": 0, "head": 0}]}),
        ("continuations", {"tokens": 2}),
        ("importances", {}),
    ],
)
def test_whatever_is_costly_is_kept_says_so_and_is_computed_anew_where_asked(
    real_client: TestClient, what: str, body: dict[str, Any]
) -> None:
    body = {"text": f"{KOBE} {what}", **body}
    first, second = post(real_client, what, **body), post(real_client, what, **body)
    anew = post(real_client, what, **body, recompute=True)
    assert [answer["cached"] for answer in (first, second, anew)] == [False, True, False]
    own = {"cached", "elapsed_ms"}
    for other in (second, anew):
        assert {k: v for k, v in first.items() if k not in own} == {
            k: v for k, v in other.items() if k not in own
        }
    same_ids = {**body, "text": None, "token_ids": [token["id"] for token in first["tokens"]]}
    assert post(real_client, what, **same_ids)["cached"], "kept by token ids, however they were sent"
    assert not post(real_client, what, **{**body, "text": f"{KOBE} other {what}"})["cached"]


def test_the_rows_of_a_sweep_are_kept_however_they_are_ranked(
    real_client: TestClient, keys: list[str]
) -> None:
    body = {"text": KOBE, "components": [{"key": key} for key in keys], "watch": [" golf"], "answer": " golf"}
    first, second = frames(real_client, **body), frames(real_client, **body, rank_by="ce", top=3)
    anew = frames(real_client, **body, recompute=True)
    assert [lines[0]["cached"] for lines in (first, second, anew)] == [False, True, False]

    def rows(lines: list[dict[str, Any]]) -> dict[int, Any]:
        return {item["number"]: item for line in lines for item in line.get("items", [])}

    assert rows(first) == rows(second) == rows(anew)
    assert second[1]["baseline"] == first[1]["baseline"]
    by_ce = sorted(rows(first), key=lambda n: abs(rows(first)[n]["ce"]), reverse=True)
    assert second[-1]["ranking"] == by_ce[:3]


def test_what_may_act_from_a_position_on_leaves_what_is_before_it(
    real_client: TestClient, keys: list[str]
) -> None:
    found = post(real_client, "ablations", text=WOODS, components=[{"key": keys[0], "start": 3}])
    assert found["kl"][:3] == [0, 0, 0]
    assert max(found["kl"][3:]) > 0
    kept = post(
        real_client, "ablations", text=WOODS, components=[{"key": keys[0]}], mode="keep_only", remainder="on"
    )
    assert kept["remainder"] == "on"
