"""One config on several seeds, side by side: `python -m workers.spd.run.seeds induction --seeds 0 1 2 --out out/seeds`.

Each seed is a whole run of its own, stored under `OUT/<name>-<seed>`; one that is there already is read, one that was
interrupted resumes. All decompose the same target; with `--targets`, one that is trained here is trained from each
seed too. Prints Markdown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from workers.spd.artifact import Artifact, Check, read_artifact
from workers.spd.config import ConfigError, DecomposeConfig, load_config, parse_config, with_overrides
from workers.spd.run.decompose import decompose

FIGURES = (
    "faithfulness", "kl_everything_on", "kl_components_only", "kl_ci_masks", "kl_rounded_ci", "kl_stochastic",
    "kl_adversarial", "kl_everything_off", "l0", "alive", "rest_l0", "kl_rest_ci_masks", "kl_rest_off",
)  # fmt: skip


def seeded(config: DecomposeConfig, seed: int, *, targets: bool = False) -> DecomposeConfig:
    """The same config with this seed; with `targets`, for a target that is trained here too."""
    data = with_overrides(config.model_dump(mode="json"), {"seed": seed})
    if targets and data["target"]["kind"] == "induction":
        data = with_overrides(data, {"target.seed": seed})
    return parse_config(data)


def run_seed(config: DecomposeConfig, out: Path, home: Path) -> Artifact:
    """The artefact of this config at `out`, made now if it is not there. Raises ConfigError where another one is."""
    if not out.exists():
        return decompose(config, out, home=home)
    artifact = read_artifact(out)
    if artifact.manifest.config != config:
        raise ConfigError(f"{out} holds the result of another config; give another --out.")
    return artifact


def comparison(artifacts: Sequence[Artifact]) -> str:
    """The runs' figures as Markdown, a column each, and for a run with a paper's table that too."""
    head = "| | " + " | ".join(f"seed {artifact.manifest.config.seed}" for artifact in artifacts) + " |"
    rule = "|---" * (len(artifacts) + 1) + "|"
    lines = ["Held-out prompts (training prompts where there are none); KL in nats.", "", head, rule]
    lines.append(_row("minutes of training", artifacts, lambda a: f"{a.manifest.training_seconds / 60:.1f}"))
    for name in FIGURES:
        if any(_figure(artifact, name) for artifact in artifacts):
            lines.append(_row(name, artifacts, lambda a, name=name: _figure(a, name)))
    for place, check in enumerate(artifacts[0].manifest.checks):
        label = f"{' + '.join(check.groups)}: “{check.prompt}” →{check.answer}"
        lines.append(_row(label, artifacts, lambda a, place=place: _change(a.manifest.checks[place])))
    papers = [artifact.manifest.paper for artifact in artifacts]
    if all(paper is not None for paper in papers):
        rows = [{row.name: row for row in paper.rows} for paper in papers if paper is not None]
        lines += ["", "| site | paper " + head.removeprefix("| "), "|---" + rule]
        for name, first in rows[0].items():
            ours = (f"{own[name].ours} ({own[name].verdict})" for own in rows)
            lines.append(f"| {name} | {first.paper} | " + " | ".join(ours) + " |")
        for artifact, own in zip(artifacts, rows, strict=True):
            lines += ["", f"Seed {artifact.manifest.config.seed}:", ""]
            lines += [f"- {name}: {row.note}" for name, row in own.items()]
    return "\n".join(lines)


def _row(name: str, artifacts: Sequence[Artifact], value: Callable[[Artifact], str]) -> str:
    return f"| {name} | " + " | ".join(map(value, artifacts)) + " |"


def _figure(artifact: Artifact, name: str) -> str:
    metric = next((metric for metric in artifact.manifest.metrics if metric.name == name), None)
    if metric is None:
        return ""
    value = metric.train if metric.held_out is None else metric.held_out
    return "" if value is None else f"{value:.2g}"


def _change(check: Check) -> str:
    """Relative change of the answer's probability; in brackets that of the same components before training."""
    change = f"{check.ablated / check.baseline - 1:+.1%}"
    return change if check.untrained is None else f"{change} ({check.untrained / check.baseline - 1:+.1%})"


def main(arguments: Sequence[str]) -> int:
    """Run what is missing, print the comparison."""
    parser = argparse.ArgumentParser(prog="python -m workers.spd.run.seeds", description=__doc__)
    parser.add_argument("config", help="a preset by name, or a YAML file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--targets", action="store_true", help="train the target from each seed too")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the results")
    parser.add_argument("--home", type=Path, help="where targets are kept (default: OUT/home)")
    options = parser.parse_args(arguments)
    config = load_config(options.config)
    options.out.mkdir(parents=True, exist_ok=True)
    artifacts = []
    for seed in options.seeds:
        print(f"seed {seed} …", file=sys.stderr, flush=True)
        out = options.out / f"{config.name}-{seed}"
        artifacts.append(
            run_seed(seeded(config, seed, targets=options.targets), out, options.home or options.out / "home")
        )
    print(comparison(artifacts))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
