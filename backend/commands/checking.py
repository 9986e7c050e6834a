"""Commands that check: a config before its run, findings against what the engine answers now."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backend.commands.console import Device, Home, fail, out, settings
from backend.commands.listing import AsJson, opened
from backend.services.container import Services
from backend.settings import Settings

WAIT_SECONDS = 1_800


def validate(
    config: Annotated[str, typer.Argument(help="A preset by name, or a .yaml file.")],
    model: Annotated[
        bool, typer.Option("--model", help="Also look at the model: whether every pattern matches a site.")
    ] = False,
    home: Home = None,
    device: Device = None,
) -> None:
    """Check a config without running it: its keys and values, and what gives reason to think again."""
    from backend.commands.new import NewError, look
    from backend.errors import ApiError
    from backend.services.review import review
    from workers.spd.config import ConfigError, load_config
    from workers.spd.config.cautions import cautions

    made = settings(home=home, device=device)
    try:
        loaded = load_config(config)
        notes = cautions(loaded)
        if model:
            found = review(loaded, look(loaded.target, made.home, made.device))
            notes = [*found.notes, f"{len(found.sites)} sites match."]
    except (ConfigError, NewError, ApiError) as error:
        fail(str(error), 2)
    for note in notes:
        out.print(note, highlight=False, soft_wrap=True, markup=False)
    out.print(f"“{loaded.name}” can be run: {loaded.steps:,} steps.", highlight=False)


def replay(
    slug: Annotated[str, typer.Argument(help="A finding, as `unweave findings` lists it.")],
    home: Home = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Compute a finding again and say how far the numbers are from the recorded ones. Exit code 1: they differ."""
    with opened(settings(home=home, device=device)) as services:
        answer = _replayed(services, slug)
        if as_json:
            print(answer.model_dump_json(indent=1))
        else:
            out.print(
                f"{answer.verdict}: {answer.explanation}", highlight=False, soft_wrap=True, markup=False
            )
    raise typer.Exit(answer.verdict == "different")


def verify(
    slugs: Annotated[list[str] | None, typer.Argument(help="Findings. By default all.")] = None,
    decomposition: Annotated[str | None, typer.Option(help="Only those about it.")] = None,
    home: Home = None,
    device: Device = None,
) -> None:
    """Compute findings again, all of them by default. Exit code 1: one differs, or cannot be computed."""
    from backend.errors import ApiError

    bad = 0
    with opened(settings(home=home, device=device)) as services:
        found = services.findings.every(decomposition=decomposition, featured=None, q=None)
        wanted = slugs or [finding.slug for finding in found]
        for slug in wanted:
            try:
                answer = _replayed(services, slug)
                verdict, why = answer.verdict, answer.explanation
            except ApiError as error:
                verdict, why = "not computed", error.message
            bad += verdict in ("different", "not computed")
            out.print(f"{slug}: {verdict}. {why}", highlight=False, soft_wrap=True, markup=False)
    if bad:
        fail(f"{bad} of {len(wanted)} findings differ or cannot be computed.")
    out.print(f"{len(wanted)} findings hold.", highlight=False)


def import_finding(made: Settings, path: Path) -> str:
    """Keep the finding of a .json file, computed here; its slug. Ends with a sentence where that cannot be."""
    from pydantic import ValidationError

    from backend.schemas.findings import FindingFile
    from backend.services.finding_imports import bring_in_now

    try:
        file = FindingFile.model_validate_json(path.read_bytes())
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror or error}.")
    except ValidationError as error:
        first = error.errors()[0]
        fail(f"{path} is not a finding: {'.'.join(map(str, first['loc']))}: {first['msg']}.")
    with opened(made) as services:
        entry = services.catalogue.get(file.artifact_hash)
        services.engines.wait(entry, WAIT_SECONDS)
        return bring_in_now(services.findings, entry, file).slug


def _replayed(services: Services, slug: str):
    """A finding computed again, its model loaded first. Raises ApiError."""
    finding = services.findings.get(slug)
    services.engines.wait(services.findings.entry_of(finding)[0], WAIT_SECONDS)
    return services.findings.replay_now(slug)
