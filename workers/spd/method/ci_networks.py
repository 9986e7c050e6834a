"""The networks behind causal importance functions, a class a kind: what a site reads in, γ out (SPEC 10).

All can drop components (`keep`) and take in new ones (`grow`, SPEC 24) without changing what the others compute; Adam's
`moments` of their parameters follow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from workers.spd.config import MLPCI, AttentionCI, CIConfig, SharedMLPCI, TransformerCI, VectorMLPCI
from workers.spd.method.resizing import Moments, append, take, widen

LIKES = 3.0
Valid = Bool[Tensor, "batch seq"]  # real tokens, padding is on the right; None: all are


class Linears(nn.Module):
    """`n` linear maps from a to b dimensions side by side; n = 1 is an ordinary one."""

    def __init__(self, n: int, a: int, b: int, generator: torch.Generator, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n, a, b, generator=generator) * (gain / math.sqrt(max(a, 1))))
        self.bias = nn.Parameter(torch.zeros(n, b))

    def forward(self, x: Float[Tensor, "... a"]) -> Float[Tensor, "... b"]:
        if self.weight.shape[0] == 1:
            return x @ self.weight[0] + self.bias[0]
        return torch.einsum("...na,nab->...nb", x, self.weight) + self.bias

    def keep(self, maps: list[int], moments: Moments) -> None:
        """Only these of the n maps remain."""
        take(self, "weight", 0, maps, moments)
        take(self, "bias", 0, maps, moments)

    def keep_outputs(self, outputs: list[int], moments: Moments) -> None:
        """Only these outputs remain."""
        take(self, "weight", 2, outputs, moments)
        take(self, "bias", 1, outputs, moments)

    def append(self, more: Linears, moments: Moments) -> None:
        """These maps behind the present ones."""
        append(self, "weight", more.weight, 0, moments)
        append(self, "bias", more.bias, 0, moments)

    def widen_outputs(self, outputs: Room, more: Linears, moments: Moments) -> None:
        """More outputs: constant at first, at the biases of `more`."""
        widen(self, "weight", 2, outputs.old, outputs.size, moments)
        widen(self, "bias", 1, outputs.old, outputs.size, moments)
        new = torch.ones(outputs.size, dtype=torch.bool, device=self.bias.device)
        new[outputs.old] = False
        with torch.no_grad():
            self.bias[:, new] = more.bias.to(self.bias)


@dataclass(frozen=True)
class Room:
    """Places for new components among all of a function: `size` in all, those there are at the places `old`."""

    old: list[int]
    size: int

    @property
    def added(self) -> int:
        return self.size - len(self.old)


class SiteAttention(nn.Module):
    """`softmax((q Kᵀ + r)/√d_k) V` with a learned relative term r: [batch, seq, a] → [batch, seq, n, heads · d_k].

    Arguments: n networks side by side (1 for scope `site`, C for scope `component`).
    """

    def __init__(self, n: int, a: int, config: AttentionCI, generator: torch.Generator) -> None:
        super().__init__()
        self.causal, self.max_distance, self.heads = config.causal, config.max_distance, config.heads
        self.gain, self.sees_itself = config.relative_gain, config.sees_itself
        width, reach = config.heads * config.d_k, 2 * config.max_distance + 1
        self.qkv = nn.Parameter(torch.randn(3, n, a, width, generator=generator) / math.sqrt(a))
        self.relative = nn.Parameter(torch.zeros(n, config.heads * reach))
        if config.relative_start == "near":
            distance = torch.arange(-config.max_distance, config.max_distance + 1).abs().float()
            near = -distance.clamp_min(1).log()
            alike = torch.zeros(reach)
            starts = torch.stack([alike if head % 2 else near for head in range(config.heads)])
            # γ reads the position's own x beside the attention's output, so attention starts by leaving it out.
            starts[:, config.max_distance] = -math.log(1e6)
            with torch.no_grad():
                self.relative += starts.flatten() * (math.sqrt(config.d_k) / self.gain)
                keys = self.qkv[0].unflatten(-1, (config.heads, config.d_k)).clone()
                keys[..., 1::2, :] *= LIKES
                self.qkv[1] = keys.flatten(-2)

    def forward(
        self, x: Float[Tensor, "batch seq a"], valid: Valid | None = None
    ) -> Float[Tensor, "batch seq n width"]:
        q, k, v = (
            torch.einsum("bsa,tnaw->tbnsw", x, self.qkv).unflatten(-1, (self.heads, -1)).transpose(-2, -3)
        )  # each [batch, n, heads, seq, d_k]
        seq = x.shape[1]
        at = torch.arange(seq, device=x.device)
        distance = (at[None, :] - at[:, None]).clamp(-self.max_distance, self.max_distance)
        root = math.sqrt(q.shape[-1])
        relative = self.relative.unflatten(-1, (self.heads, -1))
        bias = relative[..., distance + self.max_distance] * (self.gain / root)
        hidden = at[None, :] > at[:, None] if self.causal else torch.zeros_like(distance, dtype=torch.bool)
        if not self.sees_itself:
            hidden = hidden | (distance == 0)
            hidden = hidden & ~(hidden.all(1, keepdim=True) & (distance == 0))
        scores = (q / root) @ k.transpose(-1, -2)
        if valid is None or self.causal:  # on the right, padding is later than every token
            scores = scores + bias.masked_fill(hidden, float("-inf"))
        else:
            unseen = hidden | ~valid[:, None, :]
            unseen = unseen & ~(unseen.all(-1, keepdim=True) & (distance == 0))
            scores = (scores + bias).masked_fill(unseen[:, None, None], float("-inf"))
        return (scores.softmax(-1) @ v).movedim(-2, 1).flatten(-2)


class AttentionGamma(nn.Module):
    """The paper's: γ_c(x̄_n) with x̄_n the attention's output beside x_n."""

    def __init__(self, a: int, C: int, config: AttentionCI, generator: torch.Generator) -> None:
        super().__init__()
        self.per_component = config.scope == "component"
        n, out = (C, 1) if self.per_component else (1, C)
        self.attention = SiteAttention(n, a, config, generator)
        self.first = Linears(n, a + config.heads * config.d_k, config.hidden, generator)
        self.last = Linears(n, config.hidden, out, generator, gain=0.1)

    def forward(
        self, x: Float[Tensor, "batch seq a"], valid: Valid | None = None
    ) -> Float[Tensor, "batch seq C"]:
        seen = self.attention(x, valid)
        own = x.unsqueeze(2).expand(-1, -1, seen.shape[2], -1)
        joined = torch.cat([seen, own], dim=-1)
        if not self.per_component:
            return self.last(nn.functional.gelu(self.first(joined.squeeze(2))))
        return self.last(nn.functional.gelu(self.first(joined))).squeeze(-1)

    def keep(self, inputs: list[int] | None, outputs: list[int], moments: Moments) -> None:
        """Only these inputs (None: all) and outputs remain."""
        width = self.attention.qkv.shape[-1]
        if inputs is not None:
            take(self.attention, "qkv", 2, inputs, moments)
            take(self.first, "weight", 1, [*range(width), *(width + i for i in inputs)], moments)
        if self.per_component:
            take(self.attention, "qkv", 1, outputs, moments)
            take(self.attention, "relative", 0, outputs, moments)
            self.first.keep(outputs, moments)
            self.last.keep(outputs, moments)
        else:
            self.last.keep_outputs(outputs, moments)

    def grow(self, inputs: Room | None, outputs: Room, new: AttentionGamma, moments: Moments) -> None:
        """More outputs, made by `new` (of all inputs), and more inputs (None: no more), which what is there does not
        read yet."""
        width = self.attention.qkv.shape[-1]
        if inputs is not None and inputs.old:
            widen(self.attention, "qkv", 2, inputs.old, inputs.size, moments)
            places = [*range(width), *(width + place for place in inputs.old)]
            widen(self.first, "weight", 1, places, width + inputs.size, moments)
        elif inputs is not None:
            self.attention, self.first = new.attention, new.first
        if self.per_component:
            if inputs is None or inputs.old:
                for name, dim in (("qkv", 1), ("relative", 0)):
                    append(self.attention, name, getattr(new.attention, name), dim, moments)
                self.first.append(new.first, moments)
            self.last.append(new.last, moments)
        else:
            self.last.widen_outputs(outputs, new.last, moments)


class SharedMLPGamma(nn.Module):
    """One MLP a site with C outputs."""

    def __init__(self, a: int, C: int, config: SharedMLPCI, generator: torch.Generator) -> None:
        super().__init__()
        self.first = Linears(1, a, config.hidden, generator)
        self.last = Linears(1, config.hidden, C, generator, gain=0.1)

    def forward(
        self, x: Float[Tensor, "batch seq a"], valid: Valid | None = None
    ) -> Float[Tensor, "batch seq C"]:
        return self.last(nn.functional.gelu(self.first(x)))

    def keep(self, inputs: list[int] | None, outputs: list[int], moments: Moments) -> None:
        """Only these inputs (None: all) and outputs remain."""
        if inputs is not None:
            take(self.first, "weight", 1, inputs, moments)
        self.last.keep_outputs(outputs, moments)

    def grow(self, inputs: Room | None, outputs: Room, new: SharedMLPGamma, moments: Moments) -> None:
        """More outputs and inputs, as AttentionGamma's."""
        if inputs is not None and inputs.old:
            widen(self.first, "weight", 1, inputs.old, inputs.size, moments)
        elif inputs is not None:
            self.first = new.first
        self.last.widen_outputs(outputs, new.last, moments)


