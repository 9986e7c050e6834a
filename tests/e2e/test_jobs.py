"""A decomposition is started from the page, watched, and opened when it is done; another is cancelled."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import NewTab, Server, live

SMALL = {"target.steps": 20, "target.batch_size": 16, "C": 4, "log_every": 5, "checkpoint_every": 20}


def start(page: Page, name: str, steps: int, overrides: Mapping[str, object]) -> Locator:
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
    expect(small.get_by_text("done", exact=True)).to_be_visible(timeout=300_000)
    expect(small.get_by_role("progressbar")).to_have_count(0)

    expect(long.get_by_text("running", exact=True)).to_be_visible(timeout=60_000)
    long.get_by_role("button", name="Cancel too-long").click()
    page.get_by_role("button", name="Cancel the job").click()
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


# --- a job that fails, for real ---------------------------------------------------------------------------------

STEPS = 240  # enough to be looked at while it runs, on a fast machine too


def stand_in_the_way(server: Server, name: str) -> Path:
    """Once a job has its first checkpoint, a file where the next is to be written: writing it fails."""
    end = time.monotonic() + 120
    while not (found := list(server.home.glob(f"jobs/*/{name}.partial/checkpoint/state.json"))):
        assert time.monotonic() < end, "no checkpoint was written"
        time.sleep(0.05)
    obstacle = found[0].parents[1] / "checkpoint.new"
    while not obstacle.is_file():
        with contextlib.suppress(OSError):  # one is being written this moment
            obstacle.touch(exist_ok=False)
    return obstacle


@pytest.mark.long
def test_a_job_that_failed_goes_on_when_resumed_and_leaves_nothing_when_discarded(
    offline: Server, new_tab: NewTab
) -> None:
    page = new_tab(offline).page
    page.goto("/jobs")
    expect(page.get_by_text(re.compile("^1 worker"))).to_be_visible(timeout=60_000)
    kept = start(page, "kept", STEPS, SMALL)
    expect(kept.get_by_text("running", exact=True)).to_be_visible(timeout=60_000)

    obstacle = stand_in_the_way(offline, "kept")
    expect(kept.get_by_text("failed", exact=True)).to_be_visible(timeout=90_000)
    expect(kept.get_by_text("Its work up to the last checkpoint is kept.")).to_be_visible()
    obstacle.unlink()

    thrown = start(page, "thrown", STEPS, SMALL)
    gone = stand_in_the_way(offline, "thrown").parent
    expect(thrown.get_by_text("failed", exact=True)).to_be_visible(timeout=90_000)
    thrown.get_by_role("button", name="Discard the checkpoint of thrown").click()
    expect(thrown.get_by_role("button", name="Resume thrown")).to_have_count(0)
    expect(thrown.get_by_text("failed", exact=True)).to_be_visible()
    assert not gone.exists()

    page.reload()
    kept.get_by_role("button", name="Resume kept").click()
    again = kept.filter(has_text=re.compile("running|done"))
    expect(again.get_by_text("running", exact=True)).to_be_visible(timeout=60_000)
    expect(page.get_by_role("button", name="Resume kept")).to_have_count(0)
    expect(kept.filter(has_text="failed").get_by_text("A later job has resumed it")).to_be_visible()

    # From here on it is followed by its events alone: the list, asked for again and again, is not answered any more.
    page.route(re.compile("/api/jobs$"), lambda route: None)
    step = again.get_by_text(re.compile(f"step .* of {STEPS}"))
    before = step.inner_text()
    expect(step).not_to_have_text(before, timeout=60_000)
    expect(again.get_by_text("done", exact=True)).to_be_visible(timeout=300_000)
    expect(again.get_by_role("progressbar")).to_have_count(0)
    assert "resumes kept-" in "".join(log.read_text() for log in offline.home.glob("jobs/kept-*/job.log"))
    again.get_by_role("link", name="Open the result").click()
    expect(page.get_by_role("heading", name="Evidence")).to_be_visible()


def test_a_harvest_says_what_it_reads_and_leads_to_the_components(offline: Server, new_tab: NewTab) -> None:
    config = {"name": "few-sequences", "sequences": 4, "ablate_windows": 1, "ablate_components": 4}
    asked = httpx.post(
        f"{offline.url}/api/decompositions/induction/harvests", json={"config": config}, timeout=60
    )
    assert asked.status_code == 201, asked.text
    page = new_tab(offline).page
    page.goto("/jobs")
    card = page.get_by_role("article", name="Job induction")
    expect(card.get_by_text("Harvest of")).to_be_visible()
    expect(card.get_by_text(re.compile("statistics over few-sequences"))).to_be_visible()
    expect(card.get_by_text("done", exact=True)).to_be_visible(timeout=180_000)
    expect(card.get_by_text("on every component’s page")).to_be_visible()
    expect(card.get_by_text(re.compile("step 0 of 0"))).to_have_count(0)
    card.get_by_role("link", name="Open its components").click()
    expect(page).to_have_url(re.compile("/d/induction/components"))
