"""A whole run: target, training, harvest, evidence, artefact. The one entry of the method."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

import workers
from workers.spd.ablation import AblationEngine, Edit
from workers.spd.adaptation import adaptation_notes
from workers.spd.artifact import (
    Artifact,
    Check,
    Manifest,
    SiteCard,
    Split,
    read_artifact,
    seal,
    write_json,
)
from workers.spd.checkpoint import load_checkpoint, save_checkpoint
from workers.spd.circuit import circuit, paper_table, site_use
from workers.spd.config import (
    AttentionCI,
    ConfigError,
    CorpusData,
    DecomposeConfig,
    FactsData,
    InductionData,
    PromptsConfig,
)
from workers.spd.dataset_texts import ensure_texts
from workers.spd.evidence import LightEvidence, full_evidence, metric_rows
from workers.spd.facts import fact_groups, fact_table, named_groups
from workers.spd.harvest import Harvest, harvest
from workers.spd.keys import ComponentKey
from workers.spd.metrics import faithfulness_by_site
from workers.spd.sites import check_sites, tied_notes
from workers.spd.targets import FetchProgress, Target, ensure_target, load_target
from workers.spd.tokenizer import PromptTokenizer
from workers.spd.training import Trainer
from workers.spd.training_data import TrainingData
from workers.spd.world import World

SHIPPED_TARGET_BYTES = 2**20
CORPUS_EFFECTS = (
    1_000  # over running text thousands of components are alive; so many are suppressed alone at the end
)

Stage = Literal["target", "train", "harvest", "evidence", "store"]


class Stopped(Exception):
    """The run was asked to stop; its checkpoint remains and it can go on from there."""


@dataclass(frozen=True)
class RunProgress:
    """`fraction` 0–1 of the training; `rate` steps a second; `figures` what the last logged step measured."""

    stage: Stage
    step: int = 0
    steps: int = 0
    fraction: float = 0.0
    rate: float | None = None
    remaining_seconds: float | None = None
    figures: dict[str, float] = field(default_factory=dict)
    message: str = ""


Report = Callable[[RunProgress], None]


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

    def go_on() -> None:
        if stop():
            raise Stopped("Stopped; the checkpoint, where there is one already, is kept.")

    def fetched(progress: FetchProgress) -> None:
        report(RunProgress("target", steps=config.steps, message=progress.message))

    report(RunProgress("target", steps=config.steps, message="Getting the target's weights"))
    folder = ensure_target(config.target, home, report=fetched, go_on=go_on)
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
    _usable_checks(config, tokenizer)
    taken = None
    if isinstance(config.data, CorpusData) and config.data.dataset is not None:

        def reading(message: str) -> None:
            report(RunProgress("target", steps=config.steps, message=message))

        taken = ensure_texts(config.data.dataset, home, report=reading, go_on=go_on)
    data = TrainingData(config, target, tokenizer, taken)
    trainer, seconds, warnings = _train(config, target, tokenizer, sites, data, work, report, stop, go_on)

    if not world.leads:
        world.wait()
        return read_artifact(out)
    report(RunProgress("harvest", config.steps, config.steps, 1.0, message="Gathering statistics"))
    decomposition = trainer.decomposition
    shown = config.data.shown if isinstance(config.data, InductionData | CorpusData) else None
    if (
        data.candidates
    ):  # the prompts go through the facts template by template: each fact is shown once a split
        shown = sum(one.kept for one in data.candidates)

    def suppressing(done: int, of: int) -> None:
        message = f"Gathering statistics: {done:,} of {of:,} components suppressed alone"
        report(RunProgress("harvest", config.steps, config.steps, 1.0, message=message))

    found = harvest(
        decomposition,
        data.prompts,
        tokenizer,
        threshold=config.threshold,
        bos=_bos(config),
        shown=shown,
        most_effects=CORPUS_EFFECTS if isinstance(config.data, CorpusData) else None,
        go_on=go_on,
        tell=suppressing,
    )

    report(RunProgress("evidence", config.steps, config.steps, 1.0, message="Measuring the evidence"))
    evidence = full_evidence(config, decomposition, data, go_on)
    paper = None
    if isinstance(config.data, InductionData):
        go_on()
        held_out = [prompt for prompt in data.prompts if prompt.data.split == "held_out"]
        paper = paper_table(decomposition, held_out, config.threshold)
        pieces = [tokenizer.piece(token) for token in held_out[0].ids]
        use = site_use(decomposition, held_out, config.threshold)
        shown_circuit = circuit(decomposition, held_out[0], pieces, config.threshold, use)
        write_json(work / "harvest" / "circuit.json", shown_circuit)

    facts = None
    if isinstance(config.data, FactsData):
        own = fact_groups(decomposition, data.prompts, config.threshold)
        facts = fact_table(decomposition, data.prompts, data.candidates, own, config.data.rank, go_on)
        found = found.with_groups(named_groups(own, data.prompts))

    report(RunProgress("store", config.steps, config.steps, 1.0, message="Storing the decomposition"))
    _store(config, trainer, found, tokenizer, target, work, folder)
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
        notes=[*warnings, *_remarks(config, trainer, data, found)], files={},
    )  # fmt: skip
    if config.checks:
        checks = _checks(config, manifest, found, tokenizer, target, work, go_on)
        notes = [*manifest.notes, *_unknown_groups(config, found)]
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
    go_on: Callable[[], None],
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
        trainer.warm_up_faithfulness(config.faithfulness_steps, go_on)
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
            figures["pruned"] = float(trainer.prune(start, config.prune.below))
            logged = True
        if trainer.step in adapt_at:
            done = trainer.adapt(start, go_on)
            figures |= {"pruned": float(done.pruned), "grown": float(done.added)}
            logged = True
        if trainer.step in eliminate_at:
            gone = trainer.eliminate(start, go_on)
            figures |= {"eliminated": float(len(gone.dropped)), "kl_ci_masks": gone.after}
            logged = True
        if world.leads and light.due(trainer.step):
            figures |= light.measure(trainer.decomposition, go_on)
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


def _usable_checks(config: DecomposeConfig, tokenizer: PromptTokenizer) -> None:
    """Raises ConfigError now, not after hours, where a check's prompt has no place or its answer is not one token."""
    for place, check in enumerate(config.checks):
        count = len(tokenizer.encode(check.prompt, bos=_bos(config)))
        if not 1 <= count <= tokenizer.context_length:
            raise ConfigError(
                f"checks.{place}: the prompt has {count} tokens; between 1 and {tokenizer.context_length} are possible."
            )
        if tokenizer.token_id(check.answer) is None:
            raise ConfigError(
                f"checks.{place}: the answer “{check.answer}” is not a single token of this model."
            )


