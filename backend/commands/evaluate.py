"""`unweave evaluate`: a comparison in the foreground, with a bar, a way to stop, and its table at the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from backend.commands.decompose import interruptible
from workers.spd.artifact import Artifact, ArtifactError, is_full
from workers.spd.comparison.stored import FOLDER, EvaluationConfig, write_evaluation
from workers.spd.config import ConfigError

if TYPE_CHECKING:
    from workers.spd.comparison.stored import Evaluation, Interval


def compare(
    artifact: Artifact,
    config: EvaluationConfig,
    place: Path,
    *,
    home: Path,
    source: Path | None,
    device: str,
    console: Console,
) -> tuple[int, str]:
    """Evaluate and store in `place`. Returns (0, "") or an exit code and a sentence: 130 when stopped."""
    from workers.spd.comparison.evaluate import evaluate
    from workers.spd.corpora.dataset_library import TextsError
    from workers.spd.progress import Stopped
    from workers.spd.targets.target import TargetError

    bar = Progress(
        TextColumn("Evaluating"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[message]}"), TimeElapsedColumn(), TimeRemainingColumn(), console=console,
    )  # fmt: skip
    with interruptible(console) as stopping, bar:
        task = bar.add_task("", total=1.0, message="")
        try:
            evaluation = evaluate(
                artifact, config, home / FOLDER / "rows", home=home, source=source, device=device,
                tell=lambda fraction, message: bar.update(task, completed=fraction, message=message),
                stop=stopping.is_set,
            )  # fmt: skip
            path = write_evaluation(evaluation, place)
        except Stopped as error:
            return 130, str(error)
        except KeyboardInterrupt:
            return 130, "Interrupted. The same command resumes from the facts that are done."
        except (TargetError, TextsError, ConfigError, ArtifactError) as error:
            return 1, str(error)
        except OSError as error:
            if is_full(error):
                return 1, "The disk is full. Free some space; the same command resumes."
            return 1, f"The evaluation could not be stored: {error}."
        bar.update(task, completed=1.0, message="Done")
    console.print(_table(evaluation))
    console.print(
        f"{len(evaluation.facts)} facts, {evaluation.seconds / 60:.0f} minutes, in {path}",
        highlight=False,
        soft_wrap=True,
    )
    return 0, ""


def _table(evaluation: Evaluation) -> Table:
    """The main budget, the best score first."""
    table = Table(
        "method", "score", "forgets", "others", "reverse", "elsewhere", "text", "KL of text", "SPD",
        box=None, pad_edge=False,
    )  # fmt: skip
    titles = {card.name: card.title for card in evaluation.methods}
    rows = [row for row in evaluation.summary if row.budget == evaluation.config.main]
    for row in sorted(rows, key=lambda row: -row.score.mean):
        harms = (_percent(value) for value in (row.others, row.reverse, row.elsewhere, row.text))
        table.add_row(
            titles[row.method], _interval(row.score), _percent(row.forgets.mean), *harms,
            "" if row.kl is None else f"{row.kl:.2g}", row.verdict or "",
        )  # fmt: skip
    return table


def _interval(value: Interval) -> str:
    return f"{value.mean:.2f} [{value.low:.2f}, {value.high:.2f}]"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
