"""The paper's induction-head model: two layers of attention only, and the sequences it is trained on.

Sequences `[BOS] T* S M T* S`, predict M (arXiv 2511.08854, section on induction heads). d = 16, one head, no MLP, no
LayerNorm, no biases; sinusoidal positions are added to queries and keys only; the unembedding is not tied.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function

from workers.spd.config import InductionSource


@dataclass(frozen=True)
class InductionBatch:
    """tokens: [batch, length]; s1, m, s2: the positions the circuit is about, [batch]; answer: token ids, [batch]."""

    tokens: Int[Tensor, "batch length"]
    s1: Int[Tensor, " batch"]
    m: Int[Tensor, " batch"]
    s2: Int[Tensor, " batch"]
    answer: Int[Tensor, " batch"]


def sample_sequences(source: InductionSource, batch: int, generator: torch.Generator) -> InductionBatch:
    """Fresh sequences. Ids: 0 … vocabulary − 1 are ordinary tokens, then BOS, then S."""
    length, bos, s = source.length, source.vocabulary, source.vocabulary + 1
    tokens = torch.randint(0, source.vocabulary, (batch, length), generator=generator)
    s1 = torch.randint(1, length - 2, (batch,), generator=generator)
    rows = torch.arange(batch)
    tokens[:, 0] = bos
    tokens[rows, s1] = s
    tokens[:, -1] = s
    m = s1 + 1
    return InductionBatch(tokens, s1, m, torch.full_like(s1, length - 1), tokens[rows, m])


def sinusoidal(length: int, d: int) -> Float[Tensor, "length d"]:
    """Sine and cosine position terms, interleaved."""
    at = torch.arange(length)[:, None]
    angle = at / 10_000 ** (torch.arange(0, d, 2) / d)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).reshape(length, d)


def _probabilities(
    q: Float[Tensor, "batch seq d"], k: Float[Tensor, "batch seq d"]
) -> Float[Tensor, "batch seq seq"]:
    seq = q.shape[1]
    causal = torch.full((seq, seq), float("-inf"), dtype=q.dtype, device=q.device).triu(1)
    return ((q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2) + causal).softmax(-1)


def attend(
    q: Float[Tensor, "batch seq d"], k: Float[Tensor, "batch seq d"], v: Float[Tensor, "batch seq d"]
) -> Float[Tensor, "batch seq d"]:
    """Causal attention of one head; a torch function mode sees it as one call."""
    if has_torch_function((q, k, v)):
        return handle_torch_function(attend, (q, k, v), q, k, v)
    return _probabilities(q, k) @ v


class Attention(nn.Module):
    """One causal head; positions enter queries and keys only."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.q = nn.Linear(d, d, bias=False)
        self.k = nn.Linear(d, d, bias=False)
        self.v = nn.Linear(d, d, bias=False)
        self.o = nn.Linear(d, d, bias=False)

    def pattern(
        self, x: Float[Tensor, "batch seq d"], positions: Float[Tensor, "seq d"]
    ) -> Float[Tensor, "batch seq seq"]:
        """Attention probabilities: [batch, query, key]."""
        return _probabilities(self.q(x) + positions, self.k(x) + positions)

    def forward(
        self, x: Float[Tensor, "batch seq d"], positions: Float[Tensor, "seq d"]
    ) -> Float[Tensor, "batch seq d"]:
        return self.o(attend(self.q(x) + positions, self.k(x) + positions, self.v(x)))


class Layer(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.attn = Attention(d)

    def forward(
        self, x: Float[Tensor, "batch seq d"], positions: Float[Tensor, "seq d"]
    ) -> Float[Tensor, "batch seq d"]:
        return x + self.attn(x, positions)


class InductionModel(nn.Module):
    """tokens [batch, seq] → logits [batch, seq, vocabulary + 2]."""

    positions: Float[Tensor, "length d"]

    def __init__(self, source: InductionSource) -> None:
        super().__init__()
        size, d = source.vocabulary + 2, source.d_model
        self.embed = nn.Embedding(size, d)
        self.layers = nn.ModuleList([Layer(d), Layer(d)])
        self.unembed = nn.Linear(d, size, bias=False)
        self.register_buffer("positions", sinusoidal(source.length, d), persistent=False)

    def layer(self, number: int) -> Layer:
        """Layer 0 or 1."""
        layer = self.layers[number]
        assert isinstance(layer, Layer)
        return layer

    def forward(
        self, tokens: Int[Tensor, "batch seq"], keep: Int[Tensor, " kept"] | None = None
    ) -> Float[Tensor, "batch kept vocab"]:
        """Logits at the positions `keep`, at all where None; only the unembedding runs there alone."""
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x, self.positions[: tokens.shape[1]])
        return self.unembed(x if keep is None else x[:, keep])

    def last_logits(self, tokens: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch vocab"]:
        """The logits at the last position, nothing else computed that they do not need: half the time of a pass."""
        positions = self.positions[: tokens.shape[1]]
        first, second = self.layer(0), self.layer(1).attn
        x = first(self.embed(tokens), positions)
        q, k = second.q(x[:, -1:]) + positions[-1:], second.k(x) + positions
        pattern = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        return self.unembed((x[:, -1:] + second.o(pattern @ second.v(x))).squeeze(1))


def train_induction_model(
    source: InductionSource,
    report: Callable[[int, float], None] = lambda step, accuracy: None,
    check_stop: Callable[[], None] = lambda: None,
) -> InductionModel:
    """Train until it copies M. The same source gives the same weights on the same kind of device.

    `check_stop` is called before every step and may raise. Raises FloatingPointError where the training diverges.
    """
    generator = torch.Generator().manual_seed(source.seed)
    model = InductionModel(source)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # As PyTorch starts its layers: embeddings of variance 1, matrices of 1/(3 d). Smaller embeddings teach
            # layer 0 another circuit, without queries at m (docs/log.md).
            scale = 1.0 if name == "embed.weight" else (3 * parameter.shape[-1]) ** -0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=source.learning_rate, weight_decay=source.weight_decay, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=source.learning_rate, total_steps=max(source.steps, 2), pct_start=0.1
    )
    for step in range(source.steps):
        check_stop()
        batch = sample_sequences(source, source.batch_size, generator)
        logits = model.last_logits(batch.tokens)
        loss = nn.functional.cross_entropy(logits, batch.answer, label_smoothing=source.label_smoothing)
        if not loss.isfinite():
            raise FloatingPointError(
                f"The training of the induction model diverged at step {step} of {source.steps}. Lower "
                f"“target.learning_rate” ({source.learning_rate:g})."
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step + 1 == source.steps:
            report(step + 1, float((logits.argmax(-1) == batch.answer).float().mean()))
    return model.eval()


def induction_tokenizer(source: InductionSource) -> Tokenizer:
    """Words `t0` … `t127`, `[BOS]` and `S`, separated by spaces."""
    words = [f"t{place}" for place in range(source.vocabulary)] + ["[BOS]", "S"]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="t0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer
