"""A list of 100,000 components scrolls: only rows in view are drawn, pages in view are asked for. Frame times are
printed, not asserted: they are the machine's as much as ours."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Route, expect

from tests.e2e.conftest import NewTab, Server

TOTAL = 100_000
FRAMES = """async () => {
  const box = document.querySelector('.vtable'), spent = []
  let last = performance.now()
  for (let frame = 0; frame < 180; frame += 1) {
    box.scrollTop += 90
    await new Promise(requestAnimationFrame)
    const now = performance.now()
    spent.push(now - last)
    last = now
  }
  return spent.slice(5)
}"""


def test_a_hundred_thousand_components_scroll(offline: Server, new_tab: NewTab) -> None:
    tab = new_tab(offline)
    page, asked = tab.page, []

    def answer(route: Route) -> None:
        query = parse_qs(urlsplit(route.request.url).query)
        offset, limit = int(query["offset"][0]), int(query["limit"][0])
        asked.append(offset)
        row = {
            "site": "layers.0.attn.q", "short": "L0 attn.q", "layer": 0, "label": "fires on t1", "alive": True,
            "mean_ci": 0.1, "max_ci": 1.0, "density": 0.1, "top_token": "t1", "top_tokens": ["t1"], "write_norm": 1.0,
            "effect": 0.1,
        }  # fmt: skip
        items = [{**row, "key": f"layers.0.attn.q:{n}", "index": n} for n in range(offset, offset + limit)]
        body = json.dumps({"items": items, "next_cursor": None, "total": TOTAL})
        route.fulfill(body=body, content_type="application/json")

    page.route("**/api/decompositions/induction/components?*", answer)
    page.goto("/d/induction/components")
    expect(page.get_by_text("100,000 results")).to_be_visible()
    spent = sorted(page.evaluate(FRAMES))
    middle, slow = spent[len(spent) // 2], spent[int(len(spent) * 0.95)]
    print(
        f"\n100,000 components: median frame {middle:.1f} ms, 95th percentile {slow:.1f} ms, {len(spent)} frames"
    )
    assert page.locator(".vtable tbody tr").count() < 100
    page.evaluate("document.querySelector('.vtable').scrollTop = 1e9")
    expect(page.get_by_role("link", name=f"L0 attn.q:{TOTAL - 1}")).to_be_visible()
    assert len(asked) < 60  # the pages in view, not all 500
    assert tab.errors == []
