"""A decomposition is started from the page, watched, and opened when it is done; another is cancelled."""

from __future__ import annotations

import json
import re

from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import NewTab, Server, live

SMALL = {"target.steps": 20, "target.batch_size": 16, "C": 4, "log_every": 5, "checkpoint_every": 20}


def start(page: Page, name: str, steps: int, overrides: dict[str, object]) -> Locator:
    page.get_by_role("radio", name=re.compile("induction")).first.check()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Steps").fill(str(steps))
    box = page.get_by_label("Overrides")
    if not box.is_visible():
        page.get_by_text("Edit the config").click()
    box.fill(json.dumps(overrides))
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_text(f"“{name}” is in the queue")).to_be_visible()
    return page.get_by_role("article", name=f"Job {name}")


def test_a_small_decomposition_is_started_and_opened_and_another_cancelled(
    offline: Server, new_tab: NewTab
) -> None:
    page = new_tab(offline).page
    page.goto("/jobs")
    expect(page.get_by_text(re.compile("^1 worker"))).to_be_visible(timeout=60_000)

    small = start(page, "from-the-page", 30, {**SMALL, "title": "From the page"})
    expect(small).to_be_visible()
    long = start(page, "too-long", 100_000, SMALL)
    expect(long.get_by_text(re.compile("queued|running"))).to_be_visible()

    # It survives a reload, and says how far it is.
    page.reload()
    expect(small.get_by_text(re.compile(r"step .* of 30"))).to_be_visible()
    expect(small.get_by_text("done", exact=True)).to_be_visible(timeout=150_000)
    expect(small.get_by_role("progressbar")).to_have_count(0)

    expect(long.get_by_text("running", exact=True)).to_be_visible(timeout=60_000)
    long.get_by_role("button", name="Cancel too-long").click()
    expect(long.get_by_text("cancelled", exact=True)).to_be_visible(timeout=30_000)
    expect(long.get_by_role("button", name="Cancel too-long")).to_have_count(0)

    small.get_by_role("link", name="Open the result").click()
    expect(page).to_have_url(re.compile("/d/from-the-page$"))
    expect(page.get_by_role("heading", name="Evidence")).to_be_visible()
    page.get_by_role("link", name="Open the workbench").click()
    live(page)

    page.goto("/")
    expect(page.get_by_role("article", name="From the page")).to_be_visible()


def test_what_cannot_be_started_is_said_beside_the_form(offline: Server, new_tab: NewTab) -> None:
    tab = new_tab(offline)
    page = tab.page
    page.goto("/jobs")
    page.get_by_role("radio", name=re.compile("induction")).first.check()
    page.get_by_label("Steps").fill("many")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("“many” is not a number of steps")
    page.get_by_label("Steps").fill("10")
    page.get_by_text("Edit the config").click()
    page.get_by_label("Overrides").fill('{"speed": 3}')
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("speed")
    page.get_by_label("Overrides").fill("{speed}")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="not JSON")).to_be_visible()
    expect(page.get_by_label("Overrides")).to_have_value("{speed}")
