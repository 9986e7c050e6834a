"""The same run's components before its first step, made again from its config and seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from workers.spd.artifact import Artifact
from workers.spd.config import DatasetText, PackageText
from workers.spd.corpora.dataset_texts import Taken, ensure_texts
from workers.spd.method.decomposition import Decomposition
from workers.spd.method.training import Trainer
from workers.spd.prompts.kinds import training_data
from workers.spd.prompts.rest import RestText


def untrained_start(
    artifact: Artifact, decomposition: Decomposition, home: Path, check_stop: Callable[[], None]
) -> Decomposition:
    """All components of the start, on the same target; also those that the run pruned later. What a warm-up on
    faithfulness did to them is part of training, and left out."""
    config, target = artifact.manifest.config, decomposition.target
    tokenizer = target.tokenizer()

    def texts(source: DatasetText | PackageText | None) -> Taken | None:
        return None if source is None else ensure_texts(source, home, check_stop=check_stop)

    data = training_data(config, target, tokenizer, texts(config.data.texts))
    moments = None
    if config.rest is not None and config.start.background == "rest":
        rest = RestText(config.rest, target, tokenizer, data.prompts, texts(config.rest.text.texts))
        moments = rest.moments(decomposition.sites, config.seed, check_stop)
    components = Trainer(config, target, decomposition.sites, data.everything(), moments).components
    return Decomposition(
        target,
        components.requires_grad_(False),
        decomposition.ci,
        first_unmasked=decomposition.first_unmasked,
    )
