"""How to decompose, by what is read: the method of the shipped run of that kind, in three sizes."""

from __future__ import annotations

from typing import Any, Literal

from workers.spd.config.reading import load_config

Kind = Literal["prompts", "facts", "corpus"]
Size = Literal["quick", "good", "thorough"]

METHOD_OF: dict[Kind, str] = {"prompts": "sports-smollm2", "facts": "facts-smollm2", "corpus": "bible-lm"}
"""The preset whose method is taken."""
STEPS: dict[Size, float] = {"quick": 0.25, "good": 1.0, "thorough": 3.0}
"""Times the preset's steps."""
NOT_METHOD = {"name", "title", "description", "seed", "target", "sites", "data", "checks", "stored_dtype"}
SITES = {"prompts": "*.mlp.*", "facts": "*.mlp.*", "corpus": "*"}


def recipe(kind: Kind, size: Size) -> dict[str, Any]:
    """The part of a config that is the method, as plain data."""
    preset = load_config(METHOD_OF[kind])
    method = preset.model_dump(mode="json", exclude_unset=True, exclude=NOT_METHOD)
    if kind == "prompts":  # which need not say what they are about: masked everywhere, nothing planted
        method["reconstruction"].pop("remainder", None)
        method["rest"].pop("planted", None)
    steps = max(1, round(preset.steps * STEPS[size]))
    every = max(1, steps // 4)
    return {
        **method,
        "steps": steps,
        "checkpoint_every": min(500, every),
        "evidence_every": min(200, every),
        "log_every": max(1, min(20, steps // 50)),
    }
