"""Every table as CSV and JSON, every figure as PNG and SVG: what a reader takes away from the pages."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from xml.etree import ElementTree

from playwright.sync_api import Page, expect

from tests.e2e.conftest import Server, settled


def saved(page: Page, what: str, kind: str, folder: Path) -> Path:
    """Save `what` as `kind` through its menu, by keyboard; answer the file."""
    page.get_by_role("button", name=f"Export {what}", exact=True).first.focus()
    page.keyboard.press("Enter")
    item = page.get_by_role("menuitem", name=kind, exact=True)
    expect(item).to_be_visible()
    with page.expect_download() as download:
        item.press("Enter")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def rows(path: Path) -> list[dict[str, str]]:
    said, *lines = path.read_text(encoding="utf-8").splitlines()
    assert re.match(r"# decomposition=[\w-]+; artifact=[0-9a-f]{64}; ", said)
    return list(csv.DictReader(lines))


def test_the_evidence_is_saved_as_a_table_with_every_digit(
    page: Page, tmp_path: Path, server: Server
) -> None:
    page.goto("/d/induction")
    path = saved(page, "Evidence", "CSV", tmp_path)
    assert path.name == "induction_evidence.csv"
    shown = page.request.get("/api/decompositions/induction").json()["evidence"]
    written = rows(path)
    assert [row["name"] for row in written] == [row["name"] for row in shown]
    assert [float(row["train"]) for row in written if row["train"]] == [
        row["train"] for row in shown if row["train"] is not None
    ]
    twin = json.loads(saved(page, "Evidence", "JSON", tmp_path).read_text(encoding="utf-8"))
    assert [row["train"] for row in twin["rows"]] == [row["train"] for row in shown]
    assert twin["provenance"]["decomposition"] == "induction"


def test_a_curve_is_saved_as_svg_with_its_fonts_and_as_png_twice_as_large(page: Page, tmp_path: Path) -> None:
    page.goto("/d/induction")
    settled(page)
    svg = ElementTree.parse(saved(page, "Alive components", "SVG", tmp_path)).getroot()
    words = " ".join(svg.itertext())
    assert "Alive components" in words
    assert "decomposition induction" in words
    assert "@font-face" in words
    assert "data:font/woff2" in words or "data:application" in words
    png = saved(page, "Alive components", "PNG", tmp_path).read_bytes()
    assert png.startswith(b"\x89PNG")
    width = int.from_bytes(png[16:20], "big")
    assert width == 2 * int(float(svg.get("width", "0")))
    assert len(png) > 8_000, "a figure, not an empty ground"


def test_the_components_are_written_by_the_server_as_they_are_filtered(page: Page, tmp_path: Path) -> None:
    page.goto("/d/induction/components?alive=all&sort=key")
    path = saved(page, "Components", "CSV", tmp_path)
    total = page.request.get("/api/decompositions/induction/components").json()["total"]
    assert len(rows(path)) == total


def test_a_finding_gives_its_heatmap_and_its_numbers(page: Page, tmp_path: Path, server: Server) -> None:
    slug = page.request.get("/api/findings?featured=true").json()["items"][0]["slug"]
    page.goto(f"/f/{slug}")
    settled(page)
    cells = rows(saved(page, "Causal importance, Prompt 1", "CSV", tmp_path))
    assert {"row", "position", "token", "max_ci"} <= set(cells[0])
    assert all(0 < float(cell["max_ci"]) <= 1 for cell in cells)
    svg = ElementTree.parse(saved(page, "Causal importance, Prompt 1", "SVG", tmp_path)).getroot()
    assert sum(1 for item in svg.iter() if item.tag.endswith("rect")) > len(cells)
    shift = rows(saved(page, "Output shift, Prompt 1", "CSV", tmp_path))
    assert {"kl [nats]", "baseline_probability [probability]"} <= set(shift[0])
    assert (
        saved(page, "KL by position, Prompt 1", "SVG", tmp_path)
        .read_text(encoding="utf-8")
        .startswith("<svg")
    )


def test_a_figure_that_cannot_be_made_says_so_and_stays(page: Page) -> None:
    page.goto("/d/induction")
    settled(page)
    page.evaluate(
        "() => { window.DOMParser = class { parseFromString() { throw new Error('No figure today.') } } }"
    )
    page.get_by_role("button", name="Export Alive components", exact=True).click()
    page.get_by_role("menuitem", name="SVG").click()
    expect(page.get_by_role("alert").get_by_text("No figure today.")).to_be_visible()
    page.get_by_role("alert").get_by_role("button", name="Dismiss").click()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_screen_and_a_circuit_are_saved_as_the_python_that_computes_them(
    page: Page, tmp_path: Path
) -> None:
    page.goto("/d/induction/workbench")
    prompts = page.get_by_role("article", name=re.compile("^Output shift, "))
    expect(prompts.first).to_be_visible()
    script = saved(page, "this screen", "Python", tmp_path).read_text(encoding="utf-8")
    assert 'd = uw.load("induction")' in script
    assert script.count("d.ablate(") == len(
        page.get_by_role("article", name=re.compile("^Output shift, ")).all()
    )
    page.goto("/d/induction/circuit")
    expect(page.get_by_role("region", name="Graph", exact=True)).to_be_visible()
    notebook = json.loads(saved(page, "Circuit", "Notebook", tmp_path).read_text(encoding="utf-8"))
    assert "d.circuit(" in "".join(notebook["cells"][-1]["source"])
