"""Findings between servers and into other hands: brought in and computed again, as code, as a page, as a reference."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest
from fastapi.testclient import TestClient

import unweave as uw
from backend.app import create_app
from tests.access import CLOSED
from tests.api.test_findings import asked
from tests.conftest import Open, wait_for_engine
from tests.factories import KOBE, WOODS, hand_artifact, settings
from unweave import servers


@pytest.fixture
def own(home: Path, open_app: Open) -> TestClient:
    hand_artifact(home / "artifacts")
    client = open_app(home)
    wait_for_engine(client)
    return client


def exported(client: TestClient, **changes: Any) -> dict[str, Any]:
    slug = client.post("/api/findings", json=asked(**changes)).json()["slug"]
    return client.get(f"/api/findings/{slug}.json").json()


@pytest.fixture
def other(tmp_path: Path, open_app: Open) -> TestClient:
    """Another server with the same decomposition."""
    hand_artifact(tmp_path / "other/artifacts")
    client = open_app(tmp_path / "other")
    wait_for_engine(client)
    return client


def test_a_finding_comes_into_another_server_computed_there_and_only_once(
    own: TestClient, other: TestClient
) -> None:
    file = exported(own)
    made = other.post("/api/findings/import", json=file)
    assert made.status_code == 201, made.text
    for name in ("slug", "title", "notes", "created_at", "summary", "artifact_hash", "focus"):
        assert made.json()[name] == file[name]
    assert other.post("/api/findings/import", json=file).json() == made.json()
    assert own.post("/api/findings/import", json=file).json()["slug"] == file["slug"], "its own, come home"
    assert other.get("/api/findings").json()["total"] == 1
    same_link = {**file, "title": "Another one under the same link"}
    second = other.post("/api/findings/import", json=same_link).json()
    assert second["slug"].startswith(f"{file['slug']}-")
    assert other.post("/api/findings/import", json=same_link).json()["slug"] == second["slug"]


def test_a_finding_whose_numbers_differ_here_is_refused(own: TestClient, other: TestClient) -> None:
    file = exported(own)
    file["results"][0]["result"]["positions"][-1]["top"][0]["ablated"]["probability"] += 0.01
    answer = other.post("/api/findings/import", json=file)
    assert (answer.status_code, answer.json()["code"]) == (422, "finding_differs")
    assert other.post("/api/findings/import", json={**file, "artifact_hash": "0" * 64}).status_code == 404
    assert other.post("/api/findings/import", json={**file, "results": []}).status_code == 422
    assert other.get("/api/findings").json()["total"] == 0


def test_the_python_of_a_finding_and_of_a_screen_computes_the_same(real_home: Path, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/unweave.db"
    with servers.inside(settings(real_home, database_url=database)) as server:
        d = server.open("tiny")
        keys = [row.key for row in d.component_rows][:3]
        parts = [uw.Suppression(key=keys[0], strength=0.5, positions=[2]), uw.Suppression(key=keys[1])]
        published = [
            d.ablate(f'{WOODS} "golf\\\\"', keys[:2], watch=[" golf"]),
            d.ablate(KOBE, {keys[2]: -1.0}, top_k=3, bos=True),
            d.ablate(KOBE, parts, positions=[1, 3]),
            d.ablate(WOODS, keep=next(iter(d.groups.values()))),
        ]
        made = d.publish("Code", *published)
        app = create_app(server.settings)
        app.state.services = server._services
        api = TestClient(app, base_url="http://127.0.0.1")
        script = api.get(f"/api/findings/{made.slug}.py").text
        body = {
            "ablations": [stored.request.model_dump(mode="json") for stored in made.ablations],
            "circuit": {"text": WOODS, "output": {"token": " golf"}, "top_edges": 7},
        }
        screen = api.post("/api/decompositions/tiny/code.ipynb", json=body).text
        notebook = nbformat.reads(screen, as_version=4)
        nbformat.validate(notebook)
        cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
        for code, expected in ((script, 4), ("\n".join(cells), 5)):
            answers: list[Any] = []
            run(code, server, answers)
            assert [one.data.positions for one in answers[:4]] == [one.data.positions for one in published]
            assert len(answers) == expected
        assert api.post("/api/decompositions/tiny/code.ipynb", json=body).text == screen
        assert next(iter(d.groups)) in script, "a group is called by its name"


def run(code: str, server: Any, answers: list[Any]) -> None:
    """Run generated code over this server, keeping what each `d.…(…)` gives."""
    code = re.sub(r"^import unweave as uw$", "", code, flags=re.MULTILINE)
    code = re.sub(r"^d\.", "answers += d.", code, flags=re.MULTILINE)
    code = re.sub(
        r"^answers \+= (d\.\w+\(.*?^\)|d\.\w+\(.*?\))$", r"answers += [\1]", code, flags=re.M | re.S
    )

    class Here:
        Suppression = uw.Suppression
        load = staticmethod(server.open)

    exec(code, {"uw": Here, "answers": answers})


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_as_html_it_is_one_page_that_loads_nothing(own: TestClient) -> None:
    file = exported(own)
    page = own.get(f"/api/findings/{file['slug']}.html").text
    assert "Wöods &amp; &lt;b&gt;golf&lt;/b&gt;" in page
    assert "<strong>bold</strong>" in page
    assert file["artifact_hash"] in page
    tags = Tags(page).found
    assert not {"script", "img", "link", "iframe"} & {tag for tag, _ in tags}
    assert not [attributes for _, attributes in tags if "src" in attributes]
    assert "url(" not in page


def test_a_reference_names_the_finding_and_its_link(own: TestClient) -> None:
    file = exported(own, title="50 % of $x_1$ & more")
    entry = own.get(f"/api/findings/{file['slug']}.bib").text
    assert entry.startswith(f"@misc{{unweave-{file['slug']},\n")
    assert r"title = {{50 \% of \$x\_1\$ \& more}}" in entry
    assert rf"\url{{http://127.0.0.1/f/{file['slug']}}}" in entry
    assert entry.count("{") == entry.count("}")


def test_a_link_has_its_findings_title_for_those_who_may_see_it(
    own: TestClient, tmp_path: Path, open_app: Open
) -> None:
    file = exported(own)
    tags = Tags(own.get(f"/f/{file['slug']}").text)
    named = {
        attributes.get("property"): attributes.get("content")
        for tag, attributes in tags.found
        if tag == "meta"
    }
    assert named["og:title"] == file["title"]
    assert named["og:description"] == "golf falls"
    (known,) = [
        a["href"] for tag, a in tags.found if tag == "link" and a.get("type") == "application/json+oembed"
    ]
    answer = own.get(str(known)).json()
    assert (answer["title"], answer["type"]) == (file["title"], "rich")
    assert Tags(answer["html"]).found[0][1]["src"] == f"http://127.0.0.1/f/{file['slug']}/embed"
    assert own.get("/api/oembed?url=http://127.0.0.1/findings").status_code == 404
    assert "<title>Unweave</title>" in own.get("/f/nothing-here").text

    closed = open_app(own.app.state.services.settings.home, **CLOSED)  # type: ignore[attr-defined]
    assert "golf" not in closed.get(f"/f/{file['slug']}").text
    public = open_app(own.app.state.services.settings.home, **{**CLOSED, "public_findings": True})  # type: ignore[attr-defined]
    assert "golf falls" in public.get(f"/f/{file['slug']}").text
