"""The one identity of a subcomponent: `<site>:<index>`, in Python, JSON, columns and URLs alike."""

from __future__ import annotations

import re
from dataclasses import dataclass

_KEY = re.compile(r"^(?P<site>[A-Za-z0-9_.]+):(?P<index>\d{1,7})\Z")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)(?:\.|$)")
_SHORT = {
    "self_attn": "attn", "q_proj": "q", "k_proj": "k", "v_proj": "v", "o_proj": "o",
    "gate_proj": "gate", "up_proj": "up", "down_proj": "down",
}  # fmt: skip


@dataclass(frozen=True, order=True)
class ComponentKey:
    """A subcomponent: the module path of its site and its index within the site as trained (not as stored)."""

    site: str
    index: int

    def __str__(self) -> str:
        return f"{self.site}:{self.index}"

    @classmethod
    def parse(cls, text: str) -> ComponentKey:
        """Read `<site>:<index>`. Raises ValueError with a plain sentence where the text is not a key."""
        match = _KEY.match(text)
        if match is None:
            raise ValueError(
                f"“{text[:80]}” is not a component key; a key looks like “model.layers.0.mlp.down_proj:3”."
            )
        return cls(match["site"], int(match["index"]))


def layer_of(site: str) -> int | None:
    """The layer a site lies in, from 0; None for a site outside the blocks (an embedding, say)."""
    match = _LAYER.search(site)
    return int(match[1]) if match else None


def short_name(site: str) -> str:
    """How a site is shown: `model.layers.0.mlp.down_proj` → `L0 mlp.down`."""
    layer = layer_of(site)
    if layer is None:
        return site.removeprefix("model.").removeprefix("transformer.")
    tail = _LAYER.split(site, maxsplit=1)[-1]
    parts = [_SHORT.get(part, part) for part in tail.split(".") if part]
    return f"L{layer} {'.'.join(parts)}"
