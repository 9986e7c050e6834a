"""The workbench as a researcher uses it: conditions side by side, experiments, the tour, and what is typed wrongly."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.e2e.conftest import NewTab, Server, before_after, live, number, settled, suppressed
from tests.e2e.test_pages import THEMES, axe, in_theme, say

BENCH = "/d/induction/workbench"


@pytest.fixture
def bench(offline: Server, new_tab: NewTab) -> Page:
    """The workbench of the small model, to a reader who has had the tour."""
    page = new_tab(offline).page
    page.add_init_script("if (location.protocol !== 'about:') localStorage.setItem('unweave-tour', 'seen')")
    return page


@pytest.fixture(scope="module")
def keys(offline: Server) -> list[str]:
    """Components that matter, the most important first."""
    url = f"{offline.url}/api/decompositions/induction/components?alive=true&sort=max_ci&order=desc&limit=20"
    return [row["key"] for row in httpx.get(url, timeout=60).json()["items"]]


def conditions(page: Page) -> list[list[str]]:
    """The table of conditions: its heads, then a list of cells for each prompt."""
    table = page.get_by_role("table", name="Prompts by condition")
    expect(table).to_be_visible(timeout=120_000)
    settled(page)
    rows = table.get_by_role("row").all()
    heads = [re.sub(r"[ ↓↑]+$", "", text) for text in table.get_by_role("columnheader").all_inner_texts()]
    return [heads, *([cell.inner_text() for cell in row.get_by_role("cell").all()] for row in rows[1:])]


def test_conditions_stand_side_by_side_with_their_interaction(bench: Page, keys: list[str]) -> None:
    asked: list[str] = []
    bench.on("request", lambda request: asked.append(request.url) if "/comparisons" in request.url else None)
    bench.goto(f"{BENCH}?a={quote(keys[0])}&b={quote(keys[1])}&cond=ab&m=logit")
    live(bench)
    heads, *rows = conditions(bench)
    assert heads == ["Prompt", "none", "A", "B", "A + B", "A×B"]
    assert len(rows) == 2
    assert len(asked) == 1, "one request for all prompts and conditions"
    for none, a, b, both, term in rows:
        expected = number(both) - number(a) - number(b) + number(none)
        assert number(term) == pytest.approx(expected, abs=0.021)
    expect(bench.get_by_test_id("conditions-sentence")).to_contain_text(re.compile("add up|Together they do"))

    # Sorted by what A changes, and the address keeps it.
    bench.get_by_role("columnheader", name="A", exact=True).get_by_role("button").click()
    expect(bench).to_have_url(re.compile("cs=a"))
    bench.get_by_role("radio", name="logit difference").click()
    expect(bench).to_have_url(re.compile("m=difference"))
    shown = conditions(bench)
    bench.reload()
    live(bench)
    assert conditions(bench) == shown


def test_suppress_shows_at_once_what_was_asked_while_the_basket_was_looked_at(
    bench: Page, keys: list[str]
) -> None:
    asked: list[list[str]] = []

    def note(request: Request) -> None:
        if request.url.endswith("/ablations"):
            asked.append([one["key"] for one in json.loads(request.post_data or "")["components"]])

    bench.on("request", note)
    bench.goto(f"{BENCH}?a={quote(keys[0])}")
    live(bench)
    conditions(bench)
    expect(bench.get_by_text("components suppressed")).to_have_count(0)
    assert asked == [[], [], [keys[0]], [keys[0]]], "each prompt alone, then with the basket"
    bench.get_by_role("button", name="Suppress", exact=True).click()
    one = suppressed(bench, 1).inner_text()
    settled(bench)
    assert len(asked) == 4, "the click asks for nothing more"

    # Another basket is another question, and the button may be pressed before it is answered.
    bench.get_by_role("button", name="Restore").click()
    bench.get_by_role("button", name=re.compile("^Remove .* from the basket")).click()
    bench.goto(f"{BENCH}?a={quote(keys[1])}&b={quote(keys[0])}")
    live(bench)
    bench.get_by_role("radio", name="B", exact=True).click()
    settled(bench)
    assert suppressed(bench, 1).inner_text() == one
    bench.get_by_role("button", name="Suppress", exact=True).click()
    settled(bench)
    assert suppressed(bench, 1).inner_text() != one


def test_prompts_grid_baskets_and_result_are_in_sight_at_once(bench: Page, keys: list[str]) -> None:
    bench.goto(f"{BENCH}?p={quote('[BOS] t1 S t5 t7 t9 S')}&a={quote(keys[0])}&cond=a")
    live(bench)
    settled(bench)
    strip = bench.get_by_role("region", name="Provenance").bounding_box()
    assert strip
    for name in ("Prompts", "Causal importance", "Components in prompt 1", "Result"):
        box = bench.get_by_role("region", name=name).bounding_box()
        assert box, name
        assert box["y"] >= 0, name
        assert box["y"] + box["height"] <= strip["y"], name
    expect(bench.get_by_role("button", name="Restore")).to_be_in_viewport()


def test_a_strength_that_is_none_says_so_and_changes_nothing(bench: Page, keys: list[str]) -> None:
    bench.goto(f"{BENCH}?a={quote(keys[0])}&cond=a")
    live(bench)
    box = bench.get_by_role("textbox", name=re.compile("^Strength of .* as a number$"))
    url = bench.url
    box.fill("much")
    expect(bench.get_by_role("alert").filter(has_text="“much” is not a strength")).to_be_visible()
    assert bench.url == url
    box.fill("0.25")
    expect(bench).to_have_url(re.compile(r"(;|%3B)0\.25"))
    expect(bench.get_by_role("alert")).to_have_count(0)
    bench.get_by_role("button", name=re.compile("^Positions of")).click()
    places = bench.get_by_role("dialog", name=re.compile("^Positions of"))
    places.get_by_role("radio", name="from one onwards").click()
    expect(bench).to_have_url(re.compile(r"(@|%40)1-"))
    bench.keyboard.press("Escape")
    bench.get_by_role("switch", name="Remainder: what no component explains").click()
    expect(bench).to_have_url(re.compile("rem=off"))
    settled(bench)


def test_a_token_to_watch_is_found_by_typing(bench: Page) -> None:
    bench.goto(BENCH)
    live(bench)
    bench.get_by_role("button", name=re.compile("^Watching")).click()
    box = bench.get_by_role("combobox", name="Token to watch")
    box.fill("t77")
    expect(bench.get_by_role("option", name=re.compile("^t77"))).to_be_visible()
    box.press("Enter")
    expect(bench).to_have_url(re.compile("w=t77"))
    box.fill("no such thing")
    expect(bench.get_by_text(re.compile("is needed|No such token"))).to_be_visible()
    bench.get_by_role("button", name="Stop watching t77").click()
    expect(bench.get_by_role("button", name="Stop watching t77")).to_have_count(0)


def test_a_sweep_ranks_components_and_fills_the_basket(bench: Page) -> None:
    bench.goto(BENCH)
    live(bench)
    bench.get_by_role("tab", name="Sweep").click()
    bench.get_by_role("button", name="Run", exact=True).click()
    table = bench.get_by_role("table", name="Components, each suppressed alone")
    expect(bench.get_by_role("region", name="Experiments").get_by_text("Done.")).to_be_visible(timeout=60_000)
    rows = table.get_by_role("row")
    shown = rows.count()
    assert shown > 5
    kl = [number(rows.nth(i).get_by_role("cell").nth(1).inner_text()) for i in range(1, 5)]
    assert kl == sorted(kl, reverse=True)
    assert kl[0] > 0.5
    rows.nth(1).get_by_role("button", name=re.compile("to basket A$")).click()
    expect(bench.get_by_role("list", name="Basket A").get_by_role("listitem")).to_have_count(1)
    assert rows.count() == shown, "the rows stay"
    bench.get_by_role("radio", name="the basket’s strength").click()
    bench.get_by_role("button", name=re.compile("^Run")).click()
    expect(bench.get_by_role("img", name=re.compile("^KL by strength: 0 → < 1e-7,"))).to_be_visible(
        timeout=60_000
    )
    expect(bench).to_have_url(re.compile("run=yes"))


def test_a_sweep_can_be_cancelled_and_ends_when_the_page_is_left(bench: Page) -> None:
    bench.goto(f"{BENCH}?lab=sweep")
    live(bench)
    # An answer that never comes: what a long sweep looks like at its start.
    bench.route("**/sweeps", lambda _: None)
    ended: list[str] = []
    bench.on("requestfailed", lambda request: ended.append(request.url) if "/sweeps" in request.url else None)
    bench.get_by_role("button", name="Run", exact=True).click()
    bench.get_by_role("button", name="Cancel").click()
    expect(bench.get_by_text("Cancelled.")).to_be_visible()
    bench.get_by_role("button", name="Run again").click()
    expect(bench.get_by_role("button", name="Cancel")).to_be_visible()
    bench.get_by_role("link", name="Components", exact=True).click()
    expect(bench.get_by_role("heading", level=1, name=re.compile("Components"))).to_be_visible()
    for _ in range(50):
        if len(ended) == 2:
            break
        bench.wait_for_timeout(100)
    assert len(ended) == 2, "the cancelled one, and the one that was left"


def test_masks_attention_and_continuations_come_when_they_are_opened(bench: Page, keys: list[str]) -> None:
    short = quote("[BOS] t1 S t5 t7 t9 S")
    bench.goto(f"{BENCH}?p={short}&a={quote(keys[0])}&cond=a&lab=masks")
    live(bench)
    table = bench.get_by_role("table", name="KL by kind of mask")
    expect(table).to_be_visible(timeout=120_000)
    names = [text.split("\n")[0] for text in table.get_by_role("rowheader").all_inner_texts()]
    assert names == ["plain suppression", "CI as masks", "rounded", "stochastic", "adversarial"]
    box = bench.get_by_role("textbox", name="samples")
    box.fill("NaN")
    expect(bench.get_by_text("A whole number from 1 to 64; still 16.")).to_be_visible()
    box.fill("4")
    box.press("Enter")
    expect(bench).to_have_url(re.compile("ns=4"))

    bench.get_by_role("tab", name="Attention").click()
    map_ = bench.get_by_role("application", name=re.compile(r"^Attention of L0 H\d"))
    expect(map_).to_be_visible()
    map_.focus()
    bench.keyboard.press("ArrowUp")
    expect(bench.get_by_text("attends to", exact=False).first).to_be_visible()

    bench.get_by_role("tab", name="Continue").click()
    written = bench.get_by_role("list", name="Tokens, original").get_by_role("listitem")
    expect(written).to_have_count(10)
    expect(bench.get_by_role("list", name="Tokens, ablated").get_by_role("listitem")).to_have_count(10)
    bench.go_back()
    expect(bench).to_have_url(re.compile("lab=attention"))


def test_a_first_visit_is_offered_the_tour_which_leads_to_the_answer_gone(
    offline: Server, new_tab: NewTab
) -> None:
    page = new_tab(offline).page
    page.goto(BENCH)
    live(page)
    page.get_by_role("region", name="Tour, offered").get_by_role("button", name="Take the tour").click()
    tour = page.get_by_role("region", name="Tour", exact=True)
    expect(tour.get_by_role("heading", name="A model with one trick")).to_be_focused()
    for title in ("Subcomponents", "Causal importance"):
        tour.get_by_role("button", name="Next").click()
        expect(tour.get_by_role("heading", name=title)).to_be_visible()
    tour.get_by_role("button", name=re.compile("^Look at")).click()
    expect(page).to_have_url(re.compile(r"col=\d+"))
    tour.get_by_role("button", name="Next").click()
    tour.get_by_role("button", name=re.compile("^Suppress")).click()
    suppressed(page, 1)
    settled(page)
    expect(tour.get_by_text("has gone from")).to_be_visible()
    page.go_back()
    expect(tour.get_by_role("button", name=re.compile("^Suppress"))).to_be_visible()
    page.keyboard.press("Escape")
    tour.get_by_role("button", name="End the tour").click()
    expect(tour).to_have_count(0)
    page.goto(BENCH)
    live(page)
    expect(page.get_by_role("region", name="Tour, offered")).to_have_count(0)
    page.keyboard.press("?")
    page.get_by_role("dialog").get_by_role("link", name="Take the tour").click()
    expect(tour).to_be_visible()


def test_experiments_and_the_tour_are_accessible(offline: Server, new_tab: NewTab, keys: list[str]) -> None:
    page = new_tab(offline).page
    for lab in ("sweep&run=yes", "masks", "attention", "continue"):
        short = quote("[BOS] t1 S t5 t7 t9 S")
        page.goto(f"{BENCH}?p={short}&a={quote(keys[0])}&b={quote(keys[1])}&cond=ab&tour=3&lab={lab}")
        live(page)
        conditions(page)
        for theme in THEMES:
            in_theme(page, theme)
            found = axe(page)
            assert not found, f"{lab}, {theme}: " + "\n".join(say(one) for one in found)


@pytest.mark.parametrize("address", ["lab=cooking", "by=size", "ns=900", "tour=99", "d=golf", "m=weight"])
def test_a_wrong_experiment_in_the_address_is_said(bench: Page, address: str) -> None:
    bench.goto(f"{BENCH}?{address}")
    expect(bench.get_by_text(f"“{address}”")).to_be_visible()
    expect(bench.get_by_role("region", name="Experiments")).to_be_visible()


def every_matrix(route: Route) -> None:
    """The answer as of a decomposition of all 210 matrices: those of attention added, important here and there."""
    answer = route.fetch()
    if not answer.ok:  # the weights are still on their way
        route.fulfill(response=answer)
        return
    body = answer.json()
    own = body["sites"]
    matrices = [*(f"self_attn.{one}" for one in "qkvo"), "mlp.gate", "mlp.up", "mlp.down"]
    every = [f"model.layers.{i}.{matrix}_proj" for i in range(30) for matrix in matrices]
    added = [site for site in every if site not in own]
    body["sites"] = sorted([*own, *added], key=lambda site: int(site.split(".")[2]))
    place = {site: number for number, site in enumerate(body["sites"])}
    body["site"] = [place[own[number]] for number in body["site"]]
    for extra, site in enumerate(added):
        for position in range(extra % 3, len(body["tokens"]), 3):
            body["site"].append(place[site])
            body["position"].append(position)
            body["component"].append(0)
            body["ci"].append((extra * 7 + position * 3) % 10 / 10)
            body["inner_activation"].append(1.0)
    route.fulfill(response=answer, json=body)


@pytest.mark.real
@pytest.mark.long
def test_how_fast_the_grid_is_drawn_and_an_answer_comes(server: Server, new_tab: NewTab) -> None:
    """Prints both; a busy machine makes them worse, so nothing is asserted about them but that they were measured."""
    page = new_tab(server).page
    url = f"{server.url}/api/decompositions/sports-smollm2"
    words = "Tiger Woods is an American professional and so on; " * 8
    with httpx.Client(timeout=60) as client:
        tokens = client.post(f"{url}/tokenize", json={"text": words}).json()["tokens"]
    ids = ".".join(str(token["id"]) for token in tokens[:64])
    page.route("**/importances", every_matrix)
    page.goto(f"/d/sports-smollm2/workbench?p=~{ids}&open=all")
    live(page)
    settled(page)
    drawn = page.evaluate(
        "performance.getEntriesByName('unweave:ci-grid').map(e => [e.detail.rows, e.detail.columns, e.duration])"
    )
    rows, columns, _ = drawn[-1]
    print(
        f"\ngrid of {rows} × {columns}: {min(ms for *_, ms in drawn):.0f} ms at best of {len(drawn)} drawings"
    )
    assert rows >= 210
    assert columns == 64

    page.unroute("**/importances")
    page.goto("/d/sports-smollm2/workbench?a=~␣Woods")
    live(page)
    settled(page)
    took = page.evaluate(
        """async () => {
            const said = () => document.querySelector('.outcome-after')
            const button = [...document.querySelectorAll('button')].find(b => b.textContent === 'Suppress')
            const start = performance.now()
            button.click()
            while (!said()) await new Promise(done => requestAnimationFrame(done))
            return performance.now() - start
        }"""
    )
    print(f"from Suppress to numbers on screen: {took:.0f} ms")
    settled(page)
    golf, without = before_after(page, 1, "␣golf")
    assert without <= golf * 0.1
