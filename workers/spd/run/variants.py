"""What a setting of a config brings: variants of it, each trained on several seeds, side by side.

    python -m workers.spd.run.variants bible-lm tests/bench/variants/bible-lm.yaml --out out/variants

The file holds overrides that all share (`base`) and those of each variant (`variants`, with its seeds). A run is
trained and judged on held-out text, not harvested or stored; one whose figures are there already is only read. Prints
Markdown, and writes OUT/variants.json, which the overview shows where it lies in the folder of a decomposition. Costs
are seconds of processor time, which a busy machine hardly changes.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jaxtyping import Bool
from safetensors.torch import load_file, save_file
from torch import Tensor

from workers.spd.artifact import VARIANTS, SeedAgreement, Spread, VariantRow, Variants, write_json
from workers.spd.config import DecomposeConfig, load_config, parse_config, with_overrides
from workers.spd.evaluation.agreement import agreement
from workers.spd.evaluation.metrics import Evaluator
from workers.spd.evaluation.running_text import FEW, RunningText, ever_needed
from workers.spd.method.components import Components
from workers.spd.method.processes import World
from workers.spd.method.training import Trainer
from workers.spd.prompts.kinds import CorpusWindows
from workers.spd.run.context import Run
from workers.spd.run.decompose import open_subject
from workers.spd.run.train import train

FIGURES = (
    "steps", "seconds", "kl_ci_masks", "kl_rounded_ci", "kl_stochastic", "kl_adversarial_shared_20",
    "kl_adversarial_position_20", "ce_change_ci_masks", "l0", "alive",
)  # fmt: skip
ALIVE_WINDOWS = 256


def variant(config: DecomposeConfig, changes: Mapping[str, Any], seed: int) -> DecomposeConfig:
    """The config with these overrides and this seed."""
    return parse_config(with_overrides(config.model_dump(mode="json"), {**changes, "seed": seed}))


def run_variant(config: DecomposeConfig, out: Path, home: Path) -> dict[str, float]:
    """Train at `out`, unless the figures are there; they are kept beside the components."""
    figures = out / "figures.json"
    if figures.exists():
        return json.loads(figures.read_text())
    run = Run(config, out, home, World.join("cpu"), lambda progress: None, lambda: False)
    shutil.rmtree(run.work, ignore_errors=True)
    run.work.mkdir(parents=True)
    subject = open_subject(run, "cpu")
    data = subject.data
    assert isinstance(data, CorpusWindows), "variants are compared on running text"
    start = data.everything()
    trainer = Trainer(config, subject.target, subject.sites, start)
    first = copy.deepcopy(trainer.components)
    before = time.process_time()
    train(run, trainer, data, start)
    seconds = time.process_time() - before

    held_out = data.split("held_out", config.reconstruction.positions)
    assert held_out is not None
    judged = Evaluator(trainer.decomposition, held_out, config.threshold)
    tests = RunningText(trainer.decomposition, held_out, config.threshold)
    alive = ever_needed(trainer.decomposition, data.more_windows("train", ALIVE_WINDOWS), config.threshold)
    found = judged.light() | tests.figures(alive, FEW)
    found["kl_stochastic"] = judged.kl_stochastic()[0]
    found["alive"] = float(sum(int(those.sum()) for those in alive.values()))
    found |= {"steps": float(config.steps), "seconds": seconds}
    _keep(out / "components.safetensors", trainer.components, alive)
    first.keep(trainer.components.index)
    _keep(out / "start.safetensors", first, alive)
    shutil.rmtree(run.work)
    figures.write_text(json.dumps(found, indent=1))
    return found


def _keep(path: Path, components: Components, alive: Mapping[str, Bool[Tensor, " _C"]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"{site}.V": V.detach() for site, V in components.V.items()}
    tensors |= {f"{site}.U": U.detach() for site, U in components.U.items()}
    tensors |= {f"{site}.alive": those for site, those in alive.items()}
    save_file({name: value.contiguous() for name, value in tensors.items()}, path)


def _kept(path: Path) -> tuple[Components, dict[str, Bool[Tensor, " _C"]]]:
    tensors = load_file(path)
    sites = [name.removesuffix(".V") for name in tensors if name.endswith(".V")]
    V, U = ({site: tensors[f"{site}.{end}"] for site in sites} for end in "VU")
    index = {site: [*range(V[site].shape[1])] for site in sites}
    return Components(V, U, index), {site: tensors[f"{site}.alive"] for site in sites}


def seeds_agree(folders: Sequence[Path], name: str = "components.safetensors") -> SeedAgreement | None:
    """The mean agreement of every ordered pair of runs, of the components alive in each; None of a single run."""
    kept = [_kept(folder / name) for folder in folders]
    pairs = [
        agreement(one, other, mine, theirs)
        for place, (one, mine) in enumerate(kept)
        for beside, (other, theirs) in enumerate(kept)
        if place != beside
    ]
    if not pairs:
        return None
    mean = {
        part: sum(getattr(pair, part) for pair in pairs) / len(pairs) for part in SeedAgreement.model_fields
    }
    return SeedAgreement(**mean)


def row(name: str, about: str, found: Mapping[int, Mapping[str, float]], out: Path) -> VariantRow:
    """A variant's figures over its seeds, those that every seed has."""
    folders = [out / f"{name}-{seed}" for seed in found]
    each = {
        figure: [figures[figure] for figures in found.values()]
        for figure in FIGURES
        if all(figure in figures for figures in found.values())
    }
    return VariantRow(
        name=name, about=about, seeds=list(found),
        figures={
            figure: Spread(mean=sum(v) / len(v), least=min(v), most=max(v)) for figure, v in each.items()
        },
        agreement=seeds_agree(folders), agreement_at_start=seeds_agree(folders, "start.safetensors"),
    )  # fmt: skip


