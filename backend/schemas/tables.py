"""Tables that a page shows, to be written as files."""

from __future__ import annotations

from pydantic import Field

from backend.schemas.common import Wire

Cell = bool | int | float | str | list[int | float | str] | None


class TableColumn(Wire):
    """One column. `typed`: people wrote its texts, so a CSV must not hand them to a spreadsheet as formulas."""

    key: str = Field(min_length=1, max_length=200, pattern=r"^[^\[\r\n]+$", description="as the API names it")
    unit: str | None = Field(default=None, max_length=80, description="nats, steps, …")
    typed: bool = False


class TableRequest(Wire):
    """A table as it is shown. `facts`: what it is of, for the first line of the CSV and `provenance` of the JSON."""

    of: str = Field(max_length=200, description="the first part of the file's name")
    name: str = Field(max_length=200, description="the second part of the file's name")
    columns: list[TableColumn] = Field(min_length=1, max_length=200)
    rows: list[list[Cell]] = Field(max_length=200_000, description="cells in the order of the columns")
    facts: dict[str, str | int | float | None] = Field(default={}, max_length=60)
