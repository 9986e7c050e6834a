"""`make stories`: ten things people do on the page, with the clicks and the time they take.

Each story begins on a page of its own and ends where its result stands on the screen. Clicks are counted, a filled
field or a pressed key counts as one; times are of this machine, with its load beside them. JSON lines, for docs/log.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import live, suppressed
from tests.e2e.screenshots import browser, server

SPORTS, INDUCTION = "/d/sports-smollm2", "/d/induction"


class Hands:
    """Clicks and typing, counted. With `keyboard`, a click is a focused Enter."""

    def __init__(self, page: Page, *, keyboard: bool) -> None:
        self.page, self.keyboard, self.acts = page, keyboard, 0

    def click(self, target: Locator) -> None:
        self.acts += 1
        if self.keyboard:
            target.focus()
            self.page.keyboard.press("Enter")
        else:
            target.click()

    def fill(self, target: Locator, text: str) -> None:
        self.acts += 1
        target.fill(text)

    def choose(self, target: Locator, value: str) -> None:
        self.acts += 1
        target.select_option(value)


def newcomer(page: Page, hands: Hands) -> None:
    """On the gallery: golf's fall, and basketball that stays."""
    page.goto("/")
    story = page.get_by_role("region", name="Try it")
    hands.click(story.get_by_role("button", name=re.compile("^Suppress")))
    expect(story.get_by_text(re.compile("falls from"))).to_be_visible()
    expect(story.get_by_text(re.compile("stays:"))).to_be_visible()


def suppress_a_group(page: Page, hands: Hands) -> None:
    """On the workbench: the components that fire on ␣Woods, out."""
    page.goto(f"{SPORTS}/workbench")
    live(page)
    hands.click(page.get_by_role("button", name=re.compile(r"␣Woods.* basket A|basket A.*␣Woods")).first)
    hands.click(page.get_by_role("button", name="Suppress", exact=True))
    suppressed(page, 1)


def own_prompt(page: Page, hands: Hands) -> None:
    """A prompt of one's own beside the run's."""
    page.goto(f"{SPORTS}/workbench")
    live(page)
    hands.fill(page.get_by_placeholder(re.compile("^Type any other prompt")), "Michael Jordan plays")
    hands.click(page.get_by_role("button", name="Add prompt"))
    expect(page.get_by_role("article", name="Output shift, Prompt 3")).to_be_visible()


def conditions(page: Page, hands: Hands) -> None:
    """A, B and both on two prompts."""
    page.goto(f"{SPORTS}/workbench?a=~␣Woods&b=~␣Bryant&cond=a")
    suppressed(page, 1)
    hands.click(page.get_by_role("radio", name="A + B"))
    expect(page).to_have_url(re.compile("cond=ab"))
    expect(page.get_by_role("heading", name="Conditions side by side")).to_be_visible()


def share(page: Page, hands: Hands) -> None:
    """A finding behind a link."""
    page.goto(f"{SPORTS}/workbench?a=~␣Woods&cond=a")
    suppressed(page, 1)
    hands.click(page.get_by_role("button", name="Share"))
    dialog = page.get_by_role("dialog")
    hands.fill(dialog.get_by_label("Title"), "Golf goes")
    hands.click(dialog.get_by_role("button", name=re.compile("^(Save|Create|Share)")))
    expect(dialog.get_by_role("link").first).to_be_visible()


def rerun(page: Page, hands: Hands) -> None:
    """A finding, computed anew."""
    page.goto("/findings")
    hands.click(page.get_by_role("article").first.get_by_role("link").first)
    hands.click(page.get_by_role("button", name="Re-run"))
    expect(page.get_by_text(re.compile("largest difference", re.IGNORECASE)).first).to_be_visible()


def find_component(page: Page, hands: Hands) -> None:
    """The component that matters most, and its examples."""
    page.goto(f"{INDUCTION}/components")
    hands.click(page.get_by_role("table", name="Components").get_by_role("link").first)
    expect(page.get_by_role("heading", name="Examples")).to_be_visible()


def trusted_labels(page: Page, hands: Hands) -> None:
    """The labels that predict best."""
    page.goto(f"{SPORTS}/components")
    head = page.get_by_role("columnheader", name=re.compile("^Label F1"))
    hands.click(head.get_by_role("button"))
    expect(head).to_have_attribute("aria-sort", "descending")
    expect(page.get_by_role("table", name="Components").get_by_role("row").nth(2)).to_contain_text("1.00")


def group_a_circuit(page: Page, hands: Hands) -> None:
    """Two nodes of the induction circuit as one, by name."""
    page.goto(f"{INDUCTION}/circuit")
    nodes = page.get_by_role("region", name="Graph of the circuit")
    hands.click(nodes.get_by_role("button", name=re.compile(r"L1 attn\.v:0,")))
    hands.click(nodes.get_by_role("button", name=re.compile(r"L1 attn\.v:2,")))
    hands.fill(page.get_by_label("Name of the new group"), "copying")
    hands.click(page.get_by_role("button", name="Group these"))
    expect(page.get_by_role("article", name="Group copying")).to_be_visible()


def prompt_set(page: Page, hands: Hands) -> None:
    """One basket on all prompts of a run, and the mean."""
    page.goto(f"{INDUCTION}/prompts?a=layers.1.attn.k:0")
    hands.click(page.get_by_role("button", name="Take the run’s own prompts"))
    expect(page.get_by_role("status").filter(has_text="8 of 8 lose")).to_be_visible()


STORIES: list[Callable[[Page, Hands], None]] = [
    newcomer, suppress_a_group, own_prompt, conditions, share, rerun, find_component, trusted_labels, group_a_circuit,
    prompt_set,
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stories", nargs="*", metavar="STORY", help="their names [default: all]")
    parser.add_argument("--keyboard", action="store_true", help="no mouse: focus and Enter")
    parser.add_argument("--url", help="a server that runs already")
    chosen = parser.parse_args()
    names = [story.__name__ for story in STORIES]
    if unknown := [name for name in chosen.stories if name not in names]:
        parser.error(f"there is no story {', '.join(unknown)}; there are {', '.join(names)}")
    told = [story for story in STORIES if not chosen.stories or story.__name__ in chosen.stories]
    if chosen.url:
        walk(chosen.url, told, keyboard=chosen.keyboard)
        return
    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as running:
        walk(running.url, told, keyboard=chosen.keyboard)


def walk(url: str, told: list[Callable[[Page, Hands], None]], *, keyboard: bool) -> None:
    """Each story in a browser context of its own; one that fails says why and the others go on."""
    failed = 0
    with browser() as chromium:
        for story in told:
            context = chromium.new_context(base_url=url, viewport={"width": 1440, "height": 900})
            page = context.new_page()
            page.set_default_timeout(60_000)
            hands = Hands(page, keyboard=keyboard)
            began = time.monotonic()
            try:
                story(page, hands)
                fault = None
            except Exception as error:  # whatever stops one story, the others are walked
                fault, failed = str(error).splitlines()[0], failed + 1
            line = {
                "story": story.__name__, "acts": hands.acts, "seconds": round(time.monotonic() - began, 1),
                "keyboard": keyboard, "load": round(os.getloadavg()[0], 1), **({"fault": fault} if fault else {}),
            }  # fmt: skip
            print(json.dumps(line, ensure_ascii=False), flush=True)
            context.close()
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
