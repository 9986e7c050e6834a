"""A whole run: target, training, harvest, evidence, artefact. The one entry of the method."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import workers
from workers.spd.artifact import (
    Artifact,
    Manifest,
    SiteCard,
    read_artifact,
    seal,
    write_json,
)
from workers.spd.config import (
    CorpusData,
    DecomposeConfig,
    FactsData,
    InductionData,
)
from workers.spd.corpora.dataset_texts import ensure_texts
from workers.spd.evaluation.evidence import LightEvidence, full_evidence, metric_rows
from workers.spd.evaluation.facts import fact_groups, fact_table, named_groups
from workers.spd.evaluation.induction_table import circuit, paper_table, site_use
from workers.spd.evaluation.metrics import faithfulness_by_site
from workers.spd.evaluation.selectivity import made_checks, unknown_groups, usable_checks
from workers.spd.method.processes import World
from workers.spd.method.training import Trainer
from workers.spd.progress import Report, RunProgress, Stopped
from workers.spd.prompts.training_data import TrainingData
from workers.spd.run.checkpoint import load_checkpoint, save_checkpoint
from workers.spd.run.storing import remarks, store
from workers.spd.statistics.prompt_statistics import prompt_statistics
from workers.spd.targets.fetching import FetchProgress
from workers.spd.targets.sites import check_sites
from workers.spd.targets.target import Target, ensure_target, load_target
from workers.spd.targets.tokenizer import PromptTokenizer

CORPUS_EFFECTS = 1_000
"""Over running text thousands of components are alive; at most so many are suppressed alone at the end."""


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

    Works in `<out>.partial`; with `resume`, a checkpoint there of the same config is gone on from, and the result is
    the same as that of an undisturbed run (same seed, same device). Raises TargetError, TextsError or ConfigError;
    Stopped, DivergedError or OSError (a full disk), which leave the last good checkpoint. `stop` is asked before every
    pass. Started by `torchrun`, the processes share each step's prompts; the first one stores and reports.
    """
    world = World.join(device)
    work = out.with_name(out.name + ".partial")
    if not resume and world.leads:
        shutil.rmtree(work, ignore_errors=True)
    world.wait()
    work.mkdir(parents=True, exist_ok=True)
    if not world.leads:
        report = _silent

    def check_stop() -> None:
        if stop():
            raise Stopped("Stopped; the checkpoint, where there is one already, is kept.")

    def fetched(progress: FetchProgress) -> None:
        report(RunProgress("target", steps=config.steps, message=progress.message))

    report(RunProgress("target", steps=config.steps, message="Getting the target's weights"))
    folder = ensure_target(config.target, home, report=fetched, check_stop=check_stop)
    target = load_target(folder, device=device)
    assert target.tokenizer_path is not None
    tokenizer = PromptTokenizer.from_file(
        target.tokenizer_path,
        bos_token_id=target.card.bos_token_id,
        context_length=target.card.model.context_length,
    )
    sites = target.sites(config.sites)
    target.attach(sites)
    check_sites(target, sites)
    usable_checks(config, tokenizer)
    taken = None
    if isinstance(config.data, CorpusData) and config.data.texts is not None:

        def reading(message: str) -> None:
            report(RunProgress("target", steps=config.steps, message=message))

        taken = ensure_texts(config.data.texts, home, report=reading, check_stop=check_stop)
    data = TrainingData(config, target, tokenizer, taken)
    trainer, seconds, warnings = _train(
        config, target, tokenizer, sites, data, work, report, stop, check_stop
    )

    if not world.leads:
        world.wait()
        return read_artifact(out)
    report(RunProgress("harvest", config.steps, config.steps, 1.0, message="Gathering statistics"))
    decomposition = trainer.decomposition
    shown = config.data.shown if isinstance(config.data, InductionData | CorpusData) else None
    if data.candidates:  # the prompts go through the facts template by template: each once a split
        shown = sum(one.kept for one in data.candidates)

    def suppressing(done: int, of: int) -> None:
        message = f"Gathering statistics: {done:,} of {of:,} components suppressed alone"
        report(RunProgress("harvest", config.steps, config.steps, 1.0, message=message))

    found = prompt_statistics(
        decomposition,
        data.prompts,
        tokenizer,
        threshold=config.threshold,
        bos=config.bos,
        shown=shown,
        most_effects=CORPUS_EFFECTS if isinstance(config.data, CorpusData) else None,
        check_stop=check_stop,
        report=suppressing,
    )

    report(RunProgress("evidence", config.steps, config.steps, 1.0, message="Measuring the evidence"))
    evidence = full_evidence(config, decomposition, data, check_stop)
    paper = None
    if isinstance(config.data, InductionData):
        check_stop()
        held_out = [prompt for prompt in data.prompts if prompt.data.split == "held_out"]
        paper = paper_table(decomposition, held_out, config.threshold)
        pieces = [tokenizer.piece(token) for token in held_out[0].ids]
        use = site_use(decomposition, held_out, config.threshold)
        shown_circuit = circuit(decomposition, held_out[0], pieces, config.threshold, use)
        write_json(work / "harvest" / "circuit.json", shown_circuit)

    facts = None
    if isinstance(config.data, FactsData):
        own = fact_groups(decomposition, data.prompts, config.threshold)
        facts = fact_table(decomposition, data.prompts, data.candidates, own, config.data.rank, check_stop)
        found = found.with_groups(named_groups(own, data.prompts))

    report(RunProgress("store", config.steps, config.steps, 1.0, message="Storing the decomposition"))
    store(config, trainer, found, tokenizer, target, work, folder)
    faithful, by_site = faithfulness_by_site(decomposition)
    manifest = Manifest(
        created_at=datetime.now(UTC), config=config, target=target.card,
        sites=[
            SiteCard(
                name=site, d_in=decomposition.components.V[site].shape[0],
                d_out=decomposition.components.U[site].shape[1],
                trained=trainer.trained[site], kept=decomposition.components.index[site],
            )
            for site in sites
        ],
        versions=workers.versions(), dtype="float32", device=device, training_seconds=round(seconds, 1),
        metrics=metric_rows(evidence, faithful, found.alive()), l0_by_site=evidence["train"].l0_by_site,
        faithfulness_by_site=by_site, paper=paper, facts=facts,
        texts=taken.card if taken is not None else None,
        notes=[*warnings, *remarks(config, trainer, data, found)], files={},
    )  # fmt: skip
    if config.checks:
        checks = made_checks(config, manifest, found, tokenizer, target, work, check_stop)
        notes = [*manifest.notes, *unknown_groups(config, found)]
        manifest = manifest.model_copy(update={"checks": checks, "notes": notes})
    artifact = seal(work, manifest, out)
    world.wait()
    return artifact


