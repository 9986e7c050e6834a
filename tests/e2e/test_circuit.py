"""The circuit of a prompt: read it as a graph and as a list, pin a node, hand the link on."""

from __future__ import annotations

import json
import re

from playwright.sync_api import Page, expect

from tests.e2e.conftest import NewTab, Server

CIRCUIT = "/d/induction/circuit"


def drawn(page: Page) -> None:
    expect(page.get_by_role("region", name="Graph of the circuit").get_by_role("button").first).to_be_visible(
        timeout=60_000
    )


def test_the_induction_circuit_is_read_pinned_and_handed_on(offline: Server, new_tab: NewTab) -> None:
    page = new_tab(offline).page
    page.goto(CIRCUIT)
    drawn(page)
    table = page.get_by_role("table", name="Edges of the circuit")
    rows = [row.inner_text() for row in table.get_by_role("row").all()[1:9]]
    assert any(row.startswith("L1 attn.k") and "output" in row for row in rows), rows
    assert any(row.startswith("L0 attn") and "L1 attn.k" in row for row in rows), rows
    said = page.get_by_text(re.compile(r"edges drawn of")).inner_text()
    rows = table.get_by_role("row").count() - 1
    assert said.startswith(f"{rows} edges drawn of ")
    # A node is pinned by keyboard alone, and says what feeds it.
    node = page.get_by_role("region", name="Graph of the circuit").get_by_role(
        "button", name=re.compile(r"L1 attn\.k:\d+.* CI 1\.00")
    )
    node.first.focus()
    page.keyboard.press("Enter")
    card = page.get_by_role("region", name="Pinned nodes").get_by_role("article")
    expect(card).to_have_count(1)
    expect(card.get_by_role("heading", name="Inputs")).to_be_visible()
    expect(card.get_by_role("link", name="Suppress in the workbench")).to_be_visible()
    # The list sorts by any column, and the address holds all of it.
    table.get_by_role("button", name=re.compile("^Weight")).click()
    expect(page).to_have_url(re.compile(r"sort=weight"))
    link = page.url
    assert "pin=layers.1.attn.k" in link
    other = new_tab(offline).page
    other.goto(link)
    drawn(other)
    expect(other.get_by_role("region", name="Pinned nodes").get_by_role("article")).to_have_count(1)
    header = other.get_by_role("table", name="Edges of the circuit").get_by_role(
        "columnheader", name=re.compile("^Weight")
    )
    expect(header).to_have_attribute("aria-sort", "descending")
    # Two nodes become a group, which the link holds with its note.
    values = other.get_by_role("region", name="Graph of the circuit").get_by_role(
        "button", name=re.compile(r"L1 attn\.v:\d+")
    )
    values.first.click()
    other.get_by_label("Name of the new group").fill("copying")
    other.get_by_role("button", name="Group these").click()
    group = other.get_by_role("article", name="Group copying")
    expect(group.get_by_role("list", name="Members of copying").get_by_role("listitem")).to_have_count(2)
    group.get_by_label("Note on copying").fill("where it looks, and what it takes")
    group.get_by_label("green").check()
    expect(other).to_have_url(re.compile(r"g=1~copying~.*note=.*copying"))
    third = new_tab(offline).page
    third.goto(other.url)
    drawn(third)
    expect(third.get_by_role("button", name=re.compile(r"copying \(2 nodes\)"))).to_be_visible()
    expect(third.get_by_label("Note on copying")).to_have_value("where it looks, and what it takes")
    with third.expect_download() as saved:
        third.get_by_role("button", name="Export Circuit").click()
        third.get_by_role("menuitem", name="Neuronpedia graph").click()
    graph = json.loads(saved.value.path().read_text(encoding="utf-8"))
    assert [supernode[0] for supernode in graph["qParams"]["supernodes"]] == ["copying"]
    third.get_by_role("link", name="Suppress it in the workbench").click()
    expect(third).to_have_url(
        re.compile(r"/d/induction/workbench\?(?=.*a=layers.1.attn.k)(?=.*a=layers.1.attn.v)")
    )


def test_what_cannot_be_drawn_is_said_where_it_was_asked(offline: Server, new_tab: NewTab) -> None:
    page = new_tab(offline).page
    page.goto(f"{CIRCUIT}?tok=no+such+thing&pin=nobody")
    expect(page.get_by_text(re.compile("“pin=nobody” is not a node"))).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("cannot be watched", timeout=60_000)
    page.get_by_label("Token explained").fill("")
    page.get_by_role("button", name="Explain").click()
    drawn(page)
    expect(page.get_by_role("alert")).to_have_count(0)
    page.goto(f"{CIRCUIT}?t=1")
    expect(page.get_by_role("alert")).to_contain_text("Lower it")


def test_the_overview_shows_what_acts_where(offline: Server, new_tab: NewTab) -> None:
    page = new_tab(offline).page
    page.goto("/d/induction")
    table = page.get_by_role("table", name="Active components by position")
    expect(table).to_be_visible()
    heads = table.get_by_role("columnheader").all_inner_texts()
    assert [head.split()[0] for head in heads[1:5]] == ["BOS", "s1", "m", "s2"]
    row = table.get_by_role("row").filter(has=page.get_by_role("rowheader", name="L1 attn.v"))
    expect(row.get_by_role("cell").nth(2).get_by_role("link").first).to_be_visible()
    expect(
        page.get_by_role("application", name=re.compile("^Attention of layer 1: .*s2 attends most to m"))
    ).to_be_visible()
