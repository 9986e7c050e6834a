"""Which slugs are taken, and the next free one."""

from __future__ import annotations

import json
from pathlib import Path

from workers.spd.artifact import MANIFEST

SHIPPED = Path(__file__).resolve().parent.parent / "shipped"
LONGEST = 100


def taken_names(*folders: Path) -> set[str]:
    """Names of the decompositions under these folders: of each folder, and the one its manifest gives."""
    names: set[str] = set()
    for folder in folders:
        if not folder.is_dir():
            continue
        for path in folder.iterdir():
            names.add(path.name)
            name = _manifest_name(path)
            if name is not None:
                names.add(name)
    return names


def _manifest_name(path: Path) -> str | None:
    """A folder without a readable manifest is somebody else's worry; its own name counts all the same."""
    try:
        return str(json.loads((path / MANIFEST).read_bytes())["config"]["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def suffixed(slug: str, number: int) -> str:
    """`induction` and 2 → `induction-2`, within the longest name allowed; 1 is the bare slug."""
    if number < 2:
        return slug
    tail = f"-{number}"
    return slug[: LONGEST - len(tail)].rstrip("-") + tail
