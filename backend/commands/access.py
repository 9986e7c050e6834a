"""`unweave tokens` and `unweave audit`: who may do what on a server, and who changed what."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from backend.commands.console import Home, fail, out, settings
from backend.commands.listing import AsJson, show
from backend.settings import Settings

BY = "the command line"

tokens = typer.Typer(
    help="Access tokens: create, list, revoke (docs/access.md).", no_args_is_help=True, rich_markup_mode=None
)


@tokens.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is, or what uses it.")],
    role: Annotated[
        str,
        typer.Option(help="read: look and ablate; write: also findings, labels, jobs; admin: everything."),
    ] = "read",
    days: Annotated[int | None, typer.Option(min=1, help="Until it expires [default: never]")] = None,
    home: Home = None,
) -> None:
    """Make an access token and print it. It is not stored, and cannot be shown again."""
    from pydantic import ValidationError

    from backend.errors import ApiError, from_validation
    from backend.schemas.access import AccessTokenRequest

    made = settings(home=home)
    try:
        request = AccessTokenRequest.model_validate({"name": name, "role": role, "days": days})
        visitors = _visitors(made)
        token = visitors.tokens.create(request)
    except ValidationError as error:
        fail(from_validation(list[Any](error.errors())).message, 2)
    except ApiError as error:
        fail(error.message, 2)
    visitors.audit.write(BY, "create_token", f"{token.id} ({token.name}, {token.role})")
    print(token.secret)  # alone on standard output, so that a script can take it


@tokens.command("list")
def list_tokens(home: Home = None, as_json: AsJson = False) -> None:
    """List access tokens: id, name, role, when they expire and were last used."""
    found = _visitors(settings(home=home)).tokens.listing()
    if as_json:
        show(found, (), as_json=True)
        return
    table = Table("id", "name", "role", "expires", "last used", box=None, pad_edge=False)
    for token in found:
        expires = "expired" if token.expired else _day(token.expires_at)
        table.add_row(token.id, escape(token.name), token.role, expires, _day(token.last_used_at))
    out.print(table)


@tokens.command()
def revoke(
    id: Annotated[str, typer.Argument(help="Id of a token, as `unweave tokens list` shows it.")],
    home: Home = None,
) -> None:
    """Take an access token away. Whoever uses it is out within seconds, browsers too."""
    from backend.errors import ApiError

    visitors = _visitors(settings(home=home))
    try:
        gone = visitors.tokens.revoke(id)
    except ApiError as error:
        fail(error.message)
    visitors.audit.write(BY, "revoke_token", f"{gone.id} ({gone.name}, {gone.role})")
    out.print(f"Revoked the token of “{gone.name}”.", highlight=False, markup=False)


def audit(
    search: Annotated[
        str | None, typer.Argument(help="Only lines with this in who, action or subject.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many lines, the newest first.")] = 50,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show who changed what."""
    found = _visitors(settings(home=home)).audit.listing(limit=limit, q=search).items
    if as_json:
        show(found, (), as_json=True)
        return
    table = Table("when (UTC)", "who", "action", "subject", "from", box=None, pad_edge=False)
    for entry in found:
        what = (entry.who, entry.action, entry.subject, entry.address)
        table.add_row(f"{entry.at:%Y-%m-%d %H:%M:%S}", *(escape(text) for text in what))
    out.print(table)


def record(made: Settings, action: str, subject: str) -> None:
    """Add a line to the audit for what another command has changed."""
    _visitors(made).audit.write(BY, action, subject)


def _visitors(made: Settings):
    """The service over this home's database. Ends with a sentence where that cannot be used."""
    from backend.db.session import Database, DatabaseError
    from backend.services.access.proxy import ProxyError
    from backend.services.access.visitors import Visitors

    try:
        database = Database(made.url)
        database.migrate()
        return Visitors(made, database)
    except (DatabaseError, ProxyError) as error:
        fail(str(error))


def _day(when: datetime | None) -> str:
    return "never" if when is None else f"{when:%Y-%m-%d %H:%M}"
