"""`unweave`, and `python -m unweave`: the command line."""

from __future__ import annotations

from backend.cli import main

if __name__ == "__main__":
    main()
