"""What a worker does with one job: decompose in a folder of the job's own, publish the result, clean up.

    home/jobs/<id>/job.log           what happened, with traces
    home/jobs/<id>/lock              held by the process that works on the job
    home/jobs/<id>/<slug>.partial/   the run with its checkpoint; stays while the job may still resume
    home/jobs/<id>/<slug>/           the finished artefact, for the moment before it is published
    home/artifacts/<slug>/           published: one rename, so the gallery never sees half of it

A job that failed for want of something (disk, memory, weights) keeps its checkpoint, and another job can resume from
it: its folder then holds `continues`, a file with the id of the job whose work it takes over.

Every method can be run again after a crash in any place.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy.exc import OperationalError

from workers.jobs.failures import JobError, is_final, sentence
from workers.jobs.monitor import Monitor, Why
from workers.jobs.names import SHIPPED, taken_names
from workers.jobs.progress import STAGES, ProgressRow, ProgressStore
from workers.spd.artifact import MANIFEST, Artifact, ArtifactError, read_artifact
from workers.spd.config import DecomposeConfig, parse_config
from workers.spd.progress import Stopped

if TYPE_CHECKING:
    from workers.jobs.store import Mirror
    from workers.spd.progress import RunProgress

MAX_CRASHES = 3
LOCK_SECONDS = 30.0
CONTINUES = "continues"
KEPT = "Its work up to the last checkpoint is kept."


def snapshot_folder(home: Path, job_id: str) -> Path:
    """Where the last checkpoint of a job that has not ended lies as an artefact, once somebody has opened it."""
    return home / "artifacts" / job_id


def has_checkpoint(folder: Path) -> bool:
    """Whether a job's folder holds work that can be resumed: a checkpoint, or a run that only has to be stored."""
    return any(folder.glob("*.partial/checkpoint*/state.json")) or any(folder.glob(f"*/{MANIFEST}"))


class RunStoppedError(Exception):
    """The run was stopped; `why` says by what."""

    def __init__(self, why: Why) -> None:
        super().__init__(why.value)
        self.why = why


class WorkerLeaves(BaseException):
    """The worker shuts down in the middle of a job. Not an Exception, so that nothing records it as an outcome and
    the job stays open for the next worker."""


class Method(Protocol):
    """What is used of the module `workers.spd.run.decompose`."""

    def decompose(
        self,
        config: DecomposeConfig,
        out: Path,
        *,
        home: Path,
        device: str,
        report: Callable[[RunProgress], None],
        stop: Callable[[], bool],
    ) -> Artifact: ...


