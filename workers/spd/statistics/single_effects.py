"""What suppressing one component alone does to the target: the causal half of a component's statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from workers.spd.method.decomposition import Decomposition
from workers.spd.method.losses import kl_divergence
from workers.spd.prompts.batches import Batch, answer_column
from workers.spd.targets.masks import SiteMask, masked

ROWS = 64


@torch.no_grad()
def single_effects(
    decomposition: Decomposition,
    batch: Batch,
    chosen: Mapping[str, list[int]],
    check_stop: Callable[[], None] = lambda: None,
    each: int | None = None,
    report: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Float[Tensor, " _C"]]:
    """The largest KL(target ‖ suppressed) in nats at a prompt's answer, over the prompts of the batch, or over the
    `each` prompts where the component's own importance is highest.

    One component at a time, the remainder on, at all masked positions; `chosen` holds places (not indices) a site, and
    components not chosen get 0. Components of a site run as batches of at most ROWS rows, one row per prompt. `report`
    gets the number done and the number in all.
    """
    prompts, seq = batch.tokens.shape
    column = answer_column(batch)
    here = batch.masked(decomposition.first_unmasked)
    count = prompts if each is None else min(each, prompts)
    importances = decomposition.importances(batch.inputs, batch.valid).g
    result: dict[str, Float[Tensor, " _C"]] = {}
    done, of = 0, sum(map(len, chosen.values()))
    for site, V in decomposition.components.V.items():
        effects = torch.zeros(V.shape[1])
        places = chosen.get(site, [])
        strongest = (importances[site] * here[..., None]).amax(1)  # [prompts, C]
        for first in range(0, len(places), max(1, ROWS // count)):
            check_stop()
            report(done, of)
            part = places[first : first + max(1, ROWS // count)]
            rows = strongest[:, part].topk(count, dim=0).indices.T.flatten()  # component by component
            amount = -torch.eye(len(part), device=V.device, dtype=V.dtype)[:, None, None, :]
            amount = amount.repeat(1, count, seq, 1)
            if decomposition.first_unmasked:
                amount[:, :, 0] = 0
            mask = SiteMask(V[:, part], decomposition.components.U[site][part], amount.flatten(0, 1))
            with masked({site: mask}):
                logits = decomposition.target.logits(batch.tokens[rows], batch.keep)
            at = torch.arange(len(rows), device=rows.device)
            clean = batch.log_probs[rows, column[rows]].double()
            nats = kl_divergence(clean, logits[at, column[rows]].double())
            effects[part] = nats.unflatten(0, (len(part), count)).amax(1).clamp_min(0).float().cpu()
            done += len(part)
        result[site] = effects
    return result
