"""A real server in a process of its own, and a real browser before it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError

import pytest
from playwright.sync_api import Browser, Locator, Page, Playwright, expect, sync_playwright

from backend.web.pages import built

ROOT = Path(__file__).parents[2]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIGER = "Tiger Woods is an American professional"
KOBE = "Kobe Bryant was an American professional"

expect.set_options(timeout=60_000)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            if "server" in getattr(
                item, "fixturenames", ()
            ):  # one server with the real weights, whatever the file
                item.add_marker(pytest.mark.xdist_group("server"))


@dataclass
class Server:
    """A server process, and how long it took from its start to its first page."""

    url: str
    home: Path
    seconds_to_first_page: float
    process: subprocess.Popen[str]
    load_at_start: float
    """Processes that wanted a processor in the minute before it was started, on average."""


@contextmanager
def serving(home: Path, *arguments: str, **environment: str) -> Iterator[Server]:
    """`unweave serve` over `home` on a free port, ended afterwards."""
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (home / "server.log").open("w", encoding="utf-8") as log:
        load, began = os.getloadavg()[0], time.monotonic()
        process = subprocess.Popen(
            serve_command("--port", str(port), "--home", str(home), *arguments),
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment},
        )
        try:
            first_page(url, process, home / "server.log")
            yield Server(url, home, time.monotonic() - began, process, load)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def serve_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "backend.cli", "serve", *arguments]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def first_page(url: str, process: subprocess.Popen[str], log: Path, seconds: float = 180) -> None:
    """Wait until the page is served. Raises RuntimeError with what the server said where it ends before."""
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).read()
            return
        except (URLError, OSError):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(
                    f"The server did not come up:\n{log.read_text(encoding='utf-8')}"
                ) from None
            time.sleep(0.05)


@pytest.fixture(scope="session")
def pages_built() -> None:
    if built() is None:
        pytest.fail(
            "The front-end is not built: `make e2e` does it, or `npm ci && npm run build` in frontend/."
        )


@pytest.fixture(scope="session")
def server(
    pages_built: None, weights_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with its worker and the shipped decompositions; real weights come from the kept folder."""
    home = tmp_path_factory.mktemp("e2e") / "home"
    home.mkdir()
    (weights_home / "targets").mkdir(exist_ok=True)
    (home / "targets").symlink_to(weights_home / "targets", target_is_directory=True)
    with serving(home) as server:
        yield server


@pytest.fixture(scope="session")
def offline(pages_built: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose home has no weights, and which cannot fetch any."""
    home = tmp_path_factory.mktemp("offline") / "home"
    with serving(home, PIP_NO_INDEX="1", HF_HUB_OFFLINE="1") as server:
        yield server


def chromium_path() -> str | None:
    """The system's Chromium where there is one; None for Playwright's own."""
    return next((path for name in CHROMIUM if (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGS)
    yield browser
    browser.close()


@dataclass
class Tab:
    """A page in a browser context of its own, with whatever went wrong in it."""

    page: Page
    errors: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def refused(self) -> list[str]:
        """Answers the browser reports as failed: expected where a test asks for something wrong."""
        return [error for error in self.errors if error.startswith("Failed to load resource")]

    def broken(self) -> list[str]:
        """Everything else on the console: never expected."""
        return [error for error in self.errors if not error.startswith("Failed to load resource")]


NewTab = Callable[..., Tab]


@pytest.fixture
def new_tab(browser: Browser) -> Iterator[NewTab]:
    """`new_tab(server, theme=…, width=…)`: a fresh browser context. No page may log an error or open a dialog."""
    tabs: list[Tab] = []

    def make(server: Server, theme: str = "light", width: int = 1440, height: int = 900) -> Tab:
        context = browser.new_context(
            base_url=server.url,
            viewport={"width": width, "height": height},
            color_scheme="dark" if theme == "dark" else "light",
        )
        tab = Tab(context.new_page())
        tab.page.set_default_timeout(60_000)
        tab.page.on("console", lambda message: message.type == "error" and tab.errors.append(message.text))
        tab.page.on("pageerror", lambda error: tab.errors.append(str(error)))

        def dialog(shown) -> None:
            tab.dialogs.append(shown.message)
            shown.dismiss()

        tab.page.on("dialog", dialog)
        tabs.append(tab)
        return tab

    yield make
    broken = [error for tab in tabs for error in tab.broken()]
    dialogs = [message for tab in tabs for message in tab.dialogs]
    for tab in tabs:
        tab.page.context.close()
    assert not broken, f"errors in the browser: {broken}"
    assert not dialogs, f"dialogs opened: {dialogs}"


@pytest.fixture
def page(server: Server, new_tab: NewTab) -> Page:
    """A fresh page on the server with the real weights."""
    return new_tab(server).page


# --- reading the page -------------------------------------------------------------------------------------------


def number(text: str) -> float:
    """What a number on the page says: `32.5 %` is 0.325, `1.2e-3` as it is, a true minus sign understood."""
    found = re.search(r"[-−+]?\d[\d,]*(?:\.\d+)?(?:e[-−]?\d+)?", text.replace("\u2009", ""))
    assert found, f"no number in {text!r}"
    value = float(found.group().replace("−", "-").replace(",", ""))
    return value / 100 if "%" in text else value


def shift_table(page: Page, prompt: int) -> Locator:
    return page.get_by_role("table", name=f"Tokens of Prompt {prompt}, before and after")


def before_after(page: Page, prompt: int, token: str) -> tuple[float, float]:
    """The probabilities of a token before and after, as the table of a prompt shows them."""
    row = shift_table(page, prompt).get_by_role("row").filter(has=page.get_by_role("rowheader", name=token))
    cells = row.first.get_by_role("cell").all_inner_texts()
    heads = shift_table(page, prompt).get_by_role("columnheader").all_inner_texts()
    # A bar stands between the token and the numbers; it has no head of its own.
    numbers = cells[len(cells) - len(heads) + 1 :]
    names = [re.sub(r"[ ↓↑]+$", "", head) for head in heads[1:]]
    shown = dict(zip(names, numbers, strict=True))
    return number(shown["Before"]), number(shown["After"])


def suppressed(page: Page, prompt: int) -> Locator:
    """The column of a prompt, once it shows numbers with something suppressed."""
    column = page.get_by_role("article", name=f"Output shift, Prompt {prompt}")
    expect(column.get_by_text(re.compile(r"components? suppressed"))).to_be_visible()
    return column


def live(page: Page) -> None:
    """Wait until the numbers of the model are on the page."""
    expect(shift_table(page, 1)).to_be_visible(timeout=300_000)  # at first the weights are fetched


def settled(page: Page) -> None:
    """Wait until nothing on the page is being loaded or computed."""
    page.wait_for_load_state("load")
    expect(page.locator(".skeleton, .recomputing, .stale")).to_have_count(0, timeout=60_000)
