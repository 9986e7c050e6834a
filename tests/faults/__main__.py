"""`make faults`: what happens when something breaks, one JSON object a fault. `ARGS="jobs storage"` chooses; `KILLS=`
and `SEED=` set how often and when processes are killed. docs/reliability.md has the last table."""

from __future__ import annotations

import json
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.faults import jobs, processes, storage

GROUPS = {"storage": storage.FAULTS, "processes": processes.FAULTS, "jobs": jobs.FAULTS}


def main() -> int:
    """Try every fault; 1 where one does not end as it should."""
    names = sys.argv[1:] or [*GROUPS]
    if unknown := set(names) - {*GROUPS}:
        print(f"There are no faults {', '.join(sorted(unknown))}: {', '.join(GROUPS)}.", file=sys.stderr)
        return 2
    good = True
    for fault in (fault for name in names for fault in GROUPS[name]):
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            try:
                ended, ok = fault(Path(folder)), True
            except Exception:
                ended, ok = traceback.format_exc(limit=3), False
        said = (fault.__doc__ or "").strip()
        row = {"fault": said, "ended": ended, "ok": ok, "seconds": round(time.monotonic() - began, 1)}
        print(json.dumps(row, ensure_ascii=False), flush=True)
        good = good and ok
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
