"""`python -m backend.commands.feature [SLUG …]`: compute the featured findings of backend/featured/specs.yaml with the
real engine and write them beside it. The numbers in a featured finding come from here and from nowhere else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from backend.errors import ApiError
from backend.schemas.findings import FindingRecord, FindingRequest
from backend.schemas.workbench import AblationRequest, Suppression
from backend.services import container
from backend.services.claims import Expectation, contradictions
from backend.services.container import Services
from backend.services.entries import Entry
from backend.settings import FEATURED, Settings
from workers.spd.artifact import write_json

WAIT_SECONDS = 1_800


class Spec(BaseModel):
    """One featured finding as it is written down: prompts and group names, no numbers."""

    model_config = ConfigDict(extra="forbid")

    slug: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    decomposition: str
    title: str
    claim: str = ""
    notes: str = ""
    groups: list[str] = []
    components: list[str] = Field(
        default=[], description="keys, chosen by their effect, beside those of the groups"
    )
    bos: bool = False
    watch: list[str] = []
    top_k: int = 10
    prompts: list[str] = Field(min_length=1)
    expect: list[Expectation] = Field(
        default=[], description="what the claim says in numbers; the record is refused where it is otherwise"
    )
    kl_at_most: float | None = Field(default=None, ge=0, description="nats, self-check included")


def read_specs(path: Path) -> list[Spec]:
    """The specs of a file. Raises pydantic's ValidationError where one is wrong."""
    data: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [Spec.model_validate(item) for item in data]


def request(spec: Spec, entry: Entry) -> FindingRequest:
    """A spec with its groups as components. Raises KeyError naming a group the harvest does not have."""
    groups = {group.name: group.components for group in entry.artifact.groups}
    keys = list(dict.fromkeys([*(key for name in spec.groups for key in groups[name]), *spec.components]))
    components = [Suppression(key=key) for key in keys]
    return FindingRequest(
        decomposition=spec.decomposition,
        title=spec.title,
        claim=spec.claim,
        notes=spec.notes,
        groups=spec.groups,
        ablations=[
            AblationRequest(
                text=text, bos=spec.bos, components=components, watch=[*spec.watch], top_k=spec.top_k
            )
            for text in spec.prompts
        ],
    )


def compute(spec: Spec, services: Services) -> FindingRecord:
    """The record of a spec, computed now. Raises ApiError where it cannot be."""
    entry = services.catalogue.get(spec.decomposition)
    services.engines.wait(entry, WAIT_SECONDS)
    return services.findings.compose(entry, request(spec, entry), slug=spec.slug)


def main() -> int:
    """Write the named findings, or all; 1 where one could not be computed, or its numbers contradict its claim."""
    wanted = set(sys.argv[1:])
    settings = Settings(load_engines=False)
    services = container.build(settings)
    services.start()
    failed = False
    for spec in reversed(read_specs(FEATURED / "specs.yaml")):  # the list shows the newest first
        if wanted and spec.slug not in wanted:
            continue
        try:
            record = compute(spec, services)
        except (ApiError, KeyError) as error:
            print(f"{spec.slug}: {error}", file=sys.stderr)
            failed = True
            continue
        if wrong := contradictions(record, spec.expect, spec.kl_at_most):
            print(f"{spec.slug}: the claim does not hold. {' '.join(wrong)}", file=sys.stderr)
            failed = True
            continue
        write_json(FEATURED / f"{spec.slug}.json", record.model_dump(mode="json"))
        print(f"{spec.slug}:")
        for line in record.summary:
            print(f"  {line}")
    services.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
