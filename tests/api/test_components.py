"""The component table: sorted, filtered and paged by the database, whole and without repeats."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from backend.services import files
from tests.conftest import Open
from tests.factories import SITES, hand_artifact

PATH = "/api/decompositions/tiny/components"


def pages(client: TestClient, **query: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        params = {"limit": 4, **query, **({"cursor": cursor} if cursor else {})}
        answer = client.get(PATH, params=params).json()
        rows += answer["items"]
        cursor = answer["next_cursor"]
        if cursor is None:
            assert len(rows) == answer["total"]
            return rows


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("sort", ["key", "mean_ci", "max_ci", "density", "effect", "label"])
def test_pages_hold_every_component_once_in_order(client: TestClient, sort: str, order: str) -> None:
    rows = pages(client, sort=sort, order=order)
    assert len({row["key"] for row in rows}) == 21
    if sort == "key":
        whole = [f"{site}:{index}" for site in SITES for index in range(7)]
        assert [row["key"] for row in rows] == (whole if order == "asc" else whole[::-1])
    else:
        values = [row[sort].lower() if sort == "label" else row[sort] for row in rows]
        assert values == sorted(values, reverse=order == "desc")


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("Woods", 6), (" Woods", 6), ("␣woods", 6), ("fires on american", 3), ("q_proj:3", 1), ("L1 attn", 7),
        ("100%", 0), ("_", 21), ("nothing like it", 0),
    ],
)  # fmt: skip
def test_q_matches_labels_tokens_and_keys_and_takes_no_wildcards(
    client: TestClient, q: str, found: int
) -> None:
    assert client.get(PATH, params={"q": q}).json()["total"] == found


def test_filters_combine(client: TestClient) -> None:
    rows = pages(client, site=SITES[1], alive="true")
    assert [row["index"] for row in rows] == [0, 1, 2, 4, 5, 6]
    assert [row["index"] for row in pages(client, site=SITES[1], alive="false")] == [3]


def test_a_cursor_of_another_order_is_refused(client: TestClient) -> None:
    cursor = client.get(PATH, params={"limit": 2}).json()["next_cursor"]
    answer = client.get(PATH, params={"limit": 2, "sort": "label", "cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")


def test_a_component_page_has_its_examples_and_neighbours(client: TestClient) -> None:
    page = client.get(f"{PATH}/{SITES[1]}:0").json()
    assert (page["short"], page["layer"], page["previous"], page["next"]) == (
        "L1 mlp.down", 1, f"{SITES[0]}:6", f"{SITES[1]}:1",
    )  # fmt: skip
    assert page["examples"][0]["ci"] == [0.0, 0.45, 0.0, 0.0, 0.0, 0.0]
    assert page["examples"][0]["tokens"][1]["piece"] == " Woods"
    assert client.get(f"{PATH}/{SITES[0]}:0").json()["groups"] == ["␣Woods"]


@pytest.mark.parametrize(
    ("order_by", "index"), [("mean_ci", "ix_components_mean_ci"), ("label_order", "ix_components_label")]
)
def test_sorting_walks_an_index_instead_of_sorting_every_row(
    client: TestClient, order_by: str, index: str
) -> None:
    services: Any = client.app.state.services  # type: ignore[attr-defined]
    query = (
        f"EXPLAIN QUERY PLAN SELECT * FROM components WHERE hash = 'x' ORDER BY {order_by}, ordinal LIMIT 10"
    )
    with services.database.session() as session:
        plan = " ".join(row[3] for row in session.execute(text(query)))
    assert index in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.slow
@pytest.mark.long
def test_a_hundred_thousand_components_can_be_indexed_and_paged(home: Path, open_app: Open) -> None:
    sites = tuple(f"model.layers.{layer}.mlp.down_proj" for layer in range(20))
    hand_artifact(home / "artifacts", components=5_001, sites=sites)
    answer = open_app(home).get(
        PATH, params={"sort": "mean_ci", "order": "desc", "q": "american", "limit": 1_000}
    )
    assert len(answer.json()["items"]) == 1_000
    assert answer.json()["total"] == pytest.approx(100_000 * 2 / 7, rel=0.01)


def test_the_table_as_csv_holds_every_row_with_its_provenance_and_units(client: TestClient) -> None:
    answer = client.get(f"{PATH}.csv", params={"sort": "max_ci", "order": "desc"})
    assert answer.headers["content-type"].startswith("text/csv")
    assert 'filename="tiny_components.csv"' in answer.headers["content-disposition"]
    said, *lines = answer.text.splitlines()
    assert said.startswith("# decomposition=tiny; artifact=")
    rows = list(csv.DictReader(lines))
    listed = pages(client, sort="max_ci", order="desc")
    assert [row["key"] for row in rows] == [row["key"] for row in listed]
    assert [float(row["effect [nats]"]) for row in rows] == [row["effect"] for row in listed]
    assert json.loads(rows[0]["top_tokens"]) == listed[0]["top_tokens"]


def test_the_table_as_json_says_the_same_and_keeps_the_filter(client: TestClient) -> None:
    answer = client.get(f"{PATH}.json", params={"site": SITES[1], "alive": True}).json()
    assert answer["rows"] == pages(client, site=SITES[1], alive=True)
    assert answer["provenance"]["decomposition"] == "tiny"


def test_an_export_that_cannot_be_made_is_refused_before_it_begins(client: TestClient) -> None:
    assert client.get(f"{PATH}.csv", params={"site": "nowhere"}).json()["code"] == "unknown_site"
    assert client.get(f"{PATH}.xml").status_code == 422


def test_a_label_that_looks_like_a_formula_stays_text_in_a_spreadsheet() -> None:
    assert files.typed("=HYPERLINK(1)") == "'=HYPERLINK(1)"
    assert files.typed("fires on =") == "fires on ="
