"""What routes are given, as types."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from backend.services.ablation import Engines
from backend.services.ablations import Ablations
from backend.services.catalogue import Catalogue
from backend.services.components import Components
from backend.services.container import Services
from backend.services.findings import Findings
from backend.services.gallery import Gallery
from backend.services.health import HealthService
from backend.services.jobs import JobService
from backend.services.prompts import Prompts


def services(request: Request) -> Services:
    """The services of this app; each app has its own, nothing is global."""
    return request.app.state.services


ServicesDep = Annotated[Services, Depends(services)]


def _catalogue(all: ServicesDep) -> Catalogue:
    return all.catalogue


def _gallery(all: ServicesDep) -> Gallery:
    return all.gallery


def _components(all: ServicesDep) -> Components:
    return all.components


def _engines(all: ServicesDep) -> Engines:
    return all.engines


def _prompts(all: ServicesDep) -> Prompts:
    return all.prompts


def _ablations(all: ServicesDep) -> Ablations:
    return all.ablations


def _findings(all: ServicesDep) -> Findings:
    return all.findings


def _health(all: ServicesDep) -> HealthService:
    return all.health


def _jobs(all: ServicesDep) -> JobService:
    return all.jobs


CatalogueDep = Annotated[Catalogue, Depends(_catalogue)]
GalleryDep = Annotated[Gallery, Depends(_gallery)]
ComponentsDep = Annotated[Components, Depends(_components)]
EnginesDep = Annotated[Engines, Depends(_engines)]
PromptsDep = Annotated[Prompts, Depends(_prompts)]
AblationsDep = Annotated[Ablations, Depends(_ablations)]
FindingsDep = Annotated[Findings, Depends(_findings)]
HealthDep = Annotated[HealthService, Depends(_health)]
JobsDep = Annotated[JobService, Depends(_jobs)]
