"""The site of the documentation: built without a warning, with every page in its menu and the references complete."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

import unweave
from backend.cli import app
from backend.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_holds_everything(tmp_path: Path) -> None:
    build = ["-m", "mkdocs", "build", "--quiet", "--strict", "--config-file", ".ci/mkdocs.yml", "--site-dir"]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "backend/library")])
    done = subprocess.run(
        [sys.executable, *build, str(tmp_path)],
        cwd=ROOT, check=False, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": paths, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr.strip()
    home = (tmp_path / "index.html").read_text(encoding="utf-8")
    menu = set(re.findall(r'<a href="([^"#]+)" class="md-nav__link"', home))
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    named = {str(page).replace("README.html", "index.html") for page in pages}
    assert named - menu <= {"index.html"}

    def page(name: str) -> str:
        return html.unescape((tmp_path / f"reference/{name}.html").read_text(encoding="utf-8"))

    python, commands, settings = page("python"), page("cli"), page("settings")
    assert not [name for name in unweave.__all__ if f".{name}" not in python]
    assert not [name for name in Settings.model_fields if f"UNWEAVE_{name.upper()}" not in settings]
    root: Any = typer.main.get_command(app)
    assert not [name for name in root.commands if f"unweave {name}" not in commands]
    assert not re.search(r'(?:src|href)="(?:https?:)?//[^"]*(?:font|cdn|unpkg)', home), (
        "it loads nothing from elsewhere"
    )
