"""Workers as real processes, with a stand-in for the method: what happens to a job, whatever happens to its worker."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.jobs.conftest import Workers, config_of, has_ended, has_trained, url_of, wait_for, workers_in
from workers.jobs.database import jobs_url
from workers.jobs.heartbeat import Worker
from workers.jobs.queue import JobQueue, NameTakenError, NotKeptError
from workers.spd.artifact import read_artifact

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobQueue]:
    """A queue with one worker, for tests that leave it alive."""
    home = tmp_path_factory.mktemp("shared")
    with workers_in(home) as workers:
        queue = JobQueue(home, url_of(home))
        workers.start()
        yield queue
        queue.close()


def wait_for_worker(queue: JobQueue, state: str, seconds: float = 60) -> Worker:
    """The queue's one worker, once it is seen in this state."""
    end = time.monotonic() + seconds
    while True:
        match queue.workers():
            case [worker] if worker.state == state:
                return worker
            case seen:
                assert time.monotonic() < end, f"waited {seconds} s; the workers are {seen}"
        time.sleep(0.05)


def wait_for_two(queue: JobQueue, seconds: float = 60) -> None:
    """Until two workers are seen."""
    end = time.monotonic() + seconds
    while len(queue.workers()) < 2:
        assert time.monotonic() < end, f"waited {seconds} s; the workers are {queue.workers()}"
        time.sleep(0.05)


def maintained(queue: JobQueue) -> None:
    """Wait until the worker has looked through the job folders once more: what nobody owns, last in line, is gone."""
    nobodys = queue.home / "jobs" / "zzz" / "left.partial"
    nobodys.mkdir(parents=True)
    look = queue.enqueue(config_of("look", steps=1), preset=None, name=None)  # the end of a job makes it look
    wait_for(queue, look.id, has_ended)
    end = time.monotonic() + 60
    while nobodys.exists():
        assert time.monotonic() < end, "the worker did not look through the job folders"
        time.sleep(0.05)


def test_a_job_runs_to_a_decomposition_in_the_gallery(shared: JobQueue) -> None:
    job = shared.enqueue(config_of("whole", steps=40), preset=None, name=None)
    done = wait_for(shared, job.id, has_ended)
    assert (done.state, done.decomposition, done.error) == ("done", "whole", None)
    artifact = read_artifact(shared.home / "artifacts" / "whole")
    assert artifact.manifest.config.name == "whole"
    assert done.progress is not None
    assert (done.progress.stage, done.progress.resumed, done.progress.attempts) == ("store", 0, 1)
    assert [point.step for point in shared.curve(job.id)] == list(range(1, 41))
    folder = shared.home / "jobs" / job.id
    assert sorted(path.name for path in folder.iterdir()) == ["job.log", "lock"]


def test_a_run_over_running_text_is_harvested_by_itself(shared: JobQueue) -> None:
    target = {"target": {"kind": "folder", "path": str(shared.home / "models" / "m")}, "sites": ["a"]}
    text = {"kind": "corpus", "path": str(shared.home / "texts" / "text.txt")}
    job = shared.enqueue(
        config_of("text", steps=1, data=text, reconstruction={}, **target), preset=None, name=None
    )
    assert wait_for(shared, job.id, has_ended).state == "done"
    (harvest,) = [one for one in shared.listing(limit=20, offset=0) if one.kind == "harvest"]
    assert (harvest.name, harvest.corpus) == ("text", "text.txt")
    wait_for(shared, harvest.id, has_ended)  # the stand-in's components cannot be read, which is told there


def test_a_running_job_stops_soon_when_cancelled_and_its_work_is_removed(shared: JobQueue) -> None:
    job = shared.enqueue(config_of("long", steps=10_000, wishes="sleep=0.02"), preset=None, name=None)
    wait_for(shared, job.id, has_trained(15))
    folder = shared.home / "jobs" / job.id
    assert (folder / "long.partial").is_dir()
    began = time.monotonic()
    assert shared.cancel(job.id).state == "cancelled"
    while any(worker.job_id for worker in shared.workers()):
        assert time.monotonic() - began < 15, "about half a second where the machine is not busy"
        time.sleep(0.05)
    assert not (folder / "long.partial").exists()
    assert not (shared.home / "artifacts" / "long").exists()
    after = shared.enqueue(config_of("after", steps=1), preset=None, name=None)
    assert wait_for(shared, after.id, has_ended).state == "done"


