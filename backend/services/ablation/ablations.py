"""Causal importances and ablations of a prompt: every request is checked here and computed by the engine."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from backend.errors import ApiError, invalid
from backend.schemas.common import Provenance
from backend.schemas.components import ComponentTrace, TryRequest
from backend.schemas.workbench import (
    Ablation,
    AblationRequest,
    Importances,
    ImportancesRequest,
    Prompt,
    Suppression,
    Trust,
)
from backend.services.ablation.adapter import Ablator
from backend.services.ablation.answers import Flights
from backend.services.ablation.compute import ComputePool
from backend.services.ablation.engines import Engines
from backend.services.components import parse_key
from backend.services.entries import Entry
from backend.services.prompts import Prompts, tokens
from backend.services.trust import has_rest, judge
from workers.spd.answers import NotFiniteError, SelfCheck
from workers.spd.artifact import HarvestPrompt
from workers.spd.queries import AblationQuery, Condition, Edit


class Ablations:
    """Answers of the workbench. Requests share nothing but the frozen weights."""

    def __init__(self, engines: Engines, prompts: Prompts, pool: ComputePool) -> None:
        self.engines, self.prompts, self.pool = engines, prompts, pool
        self._later: set[asyncio.Task[None]] = set()
        self._flights = Flights()

    async def ablate(self, entry: Entry, request: AblationRequest, client: str = "") -> Ablation:
        """The answer to one ablation. Raises ApiError 422 for what cannot be done, 503 while there are no weights."""

        async def compute() -> Ablation:
            ablation = await self.pool.run(
                lambda: self.ablate_now(entry, request, wait_for_check=False), client=client
            )
            if ablation.self_check.of == "probe":
                self.check_later(entry, tuple(token.id for token in ablation.tokens), client)
            return ablation

        if request.recompute:
            return await compute()
        return await self._flights.join((entry.hash, request.model_dump_json()), compute)

    def check_later(self, entry: Entry, ids: tuple[int, ...], client: str) -> None:
        """Have this prompt's self-check ready for the next answer about it; nobody waits for it now."""

        async def check() -> None:
            # A full queue, or weights that were unloaded: the next answer asks again.
            with contextlib.suppress(ApiError):
                await self.pool.run(lambda: self.engines.get(entry).self_check(ids), client=client, long=True)

        task = asyncio.create_task(check())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def importances(self, entry: Entry, request: ImportancesRequest, client: str = "") -> Importances:
        """Live importances; for a prompt of the run, the stored ones where the weights are not there."""
        return await self.pool.run(lambda: self.importances_now(entry, request), client=client)

    async def trust(self, entry: Entry, request: Prompt, client: str = "") -> Trust:
        """How far the decomposition describes a prompt. Importances and ablations that wait go first."""

        async def compute() -> Trust:
            return await self.pool.run(lambda: self.trust_now(entry, request), client=client, long=True)

        return await self._flights.join((entry.hash, "trust", request.model_dump_json()), compute)

    def trust_now(self, entry: Entry, request: Prompt) -> Trust:
        """The same, in the calling thread."""
        started = time.perf_counter()
        ids = self.prompts.resolve(entry, request)
        engine = self.engines.get(entry)
        config = entry.artifact.manifest.config
        figures = engine.trust(tuple(ids), config.threshold, rest=has_rest(config))
        own = any(prompt.token_ids == ids for prompt in entry.artifact.prompts)
        judged = judge(figures, config, own=own)
        with finite_numbers():
            return Trust(
                tokens=tokens(entry, ids),
                level=judged.level,
                sentence=judged.sentence,
                counted=judged.counted,
                kl=judged.kl,
                kl_off=judged.kl_off,
                share=judged.share,
                kl_all=judged.kl_all,
                kl_off_all=judged.kl_off_all,
                kl_rest=judged.kl_rest,
                kl_by_position=figures.kl,
                kl_off_by_position=figures.kl_off,
                fires=figures.fires,
                fires_per_position=figures.fires_per_position,
                cached=figures.cached,
                elapsed_ms=since(started),
                provenance=provenance_of(entry, engine),
            )

    async def trace(self, entry: Entry, key: str, request: TryRequest, client: str = "") -> ComponentTrace:
        """One component at every token of a text. Raises ApiError 404, 422, or 503 while there are no weights."""
        parsed = parse_key(entry, key, status=404)

        def work() -> ComponentTrace:
            started = time.perf_counter()
            ids = self.prompts.resolve(entry, request)
            engine = self.engines.get(entry)
            trace = engine.trace(tuple(ids), parsed)
            return ComponentTrace(
                key=str(parsed),
                tokens=tokens(entry, ids),
                ci=trace.ci,
                inner_activation=trace.inner_activation,
                elapsed_ms=since(started),
                provenance=provenance_of(entry, engine),
            )

        return await self.pool.run(work, client=client)

    def ablate_now(self, entry: Entry, request: AblationRequest, *, wait_for_check: bool = True) -> Ablation:
        """The same, in the calling thread; with `wait_for_check`, the self-check is the prompt's own."""
        started = time.perf_counter()
        ids = self.prompts.resolve(entry, request)
        edits = check_edits(entry, request.components, len(ids))
        condition = Condition(edits, request.mode, request.remainder)
        query = AblationQuery(
            token_ids=tuple(ids),
            conditions=(condition,),
            top_k=request.top_k,
            watch=tuple(self.prompts.watched(entry, request.watch)),
            positions=check_positions(request.positions, len(ids), "report"),
            answer=None if request.answer is None else self.prompts.watched(entry, [request.answer])[0],
            recompute=request.recompute,
        )
        engine = self.engines.get(entry)
        (result,) = engine.ablate(query)
        check = result.self_check
        if wait_for_check and check.of == "probe":
            check = SelfCheck(engine.self_check(query.token_ids))
        with finite_numbers():
            return Ablation(
                tokens=tokens(entry, ids),
                mode=condition.mode,
                components=len(edits),
                positions=result.positions,
                self_check=check,
                max_kl=result.max_kl,
                kl=result.kl,
                remainder=condition.effective_remainder,
                answer=result.answer,
                cached=result.cached,
                elapsed_ms=since(started),
                provenance=provenance_of(entry, engine),
            )

    def importances_now(self, entry: Entry, request: ImportancesRequest) -> Importances:
        """The same, in the calling thread."""
        started = time.perf_counter()
        ids = self.prompts.resolve(entry, request)
        try:
            engine = self.engines.get(entry)
        except ApiError:
            stored = next((p for p in entry.artifact.prompts if p.token_ids == ids), None)
            if stored is None:
                raise
            return _stored(entry, stored, request.threshold, started)
        sparse = engine.importances(tuple(ids), request.threshold, recompute=request.recompute)
        with finite_numbers():
            return Importances(
                tokens=tokens(entry, ids),
                sites=entry.site_names,
                site=sparse.site,
                position=sparse.position,
                component=sparse.component,
                ci=sparse.ci,
                inner_activation=sparse.inner_activation,
                threshold=request.threshold,
                below_threshold=sparse.below_threshold,
                source="live",
                cached=sparse.cached,
                elapsed_ms=since(started),
                provenance=provenance_of(entry, engine),
            )


