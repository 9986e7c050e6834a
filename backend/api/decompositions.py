"""The gallery and one decomposition's overview, groups and components."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query

from backend.api.deps import CatalogueDep, ComponentsDep, EnginesDep, GalleryDep
from backend.schemas.common import Listing, TargetStatus
from backend.schemas.decompositions import (
    ComponentDetail,
    ComponentRow,
    ComponentSort,
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


@router.get("/{id}/components")
def list_components(
    id: Id,
    catalogue: CatalogueDep,
    components: ComponentsDep,
    site: Annotated[str | None, Query(max_length=300)] = None,
    q: Annotated[str | None, Query(max_length=200, description="matches labels, tokens and keys")] = None,
    sort: ComponentSort = "key",
    order: Literal["asc", "desc"] = "asc",
    alive: bool | None = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    cursor: Annotated[str | None, Query(max_length=400)] = None,
) -> Listing[ComponentRow]:
    """Components, filtered, sorted and paged by the server."""
    return components.listing(
        catalogue.get(id), site=site, q=q, sort=sort, order=order, alive=alive, limit=limit, cursor=cursor
    )


@router.get("/{id}/components/{key}")
def get_component(
    id: Id,
    key: Annotated[str, Path(max_length=300)],
    catalogue: CatalogueDep,
    components: ComponentsDep,
) -> ComponentDetail:
    """One component's page: where it fires and what it reads and writes."""
    return components.detail(catalogue.get(id), key)