def _bos(config: DecomposeConfig) -> bool:
    return config.data.bos if isinstance(config.data, PromptsConfig | CorpusData | FactsData) else False


def _unknown_groups(config: DecomposeConfig, found: Harvest) -> list[str]:
    """A remark for every group that a check names and the harvest did not find."""
    known = [group.name for group in found.groups]
    named = dict.fromkeys(name for check in config.checks for name in check.groups)
    return [
        f"A check names the group “{name}”, which the harvest did not find, so it counts as missed. There are: "
        f"{', '.join(known[:8]) or 'none'}."
        for name in named
        if name not in known
    ]


def _remarks(config: DecomposeConfig, trainer: Trainer, data: TrainingData, found: Harvest) -> list[str]:
    """What a reader of the result should know: tied weights, the CI functions' size and cost, what was trained on."""
    batch, decomposition = data.everything(), trainer.decomposition

    def seconds(run: Callable[[], object]) -> float:
        run()
        started = time.perf_counter()
        run()
        return time.perf_counter() - started

    with torch.no_grad():
        cost = seconds(lambda: decomposition.importances(batch.inputs))
        cost /= seconds(lambda: decomposition.target.logits(batch.tokens, batch.keep))
    kind = config.ci.kind + (f", scope {config.ci.scope}" if isinstance(config.ci, AttentionCI) else "")
    remarks = [
        f"The causal importance functions ({kind}) have {trainer.ci.parameter_count():,} parameters; evaluating them "
        f"costs {cost:.2g} times the target's own forward pass on the run's prompts."
    ]
    if data.taken is not None:
        remarks.append(data.taken.said)
    if config.reconstruction.distance == "mse":
        remarks.append(
            "Trained on the mean squared difference of log-probabilities; the evidence is KL(target ‖ masked) in nats."
        )
    if found.unasked:
        remarks.append(
            f"{found.unasked:,} alive components, those with the lowest mean importance, were not suppressed alone; "
            "their effect stands as 0 and no group names them."
        )
    if config.adapt is not None:
        remarks += adaptation_notes(trainer.adaptations, config.adapt.prune_below)
    return remarks + tied_notes(trainer.target, trainer.sites)


