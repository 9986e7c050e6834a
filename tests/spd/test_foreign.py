"""Runs of goodfire-ai/spd: folders as that code writes them, made here, whose importances are recomputed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from backend.cli import app
from tests.spd import tiny
from workers.spd.ablation.engine import AblationEngine
from workers.spd.artifact import read_artifact
from workers.spd.method.decomposition import Decomposition
from workers.spd.run.foreign import ForeignError, config_of, on_target, read_run

SITES = {"model.layers.0.mlp.down_proj": 5, "model.layers.1.self_attn.q_proj": 4}
HIDDEN = 6
PROMPTS = [{"text": "w1 w2 w3 w4", "answer": "w5"}, {"text": "w1 w7 w3", "answer": "w5", "split": "held_out"}]


def folder_of(where: Path, model: Any, kind: str, *, newer: bool = True, **changes: Any) -> Path:
    """What a run of that code leaves: random components and importance functions on `model`."""
    where.mkdir()
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    tensors = {f"target_model.{name}": value for name, value in model.state_dict().items()}
    for site, C in SITES.items():
        d_out, d_in = model.get_submodule(site).weight.shape
        name = site.replace(".", "-")
        tensors |= {f"_components.{name}.V": random(d_in, C), f"_components.{name}.U": random(C, d_out)}
        read = {"mlp": 1, "vector_mlp": d_in, "shared_mlp": d_in}[kind]
        own = (C,) if kind != "shared_mlp" else ()
        last = C if kind == "shared_mlp" else 1
        functions = {
            "0.W": random(*own, read, HIDDEN), "0.b": random(*own, HIDDEN),
            "2.W": random(*own, HIDDEN, last), "2.b": random(*own, last),
        }  # fmt: skip
        prefix = f"{'ci_fn.' if newer else ''}_ci_fns.{name}.layers."
        tensors |= {prefix + part: value for part, value in functions.items()}
    torch.save({}, where / "model_10.pth")
    torch.save(tensors, where / "model_2000.pth")
    described: dict[str, Any] = {"ci_fn_type": kind, "ci_fn_hidden_dims": [HIDDEN]}
    if newer:
        described = {"ci_config": {"mode": "layerwise", "fn_type": kind, "hidden_dims": [HIDDEN]}}
    config = {
        "seed": 0, "steps": 2_000, "sigmoid_type": "leaky_hard", "use_delta_component": True, "wandb_project": "spd",
        "module_info": [{"module_pattern": site, "C": C} for site, C in SITES.items()],
        "pretrained_model_class": "transformers.LlamaForCausalLM", "pretrained_model_name": "wandb:a/b/runs/c",
        "loss_metric_configs": [
            {"classname": "FaithfulnessLoss", "coeff": 1e6}, {"classname": "PGDReconSubsetLoss", "coeff": 0.5},
        ],
        **described, **changes,
    }  # fmt: skip
    (where / "final_config.yaml").write_text(yaml.safe_dump(config))
    return where


def importances_by_hand(folder: Path, model: Any, ids: torch.Tensor, kind: str, site: str) -> torch.Tensor:
    """Their function of what a module reads, written out for each component; the forward pass of their sigmoid."""
    tensors = torch.load(folder / "model_2000.pth", weights_only=True)
    name = site.replace(".", "-")
    (prefix,) = {key.rsplit("0.W", 1)[0] for key in tensors if key.endswith(f"_ci_fns.{name}.layers.0.W")}
    W0, b0, W2, b2 = (tensors[prefix + part] for part in ("0.W", "0.b", "2.W", "2.b"))
    read: list[torch.Tensor] = []
    hook = model.get_submodule(site).register_forward_hook(lambda _m, args, _o: read.append(args[0].detach()))
    model(ids)
    hook.remove()
    x, V = read[0][0], tensors[f"_components.{name}.V"]
    gelu = torch.nn.functional.gelu
    columns = []
    for c in range(V.shape[1]):
        if kind == "shared_mlp":
            gamma = gelu(x @ W0 + b0) @ W2[:, c] + b2[c]
        else:
            inner = (x @ V[:, c])[:, None] if kind == "mlp" else x
            gamma = (gelu(inner @ W0[c] + b0[c]) @ W2[c] + b2[c])[:, 0]
        columns.append(gamma.clamp(0, 1))
    return torch.stack(columns, -1)


@pytest.mark.parametrize(("kind", "newer"), [("mlp", True), ("vector_mlp", False), ("shared_mlp", True)])
def test_its_importances_are_theirs(tmp_path: Path, kind: str, newer: bool) -> None:
    model = tiny.llama_model()
    run = read_run(folder_of(tmp_path / "run", model, kind, newer=newer))
    config, notes = config_of(run, "theirs", {"kind": "folder", "path": "/nowhere"}, PROMPTS)
    assert any("PGDReconSubsetLoss" in note for note in notes)
    assert any("wandb_project" in note for note in notes)
    target = tiny.target_of(model)
    target.attach(list(SITES))
    components, ci = on_target(run, config, target)
    ids = tiny.tokens(rows=1)
    engine = AblationEngine(Decomposition(target, components, ci, first_unmasked=False))
    found = engine.site_importances(engine.clean(ids[0].tolist())).g
    for site in SITES:
        torch.testing.assert_close(
            found[site][0], importances_by_hand(tmp_path / "run", model, ids, kind, site)
        )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"ci_config": {"mode": "global", "fn_type": "global_shared_transformer"}},
            "global_shared_transformer",
        ),
        ({"sigmoid_type": "swish_hard"}, "swish_hard"),
    ],
)
def test_what_cannot_be_taken_over_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ForeignError, match=said):
        read_run(folder_of(tmp_path / "run", tiny.llama_model(), "mlp", **changes))


def test_a_checkpoint_that_would_run_code_is_not_run(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "run", tiny.llama_model(), "mlp")

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.write_text, (tmp_path / "ran", "it ran"))

    torch.save({"_components.a.V": Evil()}, folder / "model_3000.pth")
    with pytest.raises(ForeignError, match="more than tensors"):
        read_run(folder)
    assert not (tmp_path / "ran").exists()


def test_a_run_of_another_model_is_refused(tmp_path: Path) -> None:
    run = read_run(folder_of(tmp_path / "run", tiny.llama_model(), "mlp"))
    config, _ = config_of(run, "theirs", {"kind": "folder", "path": "/nowhere"}, PROMPTS)
    other = tiny.target_of(tiny.llama_model(seed=1))
    with pytest.raises(ForeignError, match="other weights"):
        on_target(run, config, other)


def test_a_run_is_imported_measured_and_opened(tmp_path: Path, home: Path) -> None:
    model = tiny.llama_model()
    tiny.saved(model, tmp_path / "llama")
    folder = folder_of(tmp_path / "Their_run", model, "shared_mlp")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("w1 w2 w3 w4 => w5\nw6 w2 w7 => w8\n")
    command = ["import-run", str(folder), "--prompts", str(prompts), "--home", str(home)]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 2
    assert "wandb:a/b/runs/c" in refused.output
    done = CliRunner().invoke(app, [*command, "--model", str(tmp_path / "llama")])
    assert done.exit_code == 0, done.output
    artifact = read_artifact(home / "artifacts/their-run")
    assert {site.name: site.kept for site in artifact.manifest.sites} == {
        s: list(range(C)) for s, C in SITES.items()
    }
    assert artifact.manifest.notes[0].startswith("Imported from a run of goodfire-ai/spd")
    assert {"faithfulness", "kl_ci"} & {metric.name for metric in artifact.manifest.metrics}
    assert CliRunner().invoke(app, [*command, "--model", str(tmp_path / "llama")]).exit_code == 2, (
        "it is there"
    )
    engine = AblationEngine.load(artifact, home)
    ids = [1, 2, 3, 4]
    theirs = importances_by_hand(
        folder, model, torch.tensor([ids]), "shared_mlp", "model.layers.0.mlp.down_proj"
    )
    found = engine.site_importances(engine.clean(ids)).g["model.layers.0.mlp.down_proj"][0]
    torch.testing.assert_close(found, theirs, atol=2e-3, rtol=1e-2)  # stored in half precision
