"""Opening a page: how long until it can be used, a real browser with an empty cache before a real server.

From the start of the navigation until a frame finds the heading and what the page is for, nothing left to load, and
the main thread was then quiet for half a second: the time at which that quiet began.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.browser import new_page, started
from tests.e2e.conftest import live

VISITS = 5
TARGET_MS = 1_500.0
PAGES = {  # and what must be there to be used
    "gallery": ("/", "main a[href^='/d/']"),
    "overview": ("/d/sports-smollm2", "main a[href$='/workbench']"),
    "workbench": ("/d/sports-smollm2/workbench", ".basket-empty button"),
    "circuit": ("/d/induction/circuit", "main textarea"),
    "components": ("/d/sports-smollm2/components", "main a[href*='/c/']"),
    "findings": ("/findings", "article a"),
    "jobs": ("/jobs", "main input[type=radio]"),
}
WATCH = """
window.busyUntil = 0
new PerformanceObserver(list => {
  for (const task of list.getEntries()) window.busyUntil = task.startTime + task.duration
}).observe({ type: 'longtask', buffered: true })
"""
USABLE = """async needed => {
  const frame = () => new Promise(done => requestAnimationFrame(done))
  const there = selector => document.querySelector(selector) !== null
  while (!there('h1') || !there(needed) || there('.skeleton')) await frame()
  const shown = performance.now()
  while (performance.now() - Math.max(shown, window.busyUntil) < 500) await frame()
  return Math.max(shown, window.busyUntil)
}"""


def run(_: Path) -> Iterator[dict[str, Any]]:
    """One line per page: the median of some visits, each with an empty cache, once the server's weights are loaded."""
    with started() as (browser, server):
        warm = new_page(browser, server)
        warm.goto(PAGES["workbench"][0])
        live(warm)
        warm.context.close()
        for name, (path, needed) in PAGES.items():
            spent = []
            for _visit in range(VISITS):
                page = new_page(browser, server)
                page.add_init_script(WATCH)
                page.goto(path, wait_until="commit")
                spent.append(float(page.evaluate(USABLE, needed)))
                page.context.close()
            median = statistics.median(spent)
            yield {
                "name": f"usable_{name}", "ms": round(median), "slowest_ms": round(max(spent)), "target": TARGET_MS,
                "ok": median <= TARGET_MS, "load": round(os.getloadavg()[0], 1),
            }  # fmt: skip
