"""A whole run: target, training, harvest, evidence, artefact. The one entry of the method."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import workers
from workers.spd.artifact import Artifact, Manifest, Metric, read_artifact, seal, write_json
from workers.spd.config import DatasetText, DecomposeConfig, PackageText
from workers.spd.corpora.dataset_texts import Taken, ensure_texts
from workers.spd.evaluation.evidence import full_evidence, metric_rows
from workers.spd.evaluation.extra import extra_evidence
from workers.spd.evaluation.metrics import faithfulness_by_site
from workers.spd.evaluation.rest import rest_figures, rest_metrics
from workers.spd.evaluation.selectivity import made_checks, unknown_groups, usable_checks
from workers.spd.method.decomposition import Decomposition
from workers.spd.method.processes import World
from workers.spd.method.training import Trainer
from workers.spd.progress import Report
from workers.spd.prompts.batches import Batch
from workers.spd.prompts.kinds import training_data
from workers.spd.prompts.rest import RestText
from workers.spd.prompts.training_data import TrainingData
from workers.spd.run.context import Run
from workers.spd.run.storing import remarks, site_cards, store_statistics, store_trained
from workers.spd.run.train import train
from workers.spd.statistics.prompt_statistics import PromptStatistics, prompt_statistics
from workers.spd.targets.sites import check_sites
from workers.spd.targets.target import Target, ensure_target, load_target
from workers.spd.targets.tokenizer import PromptTokenizer

SIDE_EFFECT_WINDOWS = 16
"""Windows of rest text on which the side effects of a group's members are measured."""


def decompose(
    config: DecomposeConfig,
    out: Path,
    *,
    home: Path,
    device: str = "cpu",
    report: Report = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    resume: bool = True,
) -> Artifact:
    """Train a decomposition and store it at `out`.

    Works in `<out>.partial`; with `resume`, a run continues from a checkpoint of the same config there, and the result
    is the same as that of an undisturbed run (same seed, same device). Raises TargetError, TextsError or ConfigError;
    Stopped, DivergedError or OSError (a full disk), which leave the last good checkpoint. `stop` is asked before every
    pass. Started by `torchrun`, the processes share each step's prompts; the first one stores and reports.
    """
    run = Run(config, out, home, World.join(device), report, stop)
    if not resume and run.world.leads:
        shutil.rmtree(run.work, ignore_errors=True)
    run.world.wait()
    run.work.mkdir(parents=True, exist_ok=True)

    subject = open_subject(run, device)
    start = subject.data.everything()
    moments = None
    if subject.rest is not None and config.start.background == "rest":
        run.report("train", "Reading the rest text")
        moments = subject.rest.moments(subject.sites, config.seed, run.check_stop)
    trainer = Trainer(config, subject.target, subject.sites, start, moments)
    seconds = train(run, trainer, subject.data, start, subject.rest)
    artifact = measure_and_store(run, subject, trainer, seconds, device) if run.world.leads else None
    run.world.wait()
    return artifact or read_artifact(out)


@dataclass(frozen=True)
class Subject:
    """What is decomposed, and what it reads."""

    folder: Path
    target: Target
    tokenizer: PromptTokenizer
    sites: list[str]
    data: TrainingData
    rest: RestText | None


def open_subject(run: Run, device: str) -> Subject:
    """The target with its sites, and the data. Everything that can be wrong with a config is found here."""
    config = run.config
    run.report("target", "Getting the target's weights")
    folder = ensure_target(
        config.target,
        run.home,
        report=lambda progress: run.report("target", progress.message),
        check_stop=run.check_stop,
    )
    target = load_target(folder, device=device, dtype=config.target_weights)
    tokenizer = target.tokenizer()
    sites = target.sites(config.sites)
    target.attach(sites)
    check_sites(target, sites)
    usable_checks(config, tokenizer)
    texts = _texts(run, config.data.texts)
    data, rest = training_data(config, target, tokenizer, texts), None
    if config.rest is not None:
        rest = RestText(config.rest, target, tokenizer, data.prompts, _texts(run, config.rest.text.texts))
    return Subject(folder, target, tokenizer, sites, data, rest)


