"""The losses of a targeted decomposition on its rest text (SPEC 27).

m = g + (1 − g)·r  or  m = 0 whatever g is,   m_Δ = 1
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from workers.spd.config import RestConfig
from workers.spd.method import losses
from workers.spd.method.ci import upper
from workers.spd.method.decomposition import Decomposition
from workers.spd.method.losses import Distance
from workers.spd.method.mask_sources import SourceKind, draw
from workers.spd.method.processes import World
from workers.spd.prompts.batches import Batch


def rest_loss(
    decomposition: Decomposition,
    batch: Batch,
    config: RestConfig,
    generator: torch.Generator,
    *,
    step: int,
    steps: int,
    threshold: float,
    distance: Distance = "kl",
    world: World | None = None,
    precision: str = "float32",
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """Reconstruction and minimality on rest text, weighted and summed, and figures by name.

    `batch` holds the windows of all processes, the result is of this one's; all draw the sources of all windows.
    """
    world = world or World()
    everyone = batch.tokens.shape[0]
    mine = world.rows(everyone)
    device = batch.tokens.device
    own = batch.rows(mine.to(device)) if world.size > 1 else batch
    importances = decomposition.importances(own.inputs)
    uniform: list[SourceKind] = ["uniform"]
    level: list[SourceKind] = ["level"]
    kinds = uniform * config.uniform + level * config.level
    sizes = [importances.g[site].shape[-1] for site in decomposition.sites]
    r = draw(kinds, (everyone, batch.tokens.shape[1], sum(sizes)), generator, mine, device)
    source = dict(zip(decomposition.sites, r.split(sizes, dim=-1), strict=True))
    mask: dict[str, Tensor] = {}
    for site, g in importances.g.items():
        drawn = g + (1 - g) * source[site]
        mask[site] = torch.cat([drawn, g.new_zeros(config.removed, *g.shape)]).flatten(0, 1)
    delta = {site: torch.ones_like(value[..., :1]) for site, value in mask.items()}
    passes = len(kinds) + config.removed
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        values = decomposition.distance(own, decomposition.site_masks(mask, delta), passes, distance)
    each = (values * own.counted).sum((-2, -1)) / batch.counted.sum()
    total = config.coefficient * each.mean()

    named: dict[str, list[float]] = {}
    for value, kind in zip(
        world.summed(each.detach()).tolist(), [*kinds, *["removed"] * config.removed], strict=True
    ):
        named.setdefault(f"rest_{kind}", []).append(value)
    figures = {name: sum(values) / len(values) for name, values in named.items()}

    minimality = config.minimality
    valid = own.masked(decomposition.first_unmasked)
    positions = batch.masked(decomposition.first_unmasked).sum().clamp_min(1)
    importance = {site: upper(value, minimality.slope_above) for site, value in importances.gamma.items()}
    p = losses.exponent(step, steps, minimality.p_start, minimality.p_end)
    value = losses.importance_minimality(importance, valid, p, minimality.past_one)
    value = value * (valid.sum() / positions)
    warm = losses.warmed(step, steps, minimality.warmup, minimality.end, minimality.hold)
    total = total + minimality.coefficient * warm * value
    figures["rest_minimality"] = float(world.summed(value.detach()))
    used = torch.stack([(g[valid] > threshold).sum() for g in importances.g.values()]).sum()
    figures["rest_l0"] = float(world.summed(used)) / float(positions)
    return total, figures
