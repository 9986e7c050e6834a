"""Every page: it comes quickly, says nothing on the console, can be used by everyone, and remembers where one was."""

from __future__ import annotations

import os
import re
import time
import warnings
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import ROOT, NewTab, Server, live, settled, suppressed

AXE = ROOT / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
PAGES = {
    "gallery": "/",
    "overview": "/d/induction",
    "workbench": "/d/induction/workbench",
    "circuit": "/d/induction/circuit?pin=layers.1.attn.v:0@29",
    "components": "/d/induction/components",
    "prompts": "/d/induction/prompts?q=[BOS]+t1+t2+S+t3+S%3D%3Et3&a=layers.1.attn.k:0",
    "component": "/d/induction/components",  # and the first one there
    "findings": "/findings",
    "finding": "/findings",  # and the first one there
    "evidence": "/d/bible-lm/evidence",
    "jobs": "/jobs",
    "new": "/new",
    "access": "/access",
    "sign in": "/sign-in",
    "not found": "/no/such/page",
}


def open_page(page: Page, name: str) -> None:
    page.goto(PAGES[name])
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    if name == "component":
        page.get_by_role("link", name=re.compile(r"^L\d+ ")).first.click()
        expect(page.get_by_role("heading", name="On the run’s own prompts")).to_be_visible()
    if name == "finding":
        first = page.get_by_role("article").first.get_by_role("link").first
        first.click()
        expect(page.get_by_role("button", name="Re-run")).to_be_visible()
    if name == "workbench":
        live(page)
    if name == "circuit":
        expect(page.get_by_role("table", name="Edges of the circuit")).to_be_visible(timeout=60_000)
    if name == "evidence":
        expect(page.get_by_role("heading", name="Selectivity")).to_be_visible()
    settled(page)


@pytest.fixture(scope="session")
def finding(offline: Server) -> None:
    """One finding of the induction model, so that there is one to look at."""
    import httpx

    with httpx.Client(base_url=offline.url, timeout=120) as client:
        prompt = client.get("/api/decompositions/induction").json()["prompts"][0]
        body = {
            "decomposition": "induction",
            "title": "Nothing removed, nothing changed",
            "ablations": [{"text": prompt["text"], "bos": prompt["bos"], "components": []}],
        }
        answer = client.post("/api/findings", json=body)
        end = time.monotonic() + 180
        while answer.status_code == 503 and time.monotonic() < end:  # the model is still being loaded
            time.sleep(0.5)
            answer = client.post("/api/findings", json=body)
        answer.raise_for_status()


def test_the_first_page_comes_within_ten_seconds(server: Server) -> None:
    """Ten seconds of a machine that has nothing else to do; where processes wait for a processor, its share of them."""
    share = max(1.0, server.load_at_start / (os.cpu_count() or 1))
    print(
        f"\nserver start to first page: {server.seconds_to_first_page:.1f} s, load {server.load_at_start:.1f}"
    )
    assert server.seconds_to_first_page < 10 * share


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_accessible_fits_and_says_nothing_on_the_console(
    offline: Server, new_tab: NewTab, finding: None, name: str
) -> None:
    """In the system's light theme, in the dark one that it changes to, and on a narrow screen."""
    tab = new_tab(offline)
    page = tab.page
    open_page(page, name)
    for theme in THEMES:
        in_theme(page, theme)
        found = axe(page)
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        for one in found:
            if one not in serious:
                warnings.warn(f"axe, {name}, {theme}: {say(one)}", stacklevel=1)
        assert not serious, "\n".join(say(one) for one in serious)
    page.set_viewport_size({"width": 390, "height": 844})
    settled(page)
    wide, there = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= there, f"{wide} px on a screen of {there}"
    assert tab.broken() == []
    refused = 1 if name == "not found" else 0  # the page itself answers 404
    assert len(tab.refused()) == refused, tab.refused()


def in_theme(page: Page, theme: Literal["light", "dark"]) -> None:
    """As the page is when the system has changed its theme, and colours have followed."""
    page.emulate_media(color_scheme=theme)
    expect(page.locator("html")).to_have_attribute("data-theme", theme)
    settled(page)
    changing = "document.getAnimations().filter(one => one instanceof CSSTransition).map(one => one.finished)"
    page.evaluate(f"Promise.allSettled({changing})")


def axe(page: Page) -> list[dict]:
    """What axe finds wrong by WCAG 2.1 AA, and its best practices."""
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: npm ci in frontend/")
    page.evaluate(Path(AXE).read_text(encoding="utf-8"))
    return page.evaluate("axe.run().then(found => found.violations)")


def say(violation: dict) -> str:
    places = "; ".join(node["html"][:120] for node in violation["nodes"][:3])
    return f"{violation['impact']}: {violation['id']}, {violation['help']}: {places}"


def test_the_workbench_is_restored_by_back_forward_and_reload(offline: Server, new_tab: NewTab) -> None:
    page = new_tab(offline).page
    page.goto("/d/induction/workbench")
    live(page)
    plain = page.url
    first = page.get_by_role("list", name="Components at the selection").get_by_role("listitem").first
    first.get_by_role("button", name=re.compile("to basket A")).click()
    basket = page.get_by_role("list", name="Basket A").get_by_role("listitem")
    expect(basket).to_have_count(1)
    chosen = page.url
    page.get_by_role("button", name="Suppress", exact=True).click()
    suppressed(page, 1)
    done = page.url
    assert len({plain, chosen, done}) == 3

    page.go_back()
    expect(page).to_have_url(chosen)
    expect(page.get_by_text("chosen, not applied yet")).to_be_visible()
    page.go_back()
    expect(page).to_have_url(plain)
    expect(basket).to_have_count(0)
    page.go_forward()
    page.go_forward()
    expect(page).to_have_url(done)
    sentence = suppressed(page, 1).get_by_test_id("shift-sentence")
    settled(page)
    said = sentence.inner_text()
    page.reload()
    suppressed(page, 1)
    settled(page)
    assert sentence.inner_text() == said
    expect(basket).to_have_count(1)

    copied = new_tab(offline).page
    copied.goto(done)
    assert suppressed(copied, 1).get_by_test_id("shift-sentence").inner_text() == said


def test_the_keys_work_and_the_theme_is_remembered(offline: Server, new_tab: NewTab) -> None:
    page = new_tab(offline).page
    page.goto("/d/induction/workbench")
    live(page)
    page.keyboard.press("?")
    sheet = page.get_by_role("dialog", name="Keys")
    expect(sheet).to_be_visible()
    page.keyboard.press("Escape")
    expect(sheet).to_have_count(0)

    page.keyboard.press("/")
    expect(page.get_by_role("textbox", name="New prompt")).to_be_focused()
    page.keyboard.type("?")
    expect(sheet).to_have_count(0)
    page.keyboard.press("Escape")

    page.keyboard.press("j")
    page.keyboard.press("a")
    expect(page.get_by_role("list", name="Basket A").get_by_role("listitem")).to_have_count(1)
    page.keyboard.press("s")
    suppressed(page, 1)
    page.keyboard.press("r")
    expect(page.get_by_text("chosen, not applied yet")).to_be_visible()

    page.get_by_role("button", name="Dark theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    live(page)
    page.keyboard.press("t")
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    page.keyboard.press("g")
    page.keyboard.press("g")
    expect(page.get_by_role("article", name="Induction heads", exact=True)).to_be_visible()
