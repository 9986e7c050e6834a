"""Every route of the app, asked by everyone there can be: nobody gets where they do not belong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.schemas.access import ROLES
from backend.settings import Settings
from tests.access import CLOSED, every_kind
from tests.conftest import api_over

ELSEWHERE = {"/api/openapi.json", "/api"}
"""What FastAPI's routes do not serve: the contract itself, which is public, and 404 and 405 for the rest."""
ANYONE = {
    "GET /healthz", "GET /readyz", "GET /api/session", "POST /api/session", "DELETE /api/session", "GET /{path:path}",
}  # fmt: skip
"""What needs no role: a route is added here with a reason, not by the way."""
ONLY_ASKS = re.compile(
    r"POST /api/decompositions/\{id\}/(target|tokenize|importances|ablations|trust|comparisons|sweeps|regimes|attention"
    r"|attributions|continuations|circuits(/graph)?|components/\{key\}/try|code\.\{kind\})"
    r"|POST /api/findings/\{slug\}/replay|POST /api/tables\.\{kind\}"
)
"""What is sent as a POST and changes nothing that is stored."""


def declared() -> dict[str, list[Any]]:
    """The roles that each route declares, for itself and with its router; None: anyone."""
    found: dict[str, list[Any]] = {}
    for route in iter_route_contexts(create_app(Settings()).routes):
        if isinstance(route.original_route, APIRoute):
            roles = [d.dependency.role for d in route.dependencies if hasattr(d.dependency, "role")]
            for method in sorted((route.methods or set()) - {"HEAD"}):
                found[f"{method} {route.path}"] = roles
        else:
            assert route.path in ELSEWHERE, f"{route.path} is no route of FastAPI: who may use it?"
    return found


ROUTES = declared()


@pytest.fixture(scope="module")
def closed(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[TestClient, dict[str, dict[str, str]]]]:
    """A closed server with nothing in it, and the headers of every kind of visitor."""
    with api_over(tmp_path_factory.mktemp("closed"), **CLOSED) as client:
        yield client, every_kind(client)


def test_every_route_declares_who_may_use_it() -> None:
    assert not [route for route, roles in ROUTES.items() if not roles]
    assert {route for route, roles in ROUTES.items() if roles == [None]} == ANYONE


@pytest.mark.parametrize("route", [route for route in ROUTES if not route.startswith("GET ")])
def test_what_is_more_than_a_question_needs_more_than_the_role_read(route: str) -> None:
    assert route in ANYONE or bool(ONLY_ASKS.fullmatch(route)) == (set(ROUTES[route]) == {"read"})


@pytest.mark.parametrize("route", ROUTES)
def test_only_those_with_its_role_get_to_a_route(closed: tuple[TestClient, Any], route: str) -> None:
    client, kinds = closed
    method, path = route.split(" ")
    path = re.sub(r"\{kind\}", "json", path)
    path = re.sub(r"\{[\w:]+\}", "nothing", path)
    needed = max((ROLES.index(role) + 1 if role else 0 for role in ROUTES[route]), default=99)
    for kind, headers in kinds.items():
        client.cookies.clear()
        has = ROLES.index(kind) + 1 if kind in ROLES else 0
        answer = client.request(method, path, headers=headers, json={} if method in ("POST", "PUT") else None)
        if has >= needed:
            assert answer.status_code not in (401, 403), (kind, answer.text)
        else:
            assert answer.status_code == (403 if has else 401), (kind, answer.text)
            assert answer.json()["code"] == ("role_too_small" if has else "sign_in_needed")
            assert answer.headers.get("www-authenticate") == (None if has else "Bearer")


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PATCH", "TRACE"])
def test_no_other_method_leads_around_it(closed: tuple[TestClient, Any], method: str) -> None:
    client, _ = closed
    client.cookies.clear()
    for route in ROUTES.keys() - ANYONE:
        path = re.sub(r"\{[\w:]+\}", "nothing", re.sub(r"\{kind\}", "json", route.split(" ")[1]))
        answer = client.request(method, path)
        asked = method == "HEAD" and route.startswith("GET ") and path.startswith(("/api/", "/f/"))
        assert answer.status_code in ((401,) if asked else (401, 404, 405)), route


def test_the_contract_says_which_operations_need_a_token_or_a_session(closed: tuple[TestClient, Any]) -> None:
    client, _ = closed
    document = client.get("/api/openapi.json").json()
    assert document["components"]["securitySchemes"].keys() == {"token", "session"}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            public = f"{method.upper()} {path}" in ANYONE
            assert operation.get("security") == (None if public else [{"token": []}, {"session": []}]), path


def test_an_open_server_asks_nobody(tmp_path: Path) -> None:
    with api_over(tmp_path / "home") as client:
        assert client.get("/api/session").json() == {
            "name": "", "role": "admin", "by": "open", "public_findings": False,
        }  # fmt: skip
        assert client.get("/api/tokens").status_code == 200
        assert client.post("/api/session", json={"token": "x"}).status_code == 409
