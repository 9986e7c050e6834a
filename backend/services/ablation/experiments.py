"""Beyond one ablation: conditions side by side, mask regimes, attention patterns, continuations."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from backend.schemas.experiments import (
    Attention,
    AttentionRequest,
    Comparison,
    ComparisonRequest,
    ConditionName,
    ConditionResult,
    Continuation,
    ContinuationRequest,
    Interaction,
    PromptComparison,
    RegimeRequest,
    Regimes,
)
from backend.schemas.workbench import Suppression
from backend.services.ablation.ablations import (
    check_edits,
    check_positions,
    finite_numbers,
    provenance_of,
    since,
)
from backend.services.ablation.adapter import Ablator
from backend.services.ablation.answers import Cached, content_key, wire_bytes
from backend.services.ablation.compute import ComputePool
from backend.services.ablation.engines import Engines
from backend.services.entries import Entry
from backend.services.prompts import Prompts, tokens
from workers.spd.answers import AblationResult, RegimeOutcome
from workers.spd.queries import AblationQuery, Condition, Edit, RegimeSpec

A = TypeVar("A", Regimes, Attention, Continuation)
FLOOR = 1e-300  # of a probability, where its logarithm is taken


class Experiments:
    """Answers of the workbench beyond one ablation. Requests share nothing but the frozen weights."""

    def __init__(self, engines: Engines, prompts: Prompts, pool: ComputePool) -> None:
        self.engines, self.prompts, self.pool = engines, prompts, pool
        self.cached = Cached()

    # --- conditions -------------------------------------------------------------------------------------------

    async def compare(self, entry: Entry, request: ComparisonRequest, client: str = "") -> Comparison:
        """Conditions on each prompt; a prompt is a piece of work. Raises ApiError 422 for what cannot be done."""
        started = time.perf_counter()
        prompts = [tuple(self.prompts.resolve(entry, prompt)) for prompt in request.prompts]
        longest = max(len(ids) for ids in prompts)
        for basket in (request.a, request.b):
            check_edits(entry, basket.components, longest)
        watch = tuple(self.prompts.watched(entry, request.watch))
        names: list[ConditionName] = list(dict.fromkeys(request.conditions))
        queries: list[AblationQuery] = []
        for number, ids in enumerate(prompts):
            conditions = conditions_of(entry, request, len(ids))
            queries.append(
                AblationQuery(
                    token_ids=ids,
                    conditions=tuple(conditions[name] for name in names),
                    top_k=request.top_k,
                    watch=watch,
                    positions=_reported(request, number, len(ids)),
                    recompute=request.recompute,
                )
            )
        engine = self.engines.get(entry)
        return Comparison(
            prompts=[
                await self.pool.run(
                    lambda query=query: compare_now(entry, engine, names, query), client=client
                )
                for query in queries
            ],
            mode=request.mode,
            remainder=Condition(mode=request.mode, remainder=request.remainder).effective_remainder,
            elapsed_ms=since(started),
            provenance=provenance_of(entry, engine),
        )

    # --- regimes ----------------------------------------------------------------------------------------------

    async def regimes(self, entry: Entry, request: RegimeRequest, client: str = "") -> Regimes:
        """Each regime, step by step among the other work."""
        started = time.perf_counter()
        ids = self.prompts.resolve(entry, request)
        chosen, threshold = request.components, request.threshold
        selection = None if chosen is None else check_edits(entry, chosen, len(ids))
        query = AblationQuery(
            token_ids=tuple(ids),
            top_k=request.top_k,
            watch=tuple(self.prompts.watched(entry, request.watch)),
            positions=check_positions(request.positions, len(ids), "report"),
        )
        if threshold is None:
            threshold = entry.artifact.manifest.config.threshold
        engine = self.engines.get(entry)

        async def compute() -> Regimes:
            outcomes: list[RegimeOutcome] = []
            for kind in dict.fromkeys(request.kinds):
                spec = RegimeSpec(kind, selection, threshold, request.samples, request.seed, request.steps)
                async for outcome in self.pool.stream(engine.regime(query, spec), client=client):
                    if outcome is not None:
                        outcomes.append(outcome)
            return Regimes(
                tokens=tokens(entry, ids), regimes=outcomes, threshold=threshold, seed=request.seed,
                elapsed_ms=since(started), provenance=provenance_of(entry, engine),
            )  # fmt: skip

        return await self._answer(entry, engine, ids, request, compute, started)

    # --- attention and continuations --------------------------------------------------------------------------

    async def attention(self, entry: Entry, request: AttentionRequest, client: str = "") -> Attention:
        """Patterns of chosen heads before and after."""
        started = time.perf_counter()
        ids, condition, engine = self._one(entry, request)
        heads = [(head.layer, head.head) for head in request.heads]

        async def compute() -> Attention:
            patterns = await self.pool.run(
                lambda: engine.patterns(tuple(ids), condition, heads), client=client
            )
            return Attention(
                tokens=tokens(entry, ids),
                heads=patterns,
                elapsed_ms=since(started),
                provenance=provenance_of(entry, engine),
            )

        return await self._answer(entry, engine, ids, request, compute, started)

    async def continuation(
        self, entry: Entry, request: ContinuationRequest, client: str = ""
    ) -> Continuation:
        """Greedy continuations before and after."""
        started = time.perf_counter()
        ids, condition, engine = self._one(entry, request)

        async def compute() -> Continuation:
            both = await self.pool.run(
                lambda: engine.continuations(tuple(ids), condition, request.tokens), client=client
            )
            return Continuation(
                tokens=tokens(entry, ids),
                baseline=both.baseline,
                ablated=both.ablated,
                stopped=both.stopped,
                elapsed_ms=since(started),
                provenance=provenance_of(entry, engine),
            )

        return await self._answer(entry, engine, ids, request, compute, started)

    async def _answer(
        self,
        entry: Entry,
        engine: Ablator,
        ids: list[int],
        request: RegimeRequest | AttentionRequest | ContinuationRequest,
        compute: Callable[[], Awaitable[A]],
        started: float,
    ) -> A:
        """The cached answer to an equal request, or a computed one."""
        key = content_key(entry, engine, ids, request)
        answer, cached = await self.cached.answer(key, request.recompute, compute, wire_bytes)
        return answer.model_copy(update={"cached": True, "elapsed_ms": since(started)}) if cached else answer

    def _one(
        self, entry: Entry, request: AttentionRequest | ContinuationRequest
    ) -> tuple[list[int], Condition, Ablator]:
        ids = self.prompts.resolve(entry, request)
        edits = check_edits(entry, request.components, len(ids))
        return ids, Condition(edits, request.mode, request.remainder), self.engines.get(entry)


def conditions_of(entry: Entry, request: ComparisonRequest, length: int) -> dict[ConditionName, Condition]:
    """The four conditions on a prompt of `length` tokens. “none” is the target itself, whatever the mode: it is what
    the others are compared with."""
    a, b = (
        check_edits(entry, within(basket.components, length), length) for basket in (request.a, request.b)
    )
    baskets: dict[ConditionName, tuple[Edit, ...]] = {"A": a, "B": b, "A+B": joined(a, b, length)}
    conditions: dict[ConditionName, Condition] = {"none": Condition()}
    for name, edits in baskets.items():
        conditions[name] = Condition(edits, request.mode, request.remainder)
    return conditions


def compare_now(
    entry: Entry, engine: Ablator, names: Sequence[ConditionName], query: AblationQuery
) -> PromptComparison:
    """The conditions of one prompt, in the calling thread. `names`: of the query's conditions."""
    results = engine.ablate(query)
    by_name = dict(zip(names, results, strict=True))
    with finite_numbers():
        return PromptComparison(
            tokens=tokens(entry, query.token_ids),
            conditions=[
                ConditionResult(
                    condition=name,
                    components=len(condition.edits),
                    positions=result.positions,
                    kl=result.kl,
                    max_kl=result.max_kl,
                    cached=result.cached,
                )
                for (name, result), condition in zip(by_name.items(), query.conditions, strict=True)
            ],
            interactions=interactions(by_name) if len(by_name) == 4 else [],
            self_check=results[0].self_check,
        )


