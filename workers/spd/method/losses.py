"""The losses, each a pure function. Units: nats for KL, squared weight units for faithfulness.

Sources: arXiv 2506.20790 (faithfulness, minimality, stochastic reconstruction), arXiv 2511.08854 (partial
reconstruction); SPEC 5 to 9 and 15 restate them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Distance = Literal["kl", "mse"]
EPSILON = 1e-6  # added to g before the power p


def squared_residual(
    W: Float[Tensor, "d_out d_in"],
    V: Float[Tensor, "d_in C"],
    U: Float[Tensor, "C d_out"],
    W_squared: Float[Tensor, ""] | None = None,
) -> Float[Tensor, ""]:
    """‖W − (V U)ᵀ‖² in squared weight units.

    Where the components could span the whole matrix the difference is formed and squared. Where they are too few
    the remainder cannot be small, and ‖W‖² − 2·tr + ‖VU‖² loses no digit that matters, nor builds a dense matrix;
    ‖W‖² may be given where it is known.
    """
    W = W.to(V.dtype)
    if V.shape[1] * 2 > min(W.shape):
        return (W - (V @ U).T).pow(2).sum()
    cross = ((W @ V) * U.T).sum()
    size = ((V.T @ V) * (U @ U.T)).sum()
    return (W.pow(2).sum() if W_squared is None else W_squared) - 2 * cross + size


def faithfulness(
    W: Mapping[str, Float[Tensor, "d_out d_in"]],
    V: Mapping[str, Float[Tensor, "d_in C"]],
    U: Mapping[str, Float[Tensor, "C d_out"]],
    W_squared: Mapping[str, Float[Tensor, ""]] | None = None,
) -> Float[Tensor, ""]:
    """Mean squared difference of components and weights over all weight entries of the sites (SPEC 5)."""
    known = W_squared or {}
    total = torch.stack([squared_residual(W[site], V[site], U[site], known.get(site)) for site in W]).sum()
    return total / sum(weight.numel() for weight in W.values())


def importance_minimality(
    g: Mapping[str, Float[Tensor, "batch seq C"]],
    valid: Bool[Tensor, "batch seq"],
    p: float,
    past_one: Literal["power", "linear"] = "power",
    eps: float = EPSILON,
) -> Float[Tensor, ""]:
    """Σ over sites and components of |g|^p, mean over the valid positions (SPEC 6). `g` is the upper one; `linear` adds
    what lies past 1 as it is, not to the power p. `eps` keeps the gradient finite; see `minimality_figure`."""
    parts: list[Tensor] = []
    for value in g.values():
        here = value[valid]
        if past_one == "linear":
            parts.append((here.clamp_max(1) + eps).pow(p).sum() + (here - 1).relu().sum())
        else:
            parts.append((here + eps).pow(p).sum())
    return torch.stack(parts).sum() / valid.sum().clamp_min(1)


@torch.no_grad()
def minimality_figure(
    value: Float[Tensor, ""],
    g: Mapping[str, Float[Tensor, "batch seq C"]],
    valid: Bool[Tensor, "batch seq"],
    p: float,
    eps: float = EPSILON,
) -> Float[Tensor, ""]:
    """The importance minimality `value` as a figure to report: a closed component counts 0, not eps^p, which at p = 0.1
    is 0.25."""
    closed = torch.stack([(here[valid] == 0).sum() for here in g.values()]).sum()
    return value - closed * eps**p / valid.sum().clamp_min(1)


def kl_divergence(
    target: Float[Tensor, "*#positions vocab"], logits: Float[Tensor, "*#positions vocab"]
) -> Float[Tensor, "*positions"]:
    """KL(target ‖ masked) a position, in nats. `target` holds log-probabilities, `logits` need not be normalised
    (SPEC 9)."""
    return _KL.apply(target, logits if logits.dtype == target.dtype else logits.float())  # type: ignore[return-value]


class _KL(torch.autograd.Function):
    """With the gradient in closed form, softmax(logits) − p: of all the [.., vocab] tensors on the way, one is kept."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx, target: Float[Tensor, "*#positions vocab"], logits: Float[Tensor, "*#positions vocab"]
    ) -> Float[Tensor, "*positions"]:
        log_q = torch.log_softmax(logits, dim=-1)
        ctx.save_for_backward(target, log_q)
        return (target - log_q).mul_(target.exp()).sum(-1)

    @staticmethod
    def backward(  # type: ignore[override]
        ctx, grad: Float[Tensor, "*positions"]
    ) -> tuple[None, Float[Tensor, "*positions vocab"]]:
        target, log_q = ctx.saved_tensors
        return None, log_q.exp().sub_(target.exp()).mul_(grad.unsqueeze(-1))


def mean_squared_error(
    target: Float[Tensor, "*#positions vocab"], logits: Float[Tensor, "*#positions vocab"]
) -> Float[Tensor, "*positions"]:
    """Mean squared difference of log-probabilities a position (SPEC 9)."""
    return (target - torch.log_softmax(logits.float(), dim=-1)).pow(2).mean(-1)


def exponent(step: int, steps: int, start: float, end: float) -> float:
    """p at a step: from `start` to `end`, linearly."""
    return start + (end - start) * min(1.0, step / max(1, steps - 1))


def warmed(step: int, steps: int, share: float, end: float = 1.0, hold: float = 0.0) -> float:
    """0 to 1 over the first `share` of the steps, 1 for `hold` of them, then geometrically to `end` at the last one."""
    done = step / max(1, steps - 1)
    if share > 0 and step < share * steps:
        return step / (share * steps)
    falls = share + hold
    return 1.0 if end == 1 or done <= falls else end ** ((done - falls) / (1 - falls))
