"""Decompositions as things that take room: what depends on them, how much disk they use, and their end."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from sqlalchemy import func, select

from backend.db.session import Database
from backend.db.tables import FindingRow, LabelRow
from backend.errors import ApiError
from backend.schemas.decompositions import Dependents, ShelfEdit
from backend.services.catalogue import Catalogue
from backend.services.entries import Entry
from backend.services.jobs import ENDED, JobService
from backend.services.shelf import Shelf
from workers.jobs.harvesting import harvest_place
from workers.jobs.store import StoreError
from workers.spd.comparison.stored import evaluation_place

NAMED = 50


class Housekeeping:
    """Renames, puts away and deletes. Raises ApiError."""

    def __init__(
        self, home: Path, catalogue: Catalogue, database: Database, jobs: JobService, shelf: Shelf
    ) -> None:
        self.home, self.catalogue, self.database = home, catalogue, database
        self.jobs, self.shelf = jobs, shelf

    def dependents(self, entry: Entry) -> Dependents:
        """What would lose something with this decomposition, and the disk it takes."""
        with self.database.session() as session:
            findings = session.scalars(
                select(FindingRow.slug)
                .where(FindingRow.artifact_hash == entry.hash)
                .order_by(FindingRow.slug)
            ).all()
            labels = session.scalar(
                select(func.count(func.distinct(LabelRow.key))).where(LabelRow.hash == entry.hash)
            )
        harvests = harvest_place(self.home, entry.hash)
        made = [path for path in harvests.iterdir() if path.is_dir()] if harvests.is_dir() else []
        return Dependents(
            disk_bytes=_size(entry.artifact.path)
            + _size(harvests)
            + _size(evaluation_place(self.home, entry.hash)),
            findings=list(findings[:NAMED]),
            findings_total=len(findings),
            labels=labels or 0,
            harvests=len(made),
            shipped=entry.shipped,
        )

    def edit(self, entry: Entry, edit: ShelfEdit) -> None:
        """Rename, describe, put away or take out again."""
        self.shelf.edit(entry.hash, edit)

    def delete(self, entry: Entry) -> None:
        """Remove its folder, its harvests and evaluations. Findings keep their numbers, labels wait for its return."""
        if entry.shipped:
            raise ApiError(
                409,
                "shipped",
                f"“{entry.slug}” comes with Unweave and cannot be deleted; it can be archived.",
            )
        jobs = self.jobs.listing(limit=200, cursor=None).items
        if any(job.name == entry.slug and job.state not in ENDED for job in jobs):
            raise ApiError(
                409,
                "job_active",
                f"A job works on “{entry.slug}”. Cancel it first, or wait until it has ended.",
            )
        if self.catalogue.mirror is not None:
            try:
                self.catalogue.mirror.remove(entry.hash)
            except StoreError as error:
                raise ApiError(503, "store_away", str(error), retry_after=30) from None
        aside = entry.artifact.path.with_name(f".{entry.artifact.path.name}.deleted")
        with suppress(FileNotFoundError):  # what has left the store is removed by whoever sees it first
            os.replace(entry.artifact.path, aside)  # gone from the gallery at once, whole
            shutil.rmtree(aside)
        shutil.rmtree(harvest_place(self.home, entry.hash), ignore_errors=True)
        shutil.rmtree(evaluation_place(self.home, entry.hash), ignore_errors=True)
        self.shelf.forget(entry.hash)
        self.catalogue.refresh()


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
