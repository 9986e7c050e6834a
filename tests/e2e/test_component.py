"""One component's page, as a reader uses it: examples, a text of one's own, a name, and on to the next."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.e2e.conftest import NewTab, Server, live, settled


def test_a_component_is_read_named_and_tried(offline: Server, new_tab: NewTab) -> None:
    tab = new_tab(offline)
    page = tab.page
    page.goto("/d/induction/workbench")
    live(page)
    page.goto("/d/induction/components?sort=density")
    page.get_by_role("link", name=re.compile(r"^L\d+ ")).first.click()
    expect(page.get_by_text("Statistics over", exact=False)).to_be_visible()
    expect(page.get_by_role("link", name="Components").first).to_have_attribute("aria-current", "true")

    band = page.get_by_role("radio", name="50–90 %")
    band.click()
    expect(page).to_have_url(re.compile("show=50-90"))
    page.reload()
    expect(band).to_be_checked()

    page.get_by_role("textbox", name="Any text").fill("t1 S t2 t3 S")
    expect(page.get_by_text(re.compile(r"^Its CI is "))).to_be_visible()
    expect(page).to_have_url(re.compile("text=t1"))

    page.get_by_role("button", name="Edit label").click()
    page.get_by_role("textbox", name=re.compile("^Label")).fill("seen <i>here</i>")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("seen <i>here</i>")
    page.get_by_role("button", name="version 1").click()
    page.get_by_role("button", name="Restore").last.click()
    expect(page.get_by_role("heading", level=1)).not_to_have_text("seen <i>here</i>")
    page.keyboard.press("Escape")

    first = page.url
    page.get_by_role("link", name="Next component").click()
    expect(page).not_to_have_url(first)
    expect(page).to_have_url(re.compile("sort=density"))
    settled(page)
    assert tab.errors == []
