"""Prompts, causal importances and ablations: what the workbench asks."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from backend.api.decompositions import Id
from backend.api.deps import AblationsDep, CatalogueDep, ClientDep, PromptsDep, WaitingDep
from backend.api.roles import READ
from backend.schemas.code import CodeRequest
from backend.schemas.workbench import (
    Ablation,
    AblationRequest,
    Importances,
    ImportancesRequest,
    Prompt,
    TokenizeAnswer,
    TokenizeRequest,
    Trust,
)
from backend.services import code, files
from backend.web.contract import file

router = APIRouter(prefix="/api/decompositions", tags=["workbench"], dependencies=[READ])


@router.post("/{id}/tokenize")
def tokenize(
    id: Id, request: TokenizeRequest, catalogue: CatalogueDep, prompts: PromptsDep
) -> TokenizeAnswer:
    """Token ids and pieces of a text, with warnings. Needs no model weights."""
    return prompts.tokenize(catalogue.get(id), request)


@router.post("/{id}/importances")
async def get_importances(
    id: Id, request: ImportancesRequest, catalogue: CatalogueDep, ablations: AblationsDep, client: ClientDep,
    wait: WaitingDep,
) -> Importances:  # fmt: skip
    """Causal importances of every component on a prompt, as sparse columns."""
    return await wait(ablations.importances(await catalogue.aget(id), request, client))


@router.post("/{id}/ablations")
async def ablate(
    id: Id, request: AblationRequest, catalogue: CatalogueDep, ablations: AblationsDep, client: ClientDep,
    wait: WaitingDep,
) -> Ablation:  # fmt: skip
    """Suppress (or keep only) components on a prompt and see the output probabilities move."""
    return await wait(ablations.ablate(await catalogue.aget(id), request, client))


@router.post("/{id}/trust")
async def get_trust(
    id: Id, request: Prompt, catalogue: CatalogueDep, ablations: AblationsDep, client: ClientDep,
    wait: WaitingDep,
) -> Trust:  # fmt: skip
    """How far the decomposition describes a prompt: its causal importances as masks beside everything off."""
    return await wait(ablations.trust(await catalogue.aget(id), request, client))


@router.post(
    "/{id}/code.{kind}", response_class=Response, responses=file("text/x-python", "application/x-ipynb+json")
)
def write_code(id: Id, kind: code.CodeKind, request: CodeRequest, catalogue: CatalogueDep) -> Response:
    """What is on screen as Python that computes it again: a script, or a notebook."""
    entry = catalogue.get(id)
    headers = files.disposition(entry.slug, "screen", kind)
    return Response(code.of_screen(entry, request, kind), media_type=files.MEDIA[kind], headers=headers)
