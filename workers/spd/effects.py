"""What suppressing one component alone does to the target: the causal half of a component's statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from workers.spd.data import Batch
from workers.spd.decomposition import Decomposition, answer_column
from workers.spd.losses import kl_divergence
from workers.spd.masks import SiteMask, masked

ROWS = 64


@torch.no_grad()
def single_effects(
    decomposition: Decomposition,
    batch: Batch,
    chosen: Mapping[str, list[int]],
    go_on: Callable[[], None] = lambda: None,
) -> dict[str, Float[Tensor, " components"]]:
    """The largest KL(target ‖ suppressed) in nats at a prompt's answer, over the prompts of the batch.

    One component at a time, the remainder on, at all masked positions; `chosen` holds places (not indices) a site, and
    components not chosen get 0. Several components of a site run as one batch of at most ROWS rows.
    """
    prompts, seq = batch.tokens.shape
    column = answer_column(batch)
    rows = torch.arange(prompts, device=batch.tokens.device)
    clean = batch.log_probs[rows, column].double()
    at_once = max(1, ROWS // prompts)
    result: dict[str, Tensor] = {}
    for site, V in decomposition.components.V.items():
        effects = torch.zeros(V.shape[1])
        places = chosen.get(site, [])
        for first in range(0, len(places), at_once):
            go_on()
            part = places[first : first + at_once]
            amount = -torch.eye(len(part), device=V.device, dtype=V.dtype)[:, None, None, :]
            amount = amount.repeat(1, prompts, seq, 1)
            if decomposition.first_unmasked:
                amount[:, :, 0] = 0
            mask = SiteMask(V[:, part], decomposition.components.U[site][part], amount.flatten(0, 1))
            with masked({site: mask}):
                logits = decomposition.target.logits(batch.tokens.repeat(len(part), 1), batch.keep)
            answers = logits.unflatten(0, (len(part), prompts))[:, rows, column]
            effects[part] = kl_divergence(clean, answers.double()).amax(1).clamp_min(0).float().cpu()
        result[site] = effects
    return result
