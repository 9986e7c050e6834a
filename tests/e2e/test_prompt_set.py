"""One basket on many prompts: typed, measured, summed up, saved as CSV and read in again."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import expect

from tests.e2e.conftest import NewTab, Server, number

KEY = "layers.1.attn.k:0"


def test_a_basket_meets_a_set_of_prompts(offline: Server, new_tab: NewTab, tmp_path: Path) -> None:
    page = new_tab(offline).page
    page.goto(f"/d/induction/prompts?a={KEY}")
    page.get_by_role("button", name="Take the run’s own prompts").click()
    rows = page.get_by_role("table", name="Prompts of the set").get_by_role("row")
    expect(rows).to_have_count(9)
    said = page.get_by_role("status").filter(has_text="on average")
    expect(said).to_contain_text("8 of 8 lose at least a tenth", timeout=120_000)
    changes = [number(row.get_by_role("cell").nth(4).inner_text()) for row in rows.all()[1:]]
    mean = number(said.locator("b.num").inner_text())
    assert abs(mean - sum(changes) / len(changes)) < 0.02
    assert all(change < -1 for change in changes)  # without the key nothing is copied
    # The link holds the whole of it, and so does a file that is read in again.
    with page.expect_download() as saved:
        page.get_by_role("button", name="Export Prompt set").click()
        page.get_by_role("menuitem", name="CSV").click()
    saved.value.save_as(tmp_path / "set.csv")
    other = new_tab(offline).page
    other.goto(page.url)
    expect(other.get_by_role("status").filter(has_text="on average")).to_have_text(said.inner_text())
    other.goto(f"/d/induction/prompts?a={KEY}")
    other.locator("input[type=file]").set_input_files(tmp_path / "set.csv")
    expect(other.get_by_role("table", name="Prompts of the set").get_by_role("row")).to_have_count(9)
    other.get_by_role("link", name=re.compile("^.BOS. t")).first.click()
    expect(other).to_have_url(re.compile(r"/workbench\?.*a=layers.1.attn.k"))
