"""A real browser before a real server on the shipped decompositions, for what is measured on a page."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import WEIGHTS_HOME
from tests.e2e.conftest import ARGS, Server, chromium_path, serving


@contextmanager
def started() -> Iterator[tuple[Browser, Server]]:
    """A server without a worker on a fresh home whose weights are the kept ones, and a browser."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        (WEIGHTS_HOME / "targets").mkdir(parents=True, exist_ok=True)
        (Path(folder) / "targets").symlink_to(WEIGHTS_HOME / "targets", target_is_directory=True)
        with serving(Path(folder), "--no-worker") as server:
            browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGS)
            yield browser, server
            browser.close()


def new_page(browser: Browser, server: Server) -> Page:
    """A page of a browser that was never here."""
    page = browser.new_context(base_url=server.url, viewport={"width": 1440, "height": 900}).new_page()
    page.set_default_timeout(120_000)
    return page
