"""What people call a component: versions that are only ever added to."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from backend.db.index import current_labels, rename
from backend.db.session import Database
from backend.db.tables import LabelRow
from backend.errors import ApiError, invalid
from backend.schemas.components import MAX_AUTHOR, MAX_LABEL, Label, LabelEdit, LabelHistory
from backend.services.components import automatic_label, parse_key
from backend.services.entries import Entry
from backend.services.harvests import Harvests

MOST_VERSIONS = 500


class Labels:
    """Reads and writes labels. Raises ApiError."""

    def __init__(self, database: Database, harvests: Harvests) -> None:
        self.database, self.harvests = database, harvests

    def history(self, entry: Entry, key: str) -> LabelHistory:
        """All versions of a component's label. Raises ApiError 404 where there is no such component."""
        parsed = parse_key(entry, key, status=404)
        automatic, _ = automatic_label(entry, str(parsed), self.harvests)
        with self.database.session() as session:
            rows = session.scalars(
                select(LabelRow)
                .where(LabelRow.hash == entry.hash, LabelRow.key == str(parsed))
                .order_by(LabelRow.version.desc())
            ).all()
        text = rows[0].text if rows else None
        return LabelHistory(
            automatic=automatic,
            current=automatic if text is None else text,
            version=rows[0].version if rows else 0,
            items=[_label(row) for row in rows],
        )

    def edit(self, entry: Entry, key: str, edit: LabelEdit) -> LabelHistory:
        """Add a version. Raises ApiError 409 where another was added meanwhile, 422 where the text cannot be used."""
        parsed = parse_key(entry, key, status=404)
        text = None if edit.text is None else plain(edit.text, "label", MAX_LABEL)
        if text == "":
            raise invalid(
                "empty_label", "A label needs at least one character. Send null for the automatic one."
            )
        author = plain(edit.author, "name", MAX_AUTHOR)
        try:
            with self.database.session() as session:
                newest = session.scalar(
                    select(func.max(LabelRow.version)).where(
                        LabelRow.hash == entry.hash, LabelRow.key == str(parsed)
                    )
                )
                if (newest or 0) != edit.version:
                    raise _Newer
                if edit.version >= MOST_VERSIONS:
                    raise invalid(
                        "too_many_versions", f"This label has {MOST_VERSIONS} versions; that is enough."
                    )
                session.add(
                    LabelRow(
                        hash=entry.hash, key=str(parsed), version=edit.version + 1, text=text, author=author,
                        created_at=datetime.now(UTC),
                    )
                )  # fmt: skip
                session.flush()
                automatic, f1 = automatic_label(entry, str(parsed), self.harvests)
                rename(session, entry.hash, str(parsed), text or automatic, None if text else f1)
        except (_Newer, IntegrityError):
            now = self.history(entry, key)
            raise ApiError(
                409,
                "label_changed",
                f"Somebody changed this label meanwhile: it is “{now.current}” now. Look at it, then save again.",
                {"current": now.model_dump(mode="json")},
            ) from None
        return self.history(entry, key)

    def export(self, entry: Entry) -> list[dict[str, Any]]:
        """Every version of every label of a decomposition, plain data."""
        with self.database.session() as session:
            rows = session.scalars(
                select(LabelRow).where(LabelRow.hash == entry.hash).order_by(LabelRow.key, LabelRow.version)
            ).all()
        return [{"key": row.key, **_label(row).model_dump(mode="json")} for row in rows]

    def bring_in(self, entry: Entry, items: list[dict[str, Any]]) -> int:
        """Take exported labels of components that have none here. Returns how many components got one. Raises ApiError
        where the data is not what `export` gives."""
        by_key: dict[str, list[Label]] = {}
        for item in items:
            key, rest = item.get("key"), {name: value for name, value in item.items() if name != "key"}
            by_key.setdefault(str(parse_key(entry, str(key))), []).append(Label.model_validate(rest))
        with self.database.session() as session:
            known = current_labels(session, entry.hash)
            new = {key: versions for key, versions in by_key.items() if key not in known}
            for key, versions in new.items():
                versions.sort(key=lambda version: version.version)
                for number, version in enumerate(versions[-MOST_VERSIONS:], start=1):
                    text = None if version.text is None else plain(version.text, "label", MAX_LABEL) or None
                    session.add(
                        LabelRow(
                            hash=entry.hash, key=key, version=number, text=text,
                            author=plain(version.author, "name", MAX_AUTHOR), created_at=version.created_at,
                        )
                    )  # fmt: skip
                    if version is versions[-1] and text is not None:
                        rename(session, entry.hash, key, text)
        return len(new)


class _Newer(Exception):
    """There is a newer version than the editor saw."""


def plain(text: str, what: str, most: int) -> str:
    """Text on one line, without what cannot be seen. Raises ApiError 422 where it is too long."""
    kept = "".join(
        " " if c in "\n\r\t" else c for c in text if c in "\n\r\t" or unicodedata.category(c)[0] != "C"
    )
    cleaned = " ".join(unicodedata.normalize("NFC", kept).split())
    if len(cleaned) > most:
        raise invalid(
            "too_long", f"A {what} may have at most {most} characters; this one has {len(cleaned)}."
        )
    return cleaned


def _label(row: LabelRow) -> Label:
    when = row.created_at if row.created_at.tzinfo else row.created_at.replace(tzinfo=UTC)
    return Label(version=row.version, text=row.text, author=row.author, created_at=when)
