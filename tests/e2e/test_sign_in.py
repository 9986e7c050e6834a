"""A server that asks who people are, in a browser: signing in and out, and what a role may not do."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import NewTab, Server, serving
from tests.factories import hand_artifact

ADMIN = "a-secret-of-more-than-20"
COMPONENT = "/d/tiny/c/model.layers.0.mlp.down_proj:0"


@pytest.fixture(scope="module")
def closed(pages_built: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A closed server with one decomposition and no worker."""
    home = tmp_path_factory.mktemp("closed") / "home"
    hand_artifact(home / "artifacts")
    environment = {
        "UNWEAVE_ADMIN_TOKEN": ADMIN,
        "UNWEAVE_PUBLIC_FINDINGS": "true",
        "UNWEAVE_LOAD_ENGINES": "false",
    }
    with serving(home, "--closed", "--no-worker", **environment) as server:
        yield server


def token(server: Server, role: str) -> str:
    asked = urllib.request.Request(
        f"{server.url}/api/tokens",
        json.dumps({"name": f"Ada, {role}", "role": role}).encode(),
        {"authorization": f"Bearer {ADMIN}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(asked) as answer:
        return json.load(answer)["secret"]


def sign_in(page: Page, secret: str) -> None:
    page.get_by_label("Access token").fill(secret)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()


def test_a_page_leads_to_the_sign_in_and_back(closed: Server, new_tab: NewTab) -> None:
    page = new_tab(closed).page
    page.goto(f"{COMPONENT}?q=Woods")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    sign_in(page, "unweave_mistyped")
    expect(page.get_by_role("alert")).to_contain_text("not known here")
    sign_in(page, token(closed, "read"))
    expect(page.get_by_role("heading", name="fires on Woods")).to_be_visible()
    assert page.url == f"{closed.url}{COMPONENT}?q=Woods"
    edit = page.get_by_role("button", name="Edit label")
    expect(edit).to_be_disabled()
    expect(edit).to_have_attribute("title", "This needs the role write; yours is read.")
    page.goto("/findings")
    page.get_by_role("button", name="Export Findings").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="CSV").click()
    assert download.value.failure() is None
    page.get_by_role("button", name="Ada, read").click()
    expect(page.get_by_text("You may look, and try things on the workbench.")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto("/jobs")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_writer_may_label(closed: Server, new_tab: NewTab) -> None:
    page = new_tab(closed, width=390).page
    page.goto(COMPONENT.replace(":0", ":1"))
    sign_in(page, token(closed, "write"))
    page.get_by_role("button", name="Edit label").click()
    page.get_by_label("Label", exact=True).fill("golf, I say")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", name="golf, I say")).to_be_visible()


def test_a_public_finding_that_is_not_there_asks_for_no_sign_in(closed: Server, new_tab: NewTab) -> None:
    page = new_tab(closed).page
    page.goto("/f/nothing")
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
    page.get_by_role("link", name="Sign in").click()
    sign_in(page, token(closed, "read"))
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
    assert page.url == f"{closed.url}/f/nothing"


def test_an_administrator_makes_and_revokes_tokens(closed: Server, new_tab: NewTab) -> None:
    page = new_tab(closed).page
    page.goto("/sign-in")
    sign_in(page, ADMIN)
    page.get_by_role("button", name="UNWEAVE_ADMIN_TOKEN").click()
    page.get_by_role("link", name="Who has access").click()
    page.get_by_role("button", name="New token").click()
    page.get_by_label("Name").fill("Emmy’s notebook")
    page.get_by_role("radio", name="write").click()
    page.get_by_role("button", name="Make the token").click()
    secret = page.get_by_role("textbox", name="Access token").input_value()
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_role("row", name="Emmy’s notebook write")).to_be_visible()
    assert secret not in page.content()
    other = new_tab(closed).page
    other.goto("/jobs")
    sign_in(other, secret)
    expect(other.get_by_role("heading", name="Jobs")).to_be_visible()
    page.get_by_role("button", name="Revoke the token of Emmy’s notebook").click()
    page.get_by_role("button", name="Revoke it").click()
    expect(page.get_by_role("row", name="revoke token")).to_contain_text("Emmy’s notebook")
    expect(page.get_by_role("rowheader", name="Emmy’s notebook")).to_have_count(0)
    other.reload()
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()
