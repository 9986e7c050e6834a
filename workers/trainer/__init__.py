"""The worker process: `main` is one, `workers.trainer.supervisor.Supervisor` keeps one alive."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn


def main(home: Path, database_url: str, device: str = "cpu", *, supervised: bool = False) -> NoReturn:
    """Take jobs from the queue until told to stop (SIGTERM, SIGINT); then end the process.

    With `supervised`, the end of standard input also means stop: the parent process is gone.
    """
    from workers.trainer.process import WorkerProcess

    WorkerProcess(home, database_url, device).run(supervised=supervised)
