"""The workbench says how far the decomposition describes a prompt: one of the run's own, and one of other text."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.e2e.conftest import TIGER, NewTab, Server, live, number, settled

FOREIGN = "The weather was fine and we walked along the river"


def test_a_prompt_of_the_run_is_described_and_another_is_not(server: Server, new_tab: NewTab) -> None:
    page = new_tab(server).page
    page.goto(f"/d/sports-smollm2/workbench?p={TIGER.replace(' ', '+')}&p={FOREIGN.replace(' ', '+')}")
    live(page)
    own = page.get_by_role("button", name=re.compile("^Prompt 1 is described KL .* nats"))
    expect(own).to_be_visible(timeout=120_000)
    kl, off = re.findall(r"[\d.]+", own.inner_text())[:2]
    assert number(kl) <= 0.05 * number(off)
    expect(own).to_contain_text("remainder off")

    foreign = page.get_by_role("button", name=re.compile("^Prompt 2 is not described: KL .* nats"))
    expect(foreign).to_be_visible(timeout=120_000)
    kl, off = re.findall(r"[\d.]+", foreign.inner_text())[:2]
    assert number(kl) > 0.25 * number(off)
    settled(page)

    # The sentence stands above the grid, whose block of that prompt alone is drawn in grey.
    grid = page.get_by_role("region", name="Causal importance")
    expect(
        grid.get_by_text(re.compile("Prompt 2: .*made for other text. What fires here says little"))
    ).to_be_visible()
    expect(grid.get_by_text(re.compile("Prompt 1: This decomposition"))).to_have_count(0)
    maps = [page.get_by_role("application", name=re.compile(f"Prompt {n}")) for n in (1, 2)]
    assert [one.locator("canvas").evaluate("c => getComputedStyle(c).filter") for one in maps] == [
        "none",
        "grayscale(1) opacity(0.6)",
    ]

    own.click()
    expect(page.get_by_role("dialog", name="How far Prompt 1 is described")).to_contain_text(
        "The run counts no other position"
    )


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
