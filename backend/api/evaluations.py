"""Evaluations of a decomposition: every method on the same facts (docs/evidence.md)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from backend.api.decompositions import Id
from backend.api.deps import CatalogueDep, EvaluationsDep
from backend.api.roles import READ
from backend.schemas.common import Listing
from backend.schemas.evaluations import EvaluationSummary
from workers.spd.comparison.stored import Evaluation

router = APIRouter(prefix="/api/decompositions/{id}", tags=["evaluations"], dependencies=[READ])


@router.get("/evaluations")
def list_evaluations(
    id: Id, catalogue: CatalogueDep, evaluations: EvaluationsDep
) -> Listing[EvaluationSummary]:
    """Stored evaluations of a decomposition, the newest first."""
    return evaluations.listing(catalogue.get(id))


@router.get("/evaluations/{evaluation}")
def get_evaluation(
    id: Id,
    evaluation: Annotated[str, Path(max_length=64, description="its id, or “latest”")],
    catalogue: CatalogueDep,
    evaluations: EvaluationsDep,
) -> Evaluation:
    """One of them whole: every method on every fact, and the summary."""
    return evaluations.get(catalogue.get(id), evaluation)
