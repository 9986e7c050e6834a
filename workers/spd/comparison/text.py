"""Ordinary text: what methods know of it, and how much of it an edit changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workers.spd.comparison.edits import Edit, states
from workers.spd.comparison.stored import TextEffect
from workers.spd.targets.masks import recorded
from workers.spd.targets.target import Target

ROWS = 16


@dataclass(frozen=True)
class Statistics:
    """Of what each site reads on text that methods may learn from, first positions left out: the mean, and the mean of
    x xᵀ in float64. `states`: mean output of each block."""

    mean: dict[str, Float[Tensor, " d_in"]]
    moments: dict[str, Float[Tensor, "d_in d_in"]]
    states: dict[int, Float[Tensor, " d_model"]]


@torch.no_grad()
def statistics_of(
    target: Target,
    sites: Sequence[str],
    windows: Sequence[Sequence[int]],
    check_stop: Callable[[], None] = lambda: None,
) -> Statistics:
    """Of these windows, all of one length."""
    count, sums, products, hidden = 0, {}, {}, {}
    for at in range(0, len(windows), ROWS):
        check_stop()
        tokens = torch.tensor([list(ids) for ids in windows[at : at + ROWS]], device=target.device)
        with recorded() as inputs, states() as outputs:
            target.logits(tokens, torch.zeros(1, dtype=torch.long, device=target.device))
        count += tokens[:, 1:].numel()
        shared: dict[int, Tensor] = {}
        for site in sites:
            x = inputs[site]
            if not x.is_floating_point():
                continue
            rows = x[:, 1:].flatten(0, 1).float()
            key = x.data_ptr()
            shared[key] = shared[key] if key in shared else (rows.T @ rows).double()
            sums[site] = sums.get(site, 0) + rows.double().sum(0)
            products[site] = products.get(site, 0) + shared[key]
        for block, state in outputs.items():
            hidden[block] = hidden.get(block, 0) + state[:, 1:].flatten(0, 1).double().sum(0)
    return Statistics(
        {site: (total / count).float() for site, total in sums.items()},
        {site: total / count for site, total in products.items()},
        {block: (total / count).float() for block, total in hidden.items()},
    )


@dataclass(frozen=True)
class Windows:
    """Held-out windows of one length, with the target's own output on them."""

    target: Target
    tokens: Int[Tensor, "windows seq"]

    @cached_property
    def clean(self) -> Float[Tensor, "windows seq vocab"]:
        """The target's log-probabilities."""
        with torch.no_grad():
            return torch.log_softmax(self.target.logits(self.tokens).float(), -1)

    @torch.no_grad()
    def under(self, edit: Edit, first: int) -> TextEffect:
        """What the edit changes: KL(target ‖ edited) and the change of cross-entropy, nats a position; and the mean of
        |p′/p − 1|, at most 1, of the tokens that really follow."""
        with edit.running(self.tokens, first):
            changed = torch.log_softmax(self.target.logits(self.tokens).float(), -1)
        kl = (self.clean.exp() * (self.clean - changed)).sum(-1)
        follows = self.tokens[:, 1:, None]
        before = self.clean[:, :-1].gather(-1, follows)
        after = changed[:, :-1].gather(-1, follows)
        return TextEffect(
            windows=len(self.tokens),
            positions=self.tokens.numel(),
            kl=max(0.0, float(kl.double().mean())),
            ce_change=float((before - after).double().mean()),
            damage=float(((after - before).exp() - 1).abs().clamp(max=1).double().mean()),
        )