def test_a_job_cancelled_in_the_queue_never_runs(shared: JobQueue) -> None:
    busy = shared.enqueue(config_of("busy", steps=200, wishes="sleep=0.02"), preset=None, name=None)
    waiting = shared.enqueue(config_of("waiting", steps=1), preset=None, name=None)
    shared.cancel(waiting.id)
    wait_for(shared, busy.id, has_trained(3))
    shared.cancel(busy.id)
    last = shared.enqueue(config_of("last", steps=1), preset=None, name=None)
    wait_for(shared, last.id, has_ended)
    assert shared.get(waiting.id).progress is None
    assert not (shared.home / "jobs" / waiting.id).exists()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("target", "The weights cannot be fetched: there is no network."),
        ("disk", "The disk is full. Free some space in Unweave's home folder and start the job again."),
        ("memory", "There was not enough memory on cpu."),
        ("bug", "The job stopped on an unexpected error (KeyError), a fault of Unweave"),
    ],
)
def test_a_failed_job_says_why_in_a_sentence_and_keeps_the_trace_in_its_log(
    shared: JobQueue, kind: str, said: str
) -> None:
    job = shared.enqueue(config_of("bad", steps=5, wishes=f"raise={kind} at=3"), preset=None, name=None)
    failed = wait_for(shared, job.id, has_ended)
    assert failed.state == "failed"
    assert failed.error is not None
    assert failed.error.startswith(said)
    assert "Traceback" not in failed.error
    folder = shared.home / "jobs" / job.id
    assert "Traceback" in (folder / "job.log").read_text(encoding="utf-8")
    assert sorted(path.name for path in folder.iterdir()) == ["job.log", "lock"]


def test_a_job_that_meets_a_full_disk_keeps_its_checkpoint_and_is_resumed_from_it(shared: JobQueue) -> None:
    full = config_of("full", steps=40, wishes="raise=disk at=25 sleep=0.01")
    job = shared.enqueue(full, preset=None, name=None)
    failed = wait_for(shared, job.id, has_ended)
    assert failed.error is not None
    assert "Free some space in Unweave's home folder and resume the job." in failed.error
    assert "Its work up to the last checkpoint is kept." in failed.error
    assert failed.resumable
    maintained(shared)
    assert (shared.home / "jobs" / job.id / "full.partial" / "checkpoint" / "state.json").is_file()
    again = shared.resume(job.id)
    assert (again.name, again.steps, again.continues) == ("full", 40, job.id)
    with pytest.raises((NotKeptError, NameTakenError)):
        shared.resume(job.id)
    done = wait_for(shared, again.id, has_ended)
    assert (done.state, done.decomposition) == ("done", "full"), done.error
    metrics = json.loads((shared.home / "artifacts" / "full" / "metrics.jsonl").read_text())
    assert metrics["first"] == 20, "the last checkpoint before the disk was full"
    assert done.progress is not None
    assert done.progress.resumed == 1
    steps = [point.step for point in shared.curve(again.id)]
    assert steps == list(range(1, 41)), "the curve continues where it was"
    assert not shared.get(job.id).resumable
    with pytest.raises(NotKeptError, match="left no checkpoint"):
        shared.resume(job.id)


@pytest.mark.parametrize("stage", ["harvest", "evidence", "store"])
def test_a_job_that_fails_after_its_training_keeps_it_whatever_the_reason(
    shared: JobQueue, stage: str
) -> None:
    job = shared.enqueue(config_of(f"after-{stage}", wishes=f"fails={stage}"), preset=None, name=None)
    failed = wait_for(shared, job.id, has_ended)
    assert (failed.state, failed.resumable) == ("failed", True)
    assert failed.error == f"{stage} cannot be done. Its work up to the last checkpoint is kept."
    done = wait_for(shared, shared.resume(job.id).id, has_ended)
    assert (done.state, done.decomposition) == ("done", f"after-{stage}")
    lines = (shared.home / "artifacts" / f"after-{stage}" / "metrics.jsonl").read_text()
    assert json.loads(lines)["first"] == 40, "no step was done twice"


