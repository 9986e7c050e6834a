"""How the wheel is built: one package `unweave` out of the folders backend/ and workers/ and the built page
(docs/adr/0005-one-package.md).

    backend/library/unweave/  →  unweave/
    backend/, workers/        →  unweave/backend/, unweave/workers/, what they import of each other renamed likewise
    frontend/dist/            →  unweave/backend/static/

In a checkout nothing is renamed. Only setuptools is imported here: nothing else is there while a wheel is built.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from setuptools import find_namespace_packages
from setuptools.command.build_py import build_py
from setuptools.errors import SetupError

ROOMS = ("backend", "workers")
LIBRARY = "backend/library"
PAGE = "frontend/dist"
_ROOM = "|".join(ROOMS)
_STATEMENT = re.compile(rf"^(\s*)(from|import) ({_ROOM})(?=[.\s])", re.MULTILINE)
_BARE = re.compile(rf"^(\s*)import unweave\.({_ROOM})$", re.MULTILINE)
_NAME = re.compile(rf'(?<=")({_ROOM})(?=(\.\w+)*\.?")')


def renamed(source: str) -> str:
    """A module's source with `backend` and `workers` imported from `unweave`; strings that name a module too."""
    source = _STATEMENT.sub(r"\1\2 unweave.\3", source)
    source = _BARE.sub(r"\1from unweave import \2", source)  # which binds the name that the code uses
    return _NAME.sub(r"unweave.\1", source)


def _has_code(package: str) -> bool:
    folder = Path(*package.split("."))
    return not folder.is_relative_to(LIBRARY) and any(folder.glob("*.py"))


class BuildPy(build_py):
    """Copies the rooms into `unweave`; for an editable install it leaves everything where it is."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if self.editable_mode:
            return
        inside = [
            name
            for name in find_namespace_packages(include=[f"{room}*" for room in ROOMS])
            if _has_code(name)
        ]
        data: dict[str, list[str]] = self.package_data or {}
        self.packages: list[str] = ["unweave", *(f"unweave.{name}" for name in [*inside, *self._page()])]
        self.package_dir: dict[str, str] = {
            "unweave": f"{LIBRARY}/unweave",
            **{f"unweave.{room}": room for room in ROOMS},
            "unweave.backend.static": PAGE,
        }
        self.package_data = {f"unweave.{name}" if name in ROOMS else name: data[name] for name in data}
        self.package_data["unweave.backend.static"] = ["**/*"]

    def _page(self) -> list[str]:
        return ["backend.static"] if Path(PAGE, "index.html").is_file() else []

    def run(self) -> None:
        if not self.editable_mode and not self._page():
            raise SetupError(f"{PAGE} is not there: build the page first (make wheel does).")
        super().run()

    def build_module(self, module: Any, module_file: str, package: Any) -> Any:
        if not self.editable_mode and Path(module_file) == Path(__file__).relative_to(Path.cwd()):
            return module_file, False  # this file builds wheels and is not in them
        written, changed = super().build_module(module, module_file, package)
        if not self.editable_mode:
            path = Path(written)
            path.write_text(renamed(path.read_text(encoding="utf-8")), encoding="utf-8")
        return written, changed
