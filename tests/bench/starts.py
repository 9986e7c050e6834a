"""How much an adversarial figure owes to its one random start: several starts, on the windows the evidence asked and on
held-out windows that no run or evidence has seen.

    python -m tests.bench.starts workers/shipped/bible-lm [STARTS] [STEPS]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from tests.conftest import WEIGHTS_HOME
from workers.spd.ablation.loading import artifact_target, load_decomposition
from workers.spd.artifact import read_artifact
from workers.spd.corpora.dataset_texts import ensure_texts
from workers.spd.evaluation.running_text import ATTACKED, RunningText
from workers.spd.prompts.kinds import CorpusWindows, training_data


def main() -> None:
    """Print the worst KL of each start."""
    folder, starts, steps = Path(sys.argv[1]), *(int(one) for one in [*sys.argv[2:], *("4", "200")][:2])
    artifact = read_artifact(folder)
    config = artifact.manifest.config
    target = artifact_target(artifact, WEIGHTS_HOME)
    decomposition = load_decomposition(artifact, target)
    texts = config.data.texts
    assert texts is not None, "a run over the texts of a dataset or package"
    data = training_data(config, target, target.tokenizer(), ensure_texts(texts, WEIGHTS_HOME))
    assert isinstance(data, CorpusWindows)
    asked = data.split("held_out", "all")
    assert asked is not None
    rows = torch.arange(ATTACKED)
    for name, batch in (
        ("asked", asked.rows(rows)),
        ("fresh", next(iter(data.more_windows("held_out", ATTACKED)))),
    ):
        tests = RunningText(decomposition, batch, config.threshold)
        for seed in range(starts):
            worst = tests.adversarial([steps], seed=seed)[steps]
            print(json.dumps({"windows": name, "start": seed, "steps": steps, "kl": worst}), flush=True)


if __name__ == "__main__":
    main()
