"""How much script a first visit loads: the entry of the built page and all it imports before anything is drawn."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

from backend.web.pages import built

MOST_KB = 350.0


def first_load(root: Path) -> dict[str, float]:
    """Kilobytes of gzipped script by file: what index.html names, what that imports, and the gallery's own chunk."""
    assets = root / "assets"
    page = (root / "index.html").read_text(encoding="utf-8")
    waiting = [Path(name).name for name in re.findall(r"(?:src|href)=\"([^\"]+\.js)\"", page)]
    waiting = [name for name in waiting if (assets / name).is_file()]
    waiting += [path.name for path in assets.glob("GalleryPage-*.js")]
    found: dict[str, float] = {}
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        script = (assets / name).read_bytes()
        found[name] = len(gzip.compress(script, 9)) / 1000
        imported = re.findall(rb"""(?:from|import)\s*["']\./([^"']+\.js)["']""", script)
        waiting += [item.decode() for item in imported]
    return found


def run() -> Iterator[dict[str, object]]:
    """One line: gzipped kilobytes of the first load without Plotly, as a share of what is allowed."""
    root = built()
    if root is None:
        yield {"name": "first_load_script", "ok": False, "error": "the pages are not built: npm run build"}
        return
    files = first_load(root)
    size = sum(files.values())
    yield {
        "name": "first_load_script",
        "ratio": round(size / MOST_KB, 3),
        "target": 1.0,
        "ok": size <= MOST_KB and not any("plotly" in name for name in files),
        "kb_gzip": round(size, 1),
        "files": len(files),
    }
