"""The story on the real weights: “Woods” goes, golf goes with it, basketball stays, and a link shows it to others."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

import unweave
from backend.services.sentences import probability
from tests.e2e.conftest import (
    KOBE,
    TIGER,
    NewTab,
    Server,
    before_after,
    live,
    number,
    settled,
    shift_table,
    suppressed,
)

pytestmark = pytest.mark.real
WORKBENCH = "/d/sports-smollm2/workbench"


def suppress_woods(page: Page) -> None:
    """From the gallery to golf forgotten, as a newcomer would go."""
    page.goto("/")
    card = page.get_by_role("article", name=re.compile("Athletes and sports"))
    card.get_by_role("link", name="Open the workbench").click()
    live(page)
    page.get_by_role("button", name="Put group ␣Woods into basket A").first.click()
    expect(page.get_by_text("chosen, not applied yet")).to_be_visible()
    page.get_by_role("button", name="Suppress", exact=True).click()
    suppressed(page, 1)
    suppressed(page, 2)
    settled(page)


def test_suppressing_woods_takes_golf_and_leaves_basketball(page: Page, server: Server) -> None:
    suppress_woods(page)

    golf, without = before_after(page, 1, "␣golf")
    with unweave.connect(server.url) as there:  # a notebook says the same, to the last digit shown
        ablation = there.open("sports-smollm2").ablate(TIGER, ["␣Woods"], watch=[" golf"])
    assert [number(probability(p)) for p in ablation.probability("␣golf")] == [golf, without]
    assert golf > 0.1, "the model knows it before"
    assert without <= golf * 0.1, f"golf only fell from {golf} to {without}"
    basketball, beside = before_after(page, 2, "␣basketball")
    assert abs(beside - basketball) <= basketball * 0.1, f"basketball moved from {basketball} to {beside}"

    # The sentences above the tables say the same, and so do the lines of the prompts.
    first = page.get_by_role("article", name="Output shift, Prompt 1")
    expect(first.get_by_test_id("shift-sentence")).to_contain_text("␣golf falls from")
    second = page.get_by_role("article", name="Output shift, Prompt 2")
    expect(second.get_by_test_id("shift-sentence")).to_contain_text("␣basketball stays")

    # The heatmap, as a picture and as a table, one for each prompt.
    for prompt in ("Prompt 1", "Prompt 2"):
        heatmap = page.get_by_role("application", name=f"Causal importance, {prompt}")
        expect(heatmap).to_be_visible()
        assert heatmap.locator("canvas").evaluate("canvas => canvas.width * canvas.height") > 0
    table = page.get_by_role("table", name="Causal importance, Prompt 1, by site and token")
    assert table.get_by_role("columnheader").all_inner_texts()[1:] == [
        "T", "iger", "␣Woods", "␣is", "␣an", "␣American", "␣professional",
    ]  # fmt: skip
    numbers = [number(text) for text in table.get_by_role("cell").all_inner_texts()]
    assert max(numbers) > 0.5

    # What proves that the numbers are the model's own, and from what they come.
    checks = page.get_by_text(re.compile(r"^Self-check: nothing suppressed, KL"))
    assert checks.count() == 2
    for said in checks.all_inner_texts():
        assert number(said.split("KL")[1]) < 1e-6
    strip = page.get_by_role("region", name="Provenance")
    expect(strip).to_contain_text("SmolLM2-135M-Instruct")
    expect(strip).to_contain_text(re.compile(r"weights [0-9a-f]{8}"))
    expect(strip).to_contain_text("computed live")
    strip.get_by_role("button", name=re.compile("weights")).click()
    provenance = page.get_by_role("dialog", name="Full provenance")
    for name in ("artefact", "weights", "dtype, device", "torch"):
        expect(provenance.get_by_text(name, exact=True)).to_be_visible()
    page.keyboard.press("Escape")

    # And back: nothing is removed, nothing is changed.
    page.get_by_role("button", name="Restore").click()
    expect(first.get_by_test_id("shift-sentence")).to_contain_text("␣golf is at")
    settled(page)
    assert before_after(page, 1, "␣golf") == (golf, golf)


def test_any_other_prompt_can_be_typed_and_is_ablated_with_the_rest(page: Page) -> None:
    page.goto(f"{WORKBENCH}?a=~␣Woods&cond=a")
    live(page)
    box = page.get_by_role("textbox", name="New prompt")
    box.fill("The capital of France is")
    expect(page.get_by_text(re.compile(r"^5 of \d+ tokens$"))).to_be_visible()
    expect(page.get_by_role("button", name="New prompt, token 3, ␣France, id", exact=False)).to_be_visible()
    box.press("Enter")
    suppressed(page, 3)
    settled(page)
    paris, without = before_after(page, 3, "␣Paris")
    assert paris > 0.3
    assert abs(without - paris) <= paris * 0.1, f"a bystander moved from {paris} to {without}"
    expect(box).to_have_value("")


def test_a_cell_of_the_heatmap_leads_to_the_components_behind_it(page: Page) -> None:
    page.goto(WORKBENCH)
    live(page)
    page.get_by_role("button", name="Prompt 1, position 2 ␣Woods", exact=False).click()
    matters = page.get_by_role("region", name="Components at ␣Woods")
    expect(matters).to_be_visible()
    page.get_by_role("button", name="L0, the whole layer").click()
    expect(page.get_by_role("region", name="Components at ␣Woods, L0")).to_be_visible()
    rows = page.get_by_role("list", name="Components at the selection").get_by_role("listitem")
    component = rows.filter(has=page.get_by_role("link", name=re.compile("^L0 mlp"))).first
    component.get_by_role("button", name=re.compile("to basket A")).click()
    expect(page.get_by_role("list", name="Basket A").get_by_role("listitem")).to_have_count(1)
    page.get_by_role("slider", name=re.compile("Strength of L0 mlp")).press("Home")
    expect(page).to_have_url(re.compile(r"(;|%3B)-2(&|$)"))
    page.get_by_role("button", name=re.compile("Positions of L0 mlp")).click()
    page.get_by_role("dialog", name=re.compile("Positions of")).get_by_role("button", name="2 ␣Woods").click()
    expect(page).to_have_url(re.compile(r"(@|%40)2(&|$)"))


def test_a_finding_is_shared_and_opens_the_same_in_another_browser(
    server: Server, new_tab: NewTab, browser: Browser
) -> None:
    page = new_tab(server).page
    suppress_woods(page)
    shown = [shift_table(page, prompt).inner_text() for prompt in (1, 2)]
    numbers = [before_after(page, 1, "␣golf"), before_after(page, 2, "␣basketball")]

    page.get_by_role("button", name="Share").click()
    dialog = page.get_by_role("dialog", name="Share what is on screen")
    expect(dialog.get_by_label("Title")).to_have_value("Without “Woods”")
    dialog.get_by_label("Claim").fill("Golf goes, basketball stays.")
    dialog.get_by_label("Notes").fill("As in *the paper*.")
    dialog.get_by_role("button", name="Create link").click()
    link = page.get_by_label("Link to the finding").input_value()
    assert link.startswith(f"{server.url}/f/")

    other = new_tab(server).page
    other.goto(link)
    expect(other.get_by_role("heading", level=1, name="Without “Woods”")).to_be_visible()
    expect(other.get_by_text("Golf goes, basketball stays.")).to_be_visible()
    expect(other.locator("em", has_text="the paper")).to_be_visible()
    for prompt, text in enumerate((TIGER, KOBE), start=1):
        panel = other.get_by_role("heading", level=2, name=text.replace(" ", "␣"))
        expect(panel.or_(other.get_by_role("heading", level=2, name=text))).to_be_visible()
        assert before_after(other, prompt, "␣golf" if prompt == 1 else "␣basketball") == numbers[prompt - 1]
        assert figures(shift_table(other, prompt).inner_text()) <= figures(shown[prompt - 1])
    expect(other.get_by_text("group ␣Woods").first).to_be_visible()
    other.get_by_text("List of components").click()
    components = other.get_by_text(re.compile(r"strength 1, all positions"))
    assert components.count() == number(
        other.get_by_text(re.compile(r"^\d+ components? suppressed")).inner_text()
    )
    for name in ("artefact", "weights", "torch"):
        expect(other.get_by_text(name, exact=True).first).to_be_visible()
    expect(other.get_by_role("region", name="Provenance")).to_contain_text("as recorded")

    other.get_by_role("button", name="Re-run").click()
    expect(other.get_by_text("The same numbers.")).to_be_visible(timeout=60_000)
    expect(other.get_by_role("columnheader", name="Re-run").first).to_be_visible()

    other.get_by_role("link", name="Open in the workbench").click()
    live(other)
    suppressed(other, 1)
    settled(other)
    assert before_after(other, 1, "␣golf") == numbers[0]
    assert before_after(other, 2, "␣basketball") == numbers[1]

    page.goto("/findings")
    page.get_by_label("Search", exact=False).fill("Without “Woods”")
    expect(page.get_by_role("link", name="Without “Woods”", exact=True)).to_be_visible()


def figures(text: str) -> set[str]:
    """The numbers with a decimal point in a text."""
    return set(re.findall(r"[−+]?\d+\.\d+(?:e[-−]?\d+)?", text))
