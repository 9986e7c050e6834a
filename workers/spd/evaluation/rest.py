"""How quiet a targeted decomposition is on text it is not about (SPEC 27)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from workers.spd.artifact import Metric
from workers.spd.method.decomposition import Decomposition
from workers.spd.prompts.batches import Batch

UNITS = {"rest_l0": "components"}


@torch.no_grad()
def rest_figures(
    decomposition: Decomposition,
    batches: Sequence[Batch],
    threshold: float,
    check_stop: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """With the remainder on, means over the positions of these windows: components above the threshold (first positions
    left out where they stay the target's), and KL(target ‖ masked), nats, under CI as masks, rounded CI, and with every
    component off whatever its importance."""
    totals: dict[str, float] = dict.fromkeys(
        ("rest_l0", "kl_rest_ci_masks", "kl_rest_rounded_ci", "kl_rest_off"), 0.0
    )
    positions = counted = 0
    for batch in batches:
        check_stop()
        g = decomposition.importances(batch.inputs).g
        valid = batch.masked(decomposition.first_unmasked)
        totals["rest_l0"] += float(sum(int((value[valid] > threshold).sum()) for value in g.values()))
        positions += int(valid.sum())
        counted += int(batch.counted.sum())
        delta = {site: torch.ones_like(value[..., :1]) for site, value in g.items()}
        regimes = {
            "kl_rest_ci_masks": g,
            "kl_rest_rounded_ci": {site: (value > threshold).to(value) for site, value in g.items()},
            "kl_rest_off": {site: torch.zeros_like(value) for site, value in g.items()},
        }
        for name, mask in regimes.items():
            values = decomposition.kl(batch, decomposition.site_masks(mask, delta))[0]
            totals[name] += float((values * batch.counted).sum())
    return {
        name: total / max(1, positions if name == "rest_l0" else counted) for name, total in totals.items()
    }


def rest_metrics(train: dict[str, float], held_out: dict[str, float]) -> list[Metric]:
    """The figures as the artefact keeps them."""
    return [
        Metric(name=name, unit=UNITS.get(name, "nats"), train=value, held_out=held_out[name])
        for name, value in train.items()
    ]
