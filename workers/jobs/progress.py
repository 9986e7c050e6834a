"""How far a job is: one row a job, and its loss curve. Written by the job's worker, read by the API."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from workers.jobs.database import points_table, progress_table
from workers.jobs.machine import Machine, this_machine

STAGES = ("target", "train", "harvest", "evidence", "store")
STARTING = "Starting: loading PyTorch."
CURVE_POINTS = 300
"""About how many points of a curve are kept, however long the run."""


@dataclass(frozen=True)
class Progress:
    """A snapshot of a running job. `fraction` 0–1, `rate` steps a second, times in seconds since 1970."""

    stage: str
    step: int
    steps: int
    fraction: float
    rate: float | None
    remaining_seconds: float | None
    message: str


@dataclass(frozen=True)
class ProgressRow(Progress):
    """What is stored. `crashes`: deaths of its worker in a row, with no clean exit and no restart of the machine
    between them, that left the job no further than before; `out_of_memory`: at one of them the system had run out of
    memory; `rescues`: how often it was taken from a worker that had gone silent, which is no death."""

    attempts: int
    resumed: int
    crashes: int
    rescues: int
    left_cleanly: bool
    boot: str
    memory_kills: int
    out_of_memory: bool
    furthest: tuple[int, int]
    started_at: float
    updated_at: float


@dataclass(frozen=True)
class Point:
    """One point of the curve: figures by name (losses in nats, squared weights, …) at a training step."""

    step: int
    figures: dict[str, float]


class ProgressStore:
    """Reads and writes progress in the jobs database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(
        self, job_id: str, *, steps: int, from_checkpoint: bool, machine: Machine | None = None
    ) -> ProgressRow:
        """Note that a worker starts on a job, for the first time or again."""
        before = self.rows([job_id]).get(job_id)
        now, machine = time.time(), machine or this_machine()
        values = {
            "job_id": job_id, "stage": STAGES[0], "step": 0, "steps": steps, "fraction": 0.0, "rate": None,
            "remaining_seconds": None, "message": STARTING, "furthest_stage": 0, "furthest_step": 0, "attempts": 1,
            "resumed": int(from_checkpoint), "crashes": 0, "rescues": 0, "left_cleanly": False, "boot": machine.boot,
            "memory_kills": machine.memory_kills, "out_of_memory": False, "started_at": now, "updated_at": now,
        }  # fmt: skip
        with self._engine.begin() as connection:
            if before is None:
                connection.execute(progress_table.insert().values(**values))
            else:
                restarted = _name(before.boot) == _name(machine.boot) and before.boot != machine.boot
                died = not before.left_cleanly and not restarted
                killed = before.boot == machine.boot and machine.memory_kills > before.memory_kills
                values = {
                    "attempts": before.attempts + 1,
                    "resumed": before.resumed + int(from_checkpoint),
                    "crashes": before.crashes + 1 if died else 0,
                    "out_of_memory": died and (killed or before.out_of_memory),
                    "boot": machine.boot,
                    "memory_kills": machine.memory_kills,
                    "left_cleanly": False,
                    "rate": None,
                    "remaining_seconds": None,
                    "message": _again(from_checkpoint, died=died, restarted=restarted),
                    "updated_at": now,
                }
                connection.execute(
                    progress_table.update().where(progress_table.c.job_id == job_id).values(**values)
                )
        return self.rows([job_id])[job_id]

    def write(self, job_id: str, progress: Progress, points: Sequence[Point] = ()) -> None:
        """Store a snapshot and new points of the curve. Getting further than ever forgets earlier crashes."""
        stage = STAGES.index(progress.stage)
        table = progress_table.c
        further = sa.or_(
            table.furthest_stage < stage,
            sa.and_(table.furthest_stage == stage, table.furthest_step < progress.step),
        )
        with self._engine.begin() as connection:
            connection.execute(
                progress_table.update()
                .where(table.job_id == job_id)
                .values(
                    stage=progress.stage, step=progress.step, steps=progress.steps, fraction=progress.fraction,
                    rate=progress.rate, remaining_seconds=progress.remaining_seconds, message=progress.message,
                    crashes=sa.case((further, 0), else_=table.crashes),
                    out_of_memory=sa.case((further, sa.false()), else_=table.out_of_memory),
                    furthest_stage=sa.case((further, stage), else_=table.furthest_stage),
                    furthest_step=sa.case((further, progress.step), else_=table.furthest_step),
                    updated_at=time.time(),
                )
            )  # fmt: skip
            if points:
                steps = [point.step for point in points]
                mine = points_table.c.job_id == job_id
                connection.execute(points_table.delete().where(mine, points_table.c.step >= min(steps)))
                connection.execute(
                    points_table.insert(),
                    [{"job_id": job_id, "step": p.step, "figures": _finite(p.figures)} for p in points],
                )

    def rescue(self, job_id: str) -> None:
        """Note that the job is taken from a worker that went silent: its machine may be off or cut off, so that this is
        not counted as a crash."""
        table = progress_table.c
        mine = sa.and_(table.job_id == job_id, table.left_cleanly.is_(False))  # two may rescue it at once
        with self._engine.begin() as connection:
            connection.execute(
                progress_table.update().where(mine).values(left_cleanly=True, rescues=table.rescues + 1)
            )

    def leave(self, job_id: str) -> None:
        """Note that the worker gave the job back on purpose, so that this is not counted as a crash."""
        with self._engine.begin() as connection:
            connection.execute(
                progress_table.update().where(progress_table.c.job_id == job_id).values(left_cleanly=True)
            )

    def take_curve(self, before: str, job_id: str) -> None:
        """Copy the curve of a job that ended to the one that resumes it."""
        mine = points_table.c.job_id
        with self._engine.begin() as connection:
            connection.execute(points_table.delete().where(mine == job_id))
            columns = [sa.literal(job_id), points_table.c.step, points_table.c.figures]
            query = sa.select(*columns).where(mine == before)
            connection.execute(points_table.insert().from_select(["job_id", "step", "figures"], query))

    def forget(self, job_id: str) -> None:
        """Remove the row and the curve of a job."""
        with self._engine.begin() as connection:
            for table in (progress_table, points_table):
                connection.execute(table.delete().where(table.c.job_id == job_id))

    def rows(self, job_ids: Iterable[str]) -> dict[str, ProgressRow]:
        """The rows of these jobs, by id; jobs that never started have none."""
        query = progress_table.select().where(progress_table.c.job_id.in_(list(job_ids)))
        with self._engine.connect() as connection:
            return {row.job_id: _row(row) for row in connection.execute(query)}

    def curve(self, job_id: str) -> list[Point]:
        """The job's curve, oldest point first."""
        query = points_table.select().where(points_table.c.job_id == job_id).order_by(points_table.c.step)
        with self._engine.connect() as connection:
            return [Point(row.step, row.figures) for row in connection.execute(query)]


def _again(from_checkpoint: bool, *, died: bool, restarted: bool) -> str:
    goes = "Going on from the last checkpoint" if from_checkpoint else "Starting again"
    if died:
        return f"{goes}: its worker's process had ended."
    return f"{goes}: its machine was started anew." if restarted else f"{goes}."


def _name(boot: str) -> str:
    return boot.partition(" ")[0]


def _finite(figures: Mapping[str, float]) -> dict[str, float]:
    """JSON has no NaN; a figure that has none is left out of its point."""
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def _row(row: sa.Row[Any]) -> ProgressRow:
    return ProgressRow(
        stage=row.stage, step=row.step, steps=row.steps, fraction=row.fraction, rate=row.rate,
        remaining_seconds=row.remaining_seconds, message=row.message, attempts=row.attempts, resumed=row.resumed,
        crashes=row.crashes, rescues=row.rescues, left_cleanly=row.left_cleanly, boot=row.boot,
        memory_kills=row.memory_kills,
        out_of_memory=row.out_of_memory, furthest=(row.furthest_stage, row.furthest_step),
        started_at=row.started_at, updated_at=row.updated_at,
    )  # fmt: skip
