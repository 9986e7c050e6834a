"""What suppressing a targeted run's groups does to prompts that nobody looked at.

`python -m tests.bench.bystanders RUN SEED GROUPS…`: RUN is an artefact's folder, GROUPS are names joined by +. One JSON
object a line: the run's components, and the same as they were before training.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from tests.conftest import WEIGHTS_HOME
from workers.spd.ablation.loading import artifact_target, load_decomposition
from workers.spd.artifact import read_artifact
from workers.spd.evaluation.bystanders import bystander_effects, drawn
from workers.spd.keys import ComponentKey
from workers.spd.method.decomposition import Decomposition
from workers.spd.method.training import Trainer
from workers.spd.prompts.kinds import training_data
from workers.spd.prompts.rest import RestText
from workers.spd.targets.tokenizer import PromptTokenizer


def main() -> None:
    """Print every group's effects, trained and not."""
    folder, seed, *names = sys.argv[1:]
    torch.set_num_threads(1)
    artifact = read_artifact(Path(folder))
    config = artifact.manifest.config
    target = artifact_target(artifact, WEIGHTS_HOME)
    tokenizer = PromptTokenizer.from_file(
        artifact.path / "tokenizer.json",
        bos_token_id=artifact.manifest.target.bos_token_id,
        context_length=8192,
    )
    trained = load_decomposition(artifact, target)
    assert config.rest is not None, "a targeted run has rest text"
    data = training_data(config, target, tokenizer)
    rest = RestText(config.rest, target, tokenizer, data.prompts)
    moments = rest.moments(trained.sites, config.seed)
    start = Trainer(config, target, trained.sites, data.everything(), moments).start
    assert start is not None
    start.keep(trained.components.index)
    untrained = Decomposition(target, start, trained.ci, first_unmasked=trained.first_unmasked)
    groups = {group.name: group.components for group in artifact.groups}
    prompts = drawn(int(seed))
    for name in names:
        keys = [ComponentKey.parse(key) for part in name.split("+") for key in groups[part]]
        for kind, decomposition in (("trained", trained), ("untrained", untrained)):
            effects = bystander_effects(decomposition, prompts, keys, tokenizer, bos=config.bos)
            print(
                json.dumps({"groups": name, "kind": kind, "components": len(keys), **asdict(effects)}),
                flush=True,
            )


if __name__ == "__main__":
    main()
