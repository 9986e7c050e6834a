"""Causal importance functions: activations of all sites in, causal importances of all sites out.

A function computes γ; `lower` and `upper` are the leaky hard sigmoids that turn γ into the g that feeds the masks and
the g that feeds the sparsity loss (arXiv 2506.20790; SPEC 4, 10).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workers.spd.config import MLPCI, AttentionCI, CIConfig, SharedMLPCI, TransformerCI, VectorMLPCI

LEAK = 0.01
CLOSED = -1.0
LIKES = 3.0


class _Lower(torch.autograd.Function):
    """0 below 0, x up to 1, 1 above; below 0 only gradients that would raise x pass, at LEAK."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        below = LEAK * grad.clamp_max(0)
        return torch.where(x <= 0, below, torch.where(x <= 1, grad, torch.zeros_like(grad)))


def lower(x: Float[Tensor, ...]) -> Float[Tensor, ...]:
    """The lower leaky hard sigmoid: feeds the masks (SPEC 4)."""
    return _Lower.apply(x)  # type: ignore[return-value]


def upper(x: Float[Tensor, ...], slope_above: float = LEAK) -> Float[Tensor, ...]:
    """The upper leaky hard sigmoid: feeds the sparsity loss (SPEC 4)."""
    return torch.where(
        x > 1, 1 + slope_above * (x - 1), x.relu()
    )  # relu: gradient 0 at 0, as the table has it


class Linears(nn.Module):
    """`n` linear maps side by side: [..., n, a] → [..., n, b]; n = 1 is an ordinary one."""

    def __init__(self, n: int, a: int, b: int, generator: torch.Generator, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n, a, b, generator=generator) * (gain / math.sqrt(max(a, 1))))
        self.bias = nn.Parameter(torch.zeros(n, b))

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.shape[0] == 1:
            return x @ self.weight[0] + self.bias[0]
        return torch.einsum("...na,nab->...nb", x, self.weight) + self.bias

    def keep(self, maps: list[int]) -> None:
        """Only these of the n maps remain."""
        _slice(self, "weight", 0, maps)
        _slice(self, "bias", 0, maps)

    def keep_outputs(self, outputs: list[int]) -> None:
        """Only these outputs remain."""
        _slice(self, "weight", 2, outputs)
        _slice(self, "bias", 1, outputs)


def _slice(module: nn.Module, name: str, dim: int, keep: list[int]) -> None:
    value = getattr(module, name)
    index = torch.tensor(keep, dtype=torch.long, device=value.device)
    setattr(module, name, nn.Parameter(value.detach().index_select(dim, index)))


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

    def forward(self, x: Float[Tensor, "batch seq a"]) -> Float[Tensor, "batch seq n width"]:
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
        bias = bias.masked_fill(hidden, float("-inf"))
        scores = (q / root) @ k.transpose(-1, -2) + bias
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

    def forward(self, x: Float[Tensor, "batch seq a"]) -> Float[Tensor, "batch seq C"]:
        seen = self.attention(x)
        own = x.unsqueeze(2).expand(-1, -1, seen.shape[2], -1)
        joined = torch.cat([seen, own], dim=-1)
        if not self.per_component:
            return self.last(nn.functional.gelu(self.first(joined.squeeze(2))))
        return self.last(nn.functional.gelu(self.first(joined))).squeeze(-1)

    def keep(self, inputs: list[int] | None, outputs: list[int]) -> None:
        """Only these inputs (None: all) and outputs remain."""
        width = self.attention.qkv.shape[-1]
        if inputs is not None:
            _slice(self.attention, "qkv", 2, inputs)
            _slice(self.first, "weight", 1, [*range(width), *(width + i for i in inputs)])
        if self.per_component:
            _slice(self.attention, "qkv", 1, outputs)
            _slice(self.attention, "relative", 0, outputs)
            self.first.keep(outputs)
            self.last.keep(outputs)
        else:
            self.last.keep_outputs(outputs)


