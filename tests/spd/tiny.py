"""Tiny seeded models of every supported shape, built in code, as targets with components on top."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from workers.spd.ablation.engine import AblationEngine
from workers.spd.answers import AblationResult
from workers.spd.artifact import ModelCard, TargetCard
from workers.spd.config import DecomposeConfig, FolderSource, InductionSource, SharedMLPCI, parse_config
from workers.spd.method.ci import CIFunctions
from workers.spd.method.components import Components
from workers.spd.method.decomposition import Decomposition
from workers.spd.method.start import random_start
from workers.spd.queries import AblationQuery, Condition, Edit
from workers.spd.targets.fetching import weights_hash
from workers.spd.targets.induction import InductionModel, train_induction_model
from workers.spd.targets.target import Target

VOCABULARY = 24
CONTEXT = 16
WORDS = [f"w{place}" for place in range(VOCABULARY)]

LLAMA_SITES = (
    "model.embed_tokens", "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj",
    "model.layers.0.mlp.down_proj", "model.layers.1.self_attn.o_proj", "model.layers.1.mlp.gate_proj",
)  # fmt: skip
GPT2_SITES = (
    "transformer.wte", "transformer.h.0.attn.c_attn", "transformer.h.0.mlp.c_fc", "transformer.h.1.mlp.c_proj",
)  # fmt: skip
INDUCTION_SITES = ("layers.0.attn.q", "layers.0.attn.v", "layers.1.attn.k", "layers.1.attn.o")
SITES = {"llama": LLAMA_SITES, "gpt2": GPT2_SITES, "induction": INDUCTION_SITES}


def llama_model(seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    """Two layers, grouped-query attention (4 heads on 2), no biases."""
    torch.manual_seed(seed)
    options: dict[str, Any] = {
        "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": CONTEXT,
        "bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.3, **changes,
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**options))


def gpt2_model(seed: int = 0) -> GPT2LMHeadModel:
    """Two layers of Conv1D with biases that are not 0, tied embeddings."""
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=CONTEXT, bos_token_id=0,
            eos_token_id=0, initializer_range=0.2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        )
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def induction_model(steps: int = 5) -> InductionModel:
    return train_induction_model(
        InductionSource(vocabulary=VOCABULARY - 2, length=CONTEXT, d_model=8, steps=steps, batch_size=16)
    )


MODELS = {"llama": llama_model, "gpt2": gpt2_model, "induction": induction_model}


def target_of(model: nn.Module, tokenizer_path: Path | None = None) -> Target:
    """A target around a model in memory."""
    card = TargetCard(
        source=FolderSource(path="/nowhere"), weights_hash=weights_hash(model.state_dict()), bos_token_id=0,
        model=ModelCard(
            name="tiny", architecture=type(model).__name__, parameters=1, layers=2, d_model=16,
            vocabulary=VOCABULARY, context_length=CONTEXT,
        ),
    )  # fmt: skip
    return Target(model, card, tokenizer_path)


def tiny_target(kind: str) -> Target:
    target = target_of(MODELS[kind]())
    target.attach(list(SITES[kind]))
    return target


def decomposition_of(
    target: Target,
    sites: tuple[str, ...],
    C: int = 5,
    *,
    seed: int = 0,
    first_unmasked: bool = False,
    ci=None,
) -> Decomposition:
    """Random components (so that nothing is right by chance) and random CI functions."""
    generator = torch.Generator().manual_seed(seed)
    target.attach(list(sites))
    made = {site: random_start(target.weight(site), C, generator) for site in sites}
    components = Components(
        {site: V for site, (V, _) in made.items()},
        {site: U for site, (_, U) in made.items()},
        {site: list(range(C)) for site in sites},
    )
    shapes = {site: (V.shape[0], C) for site, (V, _) in made.items()}
    functions = CIFunctions(shapes, ci or SharedMLPCI(hidden=8, start=0.5), generator)
    return Decomposition(target, components, functions, first_unmasked=first_unmasked)


def tokens(rows: int = 3, seq: int = 6, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, VOCABULARY, (rows, seq), generator=generator)


def edited_weight(module: nn.Module, change: Tensor) -> None:
    """Add `change` [d_out, d_in] to the module's own weight for good, untying it first."""
    weight = module.get_parameter("weight").detach().clone()
    weight += change if isinstance(module, nn.Linear) else change.T
    module.weight = nn.Parameter(weight)


def word_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def saved(model: Any, folder: Path) -> Path:
    """A model as `transformers` saves one, with a tokenizer of 24 words."""
    model.save_pretrained(folder, safe_serialization=True)
    PreTrainedTokenizerFast(tokenizer_object=word_tokenizer(), bos_token="w0").save_pretrained(folder)
    return folder


def run_config(folder: Path | None = None, **changes: Any) -> DecomposeConfig:
    """A run of a few steps over three short prompts of the tiny Llama."""
    return parse_config(
        {
            "name": "tiny",
            "target": {"kind": "folder", "path": str(folder or "/nowhere")},
            "sites": ["model.layers.*.mlp.*_proj"],
            "C": 6,
            "start": {"kind": "svd"},
            "ci": {"kind": "shared_mlp", "hidden": 8},
            "losses": [
                {"kind": "faithfulness", "coefficient": 10},
                {"kind": "stochastic_reconstruction"},
                {"kind": "partial_reconstruction", "route": "layer"},
                {"kind": "importance_minimality", "coefficient": 0.05},
            ],
            "data": {
                "kind": "prompts",
                "prompts": [
                    {"text": "w1 w2 w3 w4", "answer": "w5"},
                    {"text": "w6 w2 w7", "answer": "w8"},
                    {"text": "w9 w2 w3 w10 w11", "answer": "w12"},
                    {"text": "w1 w7 w3", "answer": "w5", "split": "held_out"},
                ],
            },
            "steps": 12,
            "log_every": 3,
            "checkpoint_every": 5,
            **changes,
        }
    )


def ablate(
    engine: AblationEngine,
    ids: Sequence[int],
    edits: Sequence[Edit],
    *,
    mode: Any = "suppress",
    remainder: Any = None,
    **report: Any,
) -> AblationResult:
    """One ablation of one prompt; `report` is the rest of the query."""
    report = {name: tuple(value) if isinstance(value, list) else value for name, value in report.items()}
    condition = Condition(tuple(edits), mode, remainder)
    (result,) = engine.ablate(AblationQuery(tuple(ids), (condition,), **report))
    return result
