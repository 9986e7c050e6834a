"""Decompositions with what is known about them elsewhere: where their weights are, which findings feature them."""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy import select

from backend.db.session import Database
from backend.db.tables import FindingRow
from backend.schemas.decompositions import Decomposition, DecompositionListing, DecompositionSummary
from backend.services import views
from backend.services.ablation.engines import Engines
from backend.services.catalogue import Catalogue
from backend.services.shelf import Shelf

Shown = TypeVar("Shown", bound=DecompositionSummary)

STORY = "woods-golf"  # a featured finding: two prompts, one answer gone, the other kept


class Gallery:
    """The list and the overview of decompositions."""

    def __init__(self, catalogue: Catalogue, engines: Engines, database: Database, shelf: Shelf) -> None:
        self.catalogue, self.engines, self.database, self.shelf = catalogue, engines, database, shelf

    def listing(self) -> DecompositionListing:
        """Every decomposition that can be opened, that of the story first, then shipped ones, and a sentence for each
        that cannot."""
        featured = self._featured()
        entries = sorted(
            self.catalogue.entries(),
            key=lambda entry: (
                STORY not in featured.get(entry.slug, []),
                not entry.shipped,
                -len(featured.get(entry.slug, [])),
            ),
        )
        items = [
            self._shelved(views.summary(entry, self.engines.status(entry), featured.get(entry.slug, [])))
            for entry in entries
        ]
        story = STORY if any(STORY in item.featured_findings for item in items) else None
        return DecompositionListing(
            items=items, total=len(items), warnings=self.catalogue.warnings(), story=story
        )

    def view(self, id: str) -> Decomposition:
        """One decomposition. Looking at it starts its weights loading. Raises ApiError 404."""
        entry = self.catalogue.get(id)
        return self._shelved(
            views.overview(entry, self.engines.want(entry), self._featured().get(entry.slug, []))
        )

    def _shelved(self, view: Shown) -> Shown:
        """A view with what this server calls it."""
        own = self.shelf.read(view.artifact_hash).model_dump(exclude_none=True)
        return view.model_copy(update=own) if own else view

    def _featured(self) -> dict[str, list[str]]:
        rows = (
            select(FindingRow.decomposition, FindingRow.slug)
            .where(FindingRow.featured)
            .order_by(FindingRow.created_at.desc(), FindingRow.slug)
        )
        slugs_of: dict[str, list[str]] = {}
        with self.database.session() as session:
            for decomposition, slug in session.execute(rows):
                slugs_of.setdefault(decomposition, []).append(slug)
        return slugs_of