class SharedMLPGamma(nn.Module):
    """One MLP a site with C outputs."""

    def __init__(self, a: int, C: int, config: SharedMLPCI, generator: torch.Generator) -> None:
        super().__init__()
        self.first = Linears(1, a, config.hidden, generator)
        self.last = Linears(1, config.hidden, C, generator, gain=0.1)

    def forward(self, x: Float[Tensor, "batch seq a"]) -> Float[Tensor, "batch seq C"]:
        return self.last(nn.functional.gelu(self.first(x)))

    def keep(self, inputs: list[int] | None, outputs: list[int]) -> None:
        """Only these inputs (None: all) and outputs remain."""
        if inputs is not None:
            _slice(self.first, "weight", 1, inputs)
        self.last.keep_outputs(outputs)


class OwnMLPGamma(nn.Module):
    """An MLP a component: of its scalar inner activation (`mlp`) or of all that the site reads (`vector_mlp`)."""

    def __init__(self, a: int, C: int, config: MLPCI | VectorMLPCI, generator: torch.Generator) -> None:
        super().__init__()
        self.scalar = isinstance(config, MLPCI)
        self.first = Linears(C, 1 if self.scalar else a, config.hidden, generator)
        self.last = Linears(C, config.hidden, 1, generator, gain=0.1)

    def forward(self, x: Float[Tensor, "batch seq a"]) -> Float[Tensor, "batch seq C"]:
        C = self.last.weight.shape[0]
        own = x.unsqueeze(-1) if self.scalar else x.unsqueeze(-2).expand(*x.shape[:-1], C, x.shape[-1])
        return self.last(nn.functional.gelu(self.first(own))).squeeze(-1)

    def keep(self, inputs: list[int] | None, outputs: list[int]) -> None:
        """Only these inputs (None: all) and outputs remain."""
        if inputs is not None and not self.scalar:
            _slice(self.first, "weight", 1, inputs)
        self.first.keep(outputs)
        self.last.keep(outputs)


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

    def forward(self, x: Float[Tensor, "batch seq a"]) -> Float[Tensor, "batch seq C"]:
        stream = self.enter(x)
        batch, seq, d = stream.shape
        at = torch.arange(seq, device=x.device, dtype=x.dtype)
        angle = at[:, None] / 10_000 ** (torch.arange(0, d, 2, device=x.device) / d)
        stream = stream + torch.stack([angle.sin(), angle.cos()], -1).reshape(seq, d)
        norm = nn.functional.layer_norm
        for layer in range(self.layers):
            q, k, v = (
                part.view(batch, seq, self.heads, -1).transpose(1, 2)
                for part in self.qkv[layer](norm(stream, (d,))).chunk(3, dim=-1)
            )
            seen = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
            stream = stream + self.mix[layer](seen.transpose(1, 2).reshape(batch, seq, d))
            stream = stream + self.narrow[layer](nn.functional.gelu(self.wide[layer](norm(stream, (d,)))))
        return self.last(norm(stream, (d,)))

    def keep(self, inputs: list[int] | None, outputs: list[int]) -> None:
        """Only these inputs (None: all) and outputs remain."""
        if inputs is not None:
            _slice(self.enter, "weight", 1, inputs)
        self.last.keep_outputs(outputs)


Gamma = AttentionGamma | SharedMLPGamma | OwnMLPGamma | TransformerGamma


