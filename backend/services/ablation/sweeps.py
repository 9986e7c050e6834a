"""Sweeps: many ablations of one prompt, streamed as they are computed."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backend.errors import ApiError, invalid
from backend.schemas.experiments import MAX_CONDITIONS, SweepFrame, SweepItem, SweepRequest, SweepWatched
from backend.schemas.workbench import Suppression
from backend.services.ablation.ablations import check_edits, check_positions, provenance_of, since
from backend.services.ablation.answers import Kept, content_key
from backend.services.ablation.compute import ComputePool
from backend.services.ablation.engines import Ablator, ConditionSpec, EditSpec, Engines
from backend.services.entries import Entry
from backend.services.prompts import Prompts, tokens

if TYPE_CHECKING:
    from workers.spd.ablation.sweeps import SweepRow

log = logging.getLogger("unweave")
ITEM_BYTES = 1_200  # of a row, and of each token watched in it
_Rows = tuple[list[SweepItem], list[SweepWatched]]


@dataclass(frozen=True)
class Planned:
    """A checked sweep: its conditions, and what each is called."""

    ids: list[int]
    conditions: list[ConditionSpec]
    keys: Sequence[str | None]
    strengths: list[float]
    watch: list[int]
    contrast: tuple[int, int] | None
    answer: int | None


class Sweeps:
    """Plans, runs and ranks sweeps."""

    def __init__(self, engines: Engines, prompts: Prompts, pool: ComputePool) -> None:
        self.engines, self.prompts, self.pool = engines, prompts, pool
        self.kept = Kept()

    def plan(self, entry: Entry, request: SweepRequest) -> tuple[Planned, Ablator]:
        """Check everything before the first byte is sent. Raises ApiError 422 or 503."""
        ids = self.prompts.resolve(entry, request)
        if request.position is not None:
            check_positions([request.position], len(ids), "measure")
        chosen = self._alive(entry, request) if request.kind == "alive" else request.components
        if not chosen:
            raise invalid("empty_sweep", "There is nothing to sweep. Choose at least one component.")
        edits = check_edits(entry, chosen, len(ids))
        keys: Sequence[str | None]
        if request.kind == "strengths":
            conditions = [ConditionSpec(tuple(_scaled(edit, s) for edit in edits)) for s in request.strengths]
            keys, strengths = [None] * len(conditions), list(request.strengths)
        else:
            conditions = [ConditionSpec((edit,)) for edit in edits]
            keys, strengths = [item.key for item in chosen], [item.strength for item in chosen]

        def one(token: str | int) -> int:
            return self.prompts.watched(entry, [token])[0]

        contrast = None if request.contrast is None else (one(request.contrast[0]), one(request.contrast[1]))
        if contrast is not None and contrast[0] == contrast[1]:
            raise invalid(
                "same_tokens", "The two tokens of “contrast” are the same; their difference is always 0."
            )
        answer = None if request.answer is None else one(request.answer)
        watch = self.prompts.watched(entry, request.watch)
        planned = Planned(ids, conditions, keys, strengths, watch, contrast, answer)
        return planned, self.engines.get(entry)

    def _alive(self, entry: Entry, request: SweepRequest) -> list[Suppression]:
        known = set(entry.site_names)
        for site in request.sites or []:
            if site not in known:
                raise invalid("unknown_site", f"There is no site “{site[:80]}” in {entry.slug}.", site=site)
        wanted = known if request.sites is None else set(request.sites)
        columns = entry.artifact.columns
        rows = zip(columns.site, columns.index, columns.alive, strict=True)
        found = [f"{site}:{index}" for site, index, alive in rows if alive and site in wanted]
        if len(found) > MAX_CONDITIONS:
            raise invalid(
                "sweep_too_large",
                f"{len(found):,} components are alive there; at most {MAX_CONDITIONS:,} fit. Name fewer sites.",
            )  # fmt: skip
        return [Suppression(key=key) for key in found]

    async def frames(
        self, entry: Entry, request: SweepRequest, planned: Planned, engine: Ablator, client: str
    ) -> AsyncIterator[bytes]:
        """The lines of the answer. Each batch is a long step among the other work; the reader's going ends it.

        The rows of a finished sweep are kept: an equal one, however ranked, is answered from them at once."""
        started, total, done = time.perf_counter(), len(planned.conditions), 0
        key = content_key(entry, engine, planned.ids, request, "rank_by", "top")
        kept: _Rows | None = None if request.recompute else self.kept.find(key)
        items: list[SweepItem] = []
        baseline: list[SweepWatched] = []
        yield _line(
            SweepFrame(
                event="start", done=0, total=total, tokens=tokens(entry, planned.ids), elapsed_ms=since(started),
                cached=kept is not None, provenance=provenance_of(entry, engine),
            )
        )  # fmt: skip
        try:
            async for new, baseline in (
                self._rows(planned, request, engine, client) if kept is None else _all(kept)
            ):
                items += new
                done += len(new)
                frame = SweepFrame(
                    event="rows", done=done, total=total, items=new, elapsed_ms=since(started),
                    baseline=baseline if done == len(new) else None,
                )  # fmt: skip
                yield _line(frame)
        except ApiError as error:
            yield _line(_failed(error.code, error.message, done, total, since(started)))
            return
        except Exception:
            log.exception("a sweep failed")
            said = "Something went wrong on the server. What came before this line is right."
            yield _line(_failed("internal", said, done, total, since(started)))
            return
        if kept is None:
            self.kept.keep(key, (items, baseline), ITEM_BYTES * len(items) * (1 + len(planned.watch)))
        ranking = ranked(items, baseline, request)
        yield _line(
            SweepFrame(event="end", done=done, total=total, ranking=ranking, elapsed_ms=since(started))
        )

    def _rows(
        self, planned: Planned, request: SweepRequest, engine: Ablator, client: str
    ) -> AsyncIterator[_Rows]:
        steps = engine.sweep(
            planned.ids, planned.conditions, request.position, planned.watch, planned.contrast, planned.answer
        )
        return self.pool.stream(self._made(steps, planned), client=client)

    def _made(self, steps: Iterator[list[SweepRow]], planned: Planned) -> Iterator[_Rows]:
        for rows in steps:
            baseline = [
                SweepWatched(token_id=w.token_id, probability=w.baseline_probability, logit=w.baseline_logit)
                for w in rows[0].watched
            ]
            yield [_item(row, planned) for row in rows], baseline


async def _all(rows: _Rows) -> AsyncIterator[_Rows]:
    """All at once."""
    yield rows


def ranked(items: list[SweepItem], baseline: list[SweepWatched], request: SweepRequest) -> list[int]:
    """Numbers of the rows, what changes most first; `watched` ranks by the first watched token's probability."""

    def size(item: SweepItem) -> float:
        if request.rank_by == "kl":
            return item.kl
        if request.rank_by == "watched":
            return abs(item.watched[0].probability - baseline[0].probability)
        return abs((item.contrast if request.rank_by == "contrast" else item.ce) or 0.0)

    return [item.number for item in sorted(items, key=size, reverse=True)[: request.top]]


def _item(row: SweepRow, planned: Planned) -> SweepItem:
    return SweepItem.model_construct(
        number=row.number,
        key=planned.keys[row.number],
        strength=planned.strengths[row.number],
        kl=row.kl,
        watched=[
            SweepWatched.model_construct(token_id=w.token_id, probability=w.probability, logit=w.logit)
            for w in row.watched
        ],
        contrast=row.contrast,
        ce=row.ce,
    )


def _scaled(edit: EditSpec, by: float) -> EditSpec:
    return EditSpec(edit.site, edit.index, edit.strength * by, edit.positions, edit.start)


def _failed(code: str, message: str, done: int, total: int, elapsed: float) -> SweepFrame:
    return SweepFrame(event="error", done=done, total=total, elapsed_ms=elapsed, code=code, message=message)


def _line(frame: SweepFrame) -> bytes:
    return frame.model_dump_json(exclude_none=True).encode() + b"\n"
