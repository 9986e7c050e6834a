"""What a page of another site, and a client that sends too much, are answered."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import uvicorn
from fastapi.testclient import TestClient

from backend.web.headers import BodyLimit, OwnPages

CHANGES = [
    ("POST", "/api/jobs/some-job/cancel"),
    ("POST", "/api/jobs/some-job/resume"),
    ("POST", "/api/findings/some-finding/replay"),
    ("POST", "/api/decompositions/tiny/target"),
    ("PUT", "/api/decompositions/tiny/components/x:0/label"),
]
FOREIGN = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:9999"},
    {"origin": "http://127.0.0.1.evil.example"},
]


@pytest.mark.parametrize(("method", "path"), CHANGES)
@pytest.mark.parametrize("headers", FOREIGN, ids=lambda headers: str(headers))
def test_a_change_that_another_sites_page_asks_for_is_refused(
    client: TestClient, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = client.request(method, path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "same-origin", "origin": "https://behind.a.proxy"},
        {"sec-fetch-site": "none"},
        {"origin": "http://127.0.0.1"},
        {"origin": "https://lab.example", "x-forwarded-host": "lab.example"},
    ],
    ids=lambda headers: str(headers),
)
def test_its_own_page_and_programs_are_answered(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/api/jobs/no-such-job/cancel", headers=headers).status_code == 404


def test_looking_is_not_a_change(client: TestClient) -> None:
    assert client.get("/api/health", headers={"sec-fetch-site": "cross-site"}).status_code == 200


def test_a_configured_host_name_is_an_own_one() -> None:
    layer = OwnPages(lambda *_: None, allowed=["*", "lab.example"])  # type: ignore[arg-type, return-value]
    assert not layer._foreign({b"origin": "https://lab.example:8443", b"host": "10.0.0.7:8000"})
    assert layer._foreign({b"origin": "https://other.example", b"host": "10.0.0.7:8000"})


# --- too large ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> Iterator[int]:
    """The port of a server that reads whole bodies of at most 1,000 bytes."""

    async def app(scope, receive, send) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def one_shape(scope, receive, send) -> None:
        from fastapi import HTTPException

        try:
            await BodyLimit(app, most=1_000)(scope, receive, send)
        except HTTPException as error:
            await send({"type": "http.response.start", "status": error.status_code, "headers": []})
            await send({"type": "http.response.body"})

    server = uvicorn.Server(uvicorn.Config(one_shape, port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("size", [1_001, 5_000_000, 40_000_000])
def test_a_client_that_sends_all_before_it_looks_gets_its_413(small: int, size: int) -> None:
    """urllib writes the whole body first; a connection closed meanwhile would be a reset."""
    with pytest.raises(HTTPError) as refused:
        urlopen(Request(f"http://127.0.0.1:{small}/", data=bytes(size)))
    assert refused.value.code == 413
    refused.value.close()


def test_a_body_of_untold_length_gets_it_too(small: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", small)
    connection.request("POST", "/", body=(bytes(100_000) for _ in range(50)), encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_body_within_the_limit_is_read(small: int) -> None:
    with urlopen(Request(f"http://127.0.0.1:{small}/", data=bytes(1_000))) as answer:
        assert answer.status == 204
