"""Workers take what fits into their memory, the oldest first; what fits nowhere waits and says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.conftest import Open
from tests.jobs.conftest import Workers, config_of, has_ended, url_of, wait_for
from workers.jobs import database, machine
from workers.jobs.heartbeat import Heartbeat
from workers.jobs.machine import device_memory
from workers.jobs.queue import JobQueue

GIB = 2**30


@pytest.mark.slow
def test_a_small_worker_leaves_large_jobs_to_a_large_one(queue: JobQueue, workers: Workers) -> None:
    def start(name: str, memory: int | None) -> str:
        return queue.enqueue(config_of(name, steps=5), preset=None, name=None, memory_bytes=memory).id

    large, fits, unknown = start("large", 5 * GIB), start("fits", 2 * GIB), start("unknown", None)
    workers.start(memory_bytes=2 * GIB)
    done = [wait_for(queue, id, has_ended) for id in (fits, unknown)]
    assert [job.state for job in done] == ["done", "done"]
    assert done[0].progress is not None
    assert done[1].progress is not None
    assert done[0].progress.started_at < done[1].progress.started_at
    assert queue.get(large).state == "queued"
    workers.start(memory_bytes=8 * GIB)
    taken = wait_for(queue, large, has_ended)
    assert taken.state == "done"
    assert {worker.id: worker.memory_bytes for worker in queue.workers()}[str(taken.executor)] == 8 * GIB


def test_a_job_that_fits_no_worker_says_so_on_its_card(home: Path, open_app: Open) -> None:
    client = open_app(home)
    body = {"config": config_of().model_dump(mode="json"), "memory_bytes": 10 * GIB}
    job = client.post("/api/jobs", json=body).json()
    engine = database.connect(database.jobs_url(url_of(home)))
    Heartbeat(engine, "worker-a-1", "cuda:0", 8 * GIB)._write()
    assert client.get(f"/api/jobs/{job['id']}").json()["message"] == (
        "It needs about 10.0 GiB of memory, and no worker that runs has more than 8.0 GiB. "
        "It waits for one that has."
    )
    assert client.get("/api/health").json()["workers"][0]["memory_bytes"] == 8 * GIB
    Heartbeat(engine, "worker-b-1", "cuda:0", 12 * GIB)._write()
    engine.dispose()
    assert client.get(f"/api/jobs/{job['id']}").json()["message"] is None


@pytest.mark.slow
def test_a_job_of_a_release_without_partitions_is_taken(queue: JobQueue, workers: Workers) -> None:
    job = queue.enqueue(config_of(steps=5), preset=None, name=None)
    engine = database.connect(database.jobs_url(url_of(queue.home)))
    with engine.begin() as connection:
        schema = "" if engine.dialect.name == "sqlite" else "dbos."
        connection.execute(sa.text(f"UPDATE {schema}workflow_status SET queue_partition_key = NULL"))
    engine.dispose()
    workers.start()
    assert wait_for(queue, job.id, has_ended).state == "done"


def test_a_retried_job_needs_what_it_needed(queue: JobQueue) -> None:
    job = queue.enqueue(config_of(), preset=None, name=None, memory_bytes=3 * GIB)
    queue.cancel(job.id)
    assert queue.retry(job.id).memory_bytes == 3 * GIB


def test_a_container_has_what_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = device_memory("cpu")
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "LIMITS", (tmp_path / "none", limit))
    limit.write_text("max\n")
    assert device_memory("cpu") >= most
    limit.write_text("1048576\n")
    assert device_memory("cpu") == 1_048_576