def _texts(run: Run, source: DatasetText | PackageText | None) -> Taken | None:
    """The texts of a dataset or package, fetched once."""
    if source is None:
        return None
    return ensure_texts(
        source, run.home, report=lambda message: run.report("target", message), check_stop=run.check_stop
    )


def measure_and_store(
    run: Run, subject: Subject, trainer: Trainer, seconds: float, device: str, notes: Sequence[str] = ()
) -> Artifact:
    """Harvest, evidence and checks of a trained decomposition, sealed as an artefact. What was trained is on disk
    before any of it, and a run that fails from here on does not train again (SPEC 16)."""
    config, decomposition, data = run.config, trainer.decomposition, subject.data
    store_trained(config, decomposition, run.work, subject.folder)
    quiet = subject.rest.sample(SIDE_EFFECT_WINDOWS, config.seed) if subject.rest is not None else None
    statistics = gather_statistics(run, subject, trainer, quiet, subject.data.most_effects)

    run.report("evidence", "Measuring the evidence")
    evidence = full_evidence(config, decomposition, data, run.check_stop)
    quietness = _quietness(run, subject, trainer)
    extra = extra_evidence(config, decomposition, data, subject.tokenizer, run.check_stop, quiet)
    if extra.groups:
        statistics = statistics.with_groups(extra.groups)

    run.report("store", "Storing the decomposition")
    store_statistics(statistics, run.work)
    for name, content in extra.files.items():
        write_json(run.work / "harvest" / name, content)
    faithful, by_site = faithfulness_by_site(decomposition)
    manifest = Manifest(
        created_at=datetime.now(UTC), config=config, target=subject.target.card,
        sites=site_cards(decomposition.components, trainer.trained),
        versions=workers.versions(), dtype=config.target_weights, device=device, training_seconds=round(seconds, 1),
        metrics=[*metric_rows(evidence, faithful, statistics.alive()), *quietness],
        l0_by_site=evidence["train"].l0_by_site, faithfulness_by_site=by_site, paper=extra.paper, facts=extra.facts,
        texts=data.texts.card if data.texts is not None else None,
        notes=[*notes, *remarks(config, trainer, data, statistics)], files={},
    )  # fmt: skip
    if config.checks:
        checks = made_checks(
            config, manifest, statistics, subject.tokenizer, subject.target, run.work, run.check_stop,
            untrained(trainer) if trainer.start is not None else None,
        )  # fmt: skip
        notes = [*manifest.notes, *unknown_groups(config, statistics)]
        manifest = manifest.model_copy(update={"checks": checks, "notes": notes})
    return seal(run.work, manifest, run.out)


def _quietness(run: Run, subject: Subject, trainer: Trainer) -> list[Metric]:
    """How quiet a targeted run is on its rest text, trained on and held out."""
    rest, config = subject.rest, run.config
    if rest is None:
        return []
    train, held_out = (
        rest_figures(
            trainer.decomposition, rest.evaluation(split, config.seed), config.threshold, run.check_stop
        )
        for split in ("train", "held_out")
    )
    return rest_metrics(train, held_out)


def untrained(trainer: Trainer) -> Decomposition:
    """The components that a targeted run kept, as they were before training."""
    assert trainer.start is not None, "runs with rest text keep their start"
    start = copy.deepcopy(trainer.start)
    start.keep(trainer.components.index)
    return Decomposition(
        trainer.target, start.to(trainer.target.device), trainer.ci,
        first_unmasked=trainer.decomposition.first_unmasked, names=trainer.decomposition.names,
    )  # fmt: skip


def gather_statistics(
    run: Run, subject: Subject, trainer: Trainer, quiet: Batch | None, most_effects: int | None
) -> PromptStatistics:
    """What each component does on the run's prompts; at most `most_effects` of them are suppressed alone."""
    run.report("harvest", "Gathering statistics")
    return prompt_statistics(
        trainer.decomposition,
        subject.data.prompts,
        subject.tokenizer,
        threshold=run.config.threshold,
        bos=run.config.bos,
        shown=subject.data.shown,
        most_effects=most_effects,
        rest=quiet,
        check_stop=run.check_stop,
        report=lambda done, of: run.report(
            "harvest", f"Gathering statistics: {done:,} of {of:,} components suppressed alone"
        ),
    )
