"""No weights and no network: what is stored is shown, what is missing is said, and nothing is lost."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.e2e.conftest import NewTab, Server, number

WORKBENCH = "/d/sports-smollm2/workbench"


def test_stored_results_are_there_and_the_page_says_what_is_missing(offline: Server, new_tab: NewTab) -> None:
    page = new_tab(offline).page
    page.goto(f"{WORKBENCH}?a=~␣Woods&cond=a")
    missing = page.get_by_role("alert").filter(has_text="SmolLM2-135M-Instruct")
    expect(missing).to_contain_text("could not be loaded", timeout=60_000)
    expect(missing).to_contain_text("could not be fetched")
    expect(missing).to_contain_text("are available in the meantime")
    assert "Traceback" not in missing.inner_text()

    # The importances stored with the run, for its own prompts.
    table = page.get_by_role("table", name="Causal importance, Prompt 1, by site and token")
    expect(table.get_by_role("cell").first).to_be_attached()
    assert max(number(text) for text in table.get_by_role("cell").all_inner_texts()) > 0.5
    expect(page.get_by_role("region", name="Provenance")).to_contain_text("stored with the run")
    expect(page.get_by_text("Live ablation starts once the weights are ready.")).to_be_visible()
    expect(page.get_by_role("button", name="Share")).to_be_disabled()
    chosen = new_tab(offline).page
    chosen.goto(f"{WORKBENCH}?a=~␣Woods")
    expect(chosen.get_by_role("button", name="Suppress", exact=True)).to_be_disabled()

    # Trying again does not lose the basket.
    missing.get_by_role("button", name="Try again").click()
    expect(missing).to_contain_text("could not be loaded", timeout=60_000)
    expect(page.get_by_role("list", name="Basket A").get_by_role("listitem")).to_have_count(1)
    expect(page).to_have_url(re.compile("cond=a"))


def test_text_is_tokenised_without_weights_and_unknown_prompts_say_what_they_wait_for(
    offline: Server, new_tab: NewTab
) -> None:
    page = new_tab(offline).page
    page.goto(WORKBENCH)
    box = page.get_by_role("textbox", name="New prompt")
    box.fill("Serena Williams plays professional")
    expect(page.get_by_text(re.compile(r"^\d of \d+ tokens$"))).to_be_visible()
    box.press("Enter")
    expect(page.get_by_role("button", name="Edit prompt 3")).to_be_visible()
    expect(page.get_by_text(re.compile("weights", re.IGNORECASE)).first).to_be_visible()
    expect(page.get_by_role("region", name="Provenance")).to_contain_text(
        "1 of 3 prompts without importances"
    )


def test_the_rest_of_the_page_works_without_weights(offline: Server, new_tab: NewTab) -> None:
    page = new_tab(offline).page
    page.goto("/d/sports-smollm2")
    expect(page.get_by_role("heading", name="Evidence")).to_be_visible()
    page.get_by_role("navigation").get_by_role("link", name="Components").click()
    rows = page.get_by_role("row")
    expect(rows.nth(1)).to_be_visible()
    page.get_by_role("link", name=re.compile(r"^L\d+ mlp")).first.click()
    expect(page.get_by_role("heading", name="On the run’s own prompts")).to_be_visible()
