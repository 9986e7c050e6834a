"""Where things lie on the server, as strangers may read it: names inside the home folder, no absolute paths."""

from __future__ import annotations

import re
from pathlib import Path

_PATH = re.compile(r"(?<![\w:/.<])(?:/[^\s/'\"“”‘’`:;,()<>|]+){2,}/?")


def without_places(text: str, home: Path) -> str:
    """`text` with every path under `home` given relative to it, and of any other absolute path only the last name."""
    roots = sorted({str(home), str(home.expanduser().resolve())}, key=len, reverse=True)
    for root in roots:
        text = re.sub(re.escape(root.rstrip("/")) + r"/(?=\S)", "", text)
        text = re.sub(re.escape(root.rstrip("/")) + r"(?![\w-])(?!\.\w)/?", "the home folder", text)
    return _PATH.sub(lambda match: match.group().rstrip("/").rsplit("/", 1)[-1], text)
