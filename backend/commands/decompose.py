"""`unweave decompose`: a run in the foreground, with a bar, a way to stop, and what it measured at the end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from backend.services.evidence import Evidence
from workers.spd.artifact import Artifact, ArtifactError, FactTable, is_full
from workers.spd.config import ConfigError, DecomposeConfig

if TYPE_CHECKING:
    from workers.spd.progress import RunProgress

STAGES = {
    "target": "Getting the model",
    "train": "Training",
    "harvest": "Gathering statistics",
    "evidence": "Measuring the evidence",
    "store": "Storing",
}


@contextmanager
def interruptible(console: Console) -> Generator[threading.Event]:
    """Within this block Ctrl-C sets the event, so that work can stop at a checkpoint; a second one ends it at once."""
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()
        console.print("Stopping after this step (Ctrl-C again ends at once, without a checkpoint).")

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGINT, before)


def train(
    config: DecomposeConfig, target: Path, *, home: Path, device: str, resume: bool, console: Console
) -> tuple[int, str]:
    """Run a decomposition in the foreground. Returns (0, "") or an exit code and a sentence: 130 when stopped."""
    from workers.spd.corpora.dataset_library import TextsError
    from workers.spd.method.training import DivergedError
    from workers.spd.progress import Stopped
    from workers.spd.run.decompose import decompose
    from workers.spd.targets.target import TargetError

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[message]}"),
        TimeElapsedColumn(),
        console=console,
    )
    partial = target.with_name(target.name + ".partial")
    with interruptible(console) as stopping, bar:
        task = bar.add_task(STAGES["target"], total=1.0, message="")

        def report(progress: RunProgress) -> None:
            fraction = progress.fraction if progress.stage == "train" else None
            bar.update(
                task, description=STAGES[progress.stage], completed=fraction, message=_message(progress)
            )
            if (
                progress.stage == "train"
                and progress.message
                and not progress.figures
                and progress.rate is None
            ):
                console.print(progress.message, highlight=False, soft_wrap=True)
            if progress.figures and not console.is_terminal:
                figures = "  ".join(f"{name} {value:.3g}" for name, value in progress.figures.items())
                console.print(f"step {progress.step}  {figures}", highlight=False, soft_wrap=True)

        try:
            artifact = decompose(
                config, target, home=home, device=device, report=report, stop=stopping.is_set, resume=resume
            )
        except Stopped as error:
            return 130, f"{error} The same command resumes from there ({partial})."
        except KeyboardInterrupt:
            return (
                130,
                f"Interrupted. The same command resumes from the last checkpoint, if there is one ({partial}).",
            )
        except (TargetError, TextsError, ConfigError, ArtifactError, DivergedError) as error:
            return 1, str(error)
        except OSError as error:
            if is_full(error):
                return 1, (
                    "The disk is full. Free some space; the same command resumes from the last checkpoint, if there is "
                    f"one ({partial})."
                )
            return 1, f"The run could not be stored: {error}. The last checkpoint is kept in {partial}."
        bar.update(task, description="Done", completed=1.0, message="")
    print_evidence(artifact, console)
    return 0, ""


def _message(progress: RunProgress) -> str:
    if progress.stage != "train":
        return progress.message
    parts = [f"{progress.step:,} of {progress.steps:,}"]
    if progress.rate:
        parts.append(
            f"{progress.rate:.1f} steps/s" if progress.rate >= 1 else f"{1 / progress.rate:.1f} s a step"
        )
    if progress.remaining_seconds is not None:
        minutes, seconds = divmod(round(progress.remaining_seconds), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    if progress.message:
        parts.append(progress.message)
    return " · ".join(parts)


def fact_lines(facts: FactTable) -> Table:
    """Every fact that the target knows, and what suppressing its group does."""
    known = [row for row in facts.rows if row.kept]
    table = Table(
        "fact", "answer", "p", "components", "falls by, held out", "others change by",
        title=f"{len(known)} of {len(facts.rows)} facts known at rank {facts.rank}",
        caption=f"median fall {_share(facts.held_out_drop)} held out, {_share(facts.train_drop)} trained; "
        f"median change of others {_share(facts.others_change)}, 95 % of them below {_share(facts.others_change_95)}",
    )  # fmt: skip
    for row in known:
        table.add_row(
            row.subject, row.answer, f"{row.probability:.3g}", str(row.components), _share(row.held_out_drop),
            _share(row.others_change),
        )  # fmt: skip
    return table


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def print_evidence(artifact: Artifact, console: Console) -> None:
    """What a run measured, as tables: evidence, selectivity checks, the paper's table, remarks."""
    manifest = artifact.manifest
    table = Table("measured", "unit", "train", "held out", "", title=manifest.config.title or artifact.name)
    for row in Evidence(manifest).rows():
        held_out = "" if row.held_out is None else f"{row.held_out:.3g}"
        value = "" if row.train is None else f"{row.train:.3g}"
        table.add_row(row.label, row.unit, value, held_out, row.warning or "")
    console.print(table)
    if manifest.checks:
        checks = Table("suppressed", "components", "prompt", "answer", "before", "after", "wanted", "")
        for check in manifest.checks:
            checks.add_row(
                " + ".join(check.groups), str(check.components), check.prompt, check.answer,
                f"{check.baseline:.3g}", f"{check.ablated:.3g}", check.wanted, "ok" if check.ok else "missed",
            )  # fmt: skip
        console.print(checks)
    if manifest.facts is not None:
        console.print(fact_lines(manifest.facts))
    if manifest.paper is not None:
        paper = Table("row", "paper", "ours", "note", title=manifest.paper.title)
        for line in manifest.paper.rows:
            paper.add_row(line.name, line.paper, line.ours, line.note or "")
        console.print(paper)
    for note in manifest.notes:
        console.print(f"• {note}", highlight=False)
    alive = sum(artifact.columns.alive)
    trained = sum(site.trained for site in manifest.sites)
    console.print(
        f"{alive:,} of {trained:,} components alive; {manifest.training_seconds:.0f} s of training; stored in "
        f"{artifact.path}",
        highlight=False,
        soft_wrap=True,
    )  # fmt: skip
