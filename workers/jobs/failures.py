"""An exception as one plain sentence with a way out. The trace goes to the job's log, never further."""

from __future__ import annotations

from pathlib import Path

from workers.jobs.places import without_places
from workers.spd.artifact import ArtifactError, is_full
from workers.spd.config import ConfigError

LONGEST = 600


class JobError(Exception):
    """A job that ended badly; the message is what people are shown."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error is one of the many ways in which memory runs out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("not enough memory" in text or "out of memory" in text)


def is_final(error: BaseException) -> bool:
    """Whether the same run would fail the same way again, whatever room or memory it is given."""
    names = ("DivergedError", "CheckpointError")  # by name: theirs would import torch
    return any(isinstance(cause, ConfigError) or type(cause).__name__ in names for cause in chain(error))


def chain(error: BaseException) -> list[BaseException]:
    """The error and what led to it, outermost first."""
    causes: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in causes:
        causes.append(step)
        step = step.__cause__ or step.__context__
    return causes


def sentence(error: BaseException, *, device: str, home: Path, kept: bool = False) -> str:
    """What happened and what to do, in words for whoever started the job; no path outside `home` is named."""
    again = "resume the job" if kept else "start the job again"
    for cause in chain(error):
        if is_full(cause):
            return f"The disk is full. Free some space in Unweave's home folder and {again}."
        if is_out_of_memory(cause):
            return (
                f"There was not enough memory on {device}. Start the job again with a smaller “C”, fewer “sites”, "
                "or a smaller batch."
            )
    known = isinstance(error, ConfigError | ArtifactError | JobError)
    if known or type(error).__name__ in (
        "TargetError",
        "TextsError",
        "DivergedError",
    ):  # by name: theirs would import torch
        return without_places(" ".join(str(error).split()), home)[:LONGEST]
    if type(error).__name__ == "CheckpointError":
        return "The job's checkpoint is damaged, so it cannot resume. Start the job again."
    if isinstance(error, PermissionError):
        return (
            f"A file in Unweave's home folder may not be written. Check who owns that folder, then {again}."
        )
    return (
        f"The job stopped on an unexpected error ({type(error).__name__}), a fault of Unweave and not of the config. "
        f"The end of its log comes with the job; please report it. To try once more, {again}."
    )