def test_what_a_failed_job_kept_can_be_thrown_away(shared: JobQueue) -> None:
    job = shared.enqueue(config_of("thrown", steps=40, wishes="raise=disk at=15"), preset=None, name=None)
    assert wait_for(shared, job.id, has_ended).resumable
    assert not shared.discard(job.id).resumable
    assert sorted(path.name for path in (shared.home / "jobs" / job.id).iterdir()) == ["job.log", "lock"]


def test_a_run_that_diverged_keeps_nothing_because_it_would_diverge_again(shared: JobQueue) -> None:
    job = shared.enqueue(config_of("apart", steps=40, wishes="raise=diverged at=15"), preset=None, name=None)
    failed = wait_for(shared, job.id, has_ended)
    assert failed.error == "The training diverged at step 15."
    assert not failed.resumable


def test_a_name_taken_from_outside_while_the_job_ran_costs_no_result(shared: JobQueue) -> None:
    job = shared.enqueue(config_of("contested", steps=30, wishes="sleep=0.05"), preset=None, name=None)
    wait_for(shared, job.id, has_trained(5))
    (shared.home / "artifacts" / "contested").mkdir(parents=True)
    done = wait_for(shared, job.id, has_ended)
    assert done.state == "done"
    assert done.decomposition is not None
    assert done.decomposition.startswith("contested-")
    assert read_artifact(shared.home / "artifacts" / done.decomposition).hash


def test_the_worker_is_seen_idle_and_busy_with_its_job_and_device(shared: JobQueue) -> None:
    idle = wait_for_worker(shared, "idle")
    assert (idle.device, idle.job_id) == ("cpu", None)
    job = shared.enqueue(config_of("seen", steps=500, wishes="sleep=0.02"), preset=None, name=None)
    running = wait_for(shared, job.id, has_trained(1))
    busy = wait_for_worker(shared, "busy")
    assert (busy.job_id, busy.id) == (job.id, running.executor)
    shared.cancel(job.id)


def test_a_worker_killed_in_mid_training_goes_on_from_its_checkpoint(
    queue: JobQueue, workers: Workers
) -> None:
    job = queue.enqueue(config_of(steps=60, wishes="sleep=0.05"), preset=None, name=None)
    first = workers.start()
    wait_for(queue, job.id, has_trained(25))
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert queue.get(job.id).state == "running"
    workers.start()
    done = wait_for(queue, job.id, has_ended)
    assert (done.state, done.progress and done.progress.resumed) == ("done", 1)
    metrics = json.loads((queue.home / "artifacts" / "tiny" / "metrics.jsonl").read_text())
    assert metrics["first"] >= 20
    steps = [point.step for point in queue.curve(job.id)]
    assert steps == sorted(set(steps))
    assert len(steps) >= 45, "the half second before the kill may be missing, no more"


def test_a_worker_told_to_stop_leaves_its_job_at_the_very_step(queue: JobQueue, workers: Workers) -> None:
    job = queue.enqueue(
        config_of(steps=60, checkpoint_every=1_000, wishes="sleep=0.05"), preset=None, name=None
    )
    first = workers.start()
    wait_for(queue, job.id, has_trained(15))
    first.send_signal(signal.SIGTERM)
    assert first.wait(10) == 0
    assert queue.workers() == []
    assert queue.get(job.id).state == "running"
    workers.start()
    done = wait_for(queue, job.id, has_ended)
    assert done.progress is not None
    assert (done.state, done.progress.resumed, done.progress.crashes) == ("done", 1, 0)
    metrics = json.loads((queue.home / "artifacts" / "tiny" / "metrics.jsonl").read_text())
    assert metrics["first"] >= 15


def test_a_job_that_kills_every_worker_is_given_up(queue: JobQueue, workers: Workers) -> None:
    job = queue.enqueue(config_of(steps=20, wishes="raise=die at=5 sleep=0.2"), preset=None, name=None)
    for _ in range(3):
        assert workers.start().wait(30) == -signal.SIGKILL
    workers.start()
    failed = wait_for(queue, job.id, has_ended)
    assert failed.state == "failed"
    assert failed.error is not None
    said = r"The worker's process was ended 3 times in a row at stage “train”, step \d+, without getting further\."
    assert re.match(said, failed.error)


