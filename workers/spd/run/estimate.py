"""What a run will take, in time and memory, from a few of its own steps.

Everything a run does is done here for a moment: the target is read, the start made, some steps timed, and a little of
what is measured at the end. Where nothing can be timed in the time there is, the estimate says so.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from workers.spd.config import DecomposeConfig, InductionSource, TextModelSource
from workers.spd.config.cautions import cautions
from workers.spd.evaluation.evidence import LightEvidence, full_evidence
from workers.spd.evaluation.extra import extra_evidence
from workers.spd.method.processes import World
from workers.spd.method.training import Trainer
from workers.spd.progress import Stopped
from workers.spd.run.context import Run
from workers.spd.run.decompose import SIDE_EFFECT_WINDOWS, Subject, gather_statistics, open_subject
from workers.spd.scouted import Estimate
from workers.spd.targets.memory import available_bytes, peak_bytes
from workers.spd.targets.target import ensure_target, target_present

STEPS, STEP_SECONDS = 8, 20.0
MEASURE_SECONDS = 20.0
START_WINDOWS = 64
ASKED = 8
SHORT, LONGER = 2, 12
ALIVE = 0.5
"""The share of a start's components that are alive at the end of runs that drop dead ones, roughly."""


@dataclass
class Clock:
    """Seconds by part."""

    parts: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str, times: int | float = 1.0) -> Generator[None]:
        """Count the time of this block, `times` over."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, (time.perf_counter() - started) * times)

    def add(self, name: str, seconds: int | float) -> None:
        self.parts[name] = self.parts.get(name, 0.0) + seconds


def estimate(config: DecomposeConfig, home: Path, device: str = "cpu") -> Estimate:
    """Time and memory of a run. Meant for a process of its own: its peak is the run's. Raises what a run raises before
    its first step."""
    free = available_bytes(device)
    clock, notes = Clock(), cautions(config)
    with tempfile.TemporaryDirectory() as aside:
        given = config
        if isinstance(config.target, InductionSource | TextModelSource) and not target_present(
            config.target, home
        ):
            given, home = _short_target(config, home, Path(aside), clock)
        run = Run(given, home / "estimate", home, World(), lambda progress: None, lambda: False)
        with clock.part("target"):
            subject = open_subject(run, device)
        steps, trainer = _train(run, subject, clock)
        _measure(run, subject, trainer, clock, notes)
    components = {site: len(index) for site, index in trainer.components.index.items()}
    memory = peak_bytes(device)
    if memory > free:
        notes.append(
            f"It needs about {memory / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free on {device}."
        )
    return Estimate(
        device=device, seconds={name: round(value, 2) for name, value in clock.parts.items()},
        total_seconds=round(sum(clock.parts.values()), 1), memory_bytes=memory, available_bytes=free,
        components=components, steps=steps, notes=notes,
    )  # fmt: skip


def _short_target(
    config: DecomposeConfig, home: Path, aside: Path, clock: Clock
) -> tuple[DecomposeConfig, Path]:
    """The same run over a target of a few steps, kept apart; what the whole training would take is measured."""
    (home / "corpora").mkdir(parents=True, exist_ok=True)
    (aside / "corpora").symlink_to(home / "corpora", target_is_directory=True)
    target, spent = config.target, []
    for steps in (SHORT, LONGER):
        short = target.model_copy(update={"steps": steps})
        started = time.perf_counter()
        ensure_target(short, aside)
        spent.append(time.perf_counter() - started)
        config = config.model_copy(update={"target": short})
    assert isinstance(target, InductionSource | TextModelSource)
    each = max(0.0, spent[1] - spent[0]) / (LONGER - SHORT)
    clock.add("target", min(spent) + each * target.steps)
    return config, aside


def _train(run: Run, subject: Subject, clock: Clock) -> tuple[int, Trainer]:
    """Make the start and time some steps; returns how many."""
    config = run.config
    start = subject.data.everything()
    moments = None
    if subject.rest is not None and config.start.background == "rest":
        windows = min(START_WINDOWS, subject.rest.config.start_windows)
        with clock.part("start", subject.rest.config.start_windows / windows):
            few = subject.rest.config.model_copy(update={"start_windows": windows})
            whole, subject.rest.config = subject.rest.config, few
            moments = subject.rest.moments(subject.sites, config.seed)
            subject.rest.config = whole
    with clock.part("start"):
        trainer = Trainer(config, subject.target, subject.sites, start, moments)
    spent: list[float] = []
    while len(spent) < min(STEPS, config.steps) and (len(spent) < 2 or sum(spent) < STEP_SECONDS):
        began = time.perf_counter()
        rest = subject.rest.next(trainer.generator) if subject.rest is not None else None
        trainer.train_step(subject.data.next(trainer.generator), rest)
        spent.append(time.perf_counter() - began)
    # The first step also warms up the libraries, which a run does once.
    clock.add("train", spent[0] + statistics.median(spent[1:] or spent) * (config.steps - 1))
    light = LightEvidence(config, subject.data)
    if config.evidence_every is not None:
        with clock.part("train", 1 + config.steps // config.evidence_every):
            light.measure(trainer.decomposition, lambda: None)
    if config.faithfulness_steps:
        with clock.part("train", config.faithfulness_steps / 2):
            trainer.warm_up_faithfulness(2)
    return len(spent), trainer


def _measure(run: Run, subject: Subject, trainer: Trainer, clock: Clock, notes: list[str]) -> None:
    """What happens after training: statistics by a few components, evidence as far as there is time."""
    config, data, until = run.config, subject.data, time.monotonic() + MEASURE_SECONDS
    bounded = replace(run, stop=lambda: time.monotonic() > until)
    quiet = subject.rest.sample(SIDE_EFFECT_WINDOWS, config.seed) if subject.rest is not None else None
    try:
        spent: list[float] = []
        for asked in (0, ASKED):
            began = time.perf_counter()
            gather_statistics(bounded, subject, trainer, quiet, most_effects=asked)
            spent.append(time.perf_counter() - began)
        count = trainer.components.count()
        drops = config.prune or config.adapt or config.eliminate
        alive = count * ALIVE if drops else count
        alive = min(alive, data.most_effects or alive)
        clock.add("harvest", spent[0] + max(0.0, spent[1] - spent[0]) / min(ASKED, count) * alive)
        with clock.part("evidence"):
            full_evidence(config, trainer.decomposition, data, bounded.check_stop)
            extra_evidence(config, trainer.decomposition, data, subject.tokenizer, bounded.check_stop, quiet)
    except Stopped:
        notes.append(
            f"What is measured after training takes longer than the {MEASURE_SECONDS:.0f} s it was tried for; the "
            "estimate takes a quarter of the training for it."
        )
        clock.add("evidence", 0.25 * clock.parts["train"])
