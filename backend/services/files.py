"""Tables as files: CSV with its provenance in a first comment line, and JSON that says the same, piece by piece."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from backend.schemas.common import Provenance

FileKind = Literal["csv", "json"]
FindingKind = Literal["csv", "json", "md", "html", "bib", "py", "ipynb"]
MEDIA = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "md": "text/markdown; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "bib": "text/plain; charset=utf-8",
    "py": "text/x-python; charset=utf-8",
    "ipynb": "application/x-ipynb+json",
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def facts(of: Provenance) -> dict[str, str | float | None]:
    """What a provenance says in a file; the page names them alike in the tables it has written."""
    return {
        "decomposition": of.decomposition,
        "artifact": of.artifact_hash,
        "weights": of.weights_hash,
        "model": of.model,
        "dtype": of.dtype,
        "device": of.device,
        "threshold": of.threshold,
        "unweave": of.versions.get("unweave"),
    }


def typed(text: str) -> str:
    """A text that people wrote, as a CSV cell that no spreadsheet reads as a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def guarded(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The row with the texts under these names as `typed`."""
    return {**row, **{name: typed(row[name]) for name in names if isinstance(row[name], str)}}


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    return value


def csv_text(
    facts: Mapping[str, Any], heads: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> Iterator[str]:
    """`rows` as CSV. `heads` are `name` or `name [unit]`; texts stand in quotes, numbers keep every digit."""
    line = "; ".join(f"{name}={value}" for name, value in facts.items() if value is not None)
    yield f"# {' '.join(line.split())}\n"
    names = [head.split(" [")[0] for head in heads]
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(heads)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in names])
        if out.tell() > 60_000:
            yield out.getvalue()
            out.seek(0)
            out.truncate()
    yield out.getvalue()


def json_text(facts: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """`{"provenance": …, "rows": […]}`, one row per line."""
    yield f'{{"provenance": {json.dumps(dict(facts), ensure_ascii=False)},\n"rows": ['
    for number, row in enumerate(rows):
        yield f"{',' if number else ''}\n{json.dumps(dict(row), ensure_ascii=False)}"
    yield "\n]}\n"


def disposition(of: str, name: str, ending: str) -> dict[str, str]:
    """The header that names a download, in characters that every system accepts."""
    parts = (re.sub(r"[^A-Za-z0-9._-]+", "-", part).strip("-.")[:80] for part in (of, name))
    whole = "_".join(part for part in parts if part) or "table"
    return {"Content-Disposition": f'attachment; filename="{whole}.{ending}"'}
