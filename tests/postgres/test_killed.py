"""PostgreSQL dies under a worker: its jobs end once, as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import databases
from tests.jobs.conftest import config_of, has_ended, has_trained, url_of, wait_for, workers_in
from workers.jobs.limits import Limits
from workers.jobs.queue import JobQueue

pytestmark = [pytest.mark.slow, pytest.mark.long]


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def mortal() -> Iterator[databases.Cluster]:
    """A PostgreSQL of its own, since it is killed."""
    before = databases.server
    with databases.cluster() as cluster:
        databases.server = cluster.folder
        yield cluster
        databases.server = before


def test_a_job_that_ends_while_postgresql_is_dead_is_done_when_it_is_back(
    home: Path, mortal: databases.Cluster
) -> None:
    queue = JobQueue(home, url_of(home))
    job = queue.enqueue(config_of(steps=200, wishes="sleep=0.01"), preset=None, name=None)
    with workers_in(home) as workers:
        workers.start()
        wait_for(queue, job.id, has_trained(5))
        os.kill(mortal.pid, signal.SIGKILL)
        said = home / "worker-0.log"
        until((home / "jobs" / job.id / "tiny" / "manifest.json").is_file)
        told = len(said.read_text(encoding="utf-8"))
        until(lambda: "Retrying in" in said.read_text(encoding="utf-8")[told:])
        mortal.start()
        done = wait_for(queue, job.id, has_ended)
    queue.close()
    assert (done.state, done.decomposition, done.error) == ("done", "tiny", None)
    assert done.progress is not None
    assert done.progress.attempts == 1


def test_jobs_are_done_once_however_often_postgresql_is_killed(home: Path, mortal: databases.Cluster) -> None:
    chance, names = random.Random(0), [f"n{number}" for number in range(24)]
    queue = JobQueue(home, url_of(home), Limits(queued=len(names)))
    jobs = [queue.enqueue(config_of(name, steps=5), preset=None, name=None) for name in names]
    with workers_in(home) as workers:
        for _ in range(2):
            workers.start()
        wait_for(queue, jobs[0].id, has_ended)
        for _ in range(6):
            os.kill(mortal.pid, signal.SIGKILL)
            time.sleep(chance.uniform(0, 2))  # how long it is away
            mortal.start()
            time.sleep(chance.uniform(0.2, 2))
        ended = [wait_for(queue, job.id, has_ended, 300) for job in jobs]
    queue.close()
    assert [(job.state, job.decomposition) for job in ended] == [("done", name) for name in names]
