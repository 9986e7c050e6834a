"""Pages of the site that come from the code: the library, the command line, the settings, and how to contribute."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import typer
from mkdocs.structure.files import File, Files
from pydantic_core import PydanticUndefined

import unweave
from backend.cli import app
from backend.settings import Settings

ROOT = Path(__file__).resolve().parents[1]


def on_config(config: Any) -> Any:
    """Every decision is in the menu, whatever their number."""
    decisions = sorted(path.name for path in (ROOT / "docs/adr").glob("*.md"))
    more = next(part["More"] for part in config.nav if isinstance(part, dict) and "More" in part)
    more[-1] = {"Decisions": [f"adr/{name}" for name in decisions]}
    return config


def on_files(files: Files, config: Any) -> Files:
    """The pages that no file holds."""
    pages = {
        "reference/python.md": library(),
        "reference/cli.md": "\n".join(commands()),
        "reference/settings.md": settings(),
        "contributing.md": contributing(),
    }
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def library() -> str:
    """Everything that `import unweave` gives, from its docstrings."""
    order = ["load", "connect", "connect_async", "decompose", "here"]
    rest = [name for name in unweave.__all__ if name not in order]
    places = [f"{getattr(unweave, name).__module__}.{name}" for name in [*order, *rest]]
    return "# Python\n\n" + "\n".join(f"::: {place}\n" for place in places)


def commands() -> Iterator[str]:
    """Every command with its help."""
    yield "# Command line\n"
    yield "Exit codes: 0 done; 1 it could not be done, or what was checked does not hold; 2 what was asked cannot be"
    yield "begun; 130 stopped. `unweave --install-completion` completes in your shell.\n"
    yield from _command(typer.main.get_command(app), "unweave", None)


def _command(command: Any, name: str, parent: Any) -> Iterator[str]:
    context = (
        click.Context(command, info_name=name, parent=parent, terminal_width=100) if parent is None else None
    )
    context = context or type(parent)(command, info_name=name.split()[-1], parent=parent, terminal_width=100)
    group = getattr(command, "commands", {})
    if not group:
        yield f"## {name}\n\n```text\n{command.get_help(context)}\n```\n"
    for part, inner in sorted(group.items()):
        yield from _command(inner, f"{name} {part}", context)


def settings() -> str:
    """Every setting with its default."""
    rows = ["| variable | default | |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        known = field.default is not PydanticUndefined and field.default is not None
        default = f"`{field.default}`" if known and not isinstance(field.default, Path) else ""
        rows.append(f"| `UNWEAVE_{name.upper()}` | {default} | {field.description} |")
    return (
        "# Settings\n\nFrom the environment; [configuration.md](../configuration.md) says more.\n\n"
        + "\n".join(rows)
    )


def contributing() -> str:
    """CONTRIBUTING.md, whose links lead into the repository."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return re.sub(r"\[([^\]]+)\]\((?!http)[^)]+\)", r"\1", text)
