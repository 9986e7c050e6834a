"""Tables of the page as files: the page shows what it has at hand, and its files are written here like all others."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from backend.api.roles import READ
from backend.errors import invalid
from backend.schemas.tables import TableRequest
from backend.services import files

router = APIRouter(prefix="/api/tables", tags=["files"], dependencies=[READ])


CSV = {"schema": {"type": "string", "format": "binary"}}
JSON = {"schema": {"type": "object", "required": ["provenance", "rows"]}}


@router.post(
    ".{kind}",
    response_class=StreamingResponse,
    responses={200: {"description": "the file", "content": {"text/csv": CSV, "application/json": JSON}}},
)
def write_table(kind: files.FileKind, table: TableRequest) -> StreamingResponse:
    """A table that was sent, as a file: CSV with its facts in a first comment line, or JSON."""
    names = [column.key for column in table.columns]
    if any(len(row) != len(names) for row in table.rows):
        raise invalid("uneven_rows", f"Every row needs {len(names)} cells, one for each column.")
    rows = (dict(zip(names, row, strict=True)) for row in table.rows)
    if kind == "json":
        text = files.json_text(table.facts, rows)
    else:
        guard = [column.key for column in table.columns if column.typed]
        heads = [column.key + (f" [{column.unit}]" if column.unit else "") for column in table.columns]
        text = files.csv_text(table.facts, heads, (files.guarded(row, guard) for row in rows))
    headers = files.disposition(table.of, table.name, kind)
    return StreamingResponse(text, media_type=files.MEDIA[kind], headers=headers)
