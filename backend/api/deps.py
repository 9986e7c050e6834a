"""What routes are given, as types. All async: FastAPI runs plain functions in threads, at more than their own cost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Request

from backend.errors import ApiError
from backend.services.ablation.ablations import Ablations
from backend.services.ablation.attributions import Attributions
from backend.services.ablation.engines import Engines
from backend.services.ablation.experiments import Experiments
from backend.services.ablation.sweeps import Sweeps
from backend.services.access.visitors import Visitors
from backend.services.catalogue import Catalogue
from backend.services.checkpoints import Checkpoints
from backend.services.circuits import Circuits
from backend.services.collections import Collections
from backend.services.components import Components
from backend.services.container import Services
from backend.services.evaluations import Evaluations
from backend.services.findings import Findings
from backend.services.gallery import Gallery
from backend.services.harvests import Harvests
from backend.services.health import HealthService
from backend.services.housekeeping import Housekeeping
from backend.services.jobs import JobService
from backend.services.labels import Labels
from backend.services.models import Models
from backend.services.prompts import Prompts


async def services(request: Request) -> Services:
    """The services of this app; each app has its own, nothing is global."""
    return request.app.state.services


ServicesDep = Annotated[Services, Depends(services)]


async def _catalogue(all: ServicesDep) -> Catalogue:
    return all.catalogue


async def _gallery(all: ServicesDep) -> Gallery:
    return all.gallery


async def _components(all: ServicesDep) -> Components:
    return all.components


async def _harvests(all: ServicesDep) -> Harvests:
    return all.harvests


async def _evaluations(all: ServicesDep) -> Evaluations:
    return all.evaluations


async def _labels(all: ServicesDep) -> Labels:
    return all.labels


async def _engines(all: ServicesDep) -> Engines:
    return all.engines


async def _prompts(all: ServicesDep) -> Prompts:
    return all.prompts


async def _ablations(all: ServicesDep) -> Ablations:
    return all.ablations


async def _experiments(all: ServicesDep) -> Experiments:
    return all.experiments


async def _attributions(all: ServicesDep) -> Attributions:
    return all.attributions


async def _sweeps(all: ServicesDep) -> Sweeps:
    return all.sweeps


async def _circuits(all: ServicesDep) -> Circuits:
    return all.circuits


async def _client(request: Request) -> str:
    """Whose turn it is in the queue: who signed in, else the name that a page gives itself, else the address."""
    if request.state.visitor.by != "open":
        return request.state.visitor.client
    named = request.headers.get("x-unweave-client", "")[:64]
    return named or (f"{request.client.host}:{request.client.port}" if request.client else "")


async def _waiting(request: Request) -> Callable[[Awaitable[Any]], Awaitable[Any]]:
    """Wait for an answer as long as somebody wants it: a client that leaves frees its work."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    async def wait(answer: Awaitable[Any]) -> Any:
        work, left = asyncio.ensure_future(answer), asyncio.ensure_future(gone())
        try:
            await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ApiError(499, "client_left", "The client left before the answer was there.")
            return work.result()
        finally:
            work.cancel()
            left.cancel()

    return wait


async def _findings(all: ServicesDep) -> Findings:
    return all.findings


async def _collections(all: ServicesDep) -> Collections:
    return all.collections


async def _visitors(all: ServicesDep) -> Visitors:
    return all.visitors


async def _health(all: ServicesDep) -> HealthService:
    return all.health


async def _jobs(all: ServicesDep) -> JobService:
    return all.jobs


async def _checkpoints(all: ServicesDep) -> Checkpoints:
    return all.checkpoints


async def _housekeeping(all: ServicesDep) -> Housekeeping:
    return all.housekeeping


async def _models(all: ServicesDep) -> Models:
    return all.models


CatalogueDep = Annotated[Catalogue, Depends(_catalogue)]
GalleryDep = Annotated[Gallery, Depends(_gallery)]
ComponentsDep = Annotated[Components, Depends(_components)]
HarvestsDep = Annotated[Harvests, Depends(_harvests)]
EvaluationsDep = Annotated[Evaluations, Depends(_evaluations)]
LabelsDep = Annotated[Labels, Depends(_labels)]
EnginesDep = Annotated[Engines, Depends(_engines)]
PromptsDep = Annotated[Prompts, Depends(_prompts)]
AblationsDep = Annotated[Ablations, Depends(_ablations)]
FindingsDep = Annotated[Findings, Depends(_findings)]
CollectionsDep = Annotated[Collections, Depends(_collections)]
HealthDep = Annotated[HealthService, Depends(_health)]
VisitorsDep = Annotated[Visitors, Depends(_visitors)]
JobsDep = Annotated[JobService, Depends(_jobs)]
CheckpointsDep = Annotated[Checkpoints, Depends(_checkpoints)]
HousekeepingDep = Annotated[Housekeeping, Depends(_housekeeping)]
ModelsDep = Annotated[Models, Depends(_models)]
CircuitsDep = Annotated[Circuits, Depends(_circuits)]
ExperimentsDep = Annotated[Experiments, Depends(_experiments)]
AttributionsDep = Annotated[Attributions, Depends(_attributions)]
SweepsDep = Annotated[Sweeps, Depends(_sweeps)]
ClientDep = Annotated[str, Depends(_client)]
WaitingDep = Annotated[Callable[[Awaitable[Any]], Awaitable[Any]], Depends(_waiting)]
