"""The contract: `python -m backend.openapi` writes frontend/openapi.json; `--check` says whether it is up to date."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from backend.app import create_app
from backend.settings import Settings

CONTRACT = Path(__file__).resolve().parent.parent / "frontend" / "openapi.json"


def contract() -> str:
    """The OpenAPI document as it is committed: sorted nowhere, indented, newline at the end."""
    return json.dumps(create_app(Settings()).openapi(), indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the contract, or with `--check` compare it; 1 where it differs."""
    text = contract()
    if "--check" in sys.argv[1:]:
        same = CONTRACT.is_file() and CONTRACT.read_text(encoding="utf-8") == text
        if not same:
            print("frontend/openapi.json is out of date: run `make openapi`.", file=sys.stderr)
        return 0 if same else 1
    CONTRACT.parent.mkdir(exist_ok=True)
    CONTRACT.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
