"""The worker beside the server: it is restarted when it dies and never outlives the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.jobs.conftest import ROOT, url_of
from workers.jobs.database import connect, jobs_url, prepare
from workers.jobs.heartbeat import Heartbeat
from workers.jobs.queue import JobQueue
from workers.trainer import share_the_machine
from workers.trainer.slots import DeviceTakenError, alive_here, claim, claim_device
from workers.trainer.supervisor import Supervisor, WorkerOptions, worker_command

SERVER = """
import sys, time
from pathlib import Path
from workers.trainer.supervisor import Supervisor, WorkerOptions
with Supervisor(WorkerOptions(Path(sys.argv[1]), sys.argv[2])) as supervisor:
    print(supervisor.pid, flush=True)
    time.sleep(60)
"""


def until(is_so: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def lives(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_two_workers_of_one_home_have_names_of_their_own_and_a_freed_name_is_taken_again(home: Path) -> None:
    first, second = claim(home), claim(home)
    assert first.executor_id != second.executor_id
    first.release()
    third = claim(home)
    assert third.executor_id == first.executor_id
    second.release()
    third.release()


def test_a_gpu_has_one_worker_however_it_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert claim_device(home, "cpu") is None
    first, second = claim_device(home, "cuda"), claim_device(home, "cuda:1")
    assert first is not None
    assert second is not None
    with pytest.raises(DeviceTakenError, match="Another worker of this machine has the GPU “cuda:0”"):
        claim_device(home, "cuda:0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    with pytest.raises(DeviceTakenError):
        claim_device(home, "cuda:0")  # the machine's second
    third = claim_device(home, "cuda:1")
    assert third is not None
    second.close()  # as the system does when the process ends
    assert claim_device(home, "cuda:0") is not None


def test_a_worker_imports_nothing_from_the_folder_it_is_started_in(tmp_path: Path) -> None:
    for name in ("argparse", "glob", "workers"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the current folder was run')")
    started = subprocess.run([*worker_command(), "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert (started.returncode, started.stderr) == (0, "")
    assert "--supervised" in started.stdout


def test_a_worker_that_runs_jobs_parses_no_source_for_its_traces() -> None:
    """In Python 3.11 that may break an import of torch in another thread."""
    code = "import sys; print(sys.flags.safe_path, sys._xoptions)"
    *python, _, _ = worker_command()
    said = subprocess.run([*python, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split(" ", 1) == ["True", "{'no_debug_ranges': True}\n"]


@pytest.mark.slow
def test_a_worker_that_dies_is_started_again_and_a_stop_ends_it(home: Path) -> None:
    queue = JobQueue(home, url_of(home))
    supervisor = Supervisor(WorkerOptions(home, url_of(home)), back_off=(0.1,))
    supervisor.start()
    until(lambda: [worker.state for worker in queue.workers()] == ["idle"])
    first = supervisor.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: supervisor.restarts == 1)
    until(lambda: [worker.pid for worker in queue.workers()] == [supervisor.pid])
    second = supervisor.pid
    assert second is not None
    supervisor.stop()
    assert not lives(second)
    assert supervisor.pid is None
    assert queue.workers() == []
    queue.close()


@pytest.mark.slow
def test_a_worker_leaves_when_the_process_that_started_it_is_killed(home: Path) -> None:
    queue = JobQueue(home, url_of(home))
    parent = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(home), url_of(home)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    until(lambda: queue.workers())
    parent.kill()
    parent.wait()
    until(lambda: not lives(pid), 15)
    assert queue.workers() == []
    queue.close()


def test_openmp_waits_passively_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY")
    share_the_machine()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    share_the_machine()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


@pytest.mark.parametrize("module", ["backend.cli", "workers.trainer"])
def test_the_wait_policy_is_set_before_torch_could_be_imported(module: str) -> None:
    code = f"import sys, {module}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_worker_is_alive_here_while_its_heart_beats_on_this_machine(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert alive_here(url_of(home)) == []
    url = jobs_url(url_of(home))
    engine = connect(url)
    prepare(url, engine)
    assert alive_here(url_of(home)) == []
    slot = claim(home)
    Heartbeat(engine, slot.executor_id, "cpu", 2**30)._write()
    Heartbeat(engine, "worker-another-machine-1", "cpu", 2**30)._write()
    assert alive_here(url_of(home)) == [slot.executor_id]
    monkeypatch.setattr("time.time", lambda now=time.time() + 60: now)
    assert alive_here(url_of(home)) == []
