"""What suppressing one component alone does to the output, over a sample of windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from workers.spd.ablation.engine import AblationEngine
from workers.spd.ablation.outputs import Rows, kl_rows
from workers.spd.keys import ComponentKey
from workers.spd.queries import Condition, Edit
from workers.spd.statistics.text import Window

TOKENS = 768
"""Rows × positions of a pass, so that its logits stay small."""


@torch.inference_mode()
def window_effects(
    engine: AblationEngine, window: Window, keys: Sequence[ComponentKey], check_stop: Callable[[], None]
) -> list[np.ndarray]:
    """KL at every position of one window for each component suppressed alone, strength 1, the remainder on."""
    clean = engine.clean(window.ids)
    before = engine.baseline(clean).rows
    seq = len(window.ids)
    by_site: dict[str, list[ComponentKey]] = {}
    for key in keys:
        by_site.setdefault(key.site, []).append(key)
    at_once = max(1, TOKENS // seq)
    result: dict[ComponentKey, np.ndarray] = {}
    for members in by_site.values():  # of one site together: such a pass starts at their block
        for first in range(0, len(members), at_once):
            check_stop()
            part = members[first : first + at_once]
            start, logits = engine.logits(clean, [Condition((Edit(key.site, key.index),)) for key in part])
            base = before.pick(slice(start, None))
            for key, rows in zip(part, logits, strict=True):
                kl = np.zeros(seq, np.float32)
                kl[start:] = kl_rows(base, Rows.of(rows)).clamp_min(0).cpu().numpy()
                result[key] = kl
    return [result[key] for key in keys]
