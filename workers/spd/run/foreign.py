"""Runs of other people: a folder of goodfire-ai/spd (`final_config.yaml` beside `model_<step>.pth`), read, put on its
target and measured by our own evidence.

Read are the components (`_components.<module, dashes for dots>.{V, U}`) and layerwise importance functions of the kinds
mlp, vector_mlp and shared_mlp with one hidden layer (`_ci_fns.<module>.layers.{0, 2}.{W, b}`, under `ci_fn.` in newer
runs), which are ours to the last digit. What cannot be taken over is refused or stands in the notes of the result.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from jaxtyping import Float, Shaped
from torch import Tensor

from workers.spd.artifact import Artifact
from workers.spd.config import DecomposeConfig, parse_config
from workers.spd.method.ci import CIFunctions
from workers.spd.method.components import Components
from workers.spd.method.processes import World
from workers.spd.method.training import Trainer
from workers.spd.progress import Report
from workers.spd.run.context import Run
from workers.spd.run.decompose import measure_and_store, open_subject
from workers.spd.targets.target import Target

CONFIG = "final_config.yaml"
PART = re.compile(r"_components\.(?P<site>[^.]+)\.(?P<part>[VU])")
CI_PART = re.compile(r"(?:ci_fn\.)?_ci_fns\.(?P<site>[^.]+)\.layers\.(?P<layer>\d+)\.(?P<part>[Wb])")
KINDS = ("mlp", "vector_mlp", "shared_mlp")
SIGMOIDS = ("leaky_hard", "hard")  # the same forward pass
LOSSES = {
    "FaithfulnessLoss": "faithfulness",
    "ImportanceMinimalityLoss": "importance_minimality",
    "StochasticReconLoss": "stochastic_reconstruction",
}
SAID = {
    "seed", "steps", "module_info", "target_module_patterns", "C", "ci_fn_type", "ci_fn_hidden_dims", "ci_config",
    "sigmoid_type", "loss_metric_configs", "pretrained_model_name", "pretrained_model_class", "tokenizer_name",
    "use_delta_component",
}  # fmt: skip
"""Keys of their config whose meaning is taken over or checked here."""


class ForeignError(Exception):
    """A folder that cannot be imported; the message is a plain sentence."""


@dataclass(frozen=True)
class ForeignRun:
    """What a folder holds. `ci`: of each site, weight and bias of its two layers; `target`: its model's own tensors."""

    config: dict[str, Any]
    kind: str
    V: dict[str, Float[Tensor, "d_in C"]]
    U: dict[str, Float[Tensor, "C d_out"]]
    ci: dict[str, dict[str, Shaped[Tensor, ...]]]
    target: dict[str, Shaped[Tensor, ...]]

    @property
    def model(self) -> str | None:
        """Its target as owner/name on the hub; None where it names another place."""
        name = str(self.config.get("pretrained_model_name") or "")
        return name if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else None


def read_run(folder: Path) -> ForeignRun:
    """The newest checkpoint of a folder, tensors only. Raises ForeignError."""
    try:
        config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
        checkpoints = sorted(folder.glob("model*.pth"), key=lambda path: _step(path.stem))
        if not isinstance(config, dict) or not checkpoints:
            raise ForeignError(f"{folder} holds no run: it should have {CONFIG} and a model_<step>.pth.")
        tensors = torch.load(checkpoints[-1], map_location="cpu", weights_only=True)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ForeignError(f"{folder} cannot be read as a run: {error}.") from None
    except (RuntimeError, pickle.UnpicklingError, EOFError):
        raise ForeignError(
            f"{folder}: the checkpoint holds more than tensors, or is damaged; it was not run."
        ) from None
    kind = str(config.get("ci_fn_type") or (config.get("ci_config") or {}).get("fn_type"))
    if kind not in KINDS:
        raise ForeignError(
            f"Its importance functions are of the kind “{kind}”; {', '.join(KINDS)} can be taken over."
        )
    sigmoid = config.get("sigmoid_type", "leaky_hard")
    if sigmoid not in SIGMOIDS:
        raise ForeignError(f"Its sigmoid is “{sigmoid}”; {' and '.join(SIGMOIDS)} can be taken over.")
    parts: dict[str, dict[str, Tensor]] = {"V": {}, "U": {}}
    ci: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if found := PART.fullmatch(name):
            parts[found["part"]][_module(found["site"])] = tensor.float()
        elif found := CI_PART.fullmatch(name):
            ci.setdefault(_module(found["site"]), {})[found["layer"] + found["part"]] = tensor.float()
    if not parts["V"] or not parts["V"].keys() == parts["U"].keys() == ci.keys():
        raise ForeignError("The checkpoint lacks V, U or the importance function of a module.")
    if any(functions.keys() != {"0W", "0b", "2W", "2b"} for functions in ci.values()):
        raise ForeignError(
            "Its importance functions have more or fewer than one hidden layer, which ours all have."
        )
    prefix = "target_model."
    target = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return ForeignRun(config, kind, parts["V"], parts["U"], ci, target)


