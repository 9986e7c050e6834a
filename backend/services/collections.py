"""Named lists of findings, each with a link of its own. Written once: a link shows tomorrow what it shows today."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import func, select

from backend.db.session import Database
from backend.db.tables import CollectionRow
from backend.errors import invalid, not_found
from backend.schemas.collections import Collection, CollectionRequest, CollectionSummary
from backend.schemas.common import Listing
from backend.services.findings import Findings, new_slug
from backend.services.paging import offset_of


class Collections:
    """Makes and reads collections."""

    def __init__(self, database: Database, findings: Findings) -> None:
        self.database, self.findings = database, findings

    def create(self, request: CollectionRequest) -> Collection:
        """Keep a list of findings. Raises ApiError 422 where one of them is not here."""
        slugs = list(dict.fromkeys(request.findings))
        known = {finding.slug for finding in self.findings.summaries(slugs)}
        missing = [slug for slug in slugs if slug not in known]
        if missing:
            named = ", ".join(f"“{slug[:80]}”" for slug in missing[:3])
            raise invalid("unknown_finding", f"There is no finding {named} here.", findings=missing)
        row = CollectionRow(
            slug=new_slug(request.title),
            title=request.title,
            description=request.description,
            created_at=datetime.now(UTC),
            findings=slugs,
        )
        with self.database.session() as session:
            session.add(row)
        return self.get(row.slug)

    def get(self, slug: str) -> Collection:
        """One collection with its findings. Raises ApiError 404."""
        with self.database.session() as session:
            row = session.get(CollectionRow, slug)
        if row is None:
            raise not_found("unknown_collection", f"There is no collection “{slug[:80]}” here.", slug=slug)
        known = {finding.slug: finding for finding in self.findings.summaries(row.findings)}
        return Collection(
            **dict(_summary(row)),
            findings=[known[slug] for slug in row.findings if slug in known],
            missing=[slug for slug in row.findings if slug not in known],
        )

    def listing(self, *, limit: int, cursor: str | None) -> Listing[CollectionSummary]:
        """The newest first. Raises ApiError 422 for a cursor of another list."""
        start = offset_of(cursor)
        newest = select(CollectionRow).order_by(CollectionRow.created_at.desc(), CollectionRow.slug)
        with self.database.session() as session:
            total = session.scalar(select(func.count()).select_from(CollectionRow)) or 0
            rows = session.scalars(newest.offset(start).limit(limit)).all()
        after = str(start + limit) if start + limit < total else None
        return Listing[CollectionSummary](
            items=[_summary(row) for row in rows], next_cursor=after, total=total
        )


def _summary(row: CollectionRow) -> CollectionSummary:
    created = row.created_at if row.created_at.tzinfo else row.created_at.replace(tzinfo=UTC)
    return CollectionSummary(
        slug=row.slug,
        url=f"/collections/{row.slug}",
        title=row.title,
        description=row.description,
        created_at=created,
        size=len(row.findings),
    )
