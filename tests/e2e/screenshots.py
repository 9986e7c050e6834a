"""`make screenshots`: pictures of every page, in both themes, wide and narrow, for docs/; the README's picture too.

Each sheet of docs/screenshots/ shows one page four times. They are taken of a real server on the real weights, after
the ablation of the README's story.
"""

from __future__ import annotations

import argparse
import base64
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.conftest import WEIGHTS_HOME
from tests.e2e.conftest import ARGS, ROOT, TIGER, Server, chromium_path, live, serving, settled, suppressed

DOCS = ROOT / "docs"
SHEETS = DOCS / "screenshots"
STORY = "/d/sports-smollm2/workbench?a=~␣Woods&cond=a"
WIDE, NARROW = (1440, 900), (390, 844)
PAGES = {
    "gallery": "/",
    "overview": "/d/sports-smollm2",
    "overview-facts": "/d/facts-smollm2",
    "overview-induction": "/d/induction",
    "workbench": STORY,
    "workbench-induction": "/d/induction/workbench",
    "circuit": "/d/induction/circuit",
    "circuit-sports": "/d/sports-smollm2/circuit?tok=+golf&vs=+basketball&mlp=hide",
    "components": "/d/sports-smollm2/components",
    "component": "/d/sports-smollm2/c/{component}",
    "findings": "/findings",
    "finding": "/f/{finding}",
    "jobs": "/jobs",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", metavar="PAGE", help=f"{', '.join(PAGES)} [default: all]")
    chosen = parser.parse_args().pages or list(PAGES)
    unknown = [name for name in chosen if name not in PAGES]
    if unknown:
        parser.error(f"there is no page {', '.join(unknown)}; there are {', '.join(PAGES)}")
    SHEETS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as running, browser() as chromium:
        names = example(running)
        for name in chosen:
            path = SHEETS / f"{name}.jpg"
            path.write_bytes(sheet(chromium, running, PAGES[name].format(**names)))
            print(f"{path.relative_to(ROOT)}  {path.stat().st_size / 1000:.0f} kB", flush=True)
        if "workbench" in chosen:
            path = DOCS / "workbench.png"
            path.write_bytes(picture(chromium, running))
            print(f"{path.relative_to(ROOT)}  {path.stat().st_size / 1000:.0f} kB")
    write_index()


@contextmanager
def server(home: Path) -> Iterator[Server]:
    """A server over an empty home, but for the weights kept between runs."""
    (WEIGHTS_HOME / "targets").mkdir(parents=True, exist_ok=True)
    (home / "targets").symlink_to(WEIGHTS_HOME / "targets", target_is_directory=True)
    with serving(home) as running:
        yield running


@contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path(), args=ARGS)
        yield chromium
        chromium.close()


def example(server: Server) -> dict[str, str]:
    """Make the finding of the story, and name it and one of its components."""
    with httpx.Client(base_url=server.url, timeout=120) as client:
        base = "/api/decompositions/sports-smollm2"
        while (state := client.get(base).json()["target"]["state"]) != "ready":
            if state in ("failed", "absent"):
                client.post(f"{base}/target")
        groups = {group["name"]: group for group in client.get(f"{base}/groups").json()["items"]}
        components = groups["␣Woods"]["components"]
        suppressed = [{"key": key, "strength": 1} for key in components]
        prompts = [TIGER, "Kobe Bryant was an American professional"]
        body = {
            "decomposition": "sports-smollm2",
            "title": "Without “Woods”, Tiger forgets golf and Kobe keeps basketball",
            "claim": "Golf goes with the components that fire on ␣Woods; basketball is somewhere else.",
            "groups": ["␣Woods"],
            "ablations": [
                {"text": text, "bos": False, "components": suppressed, "watch": [" golf", " basketball"]}
                for text in prompts
            ],
        }
        finding = client.post("/api/findings", json=body).raise_for_status().json()
        return {"finding": finding["slug"], "component": components[0]}


def visit(
    browser: Browser, server: Server, address: str, theme: str, size: tuple[int, int], scale: float = 1
) -> Page:
    """A page, at rest."""
    context = browser.new_context(
        base_url=server.url,
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if theme == "dark" else "light",
        device_scale_factor=scale,
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(address)
    expect(page.get_by_role("main").get_by_role("heading", level=1)).to_be_visible(timeout=60_000)
    if "/workbench" in address:
        live(page)
        if "cond=a" in address:
            suppressed(page, 1)
    if "/circuit" in address:
        expect(page.get_by_role("table", name="Edges of the circuit")).to_be_visible(timeout=120_000)
    settled(page)
    page.wait_for_timeout(400)
    return page


def sheet(browser: Browser, server: Server, address: str) -> bytes:
    """One page four times on one picture."""
    shots = []
    for theme in ("light", "dark"):
        for width, height in (WIDE, NARROW):
            page = visit(browser, server, address, theme, (width, height))
            shots.append((f"{theme}, {width}", width, page.screenshot()))
            page.context.close()
    figures = "".join(
        f'<figure><img width="{round(width * 0.62)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        f"<figcaption>{re.sub('[<&]', '', caption)}</figcaption></figure>"
        for caption, width, png in shots
    )
    page = browser.new_page(viewport={"width": 1240, "height": 800})
    page.set_content(
        "<style>body{margin:16px;background:#8b8f96;font:13px system-ui;color:#fff;display:grid;"
        "grid-template-columns:max-content max-content;gap:16px;align-items:start}figure{margin:0}"
        f"img{{display:block;margin-bottom:4px}}</style>{figures}"
    )
    taken = page.locator("body").screenshot(type="jpeg", quality=72)
    page.close()
    return taken


def picture(browser: Browser, server: Server) -> bytes:
    """The README's picture: the workbench after Suppress."""
    page = visit(browser, server, STORY, "light", (1440, 1440))
    taken = page.screenshot()
    page.context.close()
    return taken


def write_index() -> None:
    """A page that shows all sheets there are."""
    names = [name for name in PAGES if (SHEETS / f"{name}.jpg").is_file()]
    lines = ["# Every page, in both themes, wide and narrow", "", "Made by `make screenshots`.", ""]
    for name in names:
        title = name.replace("-", ", ").capitalize()
        lines += [f"## {title}", "", f"![{title}]({name}.jpg)", ""]
    (SHEETS / "README.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
