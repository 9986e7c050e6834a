"""From the click on Suppress to numbers on screen: a real browser before a real server, on the shipped athletes.

The clock runs from `button.click()` until a frame finds the new numbers in the page, for two prompts of 7 tokens. Two
ways of getting there: the basket has been looked at for a second, or Suppress follows the choice of the group at once.
No basket was ever asked for before. Beside the clock, which other work on the machine lengthens: CPU time of the page's
main thread up to there and up to the frame being painted, and of the server from the choice of the basket on.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Browser, Page

from tests.bench.browser import new_page, started
from tests.e2e.conftest import Server, live, settled

CLICKS = 9
TARGET_MS = 100.0
BENCH = "/d/sports-smollm2/workbench"
CATEGORIES = ["-*", "devtools.timeline", "blink.user_timing"]
TICK = os.sysconf("SC_CLK_TCK")

Way = Callable[[Page, int], Callable[[], float]]
"""Opens the workbench for the n-th click, and answers with what clicks: milliseconds on the page's clock."""

SUPPRESS = """
const frame = () => new Promise(done => requestAnimationFrame(done))
const suppress = [...document.querySelectorAll('button')].find(b => b.textContent === 'Suppress')
while (suppress.disabled) await frame()
performance.mark('bench:click')
const start = performance.now()
suppress.click()
while (!document.querySelector('.outcome-after')) await frame()
performance.mark('bench:numbers')
const took = performance.now() - start
await frame()
await new Promise(done => setTimeout(done))
performance.mark('bench:painted')
return took
"""
LOOKED_AT = f"async () => {{ {SUPPRESS} }}"
AT_ONCE = f"""async name => {{
const group = [...document.querySelectorAll('.basket-empty button')].find(b => b.textContent.includes(name))
group.click()
{SUPPRESS} }}"""


def run(_: Path) -> Iterator[dict[str, Any]]:
    """Both ways, one line each."""
    with started() as (browser, server):
        yield measured(browser, server, "suppress_to_numbers", looked_at)
        yield measured(browser, server, "suppress_at_once_to_numbers", at_once)


def looked_at(page: Page, number: int) -> Callable[[], float]:
    """The group of Woods, each time in another strength, looked at for a second."""
    open_bench(page, f"?a={quote(f'~␣Woods;{0.9 + number / 1000:.3f}')}")
    time.sleep(1)
    return lambda: page.evaluate(LOOKED_AT)


def at_once(page: Page, number: int) -> Callable[[], float]:
    """Another group each time, and Suppress as soon as it can be pressed."""
    open_bench(page, "")
    names = page.locator(".basket-empty button .mono").all_inner_texts()
    return lambda: page.evaluate(AT_ONCE, names[number % len(names)])


def open_bench(page: Page, search: str) -> None:
    page.goto(BENCH + search)
    live(page)
    settled(page)


def measured(browser: Browser, server: Server, name: str, way: Way) -> dict[str, Any]:
    page = new_page(browser, server)
    clock, to_numbers, to_paint, of_server = ([] for _ in range(4))
    for number in range(CLICKS):
        click = way(page, number)
        browser.start_tracing(page=page, categories=CATEGORIES)
        before = cpu_ms(server.process.pid)
        clock.append(click())
        of_server.append(cpu_ms(server.process.pid) - before)
        numbers, painted = main_thread(json.loads(browser.stop_tracing())["traceEvents"])
        to_numbers.append(numbers)
        to_paint.append(painted)
    page.context.close()
    median = statistics.median(clock)
    return {
        "name": name, "ratio": round(median / TARGET_MS, 2), "target": 1.0, "ok": median <= TARGET_MS,
        "clicks": CLICKS, "median_ms": round(median, 1), "fastest_ms": round(min(clock), 1),
        "slowest_ms": round(max(clock), 1), "page_cpu_ms": round(statistics.median(to_numbers), 1),
        "page_cpu_to_paint_ms": round(statistics.median(to_paint), 1),
        "server_cpu_ms": round(statistics.median(of_server), 1), "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip


def main_thread(events: list[dict[str, Any]]) -> tuple[float, float]:
    """CPU milliseconds of the page's main thread from the click to the numbers, and to the end of their frame."""
    at = {event["name"]: event for event in events if event["name"].startswith("bench:")}
    began = at["bench:click"]["tts"]
    return (at["bench:numbers"]["tts"] - began) / 1e3, (at["bench:painted"]["tts"] - began) / 1e3


def cpu_ms(pid: int) -> float:
    """CPU time of a process so far, all threads. In steps of the system's clock, 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return 1e3 * (int(fields[11]) + int(fields[12])) / TICK


if __name__ == "__main__":
    for line in run(Path()):
        print(json.dumps(line), flush=True)
