"""The shareable record."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from backend.api.deps import FindingsDep
from backend.schemas.common import Listing
from backend.schemas.findings import Finding, FindingRequest, FindingSummary, Replay

router = APIRouter(prefix="/api/findings", tags=["findings"])

Slug = Annotated[str, Path(max_length=200)]


@router.post("", status_code=201)
async def create_finding(request: FindingRequest, findings: FindingsDep) -> Finding:
    """Compute what is asked and keep it, immutable, under a link of its own."""
    return await findings.create(request)


@router.get("")
def list_findings(
    findings: FindingsDep,
    decomposition: Annotated[str | None, Query(max_length=200)] = None,
    featured: bool | None = None,
    q: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=400)] = None,
) -> Listing[FindingSummary]:
    """Featured findings first, then the newest."""
    return findings.listing(decomposition=decomposition, featured=featured, q=q, limit=limit, cursor=cursor)


@router.get("/{slug}")
def get_finding(slug: Slug, findings: FindingsDep) -> Finding:
    """A finding as it was recorded. Needs no model weights."""
    return findings.get(slug)


@router.post("/{slug}/replay")
async def replay_finding(slug: Slug, findings: FindingsDep) -> Replay:
    """Compute a finding again and say how far the numbers are from the stored ones."""
    return await findings.replay(slug)
