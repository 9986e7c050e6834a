"""The pages: files as they are, every other path the page, and headers that keep it to itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend import errors
from backend.web import pages
from backend.web.headers import allowed_hosts


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
    "path", ["/", "/d/tiny/workbench", "/f/some-finding-x", "/d/tiny/c/model.layers.0.q:3", "/jobs"]
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
