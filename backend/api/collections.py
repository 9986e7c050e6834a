"""Named lists of findings."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from backend.api.deps import CollectionsDep
from backend.api.roles import READ, WRITE, ChangeDep
from backend.schemas.collections import Collection, CollectionRequest, CollectionSummary
from backend.schemas.common import CURSOR, Listing

router = APIRouter(prefix="/api/collections", tags=["findings"], dependencies=[READ])


@router.post("", status_code=201, dependencies=[WRITE])
def create_collection(
    request: CollectionRequest, collections: CollectionsDep, change: ChangeDep
) -> Collection:
    """Keep a list of findings under a link of its own, immutable as they are."""
    made = collections.create(request)
    change.made(made.slug)
    return made


@router.get("")
def list_collections(
    collections: CollectionsDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=400, json_schema_extra=CURSOR)] = None,
) -> Listing[CollectionSummary]:
    """The newest first."""
    return collections.listing(limit=limit, cursor=cursor)


@router.get("/{slug}")
def get_collection(slug: Annotated[str, Path(max_length=200)], collections: CollectionsDep) -> Collection:
    """One collection with its findings, in order."""
    return collections.get(slug)
