"""`unweave harvest`: a harvest in the foreground, with a bar, a way to stop, and what it found at the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from backend.commands.decompose import interruptible
from workers.spd.artifact import Artifact, ArtifactError, is_full
from workers.spd.config import ConfigError

if TYPE_CHECKING:
    from workers.spd.progress import RunProgress
    from workers.spd.statistics.config import HarvestConfig


def gather(
    artifact: Artifact,
    config: HarvestConfig,
    place: Path,
    *,
    home: Path,
    device: str,
    resume: bool,
    console: Console,
) -> tuple[int, str]:
    """Harvest in the foreground into a folder in `place`. Returns (0, "") or an exit code and a sentence: 130 when
    stopped."""
    from workers.spd.corpora.dataset_library import TextsError
    from workers.spd.progress import Stopped
    from workers.spd.statistics.corpus_statistics import harvest_corpus
    from workers.spd.statistics.store import read_info
    from workers.spd.targets.target import TargetError

    bar = Progress(
        TextColumn("Harvesting"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[message]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    with interruptible(console) as stopping, bar:
        task = bar.add_task("", total=1.0, message="")

        def report(progress: RunProgress) -> None:
            bar.update(task, completed=progress.fraction, message=progress.message)

        try:
            folder = harvest_corpus(
                artifact, config, place, home=home, device=device, report=report, stop=stopping.is_set,
                resume=resume,
            )  # fmt: skip
        except Stopped as error:
            return 130, str(error)
        except KeyboardInterrupt:
            return 130, "Interrupted. The same command resumes from the last checkpoint, if there is one."
        except (TargetError, TextsError, ConfigError, ArtifactError) as error:
            return 1, str(error)
        except OSError as error:
            if is_full(error):
                return (
                    1,
                    "The disk is full. Free some space; the same command resumes from the last checkpoint.",
                )
            return 1, f"The harvest could not be stored: {error}."
        bar.update(task, completed=1.0, message="Done")
    info = read_info(folder)
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    console.print(
        f"{info.described}: {info.windows:,} windows, {info.tokens:,} tokens; {info.fired:,} of {info.components:,} "
        f"components fired, {info.ablated:,} were suppressed alone. {size:.1f} MB in {folder}",
        highlight=False,
        soft_wrap=True,
    )
    for note in info.notes:
        console.print(f"• {note}", highlight=False)
    return 0, ""
