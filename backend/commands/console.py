"""What every command shares: its options, settings, where it prints, and how it ends when something is wrong."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from backend.settings import Settings

out = Console(
    width=None if sys.stdout.isatty() else 240
)  # a pipe or a file has no width that cells must be cut to
err = Console(stderr=True)

Home = Annotated[
    Path | None,
    typer.Option(
        help="Folder for database, decompositions, weights and jobs [default: $UNWEAVE_HOME or ~/.unweave]"
    ),
]
OTHER_HOME = "Name another with --home or UNWEAVE_HOME, or give this user the right to write there."
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:0 [default: $UNWEAVE_DEVICE or cpu]")]


def fail(message: str, code: int = 1) -> NoReturn:
    """End with a plain sentence on standard error."""
    err.print(f"[bold red]unweave:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def settings(**given: object) -> Settings:
    """Settings of the environment with what the command line gives on top. Ends with code 2 where they are wrong."""
    from pydantic import ValidationError

    try:
        made = Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        where, what = ".".join(str(step) for step in first["loc"]), first["msg"].removeprefix("Value error, ")
        fail(f"The setting {where} cannot be used: {what}." if where else f"{what}.", 2)
    made = made.model_copy(update={"home": made.home.expanduser().resolve()})
    _check_home(made.home)
    _check_device(made.device)
    return made


def _check_home(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"The home folder {home} cannot be made ({error.strerror}). {OTHER_HOME}", 2)
    if not os.access(home, os.W_OK | os.X_OK):
        fail(f"The home folder {home} cannot be written to. {OTHER_HOME}", 2)


def _check_device(device: str) -> None:
    if device == "cpu":
        return  # nothing heavy is imported to know that
    from workers.spd.targets.memory import DeviceError, check_device

    try:
        check_device(device)
    except DeviceError as error:
        fail(str(error), 2)
