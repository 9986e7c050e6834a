"""Beyond one ablation: conditions side by side, mask regimes, attention patterns, continuations."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from backend.schemas.experiments import (
    Attention,
    AttentionRequest,
    Comparison,
    ComparisonRequest,
    ConditionName,
    ConditionResult,
    Continuation,
    ContinuationRequest,
    ContinuedToken,
    HeadPatterns,
    Interaction,
    PromptComparison,
    RegimeOutcome,
    RegimeRequest,
    Regimes,
)
from backend.schemas.workbench import Prompt, SelfCheck, Suppression
from backend.services.ablation.ablations import (
    check_edits,
    check_positions,
    not_finite,
    position_shift,
    provenance_of,
    since,
)
from backend.services.ablation.answers import Kept, content_key, wire_bytes
from backend.services.ablation.compute import ComputePool
from backend.services.ablation.engines import Ablator, ConditionSpec, EditSpec, Engines, RegimeAsk
from backend.services.entries import Entry
from backend.services.prompts import Prompts, tokens

if TYPE_CHECKING:
    from workers.spd.ablation.continuation import Continuation as Continued
    from workers.spd.ablation.engine import AblationResult
    from workers.spd.ablation.outputs import OutputStat
    from workers.spd.ablation.regimes import Regime, RegimeResult

A = TypeVar("A", Regimes, Attention, Continuation)
DIGITS = 6


class Experiments:
    """Answers of the workbench beyond one ablation. Requests share nothing but the frozen weights."""

    def __init__(self, engines: Engines, prompts: Prompts, pool: ComputePool) -> None:
        self.engines, self.prompts, self.pool = engines, prompts, pool
        self.kept = Kept()

    # --- conditions -------------------------------------------------------------------------------------------

    async def compare(self, entry: Entry, request: ComparisonRequest, client: str = "") -> Comparison:
        """Conditions on each prompt; a prompt is a piece of work. Raises ApiError 422 for what cannot be done."""
        started = time.perf_counter()
        asked = [self.prompts.resolve(entry, prompt) for prompt in request.prompts]
        longest = max(len(ids) for ids in asked)
        for basket in (request.a, request.b):
            check_edits(entry, basket.components, longest)
        baskets = [
            [check_edits(entry, within(basket.components, len(ids)), len(ids)) for basket in (request.a, request.b)]
            for ids in asked
        ]  # fmt: skip
        places = [_reported(request, number, len(ids)) for number, ids in enumerate(asked)]
        watch = self.prompts.watched(entry, request.watch)
        engine = self.engines.get(entry)
        found = []
        for ids, (a, b), at in zip(asked, baskets, places, strict=True):
            work = _Compared(entry, engine, request, ids, a, b, watch, at)
            found.append(await self.pool.run(work, client=client))
        return Comparison(
            prompts=found,
            mode=request.mode,
            remainder=request.remainder or ("on" if request.mode == "suppress" else "off"),
            elapsed_ms=since(started),
            provenance=provenance_of(entry, engine),
        )

    # --- regimes ----------------------------------------------------------------------------------------------

    async def regimes(self, entry: Entry, request: RegimeRequest, client: str = "") -> Regimes:
        """Each regime, step by step among the other work."""
        started = time.perf_counter()
        ids = self.prompts.resolve(entry, request)
        chosen = request.components
        selection = None if chosen is None else tuple(check_edits(entry, chosen, len(ids)))
        watch = self.prompts.watched(entry, request.watch)
        positions = check_positions(request.positions, len(ids), "report")
        threshold = request.threshold
        if threshold is None:
            threshold = entry.artifact.manifest.config.threshold
        engine = self.engines.get(entry)

        async def make() -> Regimes:
            outcomes: list[RegimeOutcome] = []
            for kind in dict.fromkeys(request.kinds):
                ask = RegimeAsk(kind, selection, threshold, request.samples, request.seed, request.steps)
                steps = engine.regime(ids, ask, request.top_k, watch, positions)
                async for result in self.pool.stream(steps, client=client):
                    if result is not None:
                        outcomes.append(_outcome(entry, kind, result))
            return Regimes(
                tokens=tokens(entry, ids), regimes=outcomes, threshold=threshold, seed=request.seed,
                elapsed_ms=since(started), provenance=provenance_of(entry, engine),
            )  # fmt: skip

        return await self._answer(entry, engine, ids, request, make, started)

    # --- attention and continuations --------------------------------------------------------------------------

    async def attention(self, entry: Entry, request: AttentionRequest, client: str = "") -> Attention:
        """Patterns of chosen heads before and after."""
        started = time.perf_counter()
        ids, condition, engine = self._one(entry, request, request.components, request)
        heads = [(head.layer, head.head) for head in request.heads]

        async def make() -> Attention:
            found = await self.pool.run(lambda: engine.patterns(ids, condition, heads), client=client)
            return Attention(
                tokens=tokens(entry, ids),
                heads=[
                    HeadPatterns(
                        layer=head.layer,
                        head=head.head,
                        baseline=_triangle(head.baseline.tolist()),
                        ablated=_triangle(head.ablated.tolist()),
                    )
                    for head in found
                ],
                elapsed_ms=since(started),
                provenance=provenance_of(entry, engine),
            )

        return await self._answer(entry, engine, ids, request, make, started)

    async def continuation(
        self, entry: Entry, request: ContinuationRequest, client: str = ""
    ) -> Continuation:
        """Greedy continuations before and after."""
        started = time.perf_counter()
        ids, condition, engine = self._one(entry, request, request.components, request)

        async def make() -> Continuation:
            found = await self.pool.run(
                lambda: engine.continuations(ids, condition, request.tokens), client=client
            )
            return Continuation(
                tokens=tokens(entry, ids),
                baseline=_continued(entry, found.baseline),
                ablated=_continued(entry, found.ablated),
                stopped=found.stopped,
                elapsed_ms=since(started),
                provenance=provenance_of(entry, engine),
            )

        return await self._answer(entry, engine, ids, request, make, started)

    async def _answer(
        self,
        entry: Entry,
        engine: Ablator,
        ids: list[int],
        request: RegimeRequest | AttentionRequest | ContinuationRequest,
        make: Callable[[], Awaitable[A]],
        started: float,
    ) -> A:
        """What is kept of an equal question, or what `make` gives."""
        key = content_key(entry, engine, ids, request)
        found, cached = await self.kept.answer(key, request.recompute, make, wire_bytes)
        if not cached:
            return found
        return found.model_copy(update={"cached": True, "elapsed_ms": since(started)})

    def _one(
        self,
        entry: Entry,
        prompt: Prompt,
        components: Sequence[Suppression],
        request: AttentionRequest | ContinuationRequest,
    ) -> tuple[list[int], ConditionSpec, Ablator]:
        ids = self.prompts.resolve(entry, prompt)
        edits = tuple(check_edits(entry, components, len(ids)))
        return ids, ConditionSpec(edits, request.mode, request.remainder), self.engines.get(entry)


class _Compared:
    """The conditions of one prompt, as a piece of work."""

    def __init__(
        self,
        entry: Entry,
        engine: Ablator,
        request: ComparisonRequest,
        ids: list[int],
        a: list[EditSpec],
        b: list[EditSpec],
        watch: list[int],
        positions: tuple[int, ...] | None,
    ) -> None:
        self.entry, self.engine, self.request, self.ids, self.watch = entry, engine, request, ids, watch
        self.positions = positions
        self.edits: dict[ConditionName, list[EditSpec]] = {
            "none": [], "A": a, "B": b, "A+B": joined(a, b, len(ids)),
        }  # fmt: skip

    def __call__(self) -> PromptComparison:
        request, entry = self.request, self.entry
        names = list(dict.fromkeys(request.conditions))
        # “none” is the target itself, whatever the mode: it is what the others are compared with.
        specs = [
            ConditionSpec(tuple(self.edits[name]), request.mode, request.remainder)
            if name != "none"
            else ConditionSpec()
            for name in names
        ]
        results = self.engine.conditions(
            self.ids, specs, request.top_k, self.watch, self.positions, recompute=request.recompute
        )
        by_name = dict(zip(names, results, strict=True))
        try:
            return PromptComparison(
                tokens=tokens(entry, self.ids),
                conditions=[
                    ConditionResult(
                        condition=name,
                        components=len(self.edits[name]),
                        positions=[position_shift(entry, place) for place in result.positions],
                        kl=list(result.kl),
                        max_kl=result.max_kl,
                        cached=result.cached,
                    )
                    for name, result in by_name.items()
                ],
                interactions=interactions(entry, by_name) if len(by_name) == 4 else [],
                self_check=SelfCheck(max_kl=results[0].self_check_max_kl, of=results[0].self_check_of),
            )
        except ValueError as error:
            raise not_finite() from error


def within(components: Sequence[Suppression], length: int) -> list[Suppression]:
    """A basket on a prompt of `length` tokens: positions past its end, and what has none before it, left out."""
    found: list[Suppression] = []
    for item in components:
        if item.start is not None and item.start >= length:
            continue
        if item.positions is not None:
            there = [position for position in item.positions if position < length]
            if not there:
                continue
            item = item.model_copy(update={"positions": there})
        found.append(item)
    return found


def _reported(request: ComparisonRequest, number: int, length: int) -> tuple[int, ...] | None:
    """The positions to report of one prompt; None means all. Raises ApiError 422 for one that is not there."""
    if request.at is None:
        return None if request.positions == "all" else (length - 1,)
    at = request.at[number]
    return check_positions([length - 1 if at < 0 else at], length, "report")


def joined(a: Sequence[EditSpec], b: Sequence[EditSpec], length: int) -> list[EditSpec]:
    """Both baskets at once; where both hold a component at a position, the larger strength counts."""
    shared = {(e.site, e.index) for e in a} & {(e.site, e.index) for e in b}
    result = [e for e in [*a, *b] if (e.site, e.index) not in shared]
    for site, index in sorted(shared):
        strength = [0.0] * length
        whole = [0.0, 0.0]
        for which, basket in enumerate((a, b)):
            for e in basket:
                if (e.site, e.index) == (site, index):
                    if e.positions is None and e.start is None:
                        whole[which] = e.strength
                    for at in range(length) if e.positions is None else e.positions:
                        if at >= (e.start or 0):
                            strength[at] = max(strength[at], e.strength)
        if max(whole) >= max(strength, default=0):
            result.append(EditSpec(site, index, max(whole), None))
            continue
        for value in sorted(set(strength) - {0.0}):
            at = tuple(place for place, here in enumerate(strength) if here == value)
            result.append(EditSpec(site, index, value, at))
    return result


def interactions(entry: Entry, results: dict[ConditionName, AblationResult]) -> list[Interaction]:
    """f(A+B) − f(A) − f(B) + f(none) of every watched token at every reported position."""
    found: list[Interaction] = []
    for number, place in enumerate(results["none"].positions):
        for row, watched in enumerate(place.watched):
            now: dict[str, OutputStat] = {
                name: result.positions[number].watched[row].ablated for name, result in results.items()
            }

            def term(values: dict[str, float]) -> float:
                return values["A+B"] - values["A"] - values["B"] + values["none"]

            floor = 1e-300
            found.append(
                Interaction(
                    position=place.position,
                    token_id=watched.token_id,
                    token=entry.piece(watched.token_id),
                    logit=term({name: stat.logit for name, stat in now.items()}),
                    log_probability=term(
                        {name: math.log(max(stat.probability, floor)) for name, stat in now.items()}
                    ),
                    probability=term({name: stat.probability for name, stat in now.items()}),
                )
            )
    return found


def _outcome(entry: Entry, kind: Regime, result: RegimeResult) -> RegimeOutcome:
    try:
        return RegimeOutcome(
            kind=kind, kl=result.kl, low=result.low, high=result.high, samples=result.samples,
            positions=[position_shift(entry, place) for place in result.positions],
        )  # fmt: skip
    except ValueError as error:
        raise not_finite() from error


def _continued(entry: Entry, found: Continued) -> list[ContinuedToken]:
    return [
        ContinuedToken(id=token, piece=entry.piece(token), probability=p)
        for token, p in zip(found.token_ids, found.probabilities, strict=True)
    ]


def _triangle(rows: list[list[float]]) -> list[list[float]]:
    return [[round(value, DIGITS) for value in row[: at + 1]] for at, row in enumerate(rows)]
