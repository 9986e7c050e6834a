"""What each component contributes to one token: to first order, and exactly for the largest."""

from __future__ import annotations

import math
import time

from backend.errors import invalid
from backend.schemas.attributions import AttributionAnswer, AttributionRequest
from backend.schemas.common import Provenance
from backend.services.ablation.ablations import check_positions, finite_numbers, provenance_of, since
from backend.services.ablation.answers import Cached, content_key, wire_bytes
from backend.services.ablation.compute import ComputePool
from backend.services.ablation.engines import Engines
from backend.services.entries import Entry
from backend.services.prompts import Prompts, tokens
from workers.spd.answers import Attribution
from workers.spd.keys import ComponentKey
from workers.spd.queries import AttributionQuery


class Attributions:
    """Attributions of prompts, cached by their question."""

    def __init__(self, engines: Engines, prompts: Prompts, pool: ComputePool) -> None:
        self.engines, self.prompts, self.pool = engines, prompts, pool
        self.cached = Cached()

    async def attribute(
        self, entry: Entry, request: AttributionRequest, client: str = ""
    ) -> AttributionAnswer:
        """Each pass is a piece of long work. Raises ApiError 422 for what is not there, 503 without weights."""
        started = time.perf_counter()
        ids = self.prompts.resolve(entry, request)
        query = self._query(entry, request, ids)
        engine = self.engines.get(entry)

        async def compute() -> AttributionAnswer:
            found: Attribution | None = None
            async for step in self.pool.stream(engine.attribution(query), client=client):
                found = step
            assert found is not None, "the last step is the answer"
            return _answer(entry, found, query, started, provenance_of(entry, engine))

        key = content_key(entry, engine, ids, request)
        answer, cached = await self.cached.answer(key, request.recompute, compute, wire_bytes)
        return answer.model_copy(update={"cached": True, "elapsed_ms": since(started)}) if cached else answer

    def _query(self, entry: Entry, request: AttributionRequest, ids: list[int]) -> AttributionQuery:
        position = len(ids) - 1 if request.position is None else request.position
        check_positions([position], len(ids), "explain")
        unknown = next((site for site in request.sites or [] if site not in entry.site_names), None)
        if unknown is not None:
            raise invalid(
                "unknown_site", f"There is no site “{unknown[:80]}” in {entry.slug}.", site=unknown[:300]
            )
        token = None if request.token is None else self.prompts.watched(entry, [request.token])[0]
        groups = tuple(
            (group.name, tuple(ComponentKey.parse(key) for key in group.components))
            for group in entry.artifact.groups
        )
        return AttributionQuery(
            token_ids=tuple(ids),
            position=position,
            token=token,
            exact=request.exact,
            exact_groups=request.exact_groups,
            groups=groups,
            positions=check_positions(request.at, len(ids), "ablate"),
            sites=None if request.sites is None else tuple(request.sites),
        )


def _answer(
    entry: Entry, found: Attribution, query: AttributionQuery, started: float, provenance: Provenance
) -> AttributionAnswer:
    with finite_numbers():
        return AttributionAnswer(
            tokens=tokens(entry, query.token_ids),
            position=query.position,
            token=entry.token(found.token),
            log_probability=found.log_probability,
            probability=math.exp(found.log_probability),
            sites=entry.site_names,
            components=found.components,
            places=found.places,
            least=found.least,
            groups=found.groups,
            exact=found.exact,
            at=None if query.positions is None else list(query.positions),
            elapsed_ms=since(started),
            provenance=provenance,
        )
