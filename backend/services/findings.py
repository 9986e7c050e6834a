"""Findings: computed by the server, written once, opened without the model, replayed on request."""

from __future__ import annotations

import json
import logging
import re
import secrets
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import defer

from backend.db.session import Database
from backend.db.tables import FindingRow
from backend.errors import ApiError, invalid, not_found
from backend.schemas.common import Listing
from backend.schemas.findings import (
    Finding,
    FindingRecord,
    FindingRequest,
    FindingResult,
    FindingSummary,
    Replay,
)
from backend.schemas.workbench import Ablation, AblationRequest, ImportancesRequest, Prompt
from backend.services import notes, sentences
from backend.services.ablation.ablations import Ablations
from backend.services.ablation.compute import ComputePool
from backend.services.catalogue import Catalogue
from backend.services.entries import Entry
from backend.services.paging import offset_of

log = logging.getLogger("unweave")

SAME = 1e-6  # largest difference of any probability, 0–1
CLOSE = 1e-3
PAGE = 200
WITHOUT_RECORD = defer(FindingRow.record)
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"


class Findings:
    """The shareable records."""

    def __init__(
        self, database: Database, catalogue: Catalogue, ablations: Ablations, pool: ComputePool
    ) -> None:
        self.database, self.catalogue, self.ablations, self.pool = database, catalogue, ablations, pool

    # --- writing ----------------------------------------------------------------------------------------------

    async def create(self, request: FindingRequest) -> Finding:
        """Compute and keep a finding. Raises ApiError as an ablation would."""
        entry = await self.catalogue.aget(request.decomposition)
        record = await self.pool.run(lambda: self.compose(entry, request))
        return await self.pool.run(lambda: self.keep(record, featured=False))

    def groups_of(self, finding: Finding) -> dict[str, list[str]]:
        """Groups of a finding's decomposition by name; none where it is not here."""
        try:
            entry = self.catalogue.get(finding.artifact_hash)
        except ApiError:
            return {}
        return {group.name: group.components for group in entry.artifact.groups}

    def compose(self, entry: Entry, request: FindingRequest, slug: str | None = None) -> FindingRecord:
        """A record of what the engine answers now, under a new slug unless one is given."""
        results = [self._result(entry, ablation) for ablation in request.ablations]
        focus = [_focus(request.focus, number, result.result) for number, result in enumerate(results)]
        return FindingRecord(
            slug=slug or new_slug(request.title),
            title=request.title,
            claim=request.claim,
            notes=request.notes,
            decomposition=entry.slug,
            artifact_hash=entry.hash,
            created_at=datetime.now(UTC),
            groups=request.groups,
            focus=focus,
            summary=[
                sentences.summary(result.result, position)
                for result, position in zip(results, focus, strict=True)
            ],
            results=results,
            provenance=results[0].result.provenance,
        )

    def _result(self, entry: Entry, asked: AblationRequest) -> FindingResult:
        result = self.ablations.ablate_now(entry, asked)
        ids = [token.id for token in result.tokens]
        exact = asked.model_copy(update={"text": None, "token_ids": ids})
        threshold = entry.artifact.manifest.config.threshold
        importances = self.ablations.importances_now(
            entry, ImportancesRequest(token_ids=ids, bos=asked.bos, threshold=threshold)
        )
        trust = self.ablations.trust_now(entry, Prompt(token_ids=ids, bos=asked.bos))
        return FindingResult(request=exact, result=result, importances=importances, trust=trust)

    def keep(self, record: FindingRecord, *, featured: bool) -> Finding:
        """Write a record that was composed here."""
        row = _row(record, featured=featured)
        with self.database.session() as session:
            session.add(row)
        return _finding(row)

    def seed(self, folder: Path) -> None:
        """Write the featured findings of `folder`; again and again gives the same. A broken file is only warned of."""
        self._fill_in()
        kept: list[str] = []
        for path in sorted(folder.glob("*.json")):
            try:
                record = FindingRecord.model_validate(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, RecursionError) as error:
                log.warning("skipped the featured finding %s: %s", path.name, str(error).splitlines()[0])
                continue
            kept.append(record.slug)
            with self.database.session() as session:
                session.merge(_row(record, featured=True))
        with self.database.session() as session:
            gone = update(FindingRow).where(FindingRow.featured, FindingRow.slug.not_in(kept))
            session.execute(gone.values(featured=False))

    def _fill_in(self) -> None:
        """What lists show of findings that an older version wrote."""
        with self.database.session() as session:
            for slug in session.scalars(select(FindingRow.slug).where(FindingRow.listed.is_(None))).all():
                row = session.get_one(FindingRow, slug)
                row.listed = _listed(FindingRecord.model_validate(row.record))
                session.flush()
                session.expunge(row)  # one record in memory at a time

    # --- reading ----------------------------------------------------------------------------------------------

    def get(self, slug: str) -> Finding:
        """A finding as it was recorded. Raises ApiError 404."""
        return _finding(self._find(slug))

    def listing(
        self,
        *,
        decomposition: str | None,
        featured: bool | None,
        q: str | None,
        limit: int,
        cursor: str | None,
    ) -> Listing[FindingSummary]:
        """Featured first, then the newest. Raises ApiError 422 for a cursor of another list."""
        query = select(FindingRow)
        if decomposition is not None:
            query = query.where(
                (FindingRow.decomposition == decomposition) | (FindingRow.artifact_hash == decomposition)
            )
        if featured is not None:
            query = query.where(FindingRow.featured == featured)
        if q:
            query = query.where(FindingRow.search.contains(q.lower(), autoescape=True))
        start = offset_of(cursor)
        newest = query.order_by(FindingRow.featured.desc(), FindingRow.created_at.desc(), FindingRow.slug)
        with self.database.session() as session:
            total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
            rows = session.scalars(newest.offset(start).limit(limit).options(WITHOUT_RECORD)).all()
            items = [_summary(row) for row in rows]
        after = str(start + limit) if start + limit < total else None
        return Listing[FindingSummary](items=items, next_cursor=after, total=total)

    def summaries(self, slugs: Sequence[str]) -> list[FindingSummary]:
        """Those of these findings that are here, in no order."""
        with self.database.session() as session:
            found = select(FindingRow).where(FindingRow.slug.in_(list(slugs))).options(WITHOUT_RECORD)
            return [_summary(row) for row in session.scalars(found)]

    def every(
        self, *, decomposition: str | None, featured: bool | None, q: str | None
    ) -> Iterator[FindingSummary]:
        """All that a listing finds, page after page."""
        cursor: str | None = None
        while True:
            page = self.listing(
                decomposition=decomposition, featured=featured, q=q, limit=PAGE, cursor=cursor
            )
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def _find(self, slug: str) -> FindingRow:
        with self.database.session() as session:
            row = session.get(FindingRow, slug)
        if row is None:
            raise not_found("unknown_finding", f"There is no finding “{slug[:80]}” here.", slug=slug)
        return row

    # --- replaying --------------------------------------------------------------------------------------------

    async def replay(self, slug: str) -> Replay:
        """Compute a finding again. Raises ApiError 404 where its decomposition is gone, 503 without weights."""
        return await self.pool.run(lambda: self.replay_now(slug))

    def replay_now(self, slug: str) -> Replay:
        """The same, in the calling thread."""
        record = FindingRecord.model_validate(self._find(slug).record)
        entry, other = self.entry_of(record)
        results = [self.ablations.ablate_now(entry, stored.request) for stored in record.results]
        apart = max(
            difference(stored.result, now) for stored, now in zip(record.results, results, strict=True)
        )
        verdict = "same" if apart <= SAME else "close" if apart <= CLOSE else "different"
        summary = {
            "same": "Every probability is the same.",
            "close": f"The largest difference of any probability is {apart:.1e}: rounding on another machine.",
            "different": f"The largest difference of any probability is {sentences.probability(apart)}.",
        }[verdict]
        return Replay(
            slug=slug,
            results=results,
            verdict=verdict,
            max_probability_difference=apart,
            explanation=" ".join([summary, *other, *_versions(record, results[0])]),
        )

    def entry_of(self, record: FindingRecord | Finding) -> tuple[Entry, list[str]]:
        """The decomposition a finding is about, and a sentence where only another version of it is here. Raises
        ApiError 404."""
        try:
            return self.catalogue.get(record.artifact_hash), []
        except ApiError:
            pass
        try:
            entry = self.catalogue.get(record.decomposition)
        except ApiError:
            raise not_found(
                "unknown_decomposition",
                f"The decomposition “{record.decomposition}” of this finding is not here, so it cannot be computed "
                "again. The stored numbers stay as they are.",
            ) from None
        return entry, [
            f"The finding was made with another version of “{record.decomposition}” "
            f"({record.artifact_hash[:8]}, here {entry.hash[:8]})."
        ]


