"""Findings on the page: collected, embedded elsewhere, taken away as files; and a job that can be resumed."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Server, settled


def test_findings_are_chosen_into_a_collection_that_has_its_own_link(page: Page) -> None:
    page.goto("/findings")
    boxes = page.get_by_role("checkbox", name=re.compile("^Select “"))
    expect(boxes.first).to_be_visible()
    boxes.nth(0).check()
    boxes.nth(1).check()
    page.get_by_role("button", name="Create a collection").click()
    page.get_by_label("Title").fill("Two of <b>them</b>")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page).to_have_url(re.compile(r"/collections/two-of-b-them-b-\w{8}$"))
    expect(page.get_by_role("heading", level=1, name="Two of <b>them</b>")).to_be_visible()
    expect(page.get_by_role("article")).to_have_count(2)
    page.reload()
    expect(page.get_by_role("article")).to_have_count(2)
    page.goto("/findings")
    expect(page.get_by_role("navigation", name="Collections").get_by_role("link")).to_contain_text("Two of")


def test_a_finding_gives_the_lines_that_embed_it_and_they_lead_to_a_page_of_text(page: Page) -> None:
    page.goto("/findings")
    page.get_by_role("article").first.get_by_role("link").first.click()
    expect(page.get_by_role("navigation", name="Pages").get_by_role("link", name="Workbench")).to_be_visible()
    title = page.get_by_role("heading", level=1).inner_text()
    page.get_by_role("button", name="Embed").click()
    lines = page.get_by_role("dialog").locator("pre").inner_text()
    address = re.search(r'src="([^"]+)"', lines)
    assert address is not None
    other = page.context.new_page()
    other.goto(address[1])
    expect(other.get_by_role("heading", level=1)).to_have_text(title)
    expect(other.get_by_role("link", name="Open in Unweave")).to_be_visible()
    assert other.locator("script").count() == 0


def test_what_cannot_be_started_is_told_beside_the_field_it_is_about(page: Page) -> None:
    page.goto("/jobs")
    steps = page.get_by_label("Steps")
    steps.fill("many")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(steps).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_role("alert").filter(has_text="is not a number of steps")).to_be_visible()
    steps.fill("")
    page.get_by_label("Name").fill("induction")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("button", name=re.compile("^Use induction-")).click()
    expect(page.get_by_label("Name")).to_have_value(re.compile(r"^induction-\d+$"))
    settled(page)


@pytest.fixture
def elsewhere(server: Server) -> Iterator[str]:
    """A page of another origin that holds a finding in a frame."""
    body = f'<!doctype html><title>Elsewhere</title><iframe src="{server.url}/f/woods-golf/embed"></iframe>'

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    other = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    yield f"http://localhost:{other.server_port}/"
    other.shutdown()


def test_a_finding_shows_in_a_frame_of_another_site(page: Page, elsewhere: str) -> None:
    page.goto(elsewhere)
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", level=1)).to_contain_text("Tiger forgets golf")
