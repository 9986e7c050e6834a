"""The contract others build on: routes, schemas, generated types, settings. A change here is a change for them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backend.openapi import CONTRACT, contract
from backend.settings import Settings
from workers.spd.keys import ComponentKey

ROOT = Path(__file__).resolve().parents[2]
FRONTEND = ROOT / "frontend"

OUTER = {
    "GET /api/health",
    "GET /api/decompositions",
    "GET /api/decompositions/{id}",
    "GET /api/decompositions/{id}/components",
    "GET /api/decompositions/{id}/components/{key}",
    "POST /api/decompositions/{id}/components/{key}/try",
    "PUT /api/decompositions/{id}/components/{key}/label",
    "GET /api/decompositions/{id}/components/{key}/labels",
    "GET /api/decompositions/{id}/harvests",
    "POST /api/decompositions/{id}/harvests",
    "GET /api/decompositions/{id}/evaluations",
    "GET /api/decompositions/{id}/evaluations/{evaluation}",
    "GET /api/decompositions/{id}/groups",
    "POST /api/decompositions/{id}/tokenize",
    "POST /api/decompositions/{id}/importances",
    "POST /api/decompositions/{id}/ablations",
    "POST /api/decompositions/{id}/comparisons",
    "POST /api/decompositions/{id}/sweeps",
    "POST /api/decompositions/{id}/regimes",
    "POST /api/decompositions/{id}/attention",
    "POST /api/decompositions/{id}/continuations",
    "POST /api/decompositions/{id}/circuits",
    "POST /api/decompositions/{id}/circuits/graph",
    "GET /api/decompositions/{id}/circuit",
    "POST /api/findings",
    "GET /api/findings",
    "GET /api/findings/{slug}",
    "POST /api/findings/{slug}/replay",
    "GET /api/jobs/presets",
    "POST /api/jobs",
    "GET /api/jobs",
    "GET /api/jobs/{id}",
    "GET /api/jobs/{id}/events",
    "POST /api/jobs/{id}/cancel",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return json.loads(contract())


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_the_committed_contract_is_the_one_the_server_has() -> None:
    assert CONTRACT.read_text(encoding="utf-8") == contract(), "run `make openapi`"


def test_the_typescript_types_are_generated_from_the_committed_contract(tmp_path: Path) -> None:
    tool = FRONTEND / "node_modules/.bin/openapi-typescript"
    if not tool.exists():
        pytest.skip("the front-end's packages are not installed (make test installs them)")
    made = tmp_path / "schema.d.ts"
    subprocess.run([str(tool), str(CONTRACT), "-o", str(made)], check=True, capture_output=True, cwd=FRONTEND)
    committed = (FRONTEND / "src/api/schema.d.ts").read_text(encoding="utf-8")
    assert committed == made.read_text(encoding="utf-8"), "run `make openapi`"


def test_every_route_of_the_outer_contract_exists(document: dict[str, Any]) -> None:
    assert operations(document).keys() >= OUTER


def test_operation_ids_are_unique_and_readable(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for operation in operations(document).values()]
    assert len(set(ids)) == len(ids)
    for name in ids:
        assert re.fullmatch(r"[a-z_]+", name)


def test_every_operation_declares_the_one_error_shape(document: dict[str, Any]) -> None:
    for name, operation in operations(document).items():
        errors = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        assert errors.keys() >= {"413", "421", "422", "429", "500", "503"}, name
        assert "404" in errors or "{" not in name, name
        for answer in errors.values():
            if "$ref" in answer:
                answer = document["components"]["responses"][answer["$ref"].split("/")[-1]]
            schema = answer["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/ErrorBody"}, name


def test_an_operation_answers_only_what_it_declares(document: dict[str, Any]) -> None:
    """tests/api/test_schema.py holds the server to it."""
    for name, operation in operations(document).items():
        assert "default" not in operation["responses"], name


NEURONPEDIAS = {"qParams", "pinnedIds", "linkType", "jsNodeId"}
"""Names of a format that is not ours."""


def test_the_wire_is_snake_case(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        for field in schema.get("properties", {}):
            known = field in NEURONPEDIAS and name.startswith(("Graph", "AttributionGraph"))
            assert known or re.fullmatch(r"[a-z][a-z0-9_]*|[VU]", field), f"{name}.{field}"


def test_lists_answer_items_cursor_and_total(document: dict[str, Any]) -> None:
    for path in ("/api/decompositions", "/api/findings", "/api/jobs", "/api/decompositions/{id}/components"):
        content = document["paths"][path]["get"]["responses"]["200"]["content"]
        name = content["application/json"]["schema"]["$ref"].split("/")[-1]
        fields = document["components"]["schemas"][name]["properties"]
        assert fields.keys() >= {"items", "next_cursor", "total"}, path


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented_with_a_description(name: str) -> None:
    documented = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert f"| `UNWEAVE_{name.upper()}` |" in documented
    assert Settings.model_fields[name].description


def test_no_setting_is_documented_that_does_not_exist() -> None:
    documented = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    for name in re.findall(r"^\| `UNWEAVE_([A-Z_]+)` \|", documented, re.MULTILINE):
        assert name.lower() in Settings.model_fields


def test_the_app_and_its_contract_need_no_torch() -> None:
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'transformers'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "from backend.openapi import contract; contract()\n"
        "import backend.cli, backend.web.serving\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("text", ["{", "null", "[]", "{}", '{"a": 1}', '"x"', "1e999"])
def test_whatever_is_sent_the_errors_have_one_shape(client: Any, document: dict[str, Any], text: str) -> None:
    for name, operation in operations(document).items():
        method, path = name.split(" ")
        if "requestBody" not in operation or (method, text) == (
            "PATCH",
            "{}",
        ):  # to change nothing is no error
            continue
        path = path.replace("{id}", "tiny").replace("{key}", "x:0").replace("{slug}", "nope")
        answer = client.request(method, path, content=text, headers={"content-type": "application/json"})
        assert 400 <= answer.status_code < 500, (name, text, answer.text)
        body = answer.json()
        assert set(body) == {"code", "message", "details"}
        assert body["message"].endswith("."), body


@pytest.mark.parametrize("odd", ["%00", "..%2f..", "%F0%9F%90%AF", "a" * 500, "<script>", "'; drop table"])
def test_odd_ids_are_refused_in_the_one_shape(client: Any, document: dict[str, Any], odd: str) -> None:
    for name in operations(document):
        method, path = name.split(" ")
        if "{" not in path:
            continue
        path = re.sub(r"\{\w+\}", odd, path)
        answer = client.request(method, path, json={"text": "x"} if method == "POST" else None)
        assert 400 <= answer.status_code < 500, (name, answer.text)
        assert set(answer.json()) == {"code", "message", "details"}


def test_the_schema_states_what_a_component_key_and_a_cursor_look_like(document: dict[str, Any]) -> None:
    key = document["components"]["schemas"]["Suppression"]["properties"]["key"]["pattern"]
    for text in ("model.layers.0.mlp.down_proj:3", "a:9999999", "<b>", "a:99999999", "a:", ":1", "a b:1"):
        try:
            parsed = str(ComponentKey.parse(text)) == text
        except ValueError:
            parsed = False
        assert bool(re.search(key, text)) == parsed, text
    for path in ("/api/jobs", "/api/findings", "/api/collections"):
        [cursor] = [p for p in document["paths"][path]["get"]["parameters"] if p["name"] == "cursor"]
        assert cursor["schema"]["pattern"] == "^[0-9]{1,7}$"
