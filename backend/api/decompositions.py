"""The gallery and one decomposition's overview and groups."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from backend.api.deps import CatalogueDep, EnginesDep, GalleryDep, HousekeepingDep
from backend.api.roles import ADMIN, READ, WRITE
from backend.schemas.common import Listing, TargetStatus
from backend.schemas.decompositions import (
    Decomposition,
    DecompositionListing,
    Dependents,
    Group,
    ShelfEdit,
)
from backend.services.groups import groups
from backend.web.contract import conflict

router = APIRouter(prefix="/api/decompositions", tags=["decompositions"], dependencies=[READ])

Id = Annotated[str, Path(max_length=200, description="readable slug or content hash")]


@router.get("")
def list_decompositions(gallery: GalleryDep) -> DecompositionListing:
    """Every decomposition that can be opened, shipped ones first."""
    return gallery.listing()


@router.get("/{id}")
def get_decomposition(id: Id, gallery: GalleryDep) -> Decomposition:
    """One decomposition with its evidence, sites, prompts and curves."""
    return gallery.view(id)


@router.get("/{id}/dependents")
def get_dependents(id: Id, catalogue: CatalogueDep, housekeeping: HousekeepingDep) -> Dependents:
    """What depends on a decomposition, and the disk it takes: to be shown before it is deleted."""
    return housekeeping.dependents(catalogue.get(id))


@router.patch("/{id}", dependencies=[WRITE])
def edit_decomposition(
    id: Id, edit: ShelfEdit, catalogue: CatalogueDep, gallery: GalleryDep, housekeeping: HousekeepingDep
) -> Decomposition:
    """Rename it, describe it, put it away or take it out again, on this server; the artefact stays as it is."""
    housekeeping.edit(catalogue.get(id), edit)
    return gallery.view(id)


@router.delete(
    "/{id}",
    status_code=204,
    dependencies=[ADMIN],
    responses=conflict("It comes with Unweave, or a job works on it"),
)
def delete_decomposition(id: Id, catalogue: CatalogueDep, housekeeping: HousekeepingDep) -> None:
    """Delete a decomposition with its harvests. Findings about it keep their numbers."""
    housekeeping.delete(catalogue.get(id))


@router.post("/{id}/target")
def load_target(id: Id, catalogue: CatalogueDep, engines: EnginesDep) -> TargetStatus:
    """Fetch and load the weights, again if that failed before. Answers at once; ask health how far it is."""
    return engines.want(catalogue.get(id), retry=True)


@router.get("/{id}/groups")
def list_groups(id: Id, catalogue: CatalogueDep) -> Listing[Group]:
    """Named sets of components, made from harvested statistics."""
    return groups(catalogue.get(id))
