"""What a worker does with a harvest: gather in the job's folder, move the result beside the others, clean up.

home/jobs/<id>/<harvest>.partial/     the harvest with its checkpoint
home/jobs/<id>/<harvest>/             the finished harvest, for the moment before it is published
home/harvests/<artefact>/<harvest>/   published: one rename
"""

from __future__ import annotations

import os
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.exc import OperationalError

from workers.jobs.failures import JobError, sentence
from workers.jobs.monitor import Monitor, Why
from workers.jobs.names import SHIPPED
from workers.jobs.runner import JobRunner, RunStoppedError, hold
from workers.spd.artifact import Artifact, ArtifactError, read_artifact
from workers.spd.statistics.config import parse_harvest

FOLDER = "harvests"


def harvest_place(home: Path, artifact_hash: str) -> Path:
    """The folder of a decomposition's harvests in a home folder."""
    return home / FOLDER / artifact_hash[:16]


def run_harvest(
    runner: JobRunner, job_id: str, data: dict[str, Any], wanted: Callable[[], Why | None]
) -> str:
    """Harvest, from the job's checkpoint where it has one. Returns the name of the finished folder in the job's.

    Raises JobError with a plain sentence, RunStoppedError where `wanted` says so, and OperationalError where the
    database is away.
    """
    folder = runner.folder(job_id)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with hold(folder / "lock"):
            return _run(runner, job_id, folder, data, wanted)
    except (RunStoppedError, JobError, OperationalError):
        raise
    except Exception as error:
        runner.note(job_id, "failed\n" + traceback.format_exc())
        runner.clear(job_id)
        raise JobError(sentence(error, device=runner.device, home=runner.home)) from None


def _run(
    runner: JobRunner, job_id: str, folder: Path, data: dict[str, Any], wanted: Callable[[], Why | None]
) -> str:
    from workers.spd.progress import Stopped
    from workers.spd.statistics.corpus_statistics import harvest_corpus

    config = parse_harvest(data["config"])
    resumes = any(folder.glob("*.partial/progress.json"))
    row = runner.store.begin(job_id, steps=0, from_checkpoint=resumes)
    runner.note_attempt(job_id, row)
    runner.give_up_after_crashes(job_id, row, "a smaller “batch_tokens” or a shorter “window”")
    runner.in_step()  # another machine may have made it
    artifact = find_artifact(runner.home, data)
    with Monitor(
        job_id, runner.store, wanted, lambda line: runner.note(job_id, line), overall=lambda _, share: share
    ) as monitor:
        try:
            made = harvest_corpus(
                artifact, config, folder, home=runner.home, device=runner.device, report=monitor.report,
                stop=monitor.should_stop,
            )  # fmt: skip
        except Stopped:
            if monitor.why is None:
                raise
            runner.note(job_id, f"stopped: {monitor.why.value}")
            raise RunStoppedError(monitor.why) from None
    runner.note(job_id, "the harvest is whole")
    return made.name


def find_artifact(home: Path, data: dict[str, Any]) -> Artifact:
    """The artefact that a harvest is of. Raises JobError where it is gone or another one now."""
    root, _, name = str(data["place"]).partition("/")
    path = (SHIPPED if root == "shipped" else home / "artifacts") / Path(name).name
    try:
        artifact = read_artifact(path)
    except ArtifactError as error:
        raise JobError(str(error)) from None
    if artifact.hash != data["hash"]:
        raise JobError(f"“{data['name']}” is another decomposition by now. Start the harvest again.")
    return artifact


def publish_harvest(runner: JobRunner, job_id: str, made: str, artifact_hash: str) -> None:
    """Move the finished harvest beside the others of its decomposition, in place of an equal one. Can be repeated.
    Raises JobError where it cannot be moved."""
    source, final = runner.folder(job_id) / made, harvest_place(runner.home, artifact_hash) / made
    if not source.is_dir():
        if final.is_dir():
            return
        raise JobError("The finished harvest is no longer in the job's folder. Start the job again.")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.is_dir():
            shutil.rmtree(final)
        os.rename(source, final)
    except OSError as error:
        runner.note(job_id, "could not be published\n" + traceback.format_exc())
        raise JobError(sentence(error, device=runner.device, home=runner.home)) from None
    runner.note(job_id, f"published as {made}")
    runner.in_step()
    runner.clear(job_id)
