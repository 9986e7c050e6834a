"""The gallery and one decomposition's overview and groups."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from backend.api.deps import CatalogueDep, EnginesDep, GalleryDep
from backend.schemas.common import Listing, TargetStatus
from backend.schemas.decompositions import (
    Decomposition,
    DecompositionListing,
    Group,
)
from backend.services.groups import groups

router = APIRouter(prefix="/api/decompositions", tags=["decompositions"])

Id = Annotated[str, Path(max_length=200, description="readable slug or content hash")]


@router.get("")
def list_decompositions(gallery: GalleryDep) -> DecompositionListing:
    """Every decomposition that can be opened, shipped ones first."""
    return gallery.listing()


@router.get("/{id}")
def get_decomposition(id: Id, gallery: GalleryDep) -> Decomposition:
    """One decomposition with its evidence, sites, prompts and curves."""
    return gallery.view(id)


@router.post("/{id}/target")
def load_target(id: Id, catalogue: CatalogueDep, engines: EnginesDep) -> TargetStatus:
    """Fetch and load the weights, again if that failed before. Answers at once; ask health how far it is."""
    return engines.want(catalogue.get(id), retry=True)


@router.get("/{id}/groups")
def list_groups(id: Id, catalogue: CatalogueDep) -> Listing[Group]:
    """Named sets of components, made from harvested statistics."""
    return groups(catalogue.get(id))
