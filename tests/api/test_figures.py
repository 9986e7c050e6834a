"""Figures made with Plotly in Python: what they show is what the API says, and notebooks can read them."""

from __future__ import annotations

import json
from pathlib import Path

import plotly.io
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from backend.cli import app
from tests.factories import SITES, hand_artifact

BASE = "/api/decompositions/tiny"


def figure(client: TestClient, path: str):
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return plotly.io.from_json(answer.text)


def test_curves_hold_every_logged_value(client: TestClient) -> None:
    shown = client.get(BASE).json()["curves"]
    made = figure(client, f"{BASE}/figures/curves.json")
    assert [trace.name for trace in made.data] == [curve["name"] for curve in shown]
    assert [list(trace.y) for trace in made.data] == [curve["values"] for curve in shown]


def test_bars_by_site_add_up_to_the_components_that_live(client: TestClient) -> None:
    sites = client.get(BASE).json()["site_summaries"]
    made = figure(client, f"{BASE}/figures/sites.json?value=alive")
    assert sum(sum(trace.y) for trace in made.data) == sum(site["alive"] for site in sites)
    assert {trace.name for trace in made.data} == {"mlp.down", "attn.q"}


def test_the_grid_of_a_prompt_has_a_row_a_site_and_a_column_a_token(client: TestClient) -> None:
    prompt = client.get(BASE).json()["prompts"][0]
    [grid] = figure(client, f"{BASE}/figures/importances.json?prompt=0").data
    assert len(grid.z) == len(SITES)
    assert {len(row) for row in grid.z} == {len(prompt["tokens"])}
    assert max(max(row) for row in grid.z) > 0
    assert client.get(f"{BASE}/figures/importances.json?prompt=99").json()["code"] == "unknown_prompt"


def test_a_finding_has_its_output_shift_and_its_text_stays_text(client: TestClient) -> None:
    body = {
        "decomposition": "tiny",
        "title": "<b>Bold</b> & co",
        "ablations": [{"text": "Tiger Woods is", "bos": False, "components": [{"key": f"{SITES[0]}:0"}]}],
    }
    found = client.post("/api/findings", json=body).json()
    made = figure(client, f"/api/findings/{found['slug']}/figures/output-shift.json")
    assert made.layout.title.text.startswith("&lt;b&gt;Bold&lt;/b&gt; &amp; co, position ")
    last = found["results"][0]["result"]["positions"][-1]
    assert [trace.name for trace in made.data] == ["before", "after"]
    assert made.data[1].y[0] == last["top"][0]["ablated"]["probability"]
    wrong = client.get(f"/api/findings/{found['slug']}/figures/output-shift.json?position=77").json()
    assert wrong["code"] == "position_out_of_range"


def test_html_is_one_file_to_keep(client: TestClient) -> None:
    answer = client.get(f"{BASE}/figures/sites.html")
    assert 'attachment; filename="tiny_sites.html"' in answer.headers["content-disposition"]
    assert "Plotly.newPlot" in answer.text


def test_the_command_writes_figures_that_a_notebook_reads(tmp_path: Path, home: Path) -> None:
    hand_artifact(home / "artifacts")
    given = ["export", "tiny", "--figures", "--out", str(tmp_path / "figures"), "--home", str(home)]
    answer = CliRunner().invoke(app, given)
    assert answer.exit_code == 0, answer.output
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {
        "curves.html",
        "curves.json",
        "alive-by-site.json",
        "importances-0.html",
        "plotly.min.js",
    } <= names
    assert json.loads((tmp_path / "figures/alive-by-site.json").read_text())["data"]
