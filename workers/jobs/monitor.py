"""Follows a running job from a thread of its own, so that training never waits for the database.

The training thread leaves its latest figures in memory and reads one flag. Twice a second the monitor writes what is
new and asks whether the job is still wanted. A database that cannot be reached costs a late progress bar, no job.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from dbos import error as dbos_error
from sqlalchemy.exc import SQLAlchemyError

from workers.jobs.progress import CURVE_POINTS, STAGES, Point, Progress, ProgressStore

if TYPE_CHECKING:
    from workers.spd.progress import RunProgress

INTERVAL_SECONDS = 0.5
DATABASE_AWAY = (SQLAlchemyError, dbos_error.DBOSException)

log = logging.getLogger("unweave.jobs")


class Why(Enum):
    """Why a job should stop before its end."""

    CANCELLED = "cancelled"
    TAKEN = "another worker has it"
    LEAVING = "the worker is shutting down"


class Monitor:
    """Use as a context manager around a run; hand `report` and `should_stop` to it."""

    def __init__(
        self,
        job_id: str,
        store: ProgressStore,
        wanted: Callable[[], Why | None],
        note: Callable[[str], None],
        interval: float = INTERVAL_SECONDS,
        overall: Callable[[str, float], float] | None = None,
    ) -> None:
        self._job_id, self._store, self._wanted, self._note = job_id, store, wanted, note
        self._interval = interval
        self._overall = overall or overall_fraction
        self._lock = threading.Lock()
        self._latest: Progress | None = None
        self._points: list[Point] = []
        self._last_point: int | None = None
        self._stage = ""
        self._end = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"monitor-{job_id}", daemon=True)
        self.why: Why | None = None

    def __enter__(self) -> Monitor:
        self._check()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._write()

    def should_stop(self) -> bool:
        """Read by the run between steps: a flag in memory, no I/O."""
        return self._stop.is_set()

    def report(self, run: RunProgress) -> None:
        """Take the run's figures; returns at once."""
        fraction = self._overall(run.stage, run.fraction)
        latest = Progress(
            run.stage, run.step, run.steps, fraction, run.rate, run.remaining_seconds, run.message or ""
        )
        line = ""
        with self._lock:
            self._latest = latest
            if run.stage == "train" and run.figures and self._is_due(run.step, run.steps):
                self._last_point = run.step
                self._points.append(Point(run.step, dict(run.figures)))
                line = "  ".join(f"{name} {value:.3g}" for name, value in run.figures.items())
        if run.stage != self._stage:
            self._stage = run.stage
            self._note(f"{run.stage}: step {run.step} of {run.steps}" if run.steps else run.stage)
        if line:
            self._note(f"step {run.step} of {run.steps}: {line}")

    def _is_due(self, step: int, steps: int) -> bool:
        if self._last_point is None:
            return True
        return step - self._last_point >= max(1, steps // CURVE_POINTS) or (
            step >= steps and step != self._last_point
        )

    def _follow(self) -> None:
        while not self._end.wait(self._interval):
            self._check()
            self._write()

    def _check(self) -> None:
        if self.why is not None:
            return
        try:
            self.why = self._wanted()
        except (
            DATABASE_AWAY
        ) as error:  # the database, in any of its ways to be away: ask again at the next turn
            log.warning("cannot see whether job %s is still wanted: %s", self._job_id, error)
            return
        if self.why is not None:
            self._stop.set()

    def _write(self) -> None:
        with self._lock:
            latest, points = self._latest, self._points
            self._latest, self._points = None, []
        if latest is None:
            return
        try:
            self._store.write(self._job_id, latest, points)
        except DATABASE_AWAY as error:  # keep the figures and try again at the next turn
            log.warning("the progress of job %s could not be written: %s", self._job_id, error)
            with self._lock:
                self._latest = self._latest or latest
                self._points = points + self._points


SHARES = {"target": 0.05, "train": 0.8, "harvest": 0.05, "evidence": 0.09, "store": 0.01}
"""Roughly how much of a whole job each stage is; for one bar over all of them."""


def overall_fraction(stage: str, fraction: float) -> float:
    """The training's fraction as a fraction of the whole job, 0–1; other stages count when they end."""
    before = sum(SHARES[name] for name in STAGES[: STAGES.index(stage)])
    return before + (SHARES[stage] * min(1.0, max(0.0, fraction)) if stage == "train" else 0.0)