# --- rows and views -------------------------------------------------------------------------------------------


def new_slug(title: str) -> str:
    """A readable slug nobody can guess the next of: words of the title and eight random characters."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:48].rstrip("-") or "finding"
    return f"{words}-{''.join(secrets.choice(ALPHABET) for _ in range(8))}"


def _row(record: FindingRecord, *, featured: bool) -> FindingRow:
    return FindingRow(
        slug=record.slug,
        decomposition=record.decomposition,
        artifact_hash=record.artifact_hash,
        title=record.title,
        featured=featured,
        created_at=record.created_at,
        search="\n".join(
            [record.title, record.claim, record.notes, record.decomposition, *record.summary]
        ).lower(),
        listed=_listed(record),
        record=record.model_dump(mode="json"),
    )


def _listed(record: FindingRecord) -> dict[str, Any]:
    return record.model_dump(mode="json", include={"claim", "created_at", "summary"})


def _summary(row: FindingRow) -> FindingSummary:
    record = row.listed or row.record
    return FindingSummary(
        slug=row.slug,
        url=f"/f/{row.slug}",
        title=row.title,
        claim=record["claim"],
        decomposition=row.decomposition,
        created_at=record["created_at"],
        featured=row.featured,
        summary=record["summary"],
    )


def _finding(row: FindingRow) -> Finding:
    record = FindingRecord.model_validate(row.record)
    return Finding(
        **dict(record),
        url=f"/f/{row.slug}",
        featured=row.featured,
        notes_html=notes.render(record.notes),
    )


def _focus(asked: list[int], number: int, result: Ablation) -> int:
    """The position to look at: the one asked for, or the last reported. Raises ApiError 422 outside the prompt."""
    length = len(result.tokens)
    wanted = asked[number] if number < len(asked) else -1
    if wanted == -1:
        return result.positions[-1].position if result.positions else length - 1
    if not 0 <= wanted < length:
        raise invalid(
            "position_out_of_range",
            f"There is no position {wanted} to look at: prompt {number + 1} has {length} tokens.",
            position=wanted,
            length=length,
        )
    return wanted


def difference(stored: Ablation, now: Ablation) -> float:
    """Largest difference of any probability both results hold."""

    def table(result: Ablation) -> dict[tuple[int, int], tuple[float, float]]:
        return {
            (place.position, row.token_id): (row.baseline.probability, row.ablated.probability)
            for place in result.positions
            for row in [*place.top, *place.watched]
        }

    old, new = table(stored), table(now)
    shared = old.keys() & new.keys()
    if not shared:
        return 1.0
    return max(abs(a - b) for key in shared for a, b in zip(old[key], new[key], strict=True))


def _versions(record: FindingRecord, now: Ablation) -> list[str]:
    """A sentence where dtype, device or a version changed since."""
    then, here = record.provenance, now.provenance
    pairs = [("dtype", then.dtype, here.dtype), ("device", then.device, here.device)]
    pairs += [
        (name, then.versions.get(name, "none"), here.versions.get(name, "none"))
        for name in sorted(then.versions.keys() | here.versions.keys())
    ]
    changed = [f"{name} {old} → {new}" for name, old, new in pairs if old != new]
    return [f"Changed since: {', '.join(changed)}."] if changed else []
