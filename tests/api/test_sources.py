"""What a run may read: who writes, what comes with Unweave; an administrator, also folders and the hub."""

from __future__ import annotations

from typing import Any

import pytest

from backend.errors import ApiError
from backend.services.access.sources import check_sources
from tests.access import CLOSED, bearer, new_token
from tests.conftest import Open
from tests.factories import tiny_config
from workers.spd.config import load_config, parse_config, preset_names
from workers.spd.statistics.config import parse_harvest

SHIPPED = load_config("sports-smollm2").target.model_dump()
HUB = {"kind": "hub", "repo": "someone/model", "license": "MIT"}


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_may_be_run_by_whoever_writes(name: str) -> None:
    check_sources(load_config(name))
    edited = load_config(name).model_dump(mode="json") | {"steps": 7}
    check_sources(parse_config(edited))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({}, "target"),
        ({"target": HUB}, "target"),
        (
            {"target": SHIPPED, "start": {"kind": "svd"}, "data": {"kind": "corpus", "path": "/x"}},
            "data.path",
        ),
        (
            {
                "target": load_config("sports-smollm2").target.model_dump(),
                "start": {"kind": "svd"},
                "data": {"kind": "corpus", "dataset": {"name": "a/b"}},
            },
            "data.dataset",
        ),
    ],
)
def test_what_comes_from_elsewhere_needs_an_administrator(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ApiError, match=f"“{key}” is a folder.*needs the role admin") as refused:
        check_sources(parse_config(tiny_config() | changes))
    assert refused.value.status == 403


@pytest.mark.parametrize("given", [{"path": "/x"}, {"dataset": {"name": "a/b"}}])
def test_so_does_a_harvest_over_it(given: dict[str, Any]) -> None:
    with pytest.raises(ApiError, match="needs the role admin"):
        check_sources(parse_harvest(given))
    check_sources(parse_harvest({"text": "my own"}))
    check_sources(parse_harvest({}))


def test_the_routes_ask_for_it(home: Any, open_app: Open) -> None:
    client = open_app(home, **CLOSED)
    writer, admin = (bearer(new_token(client, role).secret) for role in ("write", "admin"))
    asked = [
        ("/api/jobs", {"config": tiny_config() | {"target": HUB}}),
        ("/api/models/inspect", {"source": HUB}),
        ("/api/models/prompts", {"source": HUB, "prompts": [{"text": "x"}]}),
        ("/api/configs/review", {"config": tiny_config() | {"target": HUB}}),
        ("/api/configs/estimate", {"config": tiny_config() | {"target": HUB}}),
    ]
    for path, body in asked:
        answer = client.post(path, json=body, headers=writer)
        assert (answer.status_code, answer.json()["code"]) == (403, "role_too_small"), (path, answer.text)
    assert (
        client.post("/api/jobs", json={"config": tiny_config()}, headers=admin).status_code == 422
    )  # /nowhere