def _step(stem: str) -> int:
    digits = re.findall(r"\d+", stem)
    return int(digits[-1]) if digits else -1


def _module(dashed: str) -> str:
    return dashed.replace("-", ".")


def config_of(
    run: ForeignRun, name: str, target: Mapping[str, Any], prompts: list[dict[str, Any]]
) -> tuple[DecomposeConfig, list[str]]:
    """The run as a config of ours over these prompts, and what was not taken over. Raises ConfigError."""
    theirs = run.config
    named = [str(loss.get("classname")) for loss in theirs.get("loss_metric_configs") or []]
    losses = [{"kind": LOSSES[loss]} for loss in dict.fromkeys(named) if loss in LOSSES]
    others = sorted({loss for loss in named if loss not in LOSSES})
    config = parse_config(
        {
            "name": name,
            "title": f"{name}, a run of goodfire-ai/spd",
            "description": "Components and importance functions of a run of goodfire-ai/spd, measured here anew.",
            "seed": int(theirs.get("seed") or 0),
            "target": dict(target),
            "sites": list(run.V),
            "C": max(V.shape[1] for V in run.V.values()),
            "start": {"kind": "random"},
            "ci": {
                "kind": run.kind,
                "hidden": next(iter(run.ci.values()))["0b"].shape[-1],
                "reads": "inner" if run.kind == "mlp" else "input",
            },
            "losses": losses or [{"kind": "faithfulness"}],
            "data": {"kind": "prompts", "prompts": prompts},
            "steps": max(1, int(theirs.get("steps") or 1)),
        }
    )
    notes = [
        "Imported from a run of goodfire-ai/spd. Every figure was measured here, on the prompts given; its training "
        "data, coefficients and schedule were not taken over."
    ]
    if others:
        notes.append(f"It was trained on losses that have no counterpart here: {', '.join(others)}.")
    if not theirs.get("use_delta_component", True):
        notes.append(
            "It was trained without a remainder; here V·U and the weights differ by one all the same."
        )
    if left := sorted(key for key, value in theirs.items() if key not in SAID and value not in (None, "")):
        notes.append(f"Keys of its config that were not read: {', '.join(left)}.")
    return config, notes


def on_target(run: ForeignRun, config: DecomposeConfig, target: Target) -> tuple[Components, CIFunctions]:
    """Its components and importance functions on the model they belong to. Raises ForeignError for another model."""
    sites = target.sites(config.sites)
    for site in sites:
        weight = target.weight(site)
        if weight.shape != (run.U[site].shape[1], run.V[site].shape[0]):
            raise ForeignError(
                f"“{site}” is {tuple(weight.shape)} in this model, and another shape in the run."
            )
        own = run.target.get(f"{site}.weight")
        if own is not None and not any(
            one.shape == weight.shape and torch.allclose(one.float(), weight.float(), atol=1e-5)
            for one in (own, own.T)
        ):
            raise ForeignError(f"“{site}” holds other weights than the model that was decomposed.")
    components = Components(
        {site: run.V[site] for site in sites},
        {site: run.U[site] for site in sites},
        {site: list(range(run.V[site].shape[1])) for site in sites},
    )
    shapes = {site: (run.V[site].shape[0], run.V[site].shape[1]) for site in sites}
    ci = CIFunctions(shapes, config.ci, torch.Generator().manual_seed(0))
    state = ci.state_dict()
    for place, site in enumerate(sites):
        for ours, theirs in (("first", "0"), ("last", "2")):
            for part, name in (("weight", "W"), ("bias", "b")):
                value = run.ci[site][theirs + name]
                if run.kind == "shared_mlp":
                    value = value[None]
                key = f"gammas.{place}.{ours}.{part}"
                if value.shape != state[key].shape:
                    raise ForeignError(f"The importance function of “{site}” does not fit its components.")
                state[key] = value
    ci.load_state_dict(state)
    return components, ci


def import_run(
    run: ForeignRun,
    config: DecomposeConfig,
    notes: list[str],
    out: Path,
    *,
    home: Path,
    device: str = "cpu",
    report: Report = lambda progress: None,
) -> Artifact:
    """Put a run on its target, measure it as any of ours, and store it at `out`. Raises ForeignError, TargetError."""
    context = Run(config, out, home, World.join(device), report, lambda: False)
    context.work.mkdir(parents=True, exist_ok=True)
    subject = open_subject(context, device)
    trainer = Trainer(config, subject.target, subject.sites, subject.data.everything())
    components, ci = on_target(run, config, subject.target)
    trainer.adopt(components.to(subject.target.device), ci.to(subject.target.device))
    trainer.trained = {site: V.shape[1] for site, V in components.V.items()}
    (context.work / "metrics.jsonl").write_text("", encoding="utf-8")
    return measure_and_store(context, subject, trainer, 0.0, device, notes)
