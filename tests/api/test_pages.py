"""The pages: files as they are, every other path the page, and headers that keep it to itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend import errors
from backend.web import pages
from backend.web.headers import allowed_hosts
from tests.conftest import Open


@pytest.fixture
def site(tmp_path: Path) -> TestClient:
    root = tmp_path / "dist"
    (root / "assets").mkdir(parents=True)
    (root / "index.html").write_text("<!doctype html><title>page</title>")
    (root / "assets/app-1a2b.js").write_text("1")
    (root / "icon.svg").write_text("<svg/>")
    (tmp_path / "secret.txt").write_text("secret")
    app = FastAPI()
    errors.install(app)
    pages.install(app, root)
    return TestClient(app)


def test_pages_are_looked_for_in_the_package_and_then_in_the_checkout() -> None:
    root = Path(__file__).parents[2]
    assert list(pages.PLACES) == [root / "backend" / "static", root / "frontend" / "dist"]


@pytest.mark.parametrize(
    "path", ["/", "/d/tiny/workbench", "/f/some-finding-x", "/d/tiny/c/model.layers.0.q:3", "/jobs", "/new"]
)
def test_a_shared_link_opens_the_page_and_is_asked_for_anew(site: TestClient, path: str) -> None:
    answer = site.get(path)
    assert "<title>page" in answer.text
    assert answer.headers["cache-control"] == "no-cache"


def test_hashed_assets_are_kept_for_ever_and_other_files_are_not(site: TestClient) -> None:
    assert "immutable" in site.get("/assets/app-1a2b.js").headers["cache-control"]
    assert site.get("/icon.svg").headers["cache-control"] == "no-cache"


def test_an_asset_of_an_older_build_is_a_404_and_not_the_page(site: TestClient) -> None:
    assert site.get("/assets/gone.js").status_code == 404


def test_an_unknown_api_path_is_an_error_and_not_the_page(site: TestClient) -> None:
    assert site.get("/api/nope").json()["code"] == "not_found"


@pytest.mark.parametrize("path", ["/../secret.txt", "/%2e%2e/secret.txt", "/assets/..%2f..%2fsecret.txt"])
def test_nothing_outside_the_folder_is_served(site: TestClient, path: str) -> None:
    assert "secret" not in site.get(path).text


@pytest.mark.parametrize(
    "path", ["/metrics", "/healthz2", "/livez", "/d", "/d/tiny/c", "/nope/at/all", "/index.php", "/f"]
)
def test_an_address_of_no_page_shows_the_page_with_status_404(site: TestClient, path: str) -> None:
    answer = site.get(path)
    assert answer.status_code == 404
    assert "<title>page" in answer.text


@pytest.mark.parametrize("path", ["/%00", "/d/tiny%00", "/assets/%00.js", "/%00/../x", "/" + "a" * 5_000])
def test_a_path_that_can_be_no_file_is_not_found(site: TestClient, path: str) -> None:
    assert site.get(path).status_code == 404


def test_the_pages_are_those_of_the_front_end() -> None:
    router = (Path(__file__).parents[2] / "frontend/src/pages/router.tsx").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\bpath: '([^']*)'", router)) == sorted(pages.PATHS)


# --- methods --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/api/findings/some-finding", "GET, HEAD"),
        ("POST", "/api/decompositions/tiny", "GET, PATCH, DELETE, HEAD"),
        ("PUT", "/api/findings", "GET, POST, HEAD"),
        ("GET", "/api/decompositions/tiny/ablations", "POST"),
        ("GET", "/api/decompositions/tiny/components/x:0/label", "PUT"),
        ("OPTIONS", "/api/jobs", "GET, POST, HEAD"),
        ("BREW", "/api/health", "GET, HEAD"),
        ("POST", "/jobs", "GET, HEAD"),
    ],
)
def test_a_method_that_an_address_does_not_take_is_405_and_names_those_it_takes(
    client: TestClient, method: str, path: str, allowed: str
) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == set(allowed.split(", "))


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "BREW"])
def test_an_address_of_nothing_is_404_for_every_method(client: TestClient, method: str) -> None:
    assert client.request(method, "/api/nope/at/all").json()["code"] == "not_found"


@pytest.mark.parametrize(
    "path",
    ["/api/health", "/api/findings.csv", "/api/decompositions/tiny/components.csv", "/api/decompositions/no"],
)
def test_head_answers_as_get_does_without_the_body(client: TestClient, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert head.content == b""
    assert head.status_code == get.status_code
    vary = ("server-timing", "date", "x-request-id")
    assert {k: v for k, v in head.headers.items() if k not in vary} == {
        k: v for k, v in get.headers.items() if k not in vary
    }


# --- probes ---------------------------------------------------------------------------------------------------


def test_probes_are_answered_under_any_host_name(client: TestClient) -> None:
    for path, status in (("/healthz", "ok"), ("/readyz", "ready")):
        answer = client.get(path, headers={"host": "10.0.0.7"})
        assert (answer.status_code, answer.json()) == (200, {"status": status})


def test_a_server_whose_database_is_gone_lives_and_is_not_ready(home: Path, open_app: Open) -> None:
    client = open_app(home)
    assert client.get("/readyz").status_code == 200
    for file in home.glob("unweave.db*"):
        file.unlink()
    (home / "unweave.db").mkdir()
    client.app.state.services.database.engine.dispose()  # type: ignore[attr-defined]
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (
        503,
        "not_ready",
        "2",
    )
    assert client.get("/healthz").status_code == 200


def test_without_a_build_the_page_says_how_to_make_one(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PLACES", ())
    answer = client.get("/")
    assert answer.status_code == 503
    assert "npm run build" in answer.text


def test_every_answer_carries_the_security_headers(client: TestClient) -> None:
    for path in ("/api/health", "/api/nope", "/"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "unsafe-eval" not in headers["content-security-policy"]
        assert "script-src 'self';" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers.get("server-timing", "").startswith("total;dur=") == path.startswith("/api/")
    assert client.get("/api/health").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""])
def test_on_loopback_a_foreign_host_name_is_refused(client: TestClient, host: str) -> None:
    answer = client.get("/api/health", headers={"host": host})
    assert (answer.status_code, answer.json()["code"]) == (421, "unknown_host")


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:3", "[::1]:8000"])
def test_on_loopback_its_own_names_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/api/health", headers={"host": host}).status_code == 200


def test_elsewhere_any_name_is_answered_unless_names_are_given() -> None:
    assert allowed_hosts("0.0.0.0", []) == ["*"]
    assert "*" not in allowed_hosts("0.0.0.0", ["unweave.example.org"])


# --- below a path of another site ----------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["/lab/unweave", ""], ids=["kept", "stripped"])
def test_a_proxy_may_strip_the_path_that_unweave_is_served_below_or_not(
    home: Path, open_app: Open, before: str
) -> None:
    client = open_app(home, root_path="/lab/unweave")
    assert client.get(f"{before}/readyz").json() == {"status": "ready"}
    assert client.get(f"{before}/api/decompositions").status_code == 200
    assert client.get(f"{before}/api/openapi.json").json()["servers"] == [{"url": "/lab/unweave"}]


def test_a_path_that_only_begins_alike_is_another(home: Path, open_app: Open) -> None:
    client = open_app(home, root_path="/lab")
    assert client.get("/labour/api/health").status_code in (404, 503)  # 503: without built pages


def test_the_page_is_told_the_path_and_names_its_files_below_it(tmp_path: Path) -> None:
    root = tmp_path / "dist"
    root.mkdir()
    (root / "index.html").write_text(
        '<meta name="unweave-root" content="" /><script src="./assets/a.js"></script>'
    )
    for path in ("", "/unweave"):
        app = FastAPI()
        pages.install(app, root, root_path=path)
        html = TestClient(app).get("/d/tiny/workbench").text
        assert (
            html == f'<meta name="unweave-root" content="{path}" /><script src="{path}/assets/a.js"></script>'
        )
