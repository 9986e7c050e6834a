"""The API against its own OpenAPI document: schemathesis makes requests, valid ones and broken ones, and checks that
each answer is one that the document declares.

A few cases an operation here; `make fuzz` makes 10,000.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from backend.app import create_app
from backend.services import container
from backend.settings import Settings
from tests import factories
from tests.access import CLOSED, bearer, new_token
from tests.conftest import wait_for_engine

DOCUMENT = create_app(Settings()).openapi()
VALID = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]
BROKEN = [
    (path, method)
    for path, method in VALID
    if "requestBody" in DOCUMENT["paths"][path][method]
    or any(parameter["in"] == "query" for parameter in DOCUMENT["paths"][path][method].get("parameters", []))
]
CASES = max(2, int(os.environ.get("FUZZ_CASES", "250")) // (len(VALID) + len(BROKEN)))
THERE = {"id": "tiny", "key": "model.layers.0.mlp.down_proj:0"}
"""What paths name: a random name would be unknown each time."""

OF_SOURCES = ("/api/models/inspect", "/api/models/prompts")
"""Where a source, such as a revision or a wheel's hash, has rules that its shape does not say."""

each_operation = pytest.mark.parametrize(("path", "method"), VALID)
each_that_can_be_broken = pytest.mark.parametrize(("path", "method"), BROKEN)


@pytest.fixture(scope="module")
def described(real_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The document of an API over a home of its own, which the requests may change, and what lets one in: that each
    operation does ask for it is checked too."""
    home = tmp_path_factory.mktemp("schema")
    made = factories.settings(home, shipped=real_home / "artifacts", allowed_hosts=["*"], **CLOSED)
    app = create_app(made, container.build(made))
    with TestClient(app) as client:
        wait_for_engine(client, seconds=120)
        yield (
            schemathesis.openapi.from_asgi("/api/openapi.json", app),
            bearer(new_token(client, "admin").secret),
        )


def ask(described: Any, path: str, method: str, mode: GenerationMode) -> list[Any]:
    """The answers to requests that are made up; each is checked against the document."""
    answers: list[Any] = []
    schema, signed_in = described

    @given(case=schema[path][method].as_strategy(generation_mode=mode))
    @settings(
        max_examples=CASES, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )  # fmt: skip
    def once(case: schemathesis.Case) -> None:
        case.path_parameters |= {name: THERE[name] for name in case.path_parameters if name in THERE}
        # Valid by its shape, a request may still name what does not exist.
        answer = case.call(headers=signed_in, timeout=120)  # the first that needs a model imports torch
        spared = ["positive_data_acceptance"] + ["negative_data_rejection"] * (answer.status_code == 413)
        checks = CHECKS.get_by_names(spared)
        case.validate_response(answer, excluded_checks=checks)  # pyright: ignore[reportArgumentType]
        answers.append(answer)

    once()
    return answers


@each_operation
def test_valid_requests_get_declared_answers(described: Any, path: str, method: str) -> None:
    for answer in ask(described, path, method, GenerationMode.POSITIVE):
        if (
            answer.status_code == 422 and path not in OF_SOURCES
        ):  # what the shape alone forbids, the document says
            assert answer.json()["code"] != "invalid_request", answer.json()


@each_that_can_be_broken
def test_broken_requests_get_declared_answers(described: Any, path: str, method: str) -> None:
    for answer in ask(described, path, method, GenerationMode.NEGATIVE):
        assert answer.status_code < 500
