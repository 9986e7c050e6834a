"""Another process holds the database: reading still works, what cannot be written is said, and works after the lock."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import expect

from tests.e2e.conftest import NewTab, Server, live
from tests.e2e.test_jobs import SMALL, start

BUSY = re.compile("The database is busy or cannot be reached. Try again in a moment.")


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Held as by a backup or a database browser in the middle of a transaction."""
    connection = sqlite3.connect(file, isolation_level=None, timeout=30)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def test_a_finding_is_kept_back_while_the_database_is_locked_and_saved_after(
    offline: Server, new_tab: NewTab
) -> None:
    page = new_tab(offline).page
    page.goto("/d/induction/workbench")
    live(page)
    page.get_by_role("button", name="Share").click()
    page.get_by_label("Title").fill("While it was locked")
    make = page.get_by_role("button", name="Create link")
    with locked(offline.home / "unweave.db"):
        make.click()
        expect(page.get_by_role("alert").filter(has_text=BUSY)).to_be_visible()
        expect(page.get_by_label("Title")).to_have_value("While it was locked")
        with page.expect_response("**/api/findings*") as read:
            other = new_tab(offline).page
            other.goto("/findings")
            expect(other.get_by_role("heading", name="Findings", exact=True)).to_be_visible()
            page.evaluate("fetch('/api/findings')")
        assert read.value.ok, "reading still works"
    make.click()
    expect(page.get_by_role("link", name="Open the finding")).to_be_visible()


def test_a_job_is_not_started_while_its_queue_is_locked_and_is_after(
    offline: Server, new_tab: NewTab
) -> None:
    page = new_tab(offline).page
    page.goto("/jobs")
    page.get_by_role("radio", name=re.compile("induction")).first.check()
    page.get_by_label("Name").fill("after-the-lock")
    page.get_by_label("Steps").fill("10")
    go = page.get_by_role("button", name="Start", exact=True)
    with locked(offline.home / "unweave-jobs.db"):
        go.click()
        expect(page.get_by_role("alert").filter(has_text=BUSY)).to_be_visible()
        expect(page.get_by_label("Name")).to_have_value("after-the-lock")
        expect(page.get_by_role("article", name="Job after-the-lock")).to_have_count(0)
    job = start(page, "after-the-lock", 10, SMALL)
    expect(job.get_by_text(re.compile("queued|running|done"))).to_be_visible()
    job.get_by_role("button", name="Cancel after-the-lock").click()
    page.get_by_role("button", name="Cancel the job").click()
    expect(job.get_by_text(re.compile("^(cancelled|done)$"))).to_be_visible()
