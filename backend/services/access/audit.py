"""Who changed what: one line a change, kept for as many days as the settings say."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, or_, select
from sqlalchemy.exc import SQLAlchemyError

from backend.db.session import Database
from backend.db.tables import AuditRow, aware
from backend.schemas.access import AuditEntry
from backend.schemas.common import Listing
from backend.services.paging import offset_of

log = logging.getLogger("unweave")

SWEEP_SECONDS = 3_600


class Audit:
    """Writes and reads the record of changes."""

    def __init__(self, database: Database, *, days: int) -> None:
        self.database, self.kept = database, timedelta(days=days)
        self._swept = float("-inf")

    def write(self, who: str, action: str, subject: str, address: str = "") -> None:
        """Add a line. A change that is done stays done where it cannot be written: the log says so then."""
        now = datetime.now(UTC)
        try:
            with self.database.session() as session:
                if time.monotonic() - self._swept > SWEEP_SECONDS:
                    self._swept = time.monotonic()
                    session.execute(delete(AuditRow).where(AuditRow.at < now - self.kept))
                session.add(
                    AuditRow(at=now, who=who, action=action, subject=subject[:400], address=address[:100])
                )
        except SQLAlchemyError as error:
            log.error("not in the audit: %s %s %s by %s: %s", action, subject, address, who, error)

    def listing(self, *, limit: int, cursor: str | None = None, q: str | None = None) -> Listing[AuditEntry]:
        """The newest first; `q` is looked for in who, action and subject. Raises ApiError 422 for a foreign cursor."""
        start = offset_of(cursor)
        rows = select(AuditRow)
        if q:
            columns = (AuditRow.who, AuditRow.action, AuditRow.subject)
            rows = rows.where(or_(*(column.icontains(q, autoescape=True) for column in columns)))
        with self.database.session() as session:
            total = session.scalar(select(func.count()).select_from(rows.subquery())) or 0
            page = session.scalars(rows.order_by(AuditRow.id.desc()).offset(start).limit(limit)).all()
        after = str(start + limit) if start + limit < total else None
        return Listing[AuditEntry](items=[_entry(row) for row in page], next_cursor=after, total=total)


def _entry(row: AuditRow) -> AuditEntry:
    return AuditEntry(
        at=aware(row.at), who=row.who, action=row.action, subject=row.subject, address=row.address
    )
