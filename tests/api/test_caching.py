"""What travels is small and is not sent twice."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.conftest import Open, wait_for_engine
from tests.factories import SITES, WOODS, hand_artifact

GZIP = {"accept-encoding": "gzip"}
WHOLE = {"accept-encoding": "identity"}
VIEW = "/api/decompositions/tiny"


@pytest.fixture
def own(home: Path, open_app: Open) -> tuple[TestClient, str]:
    """A client, and the address of a finding."""
    hand_artifact(home / "artifacts")
    client = open_app(home)
    wait_for_engine(client)
    asked = {"text": WOODS, "components": [{"key": f"{SITES[0]}:0"}]}
    finding = {"decomposition": "tiny", "title": "golf falls", "ablations": [asked]}
    return client, f"/api/findings/{client.post('/api/findings', json=finding).json()['slug']}"


def test_large_answers_are_compressed_and_say_the_same(client: TestClient) -> None:
    packed, whole = client.get(VIEW, headers=GZIP), client.get(VIEW, headers=WHOLE)
    assert packed.headers["content-encoding"] == "gzip"
    assert "accept-encoding" in packed.headers["vary"].lower()
    assert int(packed.headers["content-length"]) < len(whole.content) / 2
    assert packed.json() == whole.json()
    assert len(gzip.compress(whole.content)) < len(whole.content) / 2


def test_streams_are_not_held_back_by_compression(client: TestClient) -> None:
    asked = {"text": WOODS, "kind": "components", "components": [{"key": f"{SITES[0]}:0"}]}
    answer = client.post(f"{VIEW}/sweeps", json=asked, headers=GZIP)
    assert "ndjson" in answer.headers["content-type"]
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("encoding", [GZIP, WHOLE])
def test_what_has_not_changed_is_not_sent_again(client: TestClient, encoding: dict[str, str]) -> None:
    first = client.get(VIEW, headers=encoding)
    assert first.headers["cache-control"] == "private, no-cache"
    tag = first.headers["etag"]
    again = client.get(VIEW, headers={**encoding, "if-none-match": f'"other", {tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert client.get(VIEW, headers={**encoding, "if-none-match": '"other"'}).content == first.content
    assert client.head(VIEW, headers=encoding).headers["etag"] == tag


def test_an_answer_that_changed_has_another_tag(own: tuple[TestClient, str]) -> None:
    client, _ = own
    before = client.get("/api/findings")
    asked = {"text": WOODS, "components": []}
    client.post("/api/findings", json={"decomposition": "tiny", "title": "another", "ablations": [asked]})
    after = client.get("/api/findings", headers={"if-none-match": before.headers["etag"]})
    assert after.status_code == 200
    assert after.headers["etag"] != before.headers["etag"]


def test_a_finding_never_changes_so_it_may_be_kept(own: tuple[TestClient, str]) -> None:
    client, path = own
    for address in (path, f"{path}.csv", f"{path}.md", f"{path}.json"):
        answer = client.get(address)
        assert answer.headers["cache-control"] == "private, max-age=600", address
        assert client.get(address, headers={"if-none-match": answer.headers["etag"]}).status_code == 304


@pytest.mark.parametrize("path", ["/api/health", "/api/nope", "/api/findings/nope"])
def test_health_and_errors_are_never_kept(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers


def test_the_contract_itself_is_compressed(client: TestClient) -> None:
    answer = client.get("/api/openapi.json", headers=GZIP)
    assert answer.headers["content-encoding"] == "gzip"
    assert json.loads(answer.content)["info"]["title"] == "Unweave"
