"""The training of a run, from the checkpoint if there is one: steps, events, figures, checkpoints (SPEC 16)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from workers.spd.evaluation.evidence import LightEvidence
from workers.spd.method.schedule import Schedule
from workers.spd.method.training import Trainer
from workers.spd.progress import RunProgress, Stopped
from workers.spd.prompts.batches import Batch
from workers.spd.prompts.rest import RestText
from workers.spd.prompts.training_data import TrainingData
from workers.spd.run.checkpoint import load_checkpoint, save_checkpoint
from workers.spd.run.context import Run
from workers.spd.run.sizes import sizes
from workers.spd.run.training_log import TrainingLog


@dataclass
class Clock:
    """Seconds of training, those before the last resumption included, and the pace since then."""

    before: float
    first_step: int
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.started

    def rate(self, step: int) -> float | None:
        """Steps a second."""
        spent = time.monotonic() - self.started
        return (step - self.first_step) / spent if spent > 0 else None


def train(
    run: Run, trainer: Trainer, data: TrainingData, start: Batch, rest: RestText | None = None
) -> float:
    """Take all steps; returns the seconds they took. `start`: the batch that pruning and growing look at; `rest`: the
    second stream of a targeted run."""
    config, schedule, light = run.config, Schedule(run.config), LightEvidence(run.config, data)
    log, clock = _begin(run, trainer, data, start, rest)

    def save() -> None:
        trainer.check_finite()
        if run.world.leads:
            save_checkpoint(
                run.work, trainer, seconds=clock.seconds, log_lines=len(log.lines), texts=data.texts_hash
            )
        run.world.wait()

    while trainer.step < config.steps:
        if run.world.any(run.stop()):
            save()
            raise Stopped(f"Stopped at step {trainer.step} of {config.steps}; the checkpoint is kept.")
        step = trainer.step
        other = rest.next(trainer.generator) if rest is not None else None
        figures = trainer.train_step(data.next(trainer.generator), other)
        more = schedule.apply(trainer, start, run.check_stop)
        if run.world.leads and light.due(trainer.step):
            more |= light.measure(trainer.decomposition, run.check_stop)
        figures = figures | more if more or step % config.log_every == 0 or step + 1 == config.steps else {}
        if figures:
            log.record(step, figures)
        _report(run, trainer, clock, figures)
        if trainer.step % config.checkpoint_every == 0 and trainer.step < config.steps:
            save()
    if trainer.step > clock.first_step:
        save()
    return clock.seconds


def _begin(
    run: Run, trainer: Trainer, data: TrainingData, start: Batch, rest: RestText | None
) -> tuple[TrainingLog, Clock]:
    """The trainer at its checkpoint, or warmed up where there is none, with the log and the clock that go with it."""
    checkpoint = load_checkpoint(run.work, trainer, texts=data.texts_hash)
    if checkpoint is None:
        if run.config.faithfulness_steps:
            run.report("train", "Faithfulness alone, before the first step")
        trainer.warm_up_faithfulness(run.config.faithfulness_steps, run.check_stop)
        if rest is not None and rest.config.quiet_writes is not None:
            run.report("train", "Making the writes quiet on other text, before the first step")
            trainer.quiet_writes(start, rest.quieting(run.config.seed), run.check_stop)
    log = TrainingLog(
        run.work / "metrics.jsonl", keep=checkpoint.log_lines if checkpoint else 0, writes=run.world.leads
    )
    run.world.wait()
    log.begin()
    return log, Clock(checkpoint.seconds if checkpoint else 0.0, trainer.step)


def _say_sizes(run: Run, trainer: Trainer, data: TrainingData, rest: RestText | None) -> None:
    """Report what the steps will hold in memory."""
    if trainer.step >= run.config.steps:
        return
    state = trainer.generator.get_state()
    try:
        other = rest.next(trainer.generator) if rest is not None else None
        said = str(sizes(trainer, data.next(trainer.generator), other))
    finally:
        trainer.generator.set_state(state)
    share = trainer.step / run.config.steps
    run.progress(RunProgress("train", trainer.step, run.config.steps, share, message=said))


def _report(run: Run, trainer: Trainer, clock: Clock, figures: dict[str, float]) -> None:
    steps, rate = run.config.steps, clock.rate(trainer.step)
    left = (steps - trainer.step) / rate if rate else None
    message = trainer.adaptations[-1].summary if trainer.adaptations else ""
    run.progress(
        RunProgress("train", trainer.step, steps, trainer.step / steps, rate, left, figures, message)
    )