def _silent(progress: RunProgress) -> None:
    pass


def _train(
    config: DecomposeConfig,
    target: Target,
    tokenizer: PromptTokenizer,
    sites: list[str],
    data: TrainingData,
    work: Path,
    report: Report,
    stop: Callable[[], bool],
    check_stop: Callable[[], None],
) -> tuple[Trainer, float, list[str]]:
    """All steps, from the checkpoint if there is one. Returns the trainer, the seconds spent and warnings."""
    start = data.everything()
    trainer = Trainer(config, target, sites, start, tokenizer)
    log_path = work / "metrics.jsonl"
    texts = data.taken.card.sha256 if data.taken is not None else None
    found = load_checkpoint(work, trainer, texts=texts)
    before, log = 0.0, []
    if found is None:
        if config.faithfulness_steps:
            report(RunProgress("train", 0, config.steps, message="Faithfulness alone, before the first step"))
        trainer.warm_up_faithfulness(config.faithfulness_steps, check_stop)
    else:
        before = found.seconds
        log = log_path.read_text(encoding="utf-8").splitlines()[: found.log_lines]
    world = trainer.world
    world.wait()

    def save() -> None:
        trainer.check_finite()
        if world.leads:
            spent = time.monotonic() - started
            save_checkpoint(work, trainer, seconds=before + spent, log_lines=len(log), texts=texts)
        world.wait()

    if world.leads:
        log_path.write_text("".join(line + "\n" for line in log), encoding="utf-8")
    prune_at = {max(1, round(share * config.steps)) for share in config.prune.at} if config.prune else set()
    eliminate_at = {
        max(1, round(share * config.steps)) for share in (config.eliminate.at if config.eliminate else ())
    }
    adapt_at = {max(1, round(share * config.steps)) for share in (config.adapt.at if config.adapt else ())}
    warnings: list[str] = []
    light = LightEvidence(config, data)
    started, first_step = time.monotonic(), trainer.step
    while trainer.step < config.steps:
        if world.any(stop()):
            save()
            raise Stopped(f"Stopped at step {trainer.step} of {config.steps}; the checkpoint is kept.")
        logged = trainer.step % config.log_every == 0 or trainer.step + 1 == config.steps
        at = trainer.step
        figures = trainer.train_step(data.next(trainer.generator))
        if config.prune and trainer.step in prune_at:
            figures["pruned"] = float(trainer.prune(start, config.prune.below, config.prune.positions))
            logged = True
        if trainer.step in adapt_at:
            done = trainer.adapt(start, check_stop)
            figures |= {"pruned": float(done.pruned), "grown": float(done.added)}
            logged = True
        if trainer.step in eliminate_at:
            gone = trainer.eliminate(start, check_stop)
            figures |= {"eliminated": float(len(gone.dropped)), "kl_ci_masks": gone.after}
            logged = True
        if world.leads and light.due(trainer.step):
            figures |= light.measure(trainer.decomposition, check_stop)
            logged = True
        if logged:
            log.append(json.dumps({"step": at, **{k: float(f"{v:.6g}") for k, v in figures.items()}}))
            if world.leads:
                with log_path.open("a", encoding="utf-8") as file:
                    file.write(log[-1] + "\n")
        spent = time.monotonic() - started
        rate = (trainer.step - first_step) / spent if spent > 0 else None
        left = (config.steps - trainer.step) / rate if rate else None
        fraction = trainer.step / config.steps
        message = trainer.adaptations[-1].said if trainer.adaptations else ""
        report(
            RunProgress(
                "train", trainer.step, config.steps, fraction, rate, left, figures if logged else {}, message
            )
        )
        if trainer.step % config.checkpoint_every == 0 and trainer.step < config.steps:
            save()
    if trainer.step > first_step:
        save()
    return trainer, before + time.monotonic() - started, warnings
