"""What happened, in words: one sentence per prompt."""

from __future__ import annotations

from backend.db.index import visible
from backend.schemas.workbench import Ablation
from workers.spd.answers import OutputShift

STAYS = 0.1  # relative change up to which a probability counts as unchanged


def probability(value: float) -> str:
    """A probability in percent, by the page's rule (frontend/src/api/words.ts): two significant digits, one decimal
    from 10 % on."""
    if value <= 0:
        return "0 %"
    if value < 1e-5:
        return "< 0.001 %"
    if 0.9995 <= value < 1:
        return "> 99.9 %"
    percent = value * 100
    return f"{percent:.1f} %" if percent >= 9.95 else f"{percent:#.2g} %"


def change(shift: OutputShift) -> str:
    """One token's change in words."""
    before, after = shift.baseline.probability, shift.ablated.probability
    relative = (after - before) / before if before > 0 else 0.0
    verb = "stays at" if abs(relative) <= STAYS else "falls to" if relative < 0 else "rises to"
    return f"“{visible(shift.token)}” {verb} {probability(after)} (from {probability(before)})"


def summary(ablation: Ablation, focus: int) -> str:
    """The token that matters at one position: the likeliest watched one, else the model's first choice."""
    place = next((p for p in ablation.positions if p.position == focus), ablation.positions[-1])
    prompt = "".join(token.piece for token in ablation.tokens).strip()
    shown = prompt if len(prompt) <= 80 else f"{prompt[:78]}…"
    rows = place.watched or place.top
    if not rows:
        return f"“{shown}”: KL {place.kl:.2g} nats."
    first = max(rows, key=lambda row: row.baseline.probability)
    return f"“{shown}”: {change(first)}."
