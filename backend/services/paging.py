"""Pages of lists whose cursor is how many rows come before."""

from __future__ import annotations

from backend.errors import InvalidCursorError


def offset_of(cursor: str | None) -> int:
    """How many rows come before the page. Raises InvalidCursorError."""
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= 7):
        raise InvalidCursorError
    return int(cursor)
