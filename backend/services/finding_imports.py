"""Findings from another server: computed here, kept where the numbers agree."""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import ValidationError

from backend.errors import ApiError, from_validation, invalid
from backend.schemas.findings import Finding, FindingFile, FindingRequest
from backend.services import sentences
from backend.services.entries import Entry
from backend.services.findings import CLOSE, Findings, difference


async def bring_in(findings: Findings, file: FindingFile) -> Finding:
    """Keep a finding that another server exported, as computed here. Raises ApiError: 404 without its decomposition,
    422 where the numbers differ."""
    entry = await findings.catalogue.aget(file.artifact_hash)
    return await findings.pool.run(lambda: bring_in_now(findings, entry, file))


def bring_in_now(findings: Findings, entry: Entry, file: FindingFile) -> Finding:
    """The same, in the calling thread. What was brought in before is found again."""
    request = _request(file)
    content = hashlib.sha256(request.model_dump_json().encode()).hexdigest()
    for slug in (file.slug, f"{file.slug[:180]}-{content[:8]}"):
        try:
            here = findings.get(slug)
        except ApiError:
            return _computed(findings, entry, file, request, slug)
        if _request(here) == request:
            return here
    raise ApiError(409, "slug_taken", f"There is another finding under the link of “{file.title[:80]}”.")


def _computed(
    findings: Findings, entry: Entry, file: FindingFile, request: FindingRequest, slug: str
) -> Finding:
    made = findings.compose(entry, request, slug)
    stored, now = ([one.result for one in of.results] for of in (file, made))
    apart = max(map(difference, stored, now))
    if apart > CLOSE:
        raise invalid(
            "finding_differs",
            f"Computed here, a probability differs by {sentences.probability(apart)} from what the file says; the "
            "finding was not kept.",
            max_probability_difference=apart,
        )
    return findings.keep(made.model_copy(update={"created_at": file.created_at}), featured=False)


def _request(record: FindingFile | Finding) -> FindingRequest:
    """What a record was asked. Raises ApiError 422 for what no finding can be asked."""
    try:
        return FindingRequest(
            decomposition=record.artifact_hash,
            title=record.title,
            claim=record.claim,
            notes=record.notes,
            groups=record.groups,
            focus=record.focus,
            ablations=[stored.request for stored in record.results],
        )
    except ValidationError as error:
        raise from_validation(list[Any](error.errors())) from None
