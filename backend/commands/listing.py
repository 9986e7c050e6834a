"""Commands that list what there is: a table to read, or with --json the API's own rows, one array."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel
from rich.markup import escape
from rich.table import Table

from backend.commands.console import Home, err, fail, out, settings
from backend.settings import Settings

if TYPE_CHECKING:
    from backend.services.container import Services

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one array of objects.")]
Search = Annotated[str | None, typer.Option("--search", help="Only those with this text.")]


@contextmanager
def opened(made: Settings) -> Generator[Services]:
    """The services over a home folder, no weights loaded. Ends with a sentence where they cannot be used, or where
    what is asked of them cannot be done."""
    from backend.db.session import DatabaseError
    from backend.errors import ApiError
    from backend.services import container
    from backend.services.access.proxy import ProxyError

    services = container.build(made.model_copy(update={"load_engines": False}))
    try:
        services.start()
        yield services
    except (ApiError, DatabaseError, ProxyError) as error:
        fail(str(error))
    finally:
        services.close()


def show(rows: Iterable[BaseModel], heads: Sequence[str], *, as_json: bool) -> None:
    """Rows as a table of some of their fields, or whole as JSON."""
    if as_json:
        print(json.dumps([row.model_dump(mode="json") for row in rows], ensure_ascii=False, indent=1))
        return
    table = Table(box=None, pad_edge=False)
    for number, head in enumerate(heads):
        table.add_column(
            head.replace("_", " "), no_wrap=number == 0
        )  # what other commands take is shown whole
    for row in rows:
        table.add_row(*(_cell(getattr(row, head)) for head in heads))
    out.print(table)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return escape(", ".join(map(str, value)))  # pyright: ignore[reportUnknownArgumentType]
    return "" if value is None else escape(f"{value:,}" if isinstance(value, int) else str(value))


def list_decompositions(
    tag: Annotated[str | None, typer.Option(help="Only those that were given this tag.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List the decompositions that can be opened."""
    with opened(settings(home=home)) as services:
        found = services.gallery.listing()
        items = [item for item in found.items if tag is None or tag in item.tags]
        show(items, ("id", "title", "components", "alive", "shipped", "tags"), as_json=as_json)
        for warning in found.warnings:
            err.print(warning, highlight=False, markup=False)


def presets(home: Home = None, as_json: AsJson = False) -> None:
    """List the presets that `decompose` takes by name."""
    with opened(settings(home=home)) as services:
        show(services.jobs.presets().items, ("name", "title", "minutes"), as_json=as_json)


def jobs(
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, the newest first.")] = 50,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List jobs: what runs, waits and has ended."""
    with opened(settings(home=home)) as services:
        found = services.jobs.listing(limit=limit, cursor=None)
        show(found.items, ("id", "kind", "name", "state", "progress", "error"), as_json=as_json)


def components(
    id: Annotated[str, typer.Argument(help="Slug or content hash of a decomposition.")],
    search: Search = None,
    site: Annotated[str | None, typer.Option(help="Only those of this site.")] = None,
    alive: Annotated[bool | None, typer.Option("--alive/--dead", help="Only these. By default all.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List the components of a decomposition, those with the largest mean CI first."""
    with opened(settings(home=home)) as services:
        entry = services.catalogue.get(id)
        rows = services.components.every(
            entry, site=site, q=search, sort="mean_ci", order="desc", alive=alive
        )
        show(rows, ("key", "label", "alive", "mean_ci", "max_ci", "effect"), as_json=as_json)


def findings(
    search: Search = None,
    decomposition: Annotated[str | None, typer.Option(help="Only those about it.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List findings, featured ones first, then the newest."""
    with opened(settings(home=home)) as services:
        rows = services.findings.every(decomposition=decomposition, featured=None, q=search)
        show(rows, ("slug", "title", "decomposition", "featured"), as_json=as_json)
