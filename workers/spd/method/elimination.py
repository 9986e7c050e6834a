"""Backward elimination: components that the output does not need any more are taken out of the run for good
(SPEC 21).

Gradient descent leaves some importances stuck near 1 that nothing needs. Between training steps each used component is
left out alone, the cheapest ones are dropped together as long as the KL under CI-as-masks stays within a budget, and
training continues with what remains. It selects; it never trains on CI-as-masks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workers.spd.method.decomposition import Decomposition, mean_counted
from workers.spd.prompts.batches import Batch

ROWS = 16
Place = tuple[str, int]


@dataclass(frozen=True)
class Elimination:
    """dropped: places (site, place); before, after: KL under CI-as-masks at the counted positions, nats."""

    dropped: list[Place]
    before: float
    after: float


class _Masks:
    """The KL under CI-as-masks (remainder off) with some components left out."""

    def __init__(self, decomposition: Decomposition, batch: Batch, check_stop: Callable[[], None]) -> None:
        self.decomposition, self.batch, self.check_stop = decomposition, batch, check_stop
        self.g = decomposition.importances(batch.inputs, batch.valid).g

    def kl(self, left_out: list[set[Place]]) -> Float[Tensor, " sets"]:
        """One value per set, nats."""
        self.check_stop()
        count = len(left_out)
        mask = {site: g.repeat(count, 1, 1, 1) for site, g in self.g.items()}
        for row, places in enumerate(left_out):
            for site, place in places:
                mask[site][row, ..., place] = 0
        flat = {site: value.flatten(0, 1) for site, value in mask.items()}
        delta = self.batch.remainder({site: torch.zeros_like(value[..., :1]) for site, value in mask.items()})
        masks = self.decomposition.site_masks(
            flat, {site: value.flatten(0, 1) for site, value in delta.items()}
        )
        return mean_counted(self.decomposition.kl(self.batch, masks, count), self.batch.counted)


@torch.no_grad()
def eliminate(
    decomposition: Decomposition,
    batch: Batch,
    *,
    budget: float,
    rounds: int = 2,
    floor: float = 0.0,
    check_stop: Callable[[], None] = lambda: None,
) -> Elimination:
    """Find components to drop so that the KL under CI-as-masks stays at most `budget` nats (or, where it is above that
    already, where it is). Components whose importance never passes `floor` on the batch are off as it is.
    `check_stop` is called before every pass and may raise."""
    masks = _Masks(decomposition, batch, check_stop)
    valid = batch.masked(decomposition.first_unmasked)
    used = [
        (site, place)
        for site, g in masks.g.items()
        for place in (g[valid].amax(0) > floor).nonzero().flatten().tolist()
    ]
    before = float(masks.kl([set()])[0])
    allowed = max(budget, before)
    dropped: list[Place] = []
    at_once = max(1, ROWS // len(batch.tokens))
    for _ in range(rounds):
        left = [place for place in used if place not in set(dropped)]
        cost: list[float] = []
        for first in range(0, len(left), at_once):
            cost += masks.kl([{*dropped, place} for place in left[first : first + at_once]]).tolist()
        order = [place for _, place in sorted(zip(cost, left, strict=True))]
        low, high = 0, len(order)  # the longest prefix that can go: the KL is nearly monotone in it
        while low < high:
            middle = (low + high + 1) // 2
            if float(masks.kl([{*dropped, *order[:middle]}])[0]) <= allowed:
                low = middle
            else:
                high = middle - 1
        if not low:
            break
        dropped += order[:low]
    return Elimination(dropped, before, float(masks.kl([set(dropped)])[0]))
