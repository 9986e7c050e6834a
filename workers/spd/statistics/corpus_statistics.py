"""A whole harvest over a corpus: count, show, suppress, store. It resumes where it was stopped."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file
from torch import Tensor

import workers
from workers.spd.ablation.engine import AblationEngine
from workers.spd.ablation.loading import artifact_target
from workers.spd.artifact import Artifact, write_json
from workers.spd.config import ConfigError, CorpusData, DatasetText, PackageText
from workers.spd.corpora.dataset_texts import ensure_texts
from workers.spd.keys import ComponentKey
from workers.spd.method.decomposition import Decomposition
from workers.spd.progress import Report, RunProgress, Stopped
from workers.spd.statistics.config import HarvestConfig
from workers.spd.statistics.corpus_effects import window_effects
from workers.spd.statistics.counts import Counts, mixed
from workers.spd.statistics.examples import Examples, chosen_examples
from workers.spd.statistics.store import HarvestInfo, write_store
from workers.spd.statistics.tables import Effects, columns
from workers.spd.statistics.text import Texts, Window, batches, numbered
from workers.spd.targets.fetching import FetchProgress
from workers.spd.targets.masks import recorded
from workers.spd.targets.tokenizer import PromptTokenizer

PART = 256
LABEL_PIECES = 3
CHECKPOINT_SECONDS = 20.0
BYTES_A_TOKEN = 4
COUNTING, SHOWING, SUPPRESSING = 0.45, 0.6, 0.95
STATE, EFFECTS, NOTES = "state.safetensors", "effects.safetensors", "progress.json"


def harvest_id(artifact: Artifact, config: HarvestConfig, name: str, corpus_hash: str) -> str:
    """The name of a harvest: its corpus, and a hash of all that decides what it finds."""
    settings = config.model_dump_json(exclude={"name", "path", "text", "batch_tokens"})
    digest = hashlib.sha256(f"{artifact.hash} {corpus_hash} {settings}".encode()).hexdigest()
    return f"{name}-{digest[:10]}"


@dataclass
class _Run:
    """What the stages of one harvest share."""

    artifact: Artifact
    config: HarvestConfig
    decomposition: Decomposition
    engine: AblationEngine
    texts: Texts
    work: Path
    report: Report
    stop: Callable[[], bool]
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.started = self.saved = time.monotonic()
        self.notes: dict[str, float | int | str] = {}

    def spent(self) -> float:
        return self.seconds + time.monotonic() - self.started

    def check_stop(self) -> None:
        if self.stop():
            raise Stopped("Stopped; the same command resumes from here.")

    def report_progress(self, fraction: float, message: str, step: int = 0, steps: int = 0) -> None:
        stage = "harvest" if fraction < SHOWING else "evidence" if fraction < SUPPRESSING else "store"
        self.report(RunProgress(stage, step, steps, fraction, message=message))

    def due(self) -> bool:
        return time.monotonic() - self.saved > CHECKPOINT_SECONDS

    def save(self, name: str, arrays: dict[str, np.ndarray], **notes: float | int | str) -> None:
        part = self.work / (name + ".part")
        try:
            save_file(arrays, part)
        except SafetensorError as error:
            raise OSError(f"the harvest could not be stored: {error}") from error
        part.replace(self.work / name)
        self.notes |= {**notes, "seconds": self.spent()}
        write_json(self.work / NOTES, self.notes)
        self.saved = time.monotonic()


def harvest_corpus(
    artifact: Artifact,
    config: HarvestConfig,
    place: Path,
    *,
    home: Path,
    device: str = "cpu",
    report: Report = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    resume: bool = True,
) -> Path:
    """Gather statistics of every component over a corpus, and store them in a folder of their own in `place`.

    Works in `<folder>.partial`, from which a harvest that was stopped resumes; its result is that of one that was
    not. Returns the folder. Raises TargetError, TextsError, ConfigError, ArtifactError, OSError (a full disk), and
    Stopped, which leaves what was done. `stop` is asked before every pass.
    """

    def fetched(progress: FetchProgress) -> None:
        report(RunProgress("target", message=progress.message))
        if stop():
            raise Stopped("Stopped before the weights were there.")

    report(RunProgress("target", message="Getting the target's weights"))
    card = artifact.manifest.target
    tokenizer = PromptTokenizer.from_file(
        artifact.path / "tokenizer.json",
        bos_token_id=card.bos_token_id,
        context_length=card.model.context_length,
    )
    source = _texts_of(artifact) if config.held_out else config.dataset
    taken = None
    if source is not None:

        def reading(message: str) -> None:
            report(RunProgress("target", message=message))

        def check_stop() -> None:
            if stop():
                raise Stopped("Stopped before the texts were there.")

        taken = ensure_texts(source, home, report=reading, check_stop=check_stop)
    texts = Texts(artifact, config, tokenizer, taken)
    id = harvest_id(artifact, config, texts.name, texts.hash)
    work = place / f"{id}.partial"
    if not resume:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    engine = AblationEngine.from_artifact(
        artifact, artifact_target(artifact, home, device=device, report=fetched)
    )
    run = _Run(artifact, config, engine.decomposition, engine, texts, work, report, stop)

    counts, sources = _count(run)
    examples, windows = _show(run, counts)
    effects = _suppress(run, counts, windows)
    run.report_progress(SUPPRESSING, "Working out where components read and write")
    labels = None if _labels_itself(artifact) else prompt_labels(artifact, tokenizer)
    made = columns(run.decomposition, counts, examples, effects, config, run.check_stop, labels)
    public = config.dataset if config.dataset is not None and config.dataset.name is not None else None
    info = HarvestInfo(
        id=id, artifact_hash=artifact.hash, weights_hash=card.weights_hash, corpus=texts.name,
        described=texts.described, corpus_hash=texts.hash,
        config=config.model_copy(update={"text": None, "path": None, "dataset": public}),
        threshold=counts.threshold, windows=counts.windows, tokens=counts.tokens, positions=counts.positions,
        all_read=bool(sources.pop("all", 1)), sources=dict(sources), components=counts.components,
        fired=int((counts.fires > 0).sum()), ablated=effects.components, ablation_windows=len(effects.shared),
        sampled_positions=len(counts.together.chances), dtype=engine.dtype, device=engine.device,
        versions=workers.versions(), created_at=datetime.now(UTC), seconds=round(run.spent(), 1),
        labels="corpus" if labels is None else "prompts", label_positions=int(counts.held_total.sum()),
        notes=[*_remarks(counts, effects), *([taken.summary] if taken is not None else [])], files={},
    )  # fmt: skip
    run.report_progress(0.99, "Storing the harvest")
    write_store(place / id, info, made)
    shutil.rmtree(work, ignore_errors=True)
    return place / id


def _resumable(work: Path) -> bool:
    """Whether there is a state to resume from; one of an earlier version, which counted less, is none."""
    if not (work / STATE).is_file() or not (work / NOTES).is_file():
        return False
    with safe_open(work / STATE, "np") as state:
        return "held_fires" in set(state.keys())


def _labels_itself(artifact: Artifact) -> bool:
    """Whether a harvest of this decomposition makes labels of what it reads: where it is of no prompts."""
    return artifact.manifest.config.data.kind in ("corpus", "induction")


def prompt_labels(artifact: Artifact, tokenizer: PromptTokenizer) -> list[list[int]]:
    """The tokens that each component's label names, as the run's training prompts gave them; every token that is
    written so counts."""
    named = [pieces[:LABEL_PIECES] for pieces in artifact.columns.top_tokens]
    wanted = {piece for pieces in named for piece in pieces}
    ids: dict[str, list[int]] = {piece: [] for piece in wanted}
    for token in range(tokenizer.vocabulary):
        if (piece := tokenizer.piece(token)) in wanted:
            ids[piece].append(token)
    return [[token for piece in pieces for token in ids[piece]] for pieces in named]


def _texts_of(artifact: Artifact) -> DatasetText | PackageText:
    """The dataset or package that a decomposition is of. Raises ConfigError where it is of neither."""
    data = artifact.manifest.config.data
    if not isinstance(data, CorpusData) or data.texts is None:
        raise ConfigError(
            f"held_out: “{artifact.name}” is not of texts of a dataset or package. Give a corpus instead."
        )
    return data.texts


def _remarks(counts: Counts, effects: Effects) -> list[str]:
    notes: list[str] = []
    dropped = counts.inputs.dropped + counts.outputs.dropped
    if dropped:
        notes.append(
            f"There were too many pairs of components and tokens; {dropped:,} rare ones were left out."
        )
    left = int((counts.fires > 0).sum()) - effects.components
    if left > 0:
        notes.append(
            f"{left:,} components that fire least were not suppressed; their effect is not known here."
        )
    return notes


# --- passes ---------------------------------------------------------------------------------------------------


@torch.inference_mode()
def _passed(
    run: _Run, batch: list[tuple[int, Window]]
) -> tuple[
    Int[Tensor, "batch seq"],
    Int[Tensor, "batch seq"],
    dict[str, Float[Tensor, "batch seq _C"]],
    dict[str, Float[Tensor, "batch seq _C"]],
]:
    """ids and predicted ids, then g and inner activations of every site."""
    target = run.decomposition.target
    target.check_tokens(token for _, window in batch for token in window.ids)
    tokens = torch.tensor([window.ids for _, window in batch], device=target.device)
    with recorded() as inputs:
        logits = target.logits(tokens)
    rows = len(batch)
    inputs = {site: x if x.shape[0] == rows else x.expand(rows, *x.shape[1:]) for site, x in inputs.items()}
    found = run.decomposition.importances(inputs)
    return tokens, logits.argmax(-1), found.g, found.inner


def _parts(run: _Run, skip: int = 0) -> Iterator[list[tuple[int, Window]]]:
    for part in numbered(run.texts.windows(), PART):
        if part[-1][0] >= skip:
            yield part


def _count(run: _Run) -> tuple[Counts, Counter[str]]:
    """The first pass: everything that is counted."""
    target = run.decomposition.target
    vocabulary = max(len(target.embedding()), len(target.unembedding()))
    total = run.decomposition.components.count()
    counts = Counts(total, vocabulary, run.artifact.manifest.config.threshold, run.config.seed)
    sources: Counter[str] = Counter()
    done = 0
    if _resumable(run.work):
        run.notes = json.loads((run.work / NOTES).read_text(encoding="utf-8"))
        run.seconds, done = float(run.notes["seconds"]), int(run.notes["windows"])
        counts.restore(load_file(run.work / STATE))
        sources.update(json.loads(str(run.notes["sources"])))
        if run.notes.get("counted"):
            return counts, sources
    expected = _expected(run)
    itself = _labels_itself(run.artifact)
    for part in _parts(run, done):
        for batch in batches(part, run.config.batch_tokens):
            run.check_stop()
            tokens, predicted, g, inner = _passed(run, batch)
            counted = torch.ones_like(tokens, dtype=torch.bool)
            if run.decomposition.first_unmasked:
                counted[:, 0] = False
            numbers = np.array([number for number, _ in batch])
            held = numbers % 2 == 1 if itself else np.array([window.source != "train" for _, window in batch])
            counts.add(tokens, counted, g, inner, predicted, numbers, held)
            share = min(1.0, counts.tokens / expected)
            run.report_progress(
                COUNTING * share, f"Counting: {counts.tokens:,} tokens read", counts.tokens, expected
            )
        sources.update(window.source for _, window in part)
        done = part[-1][0] + 1
        if run.due():
            run.save(STATE, counts.state(), windows=done, sources=json.dumps(sources))
    sources["all"] = int(run.texts.all_read)
    run.save(STATE, counts.state(), windows=done, sources=json.dumps(sources), counted=1)
    return counts, sources


def _expected(run: _Run) -> int:
    """About how many tokens there are to read."""
    own = sum(len(ids) for ids, _ in run.texts.prompts)
    if run.texts.induction is not None:
        return max(1, own + run.config.sequences * run.texts.window)
    size = sum(path.stat().st_size for _, path in run.texts.files) or len(run.config.text or "")
    return max(1, own + min(run.config.tokens, size // BYTES_A_TOKEN))


def _show(run: _Run, counts: Counts) -> tuple[Examples, dict[int, Window]]:
    """The second pass, over the windows that are shown: what a component does at each token around its examples. Also
    the windows that are needed for suppressing, by number."""
    examples = chosen_examples(counts, run.config)
    shared, own = ablation_windows(run, counts)
    wanted = set(shared) | {number for numbers in own.values() for number in numbers}
    needed = wanted | set(examples.window.tolist())
    windows: dict[int, Window] = {}
    site_of, place_of = _places(run.decomposition)
    left = len(needed)
    for part in _parts(run):
        part = [item for item in part if item[0] in needed]
        for batch in batches(part, run.config.batch_tokens):
            run.check_stop()
            windows |= {number: window for number, window in batch if number in wanted}
            rows = [examples.of_window(number) for number, _ in batch]
            left -= len(batch)
            if not any(len(row) for row in rows):
                continue
            _, _, g, inner = _passed(run, batch)
            g = {site: value.float().cpu().numpy() for site, value in g.items()}
            inner = {site: value.float().cpu().numpy() for site, value in inner.items()}
            for row, ((_, window), places) in enumerate(zip(batch, rows, strict=True)):
                for place in places:
                    component = examples.component[place]
                    site, at = site_of[component], place_of[component]
                    examples.fill(place, window, g[site][row, :, at], inner[site][row, :, at])
            share = 1 - left / max(1, len(needed))
            run.report_progress(COUNTING + (SHOWING - COUNTING) * share, "Looking at the examples again")
        if left == 0:
            break
    return examples, windows


def _places(decomposition: Decomposition) -> tuple[list[str], list[int]]:
    """The site and the place within it of every ordinal."""
    index = decomposition.components.index
    return (
        [site for site in decomposition.sites for _ in index[site]],
        [place for site in decomposition.sites for place in range(len(index[site]))],
    )


# --- suppressing ----------------------------------------------------------------------------------------------


def ablation_windows(run: _Run, counts: Counts) -> tuple[list[int], dict[int, list[int]]]:
    """Windows on which every chosen component is suppressed (half of them own prompts where there are enough), and of
    each chosen component those where it matters most."""
    config, prompts = run.config, len(run.texts.prompts)
    count = min(config.ablate_windows, counts.windows)
    others = np.arange(prompts, counts.windows)
    own = min(prompts, max(count // 2, count - len(others)))
    drawn = others[np.argsort(mixed(config.seed + 1, others), kind="stable")[: count - own]]
    shared = [*range(own), *drawn.tolist()]
    fires = counts.fires
    order = np.argsort(-fires, kind="stable")[: config.ablate_components]
    top = counts.top.rows
    starts = np.searchsorted(top.component, np.arange(counts.components + 1))
    best: dict[int, list[int]] = {}
    for component in order[fires[order] > 0].tolist():
        found = top.window[starts[component] : starts[component + 1]].tolist()
        best[component] = [number for number in found if number not in shared][: config.ablate_own]
    return shared, best


def _suppress(run: _Run, counts: Counts, windows: dict[int, Window]) -> Effects:
    """Suppress one component at a time; window after window, so that each one's own pass is made once."""
    shared, own = ablation_windows(run, counts)
    effects = Effects(shared, components=len(own) if shared or run.config.ablate_own else 0)
    if (run.work / EFFECTS).is_file():
        effects.restore(load_file(run.work / EFFECTS))
    jobs: dict[int, list[int]] = {number: list(own) for number in shared}
    for component, numbers in own.items():
        for number in numbers:
            jobs.setdefault(number, []).append(component)
    keys = [
        ComponentKey(site, index)
        for site in run.decomposition.sites
        for index in run.decomposition.components.index[site]
    ]
    total = sum(len(members) for members in jobs.values())
    done = 0
    for number in sorted(jobs):
        members = sorted(jobs[number])
        if number not in effects.done and len(windows[number].ids) > 0:
            found = window_effects(run.engine, windows[number], [keys[c] for c in members], run.check_stop)
            effects.add(number, windows[number], members, found)
            if run.due():
                run.save(EFFECTS, effects.state())
        done += len(members)
        share = done / max(1, total)
        run.report_progress(
            SHOWING + (SUPPRESSING - SHOWING) * share, f"Suppressing one component at a time: {done:,} of {total:,}",
            done, total,
        )  # fmt: skip
    return effects
