"""Which of the waiting jobs a worker takes next: the oldest that fits into its memory.

DBOS lets a worker take the oldest job of a queue, or of a partition of it. Each job is a partition of its own, so that
naming a partition names the job; one job at a time, and each once, is DBOS's business as before (docs/adr/0006).
"""

from __future__ import annotations

from collections.abc import Iterable

from dbos import DBOS, WorkflowStatus
from dbos._sys_db import SystemDatabase

from workers.jobs import database

NEEDS = "memory_bytes"
"""The attribute of a job that says what it needs; a job of which that is not known fits everywhere."""


def created(status: WorkflowStatus) -> float:
    """Seconds since 1970. Ours to the millisecond; DBOS's own on SQLite is only good to the second."""
    return (status.attributes or {}).get("created_at") or (status.created_at or 0) / 1000


def fits(status: WorkflowStatus, memory_bytes: int) -> bool:
    return ((status.attributes or {}).get(NEEDS) or 0) <= memory_bytes


def next_that_fits(waiting: Iterable[WorkflowStatus], memory_bytes: int) -> list[str]:
    """The id of the job to take, alone; none where nothing fits."""
    fitting = [status for status in waiting if fits(status, memory_bytes)]
    return [min(fitting, key=created).workflow_id] if fitting else []


def take_what_fits(memory_bytes: int) -> None:
    """Let this process take only such jobs. Call before `DBOS.launch()`, which begins to take."""

    def partitions(self: SystemDatabase, queue_name: str) -> list[str]:
        waiting = DBOS.list_workflows(
            queue_name=queue_name,
            status="ENQUEUED",
            app_version=database.PROTOCOL,
            load_input=False,
            load_output=False,
        )
        return next_that_fits(waiting, memory_bytes)

    SystemDatabase.get_queue_partitions = partitions
