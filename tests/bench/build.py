"""What the benchmarks run on: GPT-2-small's shape with random weights, and an artefact over 48 sites, built in code."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from tests import factories
from workers.spd.artifact import Artifact, HarvestColumns, Manifest, SiteCard, seal, write_json
from workers.spd.config import parse_config
from workers.spd.method.ci import CIFunctions
from workers.spd.targets.target import CARD, MODEL, TOKENIZER, TargetCard, ensure_target

C = 64
LAYERS = 12
TOKENS = 16
SITES = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")


def gpt2(layers: int = LAYERS) -> GPT2LMHeadModel:
    """GPT-2-small's shape, random weights, no dropout."""
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(n_layer=layers)).eval()


def site_names(layers: int = LAYERS) -> list[str]:
    return [f"transformer.h.{layer}.{site}" for layer in range(layers) for site in SITES]


def build(home: Path, name: str = "bench", *, layers: int = LAYERS, start: float = 0.0) -> Artifact:
    """A target folder and a decomposition of it, in this home. `start` is the bias of the CI functions: with 0
    about half of all components are in use at every position, far more than in any trained run."""
    folder = home / "gpt2"
    if not folder.is_dir():
        gpt2(layers).save_pretrained(folder, safe_serialization=True)
        PreTrainedTokenizerFast(tokenizer_object=factories.tiny_tokenizer(), bos_token=factories.BOS).save_pretrained(
            folder
        )  # fmt: skip
    sites = site_names(layers)
    data = factories.tiny_config(name, target={"kind": "folder", "path": str(folder)}, sites=sites, C=C)
    data["ci"] = {"kind": "attention", "scope": "site", "start": start}
    config = parse_config(data)
    target = ensure_target(config.target, home)
    card = TargetCard.model_validate_json((target / CARD).read_text())
    work = home / "artifacts" / f"{name}.partial"
    (work / "harvest").mkdir(parents=True)
    (work / "tokenizer.json").write_bytes((target / TOKENIZER).read_bytes())
    shapes = _components(target / MODEL, sites, work)
    generator = torch.Generator().manual_seed(1)
    functions = CIFunctions({site: (d_in, C) for site, (d_in, _) in shapes.items()}, config.ci, generator)
    save_file({n: t.contiguous() for n, t in functions.state_dict().items()}, work / "ci.safetensors")
    empty = {field: [] for field in HarvestColumns.model_fields}
    write_json(work / "harvest/components.json", empty)
    write_json(work / "harvest/prompts.json", [])
    write_json(work / "harvest/groups.json", [])
    (work / "metrics.jsonl").write_text("")
    cards = [
        SiteCard(name=s, d_in=i, d_out=o, trained=C, kept=list(range(C))) for s, (i, o) in shapes.items()
    ]
    manifest = Manifest(
        created_at=datetime(2026, 1, 1, tzinfo=UTC), config=config, target=card, sites=cards, versions={},
        dtype="float32", device="cpu", training_seconds=0, metrics=[], l0_by_site={}, faithfulness_by_site={},
        files={},
    )  # fmt: skip
    return seal(work, manifest, home / "artifacts" / name)


def _components(weights: Path, sites: list[str], work: Path) -> dict[str, tuple[int, int]]:
    """Random components about as large as the weights' own; {site: (d_in, d_out)}."""
    from safetensors import safe_open

    generator = torch.Generator().manual_seed(2)
    tensors: dict[str, torch.Tensor] = {}
    shapes: dict[str, tuple[int, int]] = {}
    with safe_open(weights, "pt") as file:
        for site in sites:
            d_in, d_out = file.get_slice(f"{site}.weight").get_shape()  # Conv1D keeps Wᵀ
            tensors[f"{site}.V"] = torch.randn(d_in, C, generator=generator) / d_in**0.5
            tensors[f"{site}.U"] = torch.randn(C, d_out, generator=generator) * 0.02
            tensors[f"{site}.index"] = torch.arange(C)
            shapes[site] = (d_in, d_out)
    save_file(tensors, work / "components.safetensors")
    return shapes


def words(count: int, seed: int = 0) -> str:
    """A text of `count` tokens of the tiny tokenizer, another one for every seed."""
    known = [" Woods", " Bryant", " American", " professional", " golf", " player", " basketball", " capital"]
    generator = torch.Generator().manual_seed(seed)
    return "".join(known[i] for i in torch.randint(0, len(known), (count,), generator=generator).tolist())
