"""The shareable record."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response, StreamingResponse

from backend.api.deps import CatalogueDep, FindingsDep
from backend.api.roles import LINK, READ, WRITE, ChangeDep
from backend.schemas.common import CURSOR, Listing
from backend.schemas.findings import Finding, FindingFile, FindingRequest, FindingSummary, Replay
from backend.services import code, files, finding_files, finding_html, finding_imports
from backend.web.caching import KEEP_A_WHILE
from backend.web.contract import file, missing
from backend.web.embeds import site

router = APIRouter(prefix="/api/findings", tags=["findings"])

Slug = Annotated[str, Path(max_length=200, json_schema_extra={"pattern": "^[^.]*$"})]


@router.post("", status_code=201, dependencies=[WRITE], responses=missing("There is no such decomposition"))
async def create_finding(request: FindingRequest, findings: FindingsDep, change: ChangeDep) -> Finding:
    """Compute what is asked and keep it, immutable, under a link of its own."""
    made = await findings.create(request)
    change.made(made.slug)
    return made


@router.post(
    "/import", status_code=201, dependencies=[WRITE], responses=missing("Its decomposition is not here")
)
async def import_finding(file: FindingFile, findings: FindingsDep, change: ChangeDep) -> Finding:
    """Bring in a finding that another server exported (`.json`). It is computed here and refused where the numbers
    differ; once more, it is the same finding."""
    made = await finding_imports.bring_in(findings, file)
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
    responses=file(
        "text/csv", "application/json", "text/markdown", "text/html", "text/plain", "text/x-python"
    ),
)
def export_finding(
    slug: Slug, kind: files.FindingKind, findings: FindingsDep, catalogue: CatalogueDep, request: Request
) -> Response:
    """A finding as a file: its numbers as CSV, the whole record as JSON, Markdown, one HTML page or BibTeX, or the
    Python (script or notebook) that computes it again."""
    found, base = findings.get(slug), site(request, catalogue.settings.root_path)
    match kind:
        case "md":
            text = finding_files.markdown(found)
        case "html":
            text = finding_html.page(found, base, whole=True)
        case "bib":
            text = finding_files.bibtex(found, base)
        case "py" | "ipynb":
            text = code.of_finding(found, findings.groups_of(found), kind)
        case "json":
            text = found.model_dump_json(indent=1) + "\n"
        case "csv":
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
