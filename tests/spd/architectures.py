"""Every architecture that is tried: a tiny config each, and what is expected of it (docs/architectures.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tests.spd import tiny

WORDS = {"vocab_size": tiny.VOCABULARY, "bos_token_id": 0, "eos_token_id": 0}
LLAMA = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": tiny.CONTEXT, "initializer_range": 0.3, "pad_token_id": 0,
    **WORDS,
}  # fmt: skip
ALL_HEADS = {**LLAMA, "num_key_value_heads": 4}
GPT2 = {
    "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": tiny.CONTEXT, "initializer_range": 0.2, **WORDS,
}  # fmt: skip
OPT = {
    "ffn_dim": 24, "max_position_embeddings": tiny.CONTEXT, "init_std": 0.3, "pad_token_id": 0, **WORDS,
}  # fmt: skip
NO_GROUPS = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"}


HELD = "cannot be held fixed|the circuit cannot show"
OWN = "no attention pattern in every layer"


@dataclass(frozen=True)
class Architecture:
    """`type`: of the config, as `transformers` names it; `like`: models people know; `left_out`: matrices that are
    refused, and words of the refusal; `circuit`, `attention`: words of the refusal, or None where it works."""

    type: str
    like: str
    config: dict[str, Any]
    name: str = ""
    left_out: dict[str, str] = field(default_factory=dict)
    circuit: str | None = None
    attention: str | None = None
    float64: bool = True  # whether its own code runs in it
    eager: bool = True  # whether its eager attention is that of its fused one

    @property
    def title(self) -> str:
        return self.name or self.type

    def model(self) -> PreTrainedModel:
        """A tiny one with random weights and with biases that are not 0."""
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[self.type](**self.config)).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter.add_(torch.randn(parameter.shape) * 0.2)
        return model


ARCHITECTURES = [
    Architecture("llama", "Llama 2 and 3, SmolLM2, TinyLlama", LLAMA),
    Architecture("gpt2", "GPT-2", {**GPT2, "resid_pdrop": 0.0}),
    Architecture("mistral", "Mistral", {**LLAMA, "sliding_window": 4}),
    Architecture("qwen2", "Qwen 2 and 2.5", LLAMA),
    Architecture("qwen3", "Qwen 3", {**LLAMA, "head_dim": 4}),
    Architecture("gemma", "Gemma", {**LLAMA, "head_dim": 4}),
    Architecture(
        "gemma2",
        "Gemma 2",
        {**LLAMA, "head_dim": 4, "sliding_window": 4, "query_pre_attn_scalar": 4},
    ),
    Architecture("gemma3_text", "Gemma 3 (text)", {**LLAMA, "head_dim": 4, "sliding_window": 4}),
    Architecture("gpt_neox", "Pythia, GPT-NeoX", NO_GROUPS),
    Architecture("gptj", "GPT-J", {**GPT2, "rotary_dim": 4}),
    Architecture(
        "gpt_neo",
        "GPT-Neo, TinyStories",
        {
            "hidden_size": 16,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 4,
            "max_position_embeddings": tiny.CONTEXT,
            "initializer_range": 0.3,
            "intermediate_size": 24,
            **WORDS,
        },
    ),
    Architecture(
        "opt",
        "OPT",
        {
            "hidden_size": 16,
            "word_embed_proj_dim": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            **OPT,
        },
        left_out={"model.decoder.embed_positions": "something else than its weight"},
    ),
    Architecture(
        "bloom",
        "BLOOM",
        {"hidden_size": 16, "n_layer": 2, "n_head": 4, "initializer_range": 0.3, **WORDS},
    ),
    Architecture(
        "falcon",
        "Falcon 7B",
        {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "multi_query": True,
            "parallel_attn": True,
            "initializer_range": 0.3,
            **WORDS,
        },
    ),
    Architecture(
        "falcon",
        "Falcon-RW",
        {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "multi_query": False,
            "alibi": True,
            "parallel_attn": False,
            "bias": True,
            "initializer_range": 0.3,
            **WORDS,
        },
        name="falcon alibi",
        eager=False,  # adds its alibi twice in transformers 5
    ),
    Architecture("phi", "Phi 1 to 2", ALL_HEADS),
    Architecture("phi3", "Phi 3 and 4", LLAMA),
    Architecture("stablelm", "StableLM", LLAMA),
    Architecture("olmo", "OLMo", LLAMA),
    Architecture("olmo2", "OLMo 2", LLAMA),
    Architecture("olmo3", "OLMo 3", {**LLAMA, "sliding_window": 4}),
    Architecture("starcoder2", "StarCoder 2", LLAMA),
    Architecture("cohere", "Command R", LLAMA),
    Architecture("cohere2", "Command R7B", {**LLAMA, "sliding_window": 4}),
    Architecture("granite", "Granite 3", {**LLAMA, "embedding_multiplier": 3.0, "logits_scaling": 2.0}),
    Architecture("smollm3", "SmolLM3", LLAMA),
    Architecture("nemotron", "Nemotron", LLAMA),
    Architecture(
        "mpt",
        "MPT",
        {"d_model": 16, "n_heads": 4, "n_layers": 2, "max_seq_len": tiny.CONTEXT, **WORDS},
    ),
    Architecture("codegen", "CodeGen", {**GPT2, "rotary_dim": 4}),
    Architecture("gpt_bigcode", "StarCoder, SantaCoder", GPT2),
    Architecture("glm", "GLM 4", {**LLAMA, "head_dim": 4}),
    Architecture("persimmon", "Persimmon", NO_GROUPS),
    Architecture(
        "xglm",
        "XGLM",
        {"d_model": 16, "num_layers": 2, "attention_heads": 4, **OPT},
        float64=False,
    ),
    Architecture("openai-gpt", "GPT", GPT2),
    Architecture("mixtral", "Mixtral", {**LLAMA, "num_local_experts": 2}, circuit=HELD),
    Architecture(
        "qwen3_moe",
        "Qwen 3 MoE",
        {**LLAMA, "head_dim": 4, "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 8},
        circuit=HELD,
    ),
    Architecture(
        "gpt_oss",
        "gpt-oss",
        {**LLAMA, "head_dim": 4, "num_local_experts": 2, "num_experts_per_tok": 1},
        circuit=HELD,
    ),
    Architecture(
        "mamba",
        "Mamba",
        {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4, **WORDS},
        left_out={"backbone.layers.*.mixer.dt_proj": "does not run it"},
        circuit=HELD,
        attention=OWN,
    ),
]


def matrices(model: Any) -> dict[str, list[str]]:
    """The modules that hold a matrix, by their path with a star for the layer; the unembedding is not among them."""
    found: dict[str, list[str]] = {}
    output = model.get_output_embeddings()
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | Conv1D | nn.Embedding) and module is not output:
            found.setdefault(re.sub(r"\.\d+\.", ".*.", name), []).append(name)
    return found


def saved(architecture: Architecture, folder: Path) -> Path:
    """The model as `transformers` saves one, with a tokenizer of 24 words."""
    return tiny.saved(architecture.model(), folder)


def line(architecture: Architecture) -> str:
    """Its row of docs/architectures.md."""
    left_out = ", ".join(f"`{path}`" for path in architecture.left_out)
    circuit, attention = (
        "yes" if words is None else "no" for words in (architecture.circuit, architecture.attention)
    )
    return f"| `{architecture.title}` | {architecture.like} | {left_out or '–'} | {circuit} | {attention} |"
