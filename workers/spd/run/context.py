"""What every stage of a run needs: its config, its folders, and how it reports and is stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workers.spd.config import DecomposeConfig
from workers.spd.method.processes import World
from workers.spd.progress import Report, RunProgress, Stage, Stopped

AFTER_TRAINING = ("harvest", "evidence", "store")


@dataclass(frozen=True)
class Run:
    """One run. `out`: where the artefact is stored; `home`: where targets and texts are kept; `stop`: whether the run
    was asked to end. Only the first of several processes reports."""

    config: DecomposeConfig
    out: Path
    home: Path
    world: World
    send: Report
    stop: Callable[[], bool]

    @property
    def work(self) -> Path:
        """The folder of a run that has not ended."""
        return self.out.with_name(self.out.name + ".partial")

    def check_stop(self) -> None:
        """Raise Stopped where the run was asked to end."""
        if self.stop():
            raise Stopped("Stopped; the checkpoint, where there is one already, is kept.")

    def report(self, stage: Stage, message: str) -> None:
        """Report what a stage is doing, in words."""
        steps, done = self.config.steps, stage in AFTER_TRAINING
        self.progress(RunProgress(stage, steps * done, steps, float(done), message=message))

    def progress(self, progress: RunProgress) -> None:
        """Report progress with figures."""
        if self.world.leads:
            self.send(progress)