@dataclass(frozen=True)
class JobRunner:
    """Runs jobs for one worker. `method` is called with the first job, so that an idle worker imports no torch."""

    home: Path
    device: str
    store: ProgressStore
    method: Callable[[], Method]
    mirror: Mirror | None = None

    def folder(self, job_id: str) -> Path:
        return self.home / "jobs" / job_id

    def run(self, job_id: str, data: dict[str, Any], wanted: Callable[[], Why | None]) -> str:
        """Decompose, from the job's checkpoint where it has one. Returns the artefact's hash.

        Raises JobError with a plain sentence, RunStoppedError where `wanted` says so, and OperationalError where the
        database is away; it can then be called again.
        """
        folder = self.folder(job_id)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with hold(folder / "lock"):
                return self._run(job_id, folder, parse_config(data), wanted)
        except (RunStoppedError, JobError, OperationalError):
            raise
        except Exception as error:
            self.note(job_id, "failed\n" + traceback.format_exc())
            kept = has_checkpoint(folder) and (not is_final(error) or self._has_trained(job_id))
            said = sentence(error, device=self.device, home=self.home, kept=kept)
            raise self._given_up(job_id, said, kept=kept) from None

    def _has_trained(self, job_id: str) -> bool:
        """Whether all training steps are behind it: whatever fails then, they are not thrown away."""
        row = self.store.rows([job_id]).get(job_id)
        return row is not None and STAGES.index(row.stage) > STAGES.index("train")

    def _given_up(self, job_id: str, said: str, *, kept: bool) -> JobError:
        """The error that ends a job. Its checkpoint stays where resuming from it can help."""
        if kept:
            return JobError(f"{said} {KEPT}")
        with contextlib.suppress(
            OSError
        ):  # what cannot be removed now is removed by the worker's maintenance
            self.clear(job_id)
        return JobError(said)

    def _run(
        self, job_id: str, folder: Path, config: DecomposeConfig, wanted: Callable[[], Why | None]
    ) -> str:
        self._take_over(job_id, folder)
        out = folder / config.name
        if (out / MANIFEST).is_file():
            return read_artifact(out).hash
        partial = out.with_name(out.name + ".partial")
        row = self.store.begin(
            job_id, steps=config.steps, from_checkpoint=any(partial.glob("checkpoint*/state.json"))
        )
        self.note_attempt(job_id, row)
        if row.crashes >= MAX_CRASHES:
            kept = has_checkpoint(folder)
            remedy = "a smaller “C”, fewer “sites” or a smaller batch"
            raise self._given_up(job_id, self._after_crashes(job_id, row, remedy, kept=kept), kept=kept)
        method = self.method()
        with Monitor(job_id, self.store, wanted, lambda line: self.note(job_id, line)) as monitor:
            try:
                artifact = method.decompose(
                    config,
                    out,
                    home=self.home,
                    device=self.device,
                    report=monitor.report,
                    stop=monitor.should_stop,
                )
            except Stopped:
                if monitor.why is None:
                    raise
                self.note(job_id, f"stopped: {monitor.why.value}")
                raise RunStoppedError(monitor.why) from None
        self.note(job_id, "the run is whole")
        return artifact.hash

    def _take_over(self, job_id: str, folder: Path) -> None:
        """Move the work of the job that this one continues into its own folder, where that was asked for."""
        try:
            before = (folder / CONTINUES).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return
        old = self.folder(before)
        if old.parent == folder.parent and old.is_dir():
            with hold(old / "lock"):
                for work in [path for path in old.iterdir() if path.is_dir()]:
                    # Both jobs make a decomposition of the same name, so the folder keeps its own.
                    os.rename(work, folder / work.name)
            shutil.rmtree(snapshot_folder(self.home, before), ignore_errors=True)
            self.store.take_curve(before, job_id)
            self.note(job_id, f"resumes {before}")
        (folder / CONTINUES).unlink()

    def note_attempt(self, job_id: str, row: ProgressRow) -> None:
        """Say in the job's log which attempt this is, and what ended those before."""
        ended = f"{row.crashes} deaths of its worker in a row" if row.crashes else ""
        silent = f"taken from a silent worker {row.rescues} times" if row.rescues else ""
        before = "".join(f", {said}" for said in (ended, silent) if said)
        self.note(job_id, f"attempt {row.attempts}, process {os.getpid()}, {self.device}{before}")

    def give_up_after_crashes(self, job_id: str, row: ProgressRow, remedy: str) -> None:
        """Raise JobError where the job's worker died too often at the same point."""
        if row.crashes < MAX_CRASHES:
            return
        said = self._after_crashes(job_id, row, remedy, kept=False)
        self.clear(job_id)
        raise JobError(said)

    def _after_crashes(self, job_id: str, row: ProgressRow, remedy: str, *, kept: bool) -> str:
        self.note(job_id, f"given up after {row.crashes} crashes at stage {row.stage}, step {row.step}")
        said = (
            f"The worker's process was ended {row.crashes} times in a row at stage “{row.stage}”, step {row.step:,}, "
            "without getting further. "
        )
        if row.out_of_memory:
            return said + f"The system had run out of memory. Start the job again with {remedy}."
        again = "resume the job" if kept else "start the job again"
        return said + (
            "The system reports no lack of memory; worker.log in Unweave's home folder holds the worker's last words. "
            f"If someone ended it on purpose, {again}."
        )

    def publish(self, job_id: str, name: str, digest: str) -> str:
        """Move the finished artefact into the gallery. Returns the slug it got. Can be repeated.

        The queue kept the name for this job. Where something else (the command line) took it meanwhile, the result
        gets a piece of its hash, as the gallery names a second one too, rather than being lost. Raises JobError where
        it cannot be moved.
        """
        source = self.folder(job_id) / name
        artifacts = self.home / "artifacts"
        artifacts.mkdir(parents=True, exist_ok=True)
        self.in_step()  # to know the names of all machines
        if not source.is_dir():
            slug = self._published(name, digest)
            if slug is None:
                raise JobError("The finished result is no longer in the job's folder. Start the job again.")
            return slug
        slug = f"{name}-{digest[:8]}" if name in taken_names(artifacts, SHIPPED) else name
        try:
            os.rename(source, artifacts / slug)
        except OSError as error:
            self.note(job_id, "could not be published\n" + traceback.format_exc())
            said = sentence(error, device=self.device, home=self.home, kept=True)
            raise JobError(said) from None
        self.note(job_id, f"published as {slug}")
        self.in_step()
        self.clear(job_id)
        return slug

    def in_step(self) -> None:
        """Exchange what is finished with the store, where there is one."""
        if self.mirror is not None:
            self.mirror.sync()

    def _published(self, name: str, digest: str) -> str | None:
        for path in sorted((self.home / "artifacts").glob(f"{name}*")):
            try:
                if read_artifact(path, verify=False).hash == digest:
                    return path.name
            except ArtifactError:
                continue
        return None

    def clear(self, job_id: str) -> None:
        """Remove what the job made so far; its log stays. Raises OSError where that cannot be done."""
        shutil.rmtree(snapshot_folder(self.home, job_id), ignore_errors=True)
        folder = self.folder(job_id)
        if folder.is_dir():
            for path in folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)

    def leftovers(self) -> list[str]:
        """Ids of jobs that still have work in their folders."""
        jobs = self.home / "jobs"
        if not jobs.is_dir():
            return []
        return [
            folder.name
            for folder in sorted(jobs.iterdir())
            if folder.is_dir()
            and not folder.name.startswith(".")
            and any(path.is_dir() for path in folder.iterdir())
        ]

    def note(self, job_id: str, line: str) -> None:
        """Add a line to the job's log."""
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        folder = self.folder(job_id)
        with contextlib.suppress(OSError), (folder / "job.log").open("a", encoding="utf-8") as file:
            file.write(
                f"{stamp} {line}\n"
            )  # a log that cannot be written (disk full) must not hide what it was about


def is_held(path: Path) -> bool:
    """Whether another process holds this lock file."""
    try:
        with path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


@contextlib.contextmanager
def hold(path: Path, seconds: float = LOCK_SECONDS) -> Generator[None]:
    """Hold a lock file while working; the system frees it when the process dies, however it dies.

    Raises JobError where another process keeps it for longer than `seconds`.
    """
    with path.open("a") as file:
        end = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise JobError(
                        "Another process still works in this job's folder. Try again later."
                    ) from None
                time.sleep(0.2)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
