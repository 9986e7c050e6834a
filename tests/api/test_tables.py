"""Tables of the page as files: one form of CSV and one of JSON, whoever asks."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

TABLE: dict[str, Any] = {
    "of": "tiny",
    "name": "output-shift",
    "columns": [{"key": "token"}, {"key": "kl", "unit": "nats"}, {"key": "title", "typed": True}],
    "rows": [[" golf", 0.1234567890123456, "=SUM(A1)"], ['a,"b"\n#', None, "plain"], ["", 3, "-1"]],
    "facts": {"model": "x\ny", "threshold": 0.1, "device": None},
}


def test_a_csv_names_its_facts_and_units_and_keeps_every_digit(client: TestClient) -> None:
    answer = client.post("/api/tables.csv", json=TABLE)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="tiny_output-shift.csv"'
    assert answer.text.split("\n", 1)[0] == "# model=x y; threshold=0.1"
    heads, *rows = csv.reader(answer.text.split("\n", 1)[1].splitlines(keepends=True))
    assert heads == ["token", "kl [nats]", "title"]
    assert rows == [
        [" golf", "0.1234567890123456", "'=SUM(A1)"],
        ['a,"b"\n#', "", "plain"],
        ["", "3", "'-1"],
    ]


def test_the_json_has_the_same_content_as_it_was_typed(client: TestClient) -> None:
    answer = client.post("/api/tables.json", json={**TABLE, "rows": [[[1, 2], True, "=1"]]})
    assert json.loads(answer.text) == {
        "provenance": TABLE["facts"],
        "rows": [{"token": [1, 2], "kl": True, "title": "=1"}],
    }


@pytest.mark.parametrize(
    ("of", "name", "file"),
    [
        ("sports-smollm2", "L3 mlp.down:11 / ../x", "sports-smollm2_L3-mlp.down-11-..-x.csv"),
        ("␣Woods", '"; x="\r\n', "Woods_x.csv"),
        ("…", "", "table.csv"),
    ],
)
def test_a_file_name_holds_only_what_every_system_accepts(
    client: TestClient, of: str, name: str, file: str
) -> None:
    answer = client.post("/api/tables.csv", json={**TABLE, "of": of, "name": name})
    assert answer.headers["content-disposition"] == f'attachment; filename="{file}"'


def test_a_row_of_another_length_is_refused(client: TestClient) -> None:
    answer = client.post("/api/tables.csv", json={**TABLE, "rows": [[1, 2]]})
    assert (answer.status_code, answer.json()["code"]) == (422, "uneven_rows")
    assert answer.json()["message"] == "Every row needs 3 cells, one for each column."
