"""A job with the real method: killed with -9 in mid-training, finished by the next worker."""

from __future__ import annotations

import re
import signal

import pytest

from tests.jobs.conftest import REAL, Workers, config_of, has_ended, has_trained, wait_for
from workers.jobs.queue import JobQueue
from workers.spd.artifact import read_artifact

pytestmark = pytest.mark.slow


@pytest.mark.long
def test_a_real_run_killed_in_mid_training_is_finished_from_its_checkpoint(
    queue: JobQueue, workers: Workers
) -> None:
    config = config_of("real", steps=400, checkpoint_every=20, log_every=5)
    job = queue.enqueue(config, preset=None, name=None)
    first = workers.start(REAL)
    wait_for(queue, job.id, has_trained(60), 180)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert queue.get(job.id).state == "running"

    workers.start(REAL)
    done = wait_for(queue, job.id, has_ended, 240)
    assert (done.state, done.error, done.decomposition) == ("done", None, "real")
    assert done.progress is not None
    assert done.progress.resumed == 1

    log = (queue.home / "jobs" / job.id / "job.log").read_text(encoding="utf-8")
    starts = [int(step) for step in re.findall(r"train: step (\d+) of 400", log)]
    assert len(starts) == 2
    assert starts[1] > 40, "it resumed from a checkpoint, not from the beginning"

    artifact = read_artifact(queue.home / "artifacts" / "real")
    assert artifact.manifest.config.steps == 400
    logged = [int(point["step"]) for point in artifact.curves]
    assert logged == sorted(set(logged)), "no step is logged twice"
    assert logged[-1] == 399
    assert artifact.columns.site


def test_a_real_run_stops_when_it_is_cancelled(queue: JobQueue, workers: Workers) -> None:
    job = queue.enqueue(config_of("real", steps=100_000), preset=None, name=None)
    workers.start(REAL)
    wait_for(queue, job.id, has_trained(5), 180)
    queue.cancel(job.id)
    after = queue.enqueue(config_of("after", steps=2), preset=None, name=None)
    assert wait_for(queue, after.id, has_ended, 180).state == "done"
    assert not (queue.home / "jobs" / job.id / "real.partial").exists()
