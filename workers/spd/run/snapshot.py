"""The last checkpoint of a run that has not ended, as an artefact that can be opened like any other."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import workers
from workers.spd.artifact import Artifact, Manifest, seal
from workers.spd.config import ConfigError
from workers.spd.config.run import LONGEST_NAME
from workers.spd.evaluation.metrics import faithfulness_by_site
from workers.spd.method.decomposition import Decomposition
from workers.spd.method.processes import World
from workers.spd.run.checkpoint import CheckpointError, halfway
from workers.spd.run.context import Run
from workers.spd.run.decompose import open_subject
from workers.spd.run.storing import site_cards, store_statistics, store_trained
from workers.spd.statistics.prompt_statistics import prompt_statistics


def snapshot(work: Path, out: Path, *, home: Path, device: str = "cpu") -> Artifact:
    """Store the checkpoint under `work` at `out`, in place of one that lies there. Its name and title say at which step
    it is; it has statistics over the run's prompts, but no evidence: that is measured when the training has ended.

    Raises CheckpointError where there is no checkpoint that can be used, and what `open_subject` raises.
    """
    try:
        found = halfway(work)
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
    if found is None:
        raise CheckpointError("The run has written no checkpoint yet.")
    config, tail = found.config, f"-step-{found.step}"
    at = f"step {found.step:,} of {config.steps:,}"
    config = config.model_copy(
        update={
            "name": config.name[: LONGEST_NAME - len(tail)] + tail,
            "title": f"{config.title or config.name} ({at}, still training)",
        }
    )
    run = Run(config, out, home, World.join(device), lambda progress: None, lambda: False)
    shutil.rmtree(run.work, ignore_errors=True)
    run.work.mkdir(parents=True)
    subject = open_subject(run, device)
    decomposition = Decomposition(
        subject.target, found.components.to(subject.target.device), found.ci.to(subject.target.device),
        first_unmasked=config.reconstruction.first_position == "unmasked",
    )  # fmt: skip
    store_trained(config, decomposition, run.work, subject.folder)
    if (work / "metrics.jsonl").is_file():
        shutil.copyfile(work / "metrics.jsonl", run.work / "metrics.jsonl")
    statistics = prompt_statistics(
        decomposition, subject.data.prompts, subject.tokenizer, threshold=config.threshold, bos=config.bos,
        shown=subject.data.shown, most_effects=0,
    )  # fmt: skip
    store_statistics(statistics, run.work)
    _, by_site = faithfulness_by_site(decomposition)
    manifest = Manifest(
        created_at=datetime.now(UTC), config=config, target=subject.target.card,
        sites=site_cards(decomposition.components, found.trained), versions=workers.versions(),
        dtype=config.target_weights, device=device, training_seconds=round(found.seconds, 1), metrics=[], l0_by_site={},
        faithfulness_by_site=by_site,
        notes=[
            f"Still training: this is the checkpoint at {at}, without evidence. It goes when the job ends, and the "
            "finished decomposition takes its place."
        ],
        files={},
    )  # fmt: skip
    return seal(run.work, manifest, run.out)
