"""Workers that are killed at any moment: the result is that of an undisturbed run, to the last bit."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.databases import url_of
from tests.jobs.conftest import REAL, config_of, has_ended, wait_for, workers_in
from workers.jobs.progress import STAGES
from workers.jobs.queue import JobQueue, JobRecord
from workers.spd.artifact import sha256

KILLS = int(os.environ.get("KILLS", "10"))
SEED = int(os.environ.get("SEED", "0"))
LONG = {"steps": 1_500, "checkpoint_every": 50, "log_every": 25}
TIMES = ("manifest.json", "target.json")
"""Files that say when they were made, and how long that took."""


def content(folder: Path) -> dict[str, str]:
    """The hashes of what a run made, without what tells the time."""
    return {
        str(path.relative_to(folder)): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in TIMES
    }


def undisturbed(home: Path) -> tuple[dict[str, str], dict[str, float]]:
    """What a run makes that nothing disturbs, and when each of its stages begins, in seconds after the first."""
    begins: dict[str, float] = {}
    with workers_in(home) as workers:
        queue = JobQueue(home, url_of(home))
        job = queue.enqueue(config_of("long", **LONG), preset=None, name=None)
        workers.start(REAL)

        def seen(record: JobRecord) -> bool:
            if record.progress is not None and record.progress.message != "Starting: loading PyTorch.":
                begins.setdefault(record.progress.stage, time.monotonic())
            return has_ended(record)

        assert wait_for(queue, job.id, seen, 900).state == "done"
        queue.close()
    first = min(begins.values())
    return content(home / "artifacts" / "long"), {stage: at - first for stage, at in begins.items()}


def a_worker_killed_in_every_stage(folder: Path) -> str:
    """kill -9 of the worker at random moments in every stage of a real run"""
    expected, begins = undisturbed(folder / "undisturbed")
    chance, home = random.Random(SEED), folder / "home"
    weights = [3 if stage == "train" else 1 for stage in begins]
    stages = [*begins, *chance.choices([*begins], weights=weights, k=max(0, KILLS - len(begins)))]
    struck: list[str] = []
    with workers_in(home) as workers:
        queue = JobQueue(home, url_of(home))
        job = queue.enqueue(config_of("long", **LONG), preset=None, name=None)
        for stage in sorted(stages, key=STAGES.index):
            worker = workers.start(REAL)
            reached = wait_for(queue, job.id, _in(stage, after=chance.randrange(3)), 900)
            if has_ended(reached):
                break
            time.sleep(chance.uniform(0, 0.3))
            worker.send_signal(signal.SIGKILL)
            worker.wait()
            now = queue.get(job.id).progress
            struck.append(now.stage if now is not None else "target")
        workers.start(REAL)
        done = wait_for(queue, job.id, has_ended, 900)
        queue.close()
    assert done.state == "done", done
    assert content(home / "artifacts" / "long") == expected, "the results differ"
    counts = ", ".join(f"{stage} {struck.count(stage)}" for stage in STAGES if stage in struck)
    return f"{len(struck)} kills ({counts}), {LONG['steps']} steps; done once, {len(expected)} files equal by hash"


def _in(stage: str, after: int) -> Callable[[JobRecord], bool]:
    """Whether a job is in this stage or past it, some hundred steps into a training."""

    def reached(job: JobRecord) -> bool:
        row = job.progress
        if row is None or row.message == "Starting: loading PyTorch.":
            return has_ended(job)
        further = STAGES.index(row.stage) > STAGES.index(stage)
        return (
            has_ended(job) or further or (row.stage == stage and (stage != "train" or row.step > 100 * after))
        )

    return reached


FAULTS: list[Callable[[Path], str]] = [a_worker_killed_in_every_stage]
