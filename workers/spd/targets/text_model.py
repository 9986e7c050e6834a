"""A small language model of the Llama architecture, trained here on the texts of a package: the target of a whole-model
run. Its tokenizer, its weights and the windows it never sees all follow from its source (SPEC 25)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from workers.spd.config import TextModelSource
from workers.spd.corpora.corpus import CorpusSplit

REPORTS = 250  # steps between two measurements
MEASURED = 400  # windows of a split that a measurement reads
WROTE = ("embed_tokens", "o_proj", "down_proj")  # what writes to the residual stream: dropout acts there

Draw = Callable[[int, CorpusSplit, torch.Generator], list[list[int]]]
"""How many windows, of which split, from which generator."""


@dataclass(frozen=True)
class Losses:
    """Cross-entropy in nats a token after so many steps, on windows of the training text and of the held-out text."""

    step: int
    train: float
    held_out: float


def text_tokenizer(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE without special tokens, learned on these texts: every byte is a token, so nothing is unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=alphabet, special_tokens=[], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def llama(source: TextModelSource) -> LlamaForCausalLM:
    """The model as it starts, from the global generator."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=source.vocabulary,
            hidden_size=source.d_model,
            intermediate_size=source.d_mlp,
            num_hidden_layers=source.layers,
            num_attention_heads=source.heads,
            num_key_value_heads=source.heads,
            max_position_embeddings=source.context,
            hidden_act=source.activation,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )
    )


def train_text_model(
    source: TextModelSource,
    draw: Draw,
    report: Callable[[Losses], None] = lambda losses: None,
    check_stop: Callable[[], None] = lambda: None,
) -> tuple[LlamaForCausalLM, Losses]:
    """The trained model, its weights rounded to half precision (in which they are stored), and its last losses.

    Windows hold `source.context + 1` tokens, the last of them only an answer. The same source gives the same weights
    on the same kind of device. `check_stop` is called before every step and may raise. Raises FloatingPointError
    where the training diverges.
    """
    full = source.context + 1
    splits: tuple[CorpusSplit, ...] = ("train", "held_out")
    measured = {
        split: _whole(draw(MEASURED, split, torch.Generator().manual_seed(5)), full) for split in splits
    }
    with torch.random.fork_rng():
        torch.manual_seed(source.seed)
        model = llama(source)
        generator = torch.Generator().manual_seed(source.seed)
        hooks = [
            module.register_forward_hook(_dropout(source.dropout))
            for name, module in model.named_modules()
            if source.dropout and name.endswith(WROTE)
        ]
        optimizer = _optimizer(model, source)
        model.train()
        for step in range(source.steps):
            check_stop()
            for group in optimizer.param_groups:
                group["lr"] = _rate(source, step)
            loss = cross_entropy(model, _whole(draw(source.batch_size, "train", generator), full))
            if not loss.isfinite():
                raise FloatingPointError(
                    f"The training of the language model diverged at step {step} of {source.steps}. Lower "
                    f"“target.learning_rate” ({source.learning_rate:g})."
                )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if (step + 1) % REPORTS == 0 and step + 1 < source.steps:
                report(_measured(model, measured, step + 1))
        for hook in hooks:
            hook.remove()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())
    return model.eval(), _measured(model, measured, source.steps)


def cross_entropy(model: nn.Module, windows: Int[Tensor, "windows tokens"]) -> Float[Tensor, ""]:
    """Mean over the tokens after the first, nats; the products in bfloat16, which a CPU multiplies faster too."""
    with torch.autocast(windows.device.type, torch.bfloat16):
        logits = model(input_ids=windows[:, :-1], use_cache=False).logits
    return nn.functional.cross_entropy(logits.float().flatten(0, 1), windows[:, 1:].flatten())


def _measured(model: nn.Module, windows: dict[str, Int[Tensor, "_ tokens"]], step: int) -> Losses:
    training = model.training
    model.eval()
    with torch.no_grad():
        means = {
            split: sum(float(cross_entropy(model, part)) * len(part) for part in all_of.split(64))
            / len(all_of)
            for split, all_of in windows.items()
        }
    model.train(training)
    return Losses(step, means["train"], means["held_out"])


def _whole(windows: list[list[int]], length: int) -> Int[Tensor, "windows tokens"]:
    """The windows that are full; a text shorter than one gives none."""
    full = [window for window in windows if len(window) == length]
    return torch.tensor(full, dtype=torch.long).reshape(-1, length)


def _dropout(share: float) -> Any:
    def drop(
        module: nn.Module, args: tuple[Any, ...], output: Float[Tensor, "*batch d_model"]
    ) -> Float[Tensor, "*batch d_model"]:
        return nn.functional.dropout(output, share, module.training)

    return drop


def _optimizer(model: nn.Module, source: TextModelSource) -> torch.optim.AdamW:
    """AdamW; matrices decay, norms do not."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    norms = [p for p in model.parameters() if p.ndim <= 1]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": source.weight_decay}, {"params": norms, "weight_decay": 0.0}],
        lr=source.learning_rate,
        betas=(0.9, 0.98),
    )


def _rate(source: TextModelSource, step: int) -> float:
    """Linear warm-up over `warmup` steps times half a cosine to 0."""
    rise = min(1.0, (step + 1) / source.warmup) if source.warmup else 1.0
    return source.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * step / source.steps))
