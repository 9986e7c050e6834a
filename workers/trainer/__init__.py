"""The worker process: `main` is one, `workers.trainer.supervisor.Supervisor` keeps one alive."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from workers import logs
from workers.logs import LogFormat

# Server, worker and whatever else runs share a machine, and OpenMP threads that spin while they wait stall each other
# as soon as more of them want to run than there are cores: 100 steps of a tiny run on two busy cores took over two
# minutes spinning, 8 to 14 s waiting passively.
SHARED_MACHINE = {"OMP_WAIT_POLICY": "PASSIVE"}


def share_the_machine() -> None:
    """Let OpenMP's threads sleep while they wait, unless the environment says otherwise. Call before torch is imported,
    which is when it looks."""
    for name, value in SHARED_MACHINE.items():
        os.environ.setdefault(name, value)


def main(
    home: Path,
    database_url: str,
    device: str = "cpu",
    *,
    memory_bytes: int | None = None,
    store: str | None = None,
    supervised: bool = False,
    log_level: str = "info",
    log_format: LogFormat = "console",
) -> NoReturn:
    """Take jobs that fit this worker from the queue until stopped (SIGTERM, SIGINT); then end the process.

    With `supervised`, the end of standard input also means stop: the parent process is gone.
    """
    share_the_machine()
    logs.set_up(log_level, log_format)
    from workers.trainer.process import WorkerProcess

    WorkerProcess(home, database_url, device, memory_bytes=memory_bytes, store=store).run(
        supervised=supervised
    )