def within(components: Sequence[Suppression], length: int) -> list[Suppression]:
    """A basket on a prompt of `length` tokens: positions past its end, and entries that reach none before it, are left
    out."""
    result: list[Suppression] = []
    for item in components:
        if item.start is not None and item.start >= length:
            continue
        if item.positions is not None:
            inside = [position for position in item.positions if position < length]
            if not inside:
                continue
            item = item.model_copy(update={"positions": inside})
        result.append(item)
    return result


def _reported(request: ComparisonRequest, number: int, length: int) -> tuple[int, ...] | None:
    """The positions to report of one prompt; None means all. Raises ApiError 422 for one that is not there."""
    if request.at is None:
        return None if request.positions == "all" else (length - 1,)
    at = request.at[number]
    return check_positions([length - 1 if at < 0 else at], length, "report")


def joined(a: Sequence[Edit], b: Sequence[Edit], length: int) -> tuple[Edit, ...]:
    """Both baskets at once; where both hold a component at a position, the strength further from 0 counts."""
    shared = {edit.key for edit in a} & {edit.key for edit in b}
    result = [edit for edit in [*a, *b] if edit.key not in shared]
    for key in sorted(shared):
        edits = [edit for edit in [*a, *b] if edit.key == key]
        strength = [0.0] * length
        for edit in edits:
            for at in edit.rows(length):
                strength[at] = stronger(strength[at], edit.strength)
        whole = [edit for edit in edits if edit.positions is None and edit.start is None]
        if whole and len(set(strength)) == 1:
            result.append(Edit(key.site, key.index, strength[0]))
            continue
        for value in sorted(set(strength) - {0.0}):
            at = tuple(place for place, here in enumerate(strength) if here == value)
            result.append(Edit(key.site, key.index, value, at))
    return tuple(result)


def stronger(one: float, other: float) -> float:
    """The strength further from 0; of two as far, the larger."""
    return max(one, other, key=lambda strength: (abs(strength), strength))


def interactions(results: dict[ConditionName, AblationResult]) -> list[Interaction]:
    """f(A+B) − f(A) − f(B) + f(none) of every watched token at every reported position."""
    signs: dict[ConditionName, int] = {"A+B": 1, "A": -1, "B": -1, "none": 1}
    rows: list[Interaction] = []
    for number, place in enumerate(results["none"].positions):
        for row, watched in enumerate(place.watched):
            outputs = [
                (sign, results[name].positions[number].watched[row].ablated) for name, sign in signs.items()
            ]
            rows.append(
                Interaction(
                    position=place.position,
                    token_id=watched.token_id,
                    token=watched.token,
                    logit=sum(sign * output.logit for sign, output in outputs),
                    log_probability=sum(
                        sign * math.log(max(output.probability, FLOOR)) for sign, output in outputs
                    ),
                    probability=sum(sign * output.probability for sign, output in outputs),
                )
            )
    return rows
