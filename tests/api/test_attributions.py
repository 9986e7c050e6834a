"""What each component contributes to a token, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

WOODS = "Tiger Woods is an American professional"
ROUTE = "/api/decompositions/tiny/attributions"


def ask(client: TestClient, **body: Any) -> dict[str, Any]:
    response = client.post(ROUTE, json={"text": WOODS, **body})
    assert response.status_code == 200, response.text
    return response.json()


def test_exact_effects_are_those_of_an_ablation_and_lead_to_its_probability(real_client: TestClient) -> None:
    found = ask(real_client, token=" golf", exact=2, exact_groups=1)
    assert found["token"]["piece"] == " golf"
    assert [abs(one["effect"]) for one in found["exact"]] == sorted(
        (abs(one["effect"]) for one in found["exact"]), reverse=True
    )
    component = next(one for one in found["exact"] if one["kind"] == "component")
    body = {"text": WOODS, "components": [{"key": component["name"]}], "watch": [" golf"]}
    answer = real_client.post("/api/decompositions/tiny/ablations", json=body).json()
    watched = answer["positions"][-1]["watched"][0]
    assert component["probability"] == pytest.approx(watched["ablated"]["probability"], rel=1e-3)
    assert found["probability"] == pytest.approx(watched["baseline"]["probability"], rel=1e-3)


def test_every_component_has_a_first_order_effect_and_an_equal_question_is_answered_from_before(
    real_client: TestClient,
) -> None:
    body = {"exact": 1, "position": 2}
    found = ask(real_client, **body)
    total = real_client.get("/api/decompositions/tiny/components?limit=1").json()["total"]
    assert len(found["components"]["effect"]) == total
    assert found["position"] == 2
    again = ask(real_client, **body)
    assert again["cached"] is True
    assert again["components"] == found["components"]
    assert ask(real_client, **body, recompute=True)["cached"] is False


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"position": 99}, "position_out_of_range", "There is no position 99 to explain"),
        ({"at": [99]}, "position_out_of_range", "There is no position 99 to ablate"),
        ({"sites": ["nowhere"]}, "unknown_site", "There is no site “nowhere” in tiny."),
        ({"token": " golf golf"}, "watch_not_one_token", "because it is 2 tokens"),
    ],
)
def test_what_is_not_there_is_named(
    real_client: TestClient, body: dict[str, Any], code: str, words: str
) -> None:
    response = real_client.post(ROUTE, json={"text": WOODS, **body})
    assert response.status_code == 422
    assert response.json()["code"] == code
    assert words in response.json()["message"]
