"""The rooms: the README's map is the tree, every room says what it is for and imports by itself, and the import rules
catch what they forbid."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = sorted(
    str(init.parent.relative_to(ROOT))
    for top in ("workers", "backend")
    for init in (ROOT / top).rglob("__init__.py")
    if init.parent != ROOT / top
)


def mapped() -> set[str]:
    """The folders that the README's map names."""
    block = (ROOT / "README.md").read_text(encoding="utf-8").split("## The rooms")[1].split("```")[1]
    rooms: set[str] = set()
    parent = ""
    for line in block.strip().splitlines():
        for name in re.findall(r"[\w/.]+/(?=\s)", re.split(r"\s{2,}", line.strip())[0] + " "):
            if line.startswith(" "):
                rooms.add(parent + name)
            else:
                parent = name
                rooms.add(name)
    return rooms


def test_the_map_in_the_readme_names_every_room_and_only_rooms_that_are_there() -> None:
    missing = {room for room in mapped() if not (ROOT / room).is_dir()}
    assert not missing
    unmapped = {room + "/" for room in ROOMS} - mapped()
    assert unmapped <= {"backend/db/migrations/", "backend/db/migrations/versions/"}, unmapped


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_says_what_it_is_for(room: str) -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8")))
    assert docstring, f"{room}/__init__.py has no docstring"


def test_each_module_of_the_method_imports_by_itself() -> None:
    """In any order: no module relies on another having been imported before it."""
    code = """
import importlib, pathlib, sys
import torch, transformers
for path in sorted(pathlib.Path("workers/spd").rglob("*.py")):
    for name in [name for name in sys.modules if name.startswith("workers")]:
        del sys.modules[name]
    importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("workers/spd/method/losses.py", "from workers.spd.run.decompose import decompose"),
        ("workers/spd/method/losses.py", "from workers.spd.ablation.edits import Edit"),
        ("workers/spd/targets/sites.py", "from workers.spd.prompts.batches import Batch"),
        ("workers/spd/run/storing.py", "import sqlalchemy"),
        ("workers/jobs/names.py", "from backend.settings import Settings"),
        ("backend/api/health.py", "from workers.spd.ablation.engine import AblationEngine"),
        ("backend/db/session.py", "from backend.services.files import CSV"),
    ],
)
def test_the_import_rules_catch_a_planted_violation(tmp_path: Path, module: str, line: str) -> None:
    for top in ("workers", "backend"):
        for path in (ROOT / top).rglob("*.py"):
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    planted = tmp_path / module
    planted.write_text(planted.read_text(encoding="utf-8") + f"\n\n{line}\n", encoding="utf-8")
    linter = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    done = subprocess.run(
        [sys.executable, "-c", linter], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "BROKEN" in done.stdout
