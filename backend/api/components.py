"""Components of a decomposition: the table, one component's page, its label, and what it does on any text."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse

from backend.api.decompositions import Id
from backend.api.deps import (
    AblationsDep,
    CatalogueDep,
    ClientDep,
    ComponentsDep,
    HarvestsDep,
    JobsDep,
    LabelsDep,
    WaitingDep,
)
from backend.api.roles import READ, WRITE, ChangeDep, VisitorDep
from backend.schemas.common import KEY, Listing
from backend.schemas.components import (
    ComponentTrace,
    HarvestRequest,
    HarvestSummary,
    LabelEdit,
    LabelHistory,
    TryRequest,
)
from backend.schemas.decompositions import ComponentDetail, ComponentRow, ComponentSort
from backend.schemas.jobs import Job
from backend.services import files
from backend.web.contract import conflict, file

router = APIRouter(prefix="/api/decompositions/{id}", tags=["components"], dependencies=[READ])

COMPONENT_HEADS = [f"{name} [nats]" if name == "effect" else name for name in ComponentRow.model_fields]

Key = Annotated[str, Path(max_length=300, json_schema_extra=KEY)]
Site = Annotated[str | None, Query(max_length=300)]
Search = Annotated[str | None, Query(max_length=200, description="matches labels, tokens and keys")]
Order = Literal["asc", "desc"]


@router.get("/components")
def list_components(
    id: Id,
    catalogue: CatalogueDep,
    components: ComponentsDep,
    site: Site = None,
    q: Search = None,
    sort: ComponentSort = "key",
    order: Order = "asc",
    alive: bool | None = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    cursor: Annotated[str | None, Query(max_length=400)] = None,
    offset: Annotated[
        int | None, Query(ge=0, le=10_000_000, description="instead of a cursor: how many to pass over")
    ] = None,
) -> Listing[ComponentRow]:
    """Components, filtered, sorted and paged by the server."""
    return components.listing(
        catalogue.get(id), site=site, q=q, sort=sort, order=order, alive=alive, limit=limit, cursor=cursor,
        offset=offset,
    )  # fmt: skip


@router.get(
    "/components.{kind}", response_class=StreamingResponse, responses=file("text/csv", "application/json")
)
def export_components(
    id: Id,
    kind: files.FileKind,
    catalogue: CatalogueDep,
    components: ComponentsDep,
    site: Site = None,
    q: Search = None,
    sort: ComponentSort = "key",
    order: Order = "asc",
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
        text = files.csv_text(facts, COMPONENT_HEADS, (files.guarded(row, ["label"]) for row in rows))
    named = files.disposition(entry.slug, "components", kind)
    return StreamingResponse(text, media_type=files.MEDIA[kind], headers=named)


@router.get("/components/{key}")
def get_component(
    id: Id,
    key: Key,
    catalogue: CatalogueDep,
    components: ComponentsDep,
    harvest: Annotated[
        str | None, Query(max_length=200, description="id of a harvest; the newest where none is named")
    ] = None,
    site: Site = None,
    q: Search = None,
    sort: ComponentSort = "key",
    order: Order = "asc",
    alive: bool | None = None,
) -> ComponentDetail:
    """One component's page: where it fires, what it reads and writes, what suppressing it does. `previous` and `next`
    follow the list that `site`, `q`, `sort`, `order` and `alive` name."""
    return components.detail(
        catalogue.get(id), key, harvest=harvest, site=site, q=q, sort=sort, order=order, alive=alive
    )


@router.post("/components/{key}/try")
async def try_component(
    id: Id, key: Key, request: TryRequest, catalogue: CatalogueDep, ablations: AblationsDep, client: ClientDep,
    wait: WaitingDep,
) -> ComponentTrace:  # fmt: skip
    """This component's CI and inner activation at every token of any text."""
    return await wait(ablations.trace(await catalogue.aget(id), key, request, client))


@router.get("/components/{key}/labels")
def list_labels(id: Id, key: Key, catalogue: CatalogueDep, labels: LabelsDep) -> LabelHistory:
    """Every version of a component's label, the newest first."""
    return labels.history(catalogue.get(id), key)


@router.put(
    "/components/{key}/label",
    dependencies=[WRITE],
    responses=conflict("There is a newer version of the label"),
)
def edit_label(id: Id, key: Key, edit: LabelEdit, catalogue: CatalogueDep, labels: LabelsDep) -> LabelHistory:
    """Give a component another label, as a new version; `text` null goes back to the automatic one."""
    return labels.edit(catalogue.get(id), key, edit)


@router.get("/harvests")
def list_harvests(id: Id, catalogue: CatalogueDep, harvests: HarvestsDep) -> Listing[HarvestSummary]:
    """Statistics over corpora that there are of this decomposition, the newest first."""
    return harvests.listing(catalogue.get(id))


@router.post(
    "/harvests",
    status_code=201,
    dependencies=[WRITE],
    responses=conflict("A harvest of it waits or runs already"),
)
def create_harvest(
    id: Id,
    request: HarvestRequest,
    catalogue: CatalogueDep,
    jobs: JobsDep,
    who: VisitorDep,
    change: ChangeDep,
) -> Job:
    """Put a harvest over a corpus in the queue."""
    job = jobs.create_harvest(catalogue.get(id), request, anywhere=who.may("admin"))
    change.made(job.id)
    return job