def table(variants: Variants) -> str:
    """Markdown: one row per variant, every figure the mean over its seeds with the smallest and largest in brackets."""
    lines = [
        "| variant | seeds | " + " | ".join(FIGURES) + " | max cosine of seeds V, U, V⊗U | at the start |",
        "|---" * (len(FIGURES) + 4) + "|",
    ]
    for one in variants.rows:
        cells = [_spread(one.figures.get(figure)) for figure in FIGURES]
        cells += [_cosines(one.agreement), _cosines(one.agreement_at_start)]
        lines.append(f"| {one.name} | {len(one.seeds)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(value: Spread | None) -> str:
    if value is None:
        return ""
    if value.least == value.most:
        return f"{value.mean:.3g}"
    return f"{value.mean:.3g} ({value.least:.3g}–{value.most:.3g})"


def _cosines(found: SeedAgreement | None) -> str:
    return "" if found is None else f"{found.reads:.2f}, {found.writes:.2f}, {found.both:.2f}"


def main(arguments: Sequence[str]) -> int:
    """Train what is missing, print the table."""
    parser = argparse.ArgumentParser(prog="python -m workers.spd.run.variants", description=__doc__)
    parser.add_argument("config", help="a preset by name, or a YAML file")
    parser.add_argument("variants", type=Path, help="the YAML file of variants")
    parser.add_argument("--only", nargs="+", help="these of them")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: those the file names for each variant")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the results")
    parser.add_argument("--home", type=Path, help="where targets are kept (default: OUT/home)")
    options = parser.parse_args(arguments)
    config, file = load_config(options.config), yaml.safe_load(options.variants.read_text(encoding="utf-8"))
    found: dict[str, dict[int, dict[str, float]]] = {}
    for seed in sorted({seed for one in file["variants"].values() for seed in options.seeds or one["seeds"]}):
        for name, one in file["variants"].items():
            if seed not in (options.seeds or one["seeds"]) or (options.only and name not in options.only):
                continue
            print(f"{name}, seed {seed} …", file=sys.stderr, flush=True)
            changed = variant(config, {**file["base"], **one["changes"]}, seed)
            home = options.home or options.out / "home"
            found.setdefault(name, {})[seed] = run_variant(changed, options.out / f"{name}-{seed}", home)
            print(json.dumps(found[name][seed]), file=sys.stderr, flush=True)
    rows = [row(name, file["variants"][name]["about"], runs, options.out) for name, runs in found.items()]
    variants = Variants(about=file["about"], rows=rows)
    write_json(options.out / VARIANTS, variants.model_dump())
    print(table(variants))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
