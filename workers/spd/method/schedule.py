"""What happens to a run's components between its steps: pruning, adaptation, elimination, each at its shares of the
steps (SPEC 16, 21, 24)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from workers.spd.config import DecomposeConfig
from workers.spd.method.training import Trainer
from workers.spd.prompts.batches import Batch

CheckStop = Callable[[], None]
Event = Callable[[Trainer, Batch, CheckStop], dict[str, float]]
"""Changes the trainer's components and returns what the log shows of it."""


def prune(trainer: Trainer, batch: Batch, check_stop: CheckStop) -> dict[str, float]:
    """Drop dead components."""
    settings = trainer.config.prune
    assert settings is not None
    return {"pruned": float(trainer.prune(batch, settings.below, settings.positions))}


def adapt(trainer: Trainer, batch: Batch, check_stop: CheckStop) -> dict[str, float]:
    """Drop dead components, and add some where they are missing."""
    done = trainer.adapt(batch, check_stop)
    return {"pruned": float(done.pruned), "grown": float(done.added)}


def eliminate(trainer: Trainer, batch: Batch, check_stop: CheckStop) -> dict[str, float]:
    """Close components that the output does not need."""
    done = trainer.eliminate(batch, check_stop)
    return {"eliminated": float(len(done.dropped)), "kl_ci_masks": done.after}


class Schedule:
    """The events of a run, each at the steps its config names."""

    def __init__(self, config: DecomposeConfig) -> None:
        def steps(shares: Iterable[float]) -> set[int]:
            return {max(1, round(share * config.steps)) for share in shares}

        self._events: list[tuple[Event, set[int]]] = [
            (event, steps(settings.at))
            for event, settings in (
                (prune, config.prune),
                (adapt, config.adapt),
                (eliminate, config.eliminate),
            )
            if settings is not None
        ]

    def apply(self, trainer: Trainer, batch: Batch, check_stop: CheckStop) -> dict[str, float]:
        """Everything due after the steps the trainer has taken, judged on this batch; empty where nothing is."""
        figures: dict[str, float] = {}
        for event, steps in self._events:
            if trainer.step in steps:
                figures |= event(trainer, batch, check_stop)
        return figures