def check_edits(entry: Entry, components: Sequence[Suppression], length: int) -> tuple[Edit, ...]:
    """The basket as the engine takes it. Raises ApiError 422 naming the component, position or overlap at fault."""
    edits: list[Edit] = []
    taken: dict[str, set[int]] = {}
    for item in components:
        key = parse_key(entry, item.key)
        positions = check_positions(item.positions, length, "ablate")
        at = set(range(length)) if positions is None else set(positions)
        before = taken.setdefault(item.key, set())
        if before & at:
            raise invalid(
                "duplicate_component",
                f"The component {item.key} is in the basket twice at position {min(before & at)}. Keep one of the two.",
                key=item.key,
            )
        before |= at
        if item.start is not None and item.start >= length:
            check_positions([item.start], length, "begin at")
        edits.append(Edit(key.site, key.index, item.strength, positions, item.start))
    return tuple(edits)


def check_positions(positions: Sequence[int] | None, length: int, verb: str) -> tuple[int, ...] | None:
    """Positions inside a prompt, in order, each once; None means all. Raises ApiError 422 naming the first outside."""
    if positions is None:
        return None
    outside = next((position for position in positions if position >= length), None)
    if outside is not None:
        raise invalid(
            "position_out_of_range",
            f"There is no position {outside} to {verb}: the prompt has {length} tokens, positions 0 to {length - 1}.",
            position=outside,
            length=length,
        )
    return tuple(sorted(set(positions)))


def stored_importances(entry: Entry, prompt: int) -> Importances:
    """What was harvested of one of the run's prompts, by its place from 0. Raises IndexError."""
    stored = entry.artifact.prompts[prompt]
    return _stored(entry, stored, entry.artifact.manifest.config.threshold, time.perf_counter())


def _stored(entry: Entry, prompt: HarvestPrompt, threshold: float, started: float) -> Importances:
    rows = [row for row, ci in enumerate(prompt.ci) if ci >= threshold]
    return Importances(
        tokens=tokens(entry, prompt.token_ids),
        sites=entry.site_names,
        site=[prompt.site[row] for row in rows],
        position=[prompt.position[row] for row in rows],
        component=[prompt.component[row] for row in rows],
        ci=[prompt.ci[row] for row in rows],
        inner_activation=[prompt.inner_activation[row] for row in rows],
        threshold=threshold,
        below_threshold=len(prompt.ci) - len(rows),
        source="stored",
        elapsed_ms=since(started),
        provenance=entry.provenance(),
    )


def provenance_of(entry: Entry, engine: Ablator) -> Provenance:
    return entry.provenance(dtype=engine.dtype, device=engine.device, versions=engine.versions)


def since(started: float) -> float:
    return round((time.perf_counter() - started) * 1_000, 3)


@contextlib.contextmanager
def finite_numbers() -> Iterator[None]:
    """While an answer is put together: raises ApiError 500 for a number that is not finite."""
    try:
        yield
    except ValidationError as error:
        raise ApiError(500, "not_finite", str(NotFiniteError())) from error
