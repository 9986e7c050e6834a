"""The queue as the API uses it: names, places, limits, cancelling. No worker runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs.conftest import ROOT, config_of, url_of
from workers.jobs.database import jobs_url
from workers.jobs.limits import Limits
from workers.jobs.queue import JobQueue, NameTakenError, QueueFullError, UnknownJobError


def test_a_new_job_waits_with_its_name_preset_and_steps(queue: JobQueue) -> None:
    job = queue.enqueue(config_of("tiny", steps=40), preset="induction", name=None)
    assert (job.state, job.name, job.preset, job.steps, job.place) == ("queued", "tiny", "induction", 40, 0)
    assert job.id.startswith("tiny-")
    assert queue.get(job.id) == job


def test_places_count_the_jobs_ahead_and_close_up_when_one_is_cancelled(queue: JobQueue) -> None:
    jobs = [queue.enqueue(config_of(name), preset=None, name=None) for name in ("one", "two", "three")]
    assert [queue.get(job.id).place for job in jobs] == [0, 1, 2]
    queue.cancel(jobs[0].id)
    assert [queue.get(job.id).place for job in jobs] == [None, 0, 1]


def test_the_list_has_the_newest_job_first_and_keeps_cancelled_ones(queue: JobQueue) -> None:
    names = ["one", "two", "three"]
    first, *_ = [queue.enqueue(config_of(name), preset=None, name=None) for name in names]
    queue.cancel(first.id)
    assert [job.name for job in queue.listing(limit=10, offset=0)] == ["three", "two", "one"]
    assert queue.count() == 3


def test_a_job_without_a_chosen_name_gets_the_next_free_one(queue: JobQueue, home: Path) -> None:
    (home / "artifacts" / "tiny").mkdir(parents=True)
    names = [queue.enqueue(config_of("tiny"), preset=None, name=None).name for _ in range(2)]
    assert names == ["tiny-2", "tiny-3"]


def test_a_shipped_decompositions_name_is_taken(home: Path, tmp_path: Path) -> None:
    (tmp_path / "shipped" / "induction").mkdir(parents=True)
    queue = JobQueue(home, url_of(home), shipped=tmp_path / "shipped")
    assert queue.enqueue(config_of("induction"), preset=None, name=None).name == "induction-2"
    queue.close()


def test_a_chosen_name_that_is_taken_is_refused_with_a_free_one(queue: JobQueue) -> None:
    queue.enqueue(config_of("tiny"), preset=None, name="mine")
    queue.enqueue(config_of("tiny"), preset=None, name="mine-2")
    with pytest.raises(NameTakenError, match="“mine” is taken") as caught:
        queue.enqueue(config_of("tiny"), preset=None, name="mine")
    assert caught.value.suggestion == "mine-3"


def test_a_cancelled_jobs_name_is_free_again(queue: JobQueue) -> None:
    first = queue.enqueue(config_of("tiny"), preset=None, name="mine")
    assert queue.cancel(first.id).state == "cancelled"
    assert queue.enqueue(config_of("tiny"), preset=None, name="mine").name == "mine"


def test_cancelling_twice_changes_nothing_and_an_unknown_job_is_said_to_be_unknown(queue: JobQueue) -> None:
    job = queue.enqueue(config_of(), preset=None, name=None)
    assert queue.cancel(job.id) == queue.cancel(job.id)
    with pytest.raises(UnknownJobError, match="There is no job “nothing”"):
        queue.cancel("nothing")


def test_a_full_queue_says_when_to_try_again(home: Path) -> None:
    queue = JobQueue(home, url_of(home), Limits(queued=2))
    for name in ("one", "two"):
        queue.enqueue(config_of(name), preset=None, name=None)
    with pytest.raises(QueueFullError, match="2 jobs wait already") as caught:
        queue.enqueue(config_of("three"), preset=None, name=None)
    assert 5 <= caught.value.retry_after <= 3_600
    queue.close()


@pytest.mark.slow
def test_two_processes_may_open_a_new_home_at_once(home: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from workers.jobs.queue import JobQueue\n"
        "print(JobQueue(Path(sys.argv[1]), sys.argv[2]).workers())"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(home), url_of(home)], cwd=ROOT, stdout=subprocess.PIPE
        )
        for _ in range(3)
    ]
    assert [(child.communicate()[0].strip(), child.returncode) for child in children] == [(b"[]", 0)] * 3


def test_what_the_api_imports_brings_no_torch() -> None:
    code = "import sys, backend.services.jobs, workers.trainer.supervisor; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("app", "jobs"),
    [
        ("sqlite:////data/unweave.db", "sqlite:////data/unweave-jobs.db"),
        ("postgresql://me:secret@host/name", "postgresql+psycopg://me:secret@host/name"),
        ("postgresql+psycopg://me:secret@host/name", "postgresql+psycopg://me:secret@host/name"),
    ],
)
def test_jobs_live_beside_the_app_on_sqlite_and_in_its_database_on_postgresql(app: str, jobs: str) -> None:
    assert jobs_url(app) == jobs


def test_a_database_in_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="other processes"):
        jobs_url("sqlite://")
