"""Several conditions at once, sweeps, attributions, mask regimes, attention patterns, continuations."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from backend.api.decompositions import Id
from backend.api.deps import AttributionsDep, CatalogueDep, ClientDep, ExperimentsDep, SweepsDep, WaitingDep
from backend.api.roles import READ
from backend.schemas.attributions import AttributionAnswer, AttributionRequest
from backend.schemas.experiments import (
    Attention,
    AttentionRequest,
    Comparison,
    ComparisonRequest,
    Continuation,
    ContinuationRequest,
    RegimeRequest,
    Regimes,
    SweepFrame,
    SweepRequest,
)

router = APIRouter(prefix="/api/decompositions", tags=["workbench"], dependencies=[READ])
NDJSON = "application/x-ndjson"


class Frames(StreamingResponse):
    media_type = NDJSON


@router.post("/{id}/comparisons")
async def compare(
    id: Id, request: ComparisonRequest, catalogue: CatalogueDep, experiments: ExperimentsDep,
    client: ClientDep, wait: WaitingDep,
) -> Comparison:  # fmt: skip
    """Baskets A and B on one prompt or many: none, A, B and A+B side by side, with the interaction term."""
    return await wait(experiments.compare(await catalogue.aget(id), request, client))


@router.post(
    "/{id}/sweeps",
    response_class=Frames,
    responses={200: {"model": SweepFrame, "description": "One frame a line, until `end` or `error`"}},
)
async def sweep(
    id: Id, request: SweepRequest, catalogue: CatalogueDep, sweeps: SweepsDep, client: ClientDep
) -> Frames:
    """Many single ablations, or strengths along a line, streamed as they are computed. Leaving cancels the rest."""
    entry = await catalogue.aget(id)
    planned, engine = sweeps.plan(entry, request)
    frames = sweeps.frames(entry, request, planned, engine, client)
    return Frames(frames, headers={"X-Accel-Buffering": "no"})


@router.post("/{id}/attributions")
async def attribute(
    id: Id, request: AttributionRequest, catalogue: CatalogueDep, attributions: AttributionsDep,
    client: ClientDep, wait: WaitingDep,
) -> AttributionAnswer:  # fmt: skip
    """What suppressing each component adds to log p of a token: to first order for all, exactly for the largest."""
    return await wait(attributions.attribute(await catalogue.aget(id), request, client))


@router.post("/{id}/regimes")
async def mask_regimes(
    id: Id, request: RegimeRequest, catalogue: CatalogueDep, experiments: ExperimentsDep,
    client: ClientDep, wait: WaitingDep,
) -> Regimes:  # fmt: skip
    """Causal importances as masks, rounded, stochastic (mean and band) and adversarial, against the target."""
    return await wait(experiments.regimes(await catalogue.aget(id), request, client))


@router.post("/{id}/attention")
async def attention_patterns(
    id: Id, request: AttentionRequest, catalogue: CatalogueDep, experiments: ExperimentsDep,
    client: ClientDep, wait: WaitingDep,
) -> Attention:  # fmt: skip
    """Attention patterns of chosen heads before and after an ablation."""
    return await wait(experiments.attention(await catalogue.aget(id), request, client))


@router.post("/{id}/continuations")
async def continue_greedily(
    id: Id, request: ContinuationRequest, catalogue: CatalogueDep, experiments: ExperimentsDep,
    client: ClientDep, wait: WaitingDep,
) -> Continuation:  # fmt: skip
    """Up to 20 likeliest next tokens before and after an ablation that acts throughout."""
    return await wait(experiments.continuation(await catalogue.aget(id), request, client))