class OwnMLPGamma(nn.Module):
    """An MLP a component: of its scalar inner activation (`mlp`) or of all that the site reads (`vector_mlp`)."""

    def __init__(self, a: int, C: int, config: MLPCI | VectorMLPCI, generator: torch.Generator) -> None:
        super().__init__()
        self.scalar = isinstance(config, MLPCI)
        self.first = Linears(C, 1 if self.scalar else a, config.hidden, generator)
        self.last = Linears(C, config.hidden, 1, generator, gain=0.1)

    def forward(
        self, x: Float[Tensor, "batch seq a"], valid: Valid | None = None
    ) -> Float[Tensor, "batch seq C"]:
        C = self.last.weight.shape[0]
        own = x.unsqueeze(-1) if self.scalar else x.unsqueeze(-2).expand(*x.shape[:-1], C, x.shape[-1])
        return self.last(nn.functional.gelu(self.first(own))).squeeze(-1)

    def keep(self, inputs: list[int] | None, outputs: list[int], moments: Moments) -> None:
        """Only these inputs (None: all) and outputs remain."""
        if inputs is not None and not self.scalar:
            take(self.first, "weight", 1, inputs, moments)
        self.first.keep(outputs, moments)
        self.last.keep(outputs, moments)

    def grow(self, inputs: Room | None, outputs: Room, new: OwnMLPGamma, moments: Moments) -> None:
        """More outputs and inputs, as AttentionGamma's."""
        if inputs is not None and not self.scalar:
            widen(self.first, "weight", 1, inputs.old, inputs.size, moments)
        self.first.append(new.first, moments)
        self.last.append(new.last, moments)