def test_two_workers_never_take_the_same_job(queue: JobQueue, workers: Workers) -> None:
    for _ in range(2):
        workers.start()
    wait_for_two(queue)
    jobs = [
        queue.enqueue(config_of(f"n{number}", steps=10, wishes="sleep=0.03"), preset=None, name=None)
        for number in range(8)
    ]
    ended = [wait_for(queue, job.id, has_ended) for job in jobs]
    assert {job.state for job in ended} == {"done"}
    assert {job.progress.attempts for job in ended if job.progress} == {1}
    assert len({job.executor for job in ended}) == 2
    assert len({worker.id for worker in queue.workers()}) == 2


@pytest.mark.long
def test_the_job_of_a_worker_that_never_comes_back_is_finished_by_another(
    queue: JobQueue, workers: Workers
) -> None:
    children = {child.pid: child for child in [workers.start(silent_seconds=8) for _ in range(2)]}
    wait_for_two(queue)
    job = queue.enqueue(config_of(steps=80, wishes="sleep=0.1"), preset=None, name=None)
    running = wait_for(queue, job.id, has_trained(12))
    [owner] = [worker for worker in queue.workers() if worker.id == running.executor]
    children[owner.pid].send_signal(signal.SIGKILL)
    done = wait_for(queue, job.id, has_ended)
    assert done.progress is not None
    assert (done.state, done.progress.attempts, done.progress.resumed) == ("done", 2, 1)
    assert (done.progress.crashes, done.progress.rescues) == (0, 1)
    assert done.executor != owner.id


def test_a_job_that_a_worker_has_taken_without_knowing_it_is_done_all_the_same(shared: JobQueue) -> None:
    busy = shared.enqueue(config_of("takes", steps=10_000, wishes="sleep=0.02"), preset=None, name=None)
    running = wait_for(shared, busy.id, has_trained(3))
    taken = shared.enqueue(config_of("taken", steps=5), preset=None, name=None)
    engine = sa.create_engine(jobs_url(url_of(shared.home)))
    schema = "" if engine.dialect.name == "sqlite" else "dbos."
    with engine.begin() as connection:  # as a claim whose answer was lost leaves it
        connection.execute(
            sa.text(
                f"UPDATE {schema}workflow_status SET status = 'PENDING', executor_id = :me WHERE workflow_uuid = :id"
            ),
            {"me": running.executor, "id": taken.id},
        )
    engine.dispose()
    wait_for(shared, taken.id, lambda job: job.state == "queued")
    shared.cancel(busy.id)
    done = wait_for(shared, taken.id, has_ended)
    assert done.progress is not None
    assert (done.state, done.progress.attempts, done.progress.crashes) == ("done", 1, 0)


@pytest.mark.long
def test_a_worker_that_is_stopped_for_a_while_keeps_its_job(queue: JobQueue, workers: Workers) -> None:
    children = {child.pid: child for child in [workers.start(silent_seconds=2) for _ in range(2)]}
    wait_for_two(queue)
    job = queue.enqueue(config_of(steps=80, wishes="sleep=0.02"), preset=None, name=None)
    running = wait_for(queue, job.id, has_trained(12))
    [owner] = [worker for worker in queue.workers() if worker.id == running.executor]
    children[owner.pid].send_signal(signal.SIGSTOP)
    end = time.monotonic() + 60
    while not any(w.id == owner.id and w.state == "lost" for w in queue.workers()):  # far longer than 2 s
        assert time.monotonic() < end
        time.sleep(0.2)
    children[owner.pid].send_signal(signal.SIGCONT)
    done = wait_for(queue, job.id, has_ended)
    assert done.progress is not None
    assert (done.state, done.executor, done.progress.attempts) == ("done", owner.id, 1)


def test_what_a_cancelled_job_left_behind_is_swept_by_the_next_worker(
    queue: JobQueue, workers: Workers
) -> None:
    job = queue.enqueue(config_of(steps=60, wishes="sleep=0.05"), preset=None, name=None)
    first = workers.start()
    wait_for(queue, job.id, has_trained(12))
    first.send_signal(signal.SIGKILL)
    first.wait()
    queue.cancel(job.id)
    partial: Path = queue.home / "jobs" / job.id / "tiny.partial"
    assert partial.is_dir()
    workers.start()
    end = time.monotonic() + 20
    while partial.exists():
        assert time.monotonic() < end
        time.sleep(0.1)
    assert queue.get(job.id).state == "cancelled"
