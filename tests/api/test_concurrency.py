"""Many people at once: every answer is the one computed alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.factories import KOBE, WOODS

ABLATIONS = "/api/decompositions/tiny/ablations"
REQUESTS = 200


def numbers(answer: dict[str, Any]) -> list[float]:
    """Every number of an answer that could be wrong."""
    return [
        value
        for place in answer["positions"]
        for row in [*place["top"], *place["watched"]]
        for side in (row["baseline"], row["ablated"])
        for value in (side["probability"], side["logit"], side["rank"])
    ] + [place["kl"] for place in answer["positions"]]


@pytest.mark.slow
def test_two_clients_with_different_ablations_never_see_each_others_numbers(real_client: TestClient) -> None:
    rows = real_client.get("/api/decompositions/tiny/components?limit=40").json()["items"]
    keys = [row["key"] for row in rows]
    specs = [
        {"text": WOODS, "components": [{"key": key} for key in keys[:3]], "watch": [" golf"]},
        {"text": KOBE, "components": [{"key": keys[7], "strength": 0.5}], "watch": [" basketball"]},
        {"text": WOODS, "components": [{"key": keys[3], "positions": [1]}], "watch": [" golf"]},
        {"text": KOBE, "components": [{"key": key} for key in keys[10:30]], "mode": "keep_only"},
        {"text": WOODS, "components": []},
    ]
    alone = [numbers(real_client.post(ABLATIONS, json=spec).json()) for spec in specs]
    for one in range(len(alone)):
        for other in range(one):
            assert alone[one] != alone[other], "specs that answer alike would hide a mix-up"

    def ask(number: int) -> tuple[int, list[float]]:
        which = number % len(specs)
        answer = real_client.post(ABLATIONS, json=specs[which])
        assert answer.status_code == 200, answer.text
        return which, numbers(answer.json())

    with ThreadPoolExecutor(8) as clients:
        for which, answer in clients.map(ask, range(REQUESTS)):
            assert answer == pytest.approx(alone[which], rel=1e-5, abs=1e-7)
