"""The shareable record."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response, StreamingResponse

from backend.api.deps import FindingsDep
from backend.api.roles import LINK, READ, WRITE, ChangeDep
from backend.schemas.common import CURSOR, Listing
from backend.schemas.findings import Finding, FindingRequest, FindingSummary, Replay
from backend.services import files, finding_files
from backend.web.caching import KEEP_A_WHILE
from backend.web.contract import file, missing

router = APIRouter(prefix="/api/findings", tags=["findings"])

Slug = Annotated[str, Path(max_length=200, json_schema_extra={"pattern": "^[^.]*$"})]


@router.post("", status_code=201, dependencies=[WRITE], responses=missing("There is no such decomposition"))
async def create_finding(request: FindingRequest, findings: FindingsDep, change: ChangeDep) -> Finding:
    """Compute what is asked and keep it, immutable, under a link of its own."""
    made = await findings.create(request)
    change.made(made.slug)
    return made


@router.get("", dependencies=[READ])
def list_findings(
    findings: FindingsDep,
    decomposition: Annotated[str | None, Query(max_length=200)] = None,
    featured: bool | None = None,
    q: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=400, json_schema_extra=CURSOR)] = None,
) -> Listing[FindingSummary]:
    """Featured findings first, then the newest."""
    return findings.listing(decomposition=decomposition, featured=featured, q=q, limit=limit, cursor=cursor)


@router.get(
    ".{kind}",
    response_class=StreamingResponse,
    dependencies=[READ],
    responses=file("text/csv", "application/json"),
)
def export_findings(
    kind: files.FileKind,
    findings: FindingsDep,
    decomposition: Annotated[str | None, Query(max_length=200)] = None,
    featured: bool | None = None,
    q: Annotated[str | None, Query(max_length=200)] = None,
) -> StreamingResponse:
    """The same list whole, as a file."""
    found = findings.every(decomposition=decomposition, featured=featured, q=q)
    rows = map(finding_files.list_row, found)
    facts = {"what": "findings", "decomposition": decomposition, "search": q}
    text = (
        files.csv_text(
            facts, finding_files.LIST_HEADS, (files.guarded(row, ["title", "claim"]) for row in rows)
        )
        if kind == "csv"
        else files.json_text(facts, rows)
    )
    named = files.disposition("unweave", "findings", kind)
    return StreamingResponse(text, media_type=files.MEDIA[kind], headers=named)


@router.get(
    "/{slug}.{kind}",
    response_class=Response,
    dependencies=[LINK],
    responses=file("text/csv", "application/json", "text/markdown"),
)
def export_finding(slug: Slug, kind: files.FindingKind, findings: FindingsDep) -> Response:
    """A finding as a file: its numbers as CSV, the whole record as JSON, or Markdown to read."""
    found = findings.get(slug)
    if kind == "md":
        text = finding_files.markdown(found)
    elif kind == "json":
        text = found.model_dump_json(indent=1) + "\n"
    else:
        facts = {**files.facts(found.provenance), "finding": slug}
        text = "".join(files.csv_text(facts, finding_files.HEADS, finding_files.rows(found)))
    headers = {**files.disposition(slug, "finding", kind), "Cache-Control": KEEP_A_WHILE}
    return Response(text, media_type=files.MEDIA[kind], headers=headers)


@router.get("/{slug}", dependencies=[LINK])
def get_finding(slug: Slug, findings: FindingsDep, response: Response) -> Finding:
    """A finding as it was recorded. Needs no model weights."""
    found = findings.get(slug)
    response.headers["Cache-Control"] = KEEP_A_WHILE
    return found


@router.post("/{slug}/replay", dependencies=[READ])
async def replay_finding(slug: Slug, findings: FindingsDep) -> Replay:
    """Compute a finding again and say how far the numbers are from the stored ones."""
    return await findings.replay(slug)
