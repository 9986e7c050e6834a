"""The workbench says how far the decomposition describes a prompt: one of the run's own, and one of other text."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import TIGER, NewTab, Server, live, number, settled

FOREIGN = "The weather was fine and we walked along the river"


def workbench(server: Server, new_tab: NewTab, id: str, *prompts: str) -> Page:
    page = new_tab(server).page
    page.goto(f"/d/{id}/workbench?{urlencode([('p', prompt) for prompt in prompts])}")
    live(page)
    return page


def figures(button: Locator) -> tuple[float, float]:
    """The KL under CI as masks and with everything off, nats."""
    found = re.search(r"KL (\S+) of (\S+) nats", button.inner_text())
    assert found
    return number(found[1]), number(found[2])


def drawn(page: Page) -> list[str]:
    """How the blocks of the grid are drawn."""
    maps = [page.get_by_role("application", name=re.compile(f"Prompt {n}")) for n in (1, 2)]
    return [one.locator("canvas").evaluate("c => getComputedStyle(c).filter") for one in maps]


def test_a_prompt_of_the_run_is_described_and_other_text_is_outside_a_targeted_run(
    server: Server, new_tab: NewTab
) -> None:
    page = workbench(server, new_tab, "sports-smollm2", TIGER, FOREIGN)
    own = page.get_by_role("button", name=re.compile("^Prompt 1 is described KL .* nats"))
    expect(own).to_be_visible(timeout=120_000)
    kl, off = figures(own)
    assert kl <= 0.05 * off
    expect(own).to_contain_text("remainder off")
    outside = page.get_by_role(
        "button", name=re.compile("^Prompt 2 is outside (nothing fires|.* per position)")
    )
    expect(outside).to_be_visible(timeout=120_000)
    grid = page.get_by_role("region", name="Causal importance")
    expect(
        grid.get_by_text(re.compile("Prompt 2: (Nothing of this|This decomposition is about)"))
    ).to_be_visible()
    expect(grid.get_by_text(re.compile("Prompt 1: (Nothing|This) "))).to_have_count(0)
    assert drawn(page) == ["none", "none"]
    own.click()
    expect(page.get_by_role("dialog", name="How far Prompt 1 is described")).to_contain_text(
        "The run counts no other position"
    )


def test_text_a_run_was_not_made_for_is_muted_under_a_sentence(server: Server, new_tab: NewTab) -> None:
    page = workbench(server, new_tab, "facts-smollm2", "The capital of France is", FOREIGN)
    foreign = page.get_by_role("button", name=re.compile("^Prompt 2 is not described KL .* nats"))
    expect(foreign).to_be_visible(timeout=120_000)
    kl, off = figures(foreign)
    assert kl > 0.25 * off
    settled(page)
    grid = page.get_by_role("region", name="Causal importance")
    expect(
        grid.get_by_text(re.compile("Prompt 2: .*made for other text. What fires here says little"))
    ).to_be_visible()
    assert drawn(page) == ["none", "grayscale(1) opacity(0.6)"]


def test_the_figure_comes_after_importances_and_outputs(offline: Server, new_tab: NewTab) -> None:
    page = new_tab(offline).page
    order: list[str] = []
    page.on("request", lambda request: order.append(request.url.rsplit("/", 1)[-1]))
    page.on("requestfinished", lambda request: order.append(f"{request.url.rsplit('/', 1)[-1]} done"))
    page.goto("/d/induction/workbench")
    live(page)
    expect(page.get_by_role("button", name=re.compile("^Prompt 1 is described"))).to_be_visible(
        timeout=120_000
    )
    first = order.index("trust")
    assert "importances done" in order[:first]
    assert "ablations done" in order[:first]
