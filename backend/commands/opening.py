"""`unweave open`: a decomposition in the browser, its server started where none runs."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path
from typing import Annotated
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

import typer

from backend.commands.console import Device, Home, fail, out, settings


def open_page(
    run: Annotated[
        str,
        typer.Argument(
            help="A decomposition: its slug, its folder or zip, or owner/name on the Hugging Face hub."
        ),
    ],
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Port [default: 8000]")] = None,
    home: Home = None,
    device: Device = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it in a browser.")] = True,
) -> None:
    """Open a decomposition's page. What is elsewhere is imported first; a server that runs already is used."""
    from backend.commands.exchange import ExchangeError, bring_in
    from backend.commands.hub import pull, pulled
    from backend.web.serving import StartError, run_server

    made = settings(host="127.0.0.1", port=port, home=home, device=device)
    try:
        if Path(run).expanduser().exists():
            brought = bring_in(Path(run), made.home, replace=False, most_bytes=made.max_import_bytes)
            run = brought.artifact.path.name
        elif "/" in run:
            fetched = pulled(run, made.home)
            run = (
                fetched or pull(run, made.home, replace=False, most_bytes=made.max_import_bytes).artifact.hash
            )
        url = f"http://127.0.0.1:{made.port}{made.root_path}/d/{quote(run, safe='')}"

        def show() -> None:
            out.print(url, highlight=False, soft_wrap=True)
            if browser:
                webbrowser.open(url)

        if _is_ours(made.port):
            show()
        else:
            run_server(made, worker=True, console=out, then=show)
    except (ExchangeError, StartError) as error:
        fail(str(error), 1 if isinstance(error, ExchangeError) else 2)


def _is_ours(port: int) -> bool:
    """Whether Unweave answers there."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/api/health", timeout=2) as answer:
            return "workers" in json.load(answer)
    except (URLError, OSError, ValueError):
        return False
