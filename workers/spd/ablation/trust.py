"""How far a decomposition describes one prompt (SPEC 11 to 13): its causal importances as masks, beside everything off.

ci      m = g, remainder off
rest    m = g, remainder on: for a decomposition that leaves other text to the remainder
off     m = 0, remainder off: the scale of the other two

Of a run by subject (SPEC 27) “remainder off” means at the names that the run is about.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from workers.spd.ablation.engine import AblationEngine
from workers.spd.ablation.outputs import Rows, kl_rows
from workers.spd.answers import TrustFigures, check_finite
from workers.spd.targets.masks import masked

BATCH_BYTES = 128 * 2**20  # of logits; a longer prompt runs its rows one after the other


@torch.inference_mode()
def trust(
    engine: AblationEngine, token_ids: tuple[int, ...], threshold: float, *, rest: bool = False
) -> TrustFigures:
    """The figures of a prompt, kept with its clean pass: one batched pass the first time. `threshold` is the CI above
    which a component fires; `rest` adds the row with the remainder on. Raises NotFiniteError."""
    clean = engine.clean(token_ids)
    g = {site: value[0] for site, value in engine.site_importances(clean).g.items()}
    with clean.lock:
        kl = clean.trust
    cached = kl is not None and (not rest or "rest" in kl)
    if kl is None or not cached:
        kl = _kl(engine, token_ids, g, ("ci", "rest", "off") if rest else ("ci", "off"))
        with clean.lock:
            clean.trust = kl
    firing = {site: value > threshold for site, value in g.items()}
    return TrustFigures(
        kl=kl["ci"],
        kl_off=kl["off"],
        kl_rest=kl["rest"] if rest else None,
        fires_per_position=sum(int(above.sum()) for above in firing.values()) / len(token_ids),
        fires=sum(int(above.any(0).sum()) for above in firing.values()),
        described=not bool(engine.decomposition.remainder_mask(token_ids).all()),
        cached=cached,
    )


def _kl(
    engine: AblationEngine,
    token_ids: tuple[int, ...],
    g: dict[str, Float[Tensor, "seq _C"]],
    names: tuple[str, ...],
) -> dict[str, list[float]]:
    """KL(target ‖ masked) of each regime named, nats a position."""
    alone = engine.decomposition.remainder_mask(token_ids)
    before = engine.baseline(engine.clean(token_ids)).rows
    tokens = torch.tensor([token_ids], device=engine.target.device)
    size = before.logits.numel() * before.logits.element_size()
    together = max(1, BATCH_BYTES // max(1, size))
    result: dict[str, list[float]] = {}
    for first in range(0, len(names), together):
        some = names[first : first + together]
        mask = {
            site: torch.stack([torch.zeros_like(value) if name == "off" else value for name in some])
            for site, value in g.items()
        }
        delta = {
            site: torch.stack([torch.ones_like(alone) if name == "rest" else alone for name in some])
            for site in g
        }
        with masked(engine.decomposition.site_masks(mask, delta)):
            logits = engine.target.logits(tokens.repeat(len(some), 1))
        for name, row in zip(some, logits, strict=True):
            result[name] = kl_rows(before, Rows.of(row)).tolist()
            check_finite(result[name])
    return result