def _store(
    config: DecomposeConfig,
    trainer: Trainer,
    found: Harvest,
    tokenizer: PromptTokenizer,
    target: Target,
    work: Path,
    folder: Path,
) -> None:
    dtype = {"float32": torch.float32, "float16": torch.float16}[config.stored_dtype]
    components = trainer.components
    tensors = {}
    for site in components.sites:
        tensors[f"{site}.V"] = components.V[site].detach().cpu().to(dtype).contiguous()
        tensors[f"{site}.U"] = components.U[site].detach().cpu().to(dtype).contiguous()
        tensors[f"{site}.index"] = torch.tensor(components.index[site], dtype=torch.int64)
    functions = {
        name: value.detach().cpu().to(dtype).contiguous() for name, value in trainer.ci.state_dict().items()
    }
    try:
        save_file(tensors, work / "components.safetensors")
        save_file(functions, work / "ci.safetensors")
    except SafetensorError as error:  # its own words for a full disk
        raise OSError(f"components and importance functions could not be written: {error}") from error
    assert target.tokenizer_path is not None
    shutil.copyfile(target.tokenizer_path, work / "tokenizer.json")
    if (folder / "model.safetensors").stat().st_size <= SHIPPED_TARGET_BYTES:
        shutil.copytree(folder, work / "target", dirs_exist_ok=True)
    write_json(work / "harvest" / "components.json", found.columns.model_dump())
    write_json(work / "harvest" / "prompts.json", [prompt.model_dump() for prompt in found.prompts])
    write_json(work / "harvest" / "groups.json", [group.model_dump() for group in found.groups])


def _checks(
    config: DecomposeConfig,
    manifest: Manifest,
    found: Harvest,
    tokenizer: PromptTokenizer,
    target: Target,
    work: Path,
    go_on: Callable[[], None],
) -> list[Check]:
    """The config's selectivity tests, run by the live engine on what was stored. One that names a group which the
    harvest did not find counts as missed (see `_unknown_groups`)."""
    engine = AblationEngine(Artifact(work, manifest, ""), target)
    groups = {group.name: group.components for group in found.groups}
    splits: dict[str, Split] = {prompt.text: prompt.split for prompt in found.prompts}
    checks: list[Check] = []
    for check in config.checks:
        go_on()
        keys = [ComponentKey.parse(key) for name in check.groups for key in groups.get(name, [])]
        ids = tokenizer.encode(check.prompt, bos=_bos(config))
        answer = tokenizer.token_id(check.answer)
        assert answer is not None, f"the answer “{check.answer}” of a check is not one token"
        edits = [Edit(key.site, key.index) for key in keys]
        result = engine.ablate(ids, edits, watch=[answer], positions=[len(ids) - 1])
        watched = result.positions[0].watched[0]
        before, after = watched.baseline.probability, watched.ablated.probability
        kept = after / before if before > 0 else math.nan  # nothing to fall from: no wish is met
        wanted, ok = "reported", True
        if check.at_least is not None:
            wanted, ok = f"falls by at least {check.at_least:.0%}", 1 - kept >= check.at_least
        elif check.at_most is not None:
            wanted, ok = f"moves by at most {check.at_most:.0%}", abs(kept - 1) <= check.at_most
        elif check.keeps is not None:
            wanted, ok = f"keeps at least {check.keeps:.0%}", kept >= check.keeps
        checks.append(
            Check(
                groups=list(check.groups),
                components=len(keys),
                prompt=check.prompt,
                answer=check.answer,
                role=check.role,
                split=splits.get(check.prompt, "bystander"),
                baseline=before,
                ablated=after,
                wanted=wanted,
                ok=ok and all(name in groups for name in check.groups),
            )
        )
    return checks
