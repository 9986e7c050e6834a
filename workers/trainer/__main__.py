"""`python -m workers.trainer`: what the supervisor starts. The URLs of database and store, which may hold passwords,
come in the environment, where other users of the machine cannot read them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from workers.trainer import main
from workers.trainer.supervisor import DATABASE_VARIABLE, STORE_VARIABLE

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m workers.trainer", description=main.__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", type=int)
    parser.add_argument("--supervised", action="store_true")
    parser.add_argument("--log-level", default="info")
    parser.add_argument("--log-format", choices=["console", "json"], default="console")
    options = parser.parse_args()
    main(
        options.home, os.environ[DATABASE_VARIABLE], options.device, memory_bytes=options.memory,
        store=os.environ.get(STORE_VARIABLE),
        supervised=options.supervised, log_level=options.log_level, log_format=options.log_format,
    )  # fmt: skip