class CIFunctions(nn.Module):
    """The causal importance functions of all sites behind one door.

    sites: {site: (d_in, C)} in model order. `scale` holds what inner activations are divided by (their data RMS),
    or, for functions that read the site's input, what that is divided by; `gates` are 0 for components that are closed.
    """

    def __init__(
        self, sites: Mapping[str, tuple[int, int]], config: CIConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.sites, self.config = list(sites), config
        self._sizes = [C for _, C in sites.values()]
        self.scales = nn.ParameterList(
            [
                nn.Parameter(torch.ones(C if config.reads == "inner" else 1), requires_grad=False)
                for _, C in sites.values()
            ]
        )
        self.gates = nn.ParameterList(
            [nn.Parameter(torch.ones(C), requires_grad=False) for _, C in sites.values()]
        )
        reads = [C if config.reads == "inner" else d_in for d_in, C in sites.values()]
        counts = [C for _, C in sites.values()]
        if isinstance(config, TransformerCI):
            self.gammas = nn.ModuleList([TransformerGamma(sum(reads), sum(counts), config, generator)])
        else:
            kind = {
                "attention": AttentionGamma, "shared_mlp": SharedMLPGamma,
                "mlp": OwnMLPGamma, "vector_mlp": OwnMLPGamma,
            }[config.kind]  # fmt: skip
            self.gammas = nn.ModuleList(
                [kind(a, C, config, generator) for a, C in zip(reads, counts, strict=True)]  # type: ignore[arg-type]
            )
        with torch.no_grad():
            for gamma in self.gammas:
                gamma.last.bias.fill_(config.start)  # type: ignore[union-attr]

    def forward(
        self, inner: Mapping[str, Tensor], inputs: Mapping[str, Tensor] | None = None
    ) -> dict[str, Float[Tensor, "batch seq C"]]:
        """γ of every site, before the sigmoids.

        inner: {site: x · V, [batch, seq, C]}; inputs: {site: [batch, seq, d_in]}, needed where `reads` is "input".
        """
        source = inner if self.config.reads == "inner" else inputs
        assert source is not None, "these causal importance functions read the sites' inputs"
        read = [source[site] / scale for site, scale in zip(self.sites, self.scales, strict=True)]
        if isinstance(self.config, TransformerCI):
            sizes = [inner[site].shape[-1] for site in self.sites]
            joined = self.gammas[0](torch.cat(read, dim=-1))
            found = list(joined.split(sizes, dim=-1))
        else:
            found = [gamma(x) for gamma, x in zip(self.gammas, read, strict=True)]
        return {
            site: gamma.masked_fill(gate == 0, CLOSED)
            for site, gamma, gate in zip(self.sites, found, self.gates, strict=True)
        }

    @torch.no_grad()
    def close(self, site: str, place: int) -> None:
        """Turn a component off for good: its γ is CLOSED everywhere, and no gradient reaches it."""
        self.gates[self.sites.index(site)][place] = 0

    @torch.no_grad()
    def set_scale(self, inner: Mapping[str, Tensor], inputs: Mapping[str, Tensor], valid: Tensor) -> None:
        """Take the RMS (or the largest magnitude) over the valid positions, [batch, seq] bool, as the unit."""
        peak = self.config.scale == "peak"
        for place, site in enumerate(self.sites):
            read = inner[site] if self.config.reads == "inner" else inputs[site]
            dims = (0,) if self.config.reads == "inner" else (0, 1)
            value = read[valid].abs().amax(dims) if peak else read[valid].pow(2).mean(dims).sqrt()
            self.scales[place].copy_(value.clamp_min(1e-6))

    @torch.no_grad()
    def keep(self, kept: Mapping[str, list[int]]) -> None:
        """Drop all components but these places of each site; what remains computes on."""
        inner = self.config.reads == "inner"
        if isinstance(self.config, TransformerCI):
            flat: list[int] = []
            offset = 0
            for site, size in zip(self.sites, self._sizes, strict=True):
                flat += [offset + place for place in kept[site]]
                offset += size
            self.gammas[0].keep(flat if inner else None, flat)  # type: ignore[union-attr]
        else:
            for site, gamma in zip(self.sites, self.gammas, strict=True):
                gamma.keep(kept[site] if inner else None, kept[site])  # type: ignore[union-attr]
        for place, site in enumerate(self.sites):
            index = torch.tensor(kept[site], dtype=torch.long)
            self.gates[place] = nn.Parameter(self.gates[place][index].clone(), requires_grad=False)
            if inner:
                self.scales[place] = nn.Parameter(self.scales[place][index].clone(), requires_grad=False)
        self._sizes = [len(kept[site]) for site in self.sites]

    def parameter_count(self) -> int:
        """Trained parameters of all functions."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)
