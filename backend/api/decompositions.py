"""The gallery and one decomposition's overview, groups and components."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse

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
from backend.services import files
from backend.services.groups import groups

router = APIRouter(prefix="/api/decompositions", tags=["decompositions"])

COMPONENT_HEADS = [f"{name} [nats]" if name == "effect" else name for name in ComponentRow.model_fields]

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


@router.get("/{id}/components.{kind}", response_class=StreamingResponse)
def export_components(
    id: Id,
    kind: files.FileKind,
    catalogue: CatalogueDep,
    components: ComponentsDep,
    site: Annotated[str | None, Query(max_length=300)] = None,
    q: Annotated[str | None, Query(max_length=200)] = None,
    sort: ComponentSort = "key",
    order: Literal["asc", "desc"] = "asc",
    alive: bool | None = None,
) -> StreamingResponse:
    """The same list whole, as a file: CSV with its provenance in a first comment line, or JSON."""
    entry = catalogue.get(id)
    found = components.every(entry, site=site, q=q, sort=sort, order=order, alive=alive)
    rows = (row.model_dump() for row in itertools.chain(list(itertools.islice(found, 1)), found))
    facts = files.facts(entry.provenance())
    if kind == "json":
        text = files.json_text(facts, rows)
    else:
        guarded = ({**row, "label": files.typed(row["label"])} for row in rows)
        text = files.csv_text(facts, COMPONENT_HEADS, guarded)
    named = files.disposition(entry.slug, "components", kind)
    return StreamingResponse(text, media_type=files.MEDIA[kind], headers=named)


@router.get("/{id}/components/{key}")
def get_component(
    id: Id,
    key: Annotated[str, Path(max_length=300)],
    catalogue: CatalogueDep,
    components: ComponentsDep,
) -> ComponentDetail:
    """One component's page: where it fires and what it reads and writes."""
    return components.detail(catalogue.get(id), key)
