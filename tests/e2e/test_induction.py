"""The same kind of story on the small model, which comes with everything it needs."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.e2e.conftest import NewTab, Server, live, number, settled, suppressed

ROWS = 6


def test_the_overview_shows_the_table_of_the_paper_beside_ours(offline: Server, new_tab: NewTab) -> None:
    page = new_tab(offline).page
    page.goto("/d/induction")
    table = page.get_by_role("table", name="The induction circuit")
    expect(table).to_be_visible()
    assert table.get_by_role("columnheader").all_inner_texts()[:4] == [
        "Site", "The paper", "Ours", "Agreement",
    ]  # fmt: skip
    rows = table.get_by_role("row").filter(has=page.get_by_role("rowheader"))
    expect(rows).to_have_count(ROWS)
    for row in rows.all():
        cells = row.get_by_role("cell").all_inner_texts()
        assert cells[0].strip()
        assert cells[1].strip()
        assert re.search("agrees|fewer|more|differs|not comparable", cells[2])
    assert "fewer" in rows.filter(has_text="V1").inner_text(), "6 components where the paper has 11"
    expect(page.get_by_role("heading", name="Evidence")).to_be_visible()
    where = page.get_by_role("table", name="Active components by position")
    rows = where.get_by_role("row").filter(has=page.get_by_role("rowheader"))
    expect(rows).to_have_count(ROWS)  # a site that the target does without has one too
    assert "−0" not in where.inner_text().replace("-", "−")


def test_an_ablation_of_the_induction_model_shifts_its_output(offline: Server, new_tab: NewTab) -> None:
    page = new_tab(offline).page
    page.goto("/")
    card = page.get_by_role("article", name="Induction heads", exact=True)
    card.get_by_role("link", name="Open the workbench").click()
    live(page)
    groups = page.get_by_role("button", name=re.compile("^Put group .* into basket A$"))
    first = page.get_by_role("list", name="Components at the selection").get_by_role("listitem").first
    (groups if groups.count() else first.get_by_role("button", name=re.compile("to basket A"))).first.click()
    page.get_by_role("button", name="Suppress", exact=True).click()
    column = suppressed(page, 1)
    settled(page)
    kl = column.get_by_text(re.compile(r"^here .* · max ")).inner_text()
    assert number(kl.split("max")[1]) > 0.01, kl
    check = column.get_by_text(re.compile("^Self-check: nothing suppressed")).inner_text()
    assert number(check.split("KL")[1]) < 1e-6
