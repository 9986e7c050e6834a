"""The rooms: the README's map is the tree, every room says what it is for and imports by itself, and the import rules
catch what they forbid."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
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


def test_no_module_needs_another_imported_before_it() -> None:
    """No circle of imports, in whatever order they are first asked for."""
    graph = grimp.build_graph("workers", "backend", exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert "workers.spd.ablation.edits" in imports["workers.spd.ablation.engine"]
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


PLANTED = {
    "workers/spd/method/losses.py": ("workers.spd.run.decompose", "workers.spd.ablation.edits"),
    "workers/spd/targets/sites.py": ("workers.spd.prompts.batches",),
    "workers/spd/run/storing.py": ("sqlalchemy",),
    "workers/jobs/names.py": ("backend.settings",),
    "backend/api/health.py": ("workers.spd.ablation.engine",),
    "backend/db/session.py": ("backend.services.files",),
}


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What import-linter prints about a copy of the tree with every one of `PLANTED` in it."""
    copy = tmp_path_factory.mktemp("planted")
    for top in ("workers", "backend"):
        for path in (ROOT / top).rglob("*.py"):
            place = copy / path.relative_to(ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    (copy / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    for module, imported in PLANTED.items():
        with (copy / module).open("a", encoding="utf-8") as file:
            file.writelines(f"\nimport {name}\n" for name in imported)
    linter = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    done = subprocess.run(
        [sys.executable, "-c", linter], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    return done.stdout


@pytest.mark.parametrize(
    ("module", "imported"), [(module, name) for module, names in PLANTED.items() for name in names]
)
def test_the_import_rules_catch_a_planted_violation(verdict: str, module: str, imported: str) -> None:
    importer = module.removesuffix(".py").replace("/", ".")
    assert re.search(rf"{re.escape(importer)} -> {re.escape(imported)} \(l\.", verdict), verdict
