"""Sweeps: many ablations of one prompt, streamed as they are computed."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator

from backend.errors import ApiError, invalid
from backend.schemas.experiments import MAX_CONDITIONS, SweepFrame, SweepRequest
from backend.schemas.workbench import Suppression
from backend.services.ablation.ablations import check_edits, check_positions, provenance_of, since
from backend.services.ablation.adapter import Ablator
from backend.services.ablation.answers import Cached, content_key
from backend.services.ablation.compute import ComputePool
from backend.services.ablation.engines import Engines
from backend.services.entries import Entry
from backend.services.prompts import Prompts, tokens
from workers.spd.answers import SweepBatch, SweepItem, SweepWatched
from workers.spd.keys import ComponentKey
from workers.spd.queries import Condition, SweepQuery, along, each_alone

log = logging.getLogger("unweave")
ITEM_BYTES = 1_200  # of a row, and of each token watched in it


class Sweeps:
    """Plans, runs and ranks sweeps."""

    def __init__(self, engines: Engines, prompts: Prompts, pool: ComputePool) -> None:
        self.engines, self.prompts, self.pool = engines, prompts, pool
        self.cached = Cached()

    def plan(self, entry: Entry, request: SweepRequest) -> tuple[SweepQuery, Ablator]:
        """Check everything before the first byte is sent. Raises ApiError 422 or 503."""
        ids = self.prompts.resolve(entry, request)
        if request.position is not None:
            check_positions([request.position], len(ids), "measure")
        chosen = self._alive(entry, request) if request.kind == "alive" else request.components
        if not chosen:
            raise invalid("empty_sweep", "There is nothing to sweep. Choose at least one component.")
        edits = check_edits(entry, chosen, len(ids))

        def one(token: str | int) -> int:
            return self.prompts.watched(entry, [token])[0]

        contrast = None if request.contrast is None else (one(request.contrast[0]), one(request.contrast[1]))
        if contrast is not None and contrast[0] == contrast[1]:
            raise invalid(
                "same_tokens", "The two tokens of “contrast” are the same; their difference is always 0."
            )
        whole = request.kind == "strengths"
        query = SweepQuery(
            token_ids=tuple(ids),
            steps=along(Condition(edits), tuple(request.strengths)) if whole else each_alone(edits),
            position=request.position,
            contrast=contrast,
            answer=None if request.answer is None else one(request.answer),
            watch=tuple(self.prompts.watched(entry, request.watch)),
        )
        return query, self.engines.get(entry)

    def _alive(self, entry: Entry, request: SweepRequest) -> list[Suppression]:
        known = set(entry.site_names)
        for site in request.sites or []:
            if site not in known:
                raise invalid("unknown_site", f"There is no site “{site[:80]}” in {entry.slug}.", site=site)
        wanted = known if request.sites is None else set(request.sites)
        columns = entry.artifact.columns
        rows = zip(columns.site, columns.index, columns.alive, strict=True)
        keys = [ComponentKey(site, index) for site, index, alive in rows if alive and site in wanted]
        if len(keys) > MAX_CONDITIONS:
            raise invalid(
                "sweep_too_large",
                f"{len(keys):,} components are alive there; at most {MAX_CONDITIONS:,} fit. Name fewer sites.",
            )  # fmt: skip
        return [Suppression(key=str(key)) for key in keys]

    async def frames(
        self, entry: Entry, request: SweepRequest, query: SweepQuery, engine: Ablator, client: str
    ) -> AsyncIterator[bytes]:
        """The lines of the answer. Each batch is a long step among the other work; the reader's leaving ends it.

        The rows of a finished sweep are cached: an equal one, however ranked, is answered from them at once."""
        started, total, done = time.perf_counter(), len(query.steps), 0
        key = content_key(entry, engine, list(query.token_ids), request, "rank_by", "top")
        cached: SweepBatch | None = None if request.recompute else self.cached.find(key)
        items: list[SweepItem] = []
        baseline: list[SweepWatched] = []
        yield _line(
            SweepFrame(
                event="start", done=0, total=total, tokens=tokens(entry, query.token_ids), elapsed_ms=since(started),
                cached=cached is not None, provenance=provenance_of(entry, engine),
            )
        )  # fmt: skip
        try:
            batches = _once(cached) if cached else self.pool.stream(engine.sweep(query), client=client)
            async for batch in batches:
                baseline = batch.baseline
                items += batch.items
                frame = SweepFrame(
                    event="rows", done=len(items), total=total, items=batch.items, elapsed_ms=since(started),
                    baseline=None if done else baseline,
                )  # fmt: skip
                done = len(items)
                yield _line(frame)
        except ApiError as error:
            yield _line(_failed(error.code, error.message, done, total, since(started)))
            return
        except Exception:
            log.exception("a sweep failed")
            message = "Something went wrong on the server. What came before this line is right."
            yield _line(_failed("internal", message, done, total, since(started)))
            return
        if cached is None:
            size = ITEM_BYTES * len(items) * (1 + len(query.watch))
            self.cached.put(key, SweepBatch(items, baseline), size)
        ranking = ranked(items, baseline, request)
        yield _line(
            SweepFrame(event="end", done=done, total=total, ranking=ranking, elapsed_ms=since(started))
        )


async def _once(batch: SweepBatch) -> AsyncIterator[SweepBatch]:
    """All rows at once."""
    yield batch


def ranked(items: list[SweepItem], baseline: list[SweepWatched], request: SweepRequest) -> list[int]:
    """Numbers of the rows, what changes most first; `watched` ranks by the first watched token's probability."""

    def size(item: SweepItem) -> float:
        if request.rank_by == "kl":
            return item.kl
        if request.rank_by == "watched":
            return abs(item.watched[0].probability - baseline[0].probability)
        return abs((item.contrast if request.rank_by == "contrast" else item.ce) or 0.0)

    return [item.number for item in sorted(items, key=size, reverse=True)[: request.top]]


def _failed(code: str, message: str, done: int, total: int, elapsed: float) -> SweepFrame:
    return SweepFrame(event="error", done=done, total=total, elapsed_ms=elapsed, code=code, message=message)


def _line(frame: SweepFrame) -> bytes:
    return frame.model_dump_json(exclude_none=True).encode() + b"\n"