class TransformerGamma(nn.Module):
    """One small pre-norm transformer over positions whose token is all sites' activations side by side."""

    def __init__(self, a: int, C: int, config: TransformerCI, generator: torch.Generator) -> None:
        super().__init__()
        d = config.d_model
        if d % config.heads:
            raise ValueError(f"ci.d_model {d} must be a multiple of ci.heads {config.heads}.")
        self.heads, self.causal, self.layers = config.heads, config.causal, config.layers
        self.enter = Linears(1, a, d, generator)
        self.qkv = nn.ModuleList([Linears(1, d, 3 * d, generator) for _ in range(config.layers)])
        self.mix = nn.ModuleList([Linears(1, d, d, generator, gain=0.5) for _ in range(config.layers)])
        self.wide = nn.ModuleList([Linears(1, d, 4 * d, generator) for _ in range(config.layers)])
        self.narrow = nn.ModuleList([Linears(1, 4 * d, d, generator, gain=0.5) for _ in range(config.layers)])
        self.last = Linears(1, d, C, generator, gain=0.1)

    def forward(
        self, x: Float[Tensor, "batch seq a"], valid: Valid | None = None
    ) -> Float[Tensor, "batch seq C"]:
        stream = self.enter(x)
        batch, seq, d = stream.shape
        at = torch.arange(seq, device=x.device, dtype=x.dtype)
        angle = at[:, None] / 10_000 ** (torch.arange(0, d, 2, device=x.device) / d)
        stream = stream + torch.stack([angle.sin(), angle.cos()], -1).reshape(seq, d)
        norm = nn.functional.layer_norm
        shown = None if valid is None or self.causal else valid[:, None, None, :]
        for layer in range(self.layers):
            q, k, v = (
                part.view(batch, seq, self.heads, -1).transpose(1, 2)
                for part in self.qkv[layer](norm(stream, (d,))).chunk(3, dim=-1)
            )
            seen = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=shown, is_causal=self.causal)
            stream = stream + self.mix[layer](seen.transpose(1, 2).reshape(batch, seq, d))
            stream = stream + self.narrow[layer](nn.functional.gelu(self.wide[layer](norm(stream, (d,)))))
        return self.last(norm(stream, (d,)))

    def keep(self, inputs: list[int] | None, outputs: list[int], moments: Moments) -> None:
        """Only these inputs (None: all) and outputs remain."""
        if inputs is not None:
            take(self.enter, "weight", 1, inputs, moments)
        self.last.keep_outputs(outputs, moments)

    def grow(self, inputs: Room | None, outputs: Room, new: TransformerGamma, moments: Moments) -> None:
        """More outputs and inputs, as AttentionGamma's."""
        if inputs is not None and inputs.old:
            widen(self.enter, "weight", 1, inputs.old, inputs.size, moments)
        elif inputs is not None:
            self.enter = new.enter
        self.last.widen_outputs(outputs, new.last, moments)


Gamma = AttentionGamma | SharedMLPGamma | OwnMLPGamma | TransformerGamma
KINDS: dict[str, type[Gamma]] = {
    "attention": AttentionGamma, "shared_mlp": SharedMLPGamma, "mlp": OwnMLPGamma, "vector_mlp": OwnMLPGamma,
    "transformer": TransformerGamma,
}  # fmt: skip


def gamma_of(a: int, C: int, config: CIConfig, generator: torch.Generator) -> Gamma:
    """One function as it starts: `a` numbers read, C components, every γ near `start`."""
    gamma: Gamma = KINDS[config.kind](a, C, config, generator)  # type: ignore[arg-type]
    with torch.no_grad():
        gamma.last.bias.fill_(config.start)
    return gamma
