"""Named sets of components, from harvested statistics."""

from __future__ import annotations

from backend.schemas.common import Listing
from backend.schemas.decompositions import Group
from backend.services.entries import Entry


def groups(entry: Entry) -> Listing[Group]:
    """Every group of a decomposition, in the order the harvest gave them."""
    items = [Group(**group.model_dump()) for group in entry.artifact.groups]
    return Listing[Group](items=items, total=len(items))
