"""How far a decomposition describes a prompt, in a word, a figure and a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from backend.schemas.workbench import TrustLevel
from workers.spd.answers import TrustFigures
from workers.spd.config import DecomposeConfig

GOOD, PARTLY = 0.05, 0.25  # of the KL with everything off
ROUNDING = 1e-7  # nats: below it a KL is only bounded


@dataclass(frozen=True)
class Judged:
    """A level with what it was judged by; see `backend.schemas.workbench.Trust`."""

    level: TrustLevel
    sentence: str
    counted: Literal["last", "all"]
    kl: float
    kl_off: float
    share: float
    kl_all: float
    kl_off_all: float
    kl_rest: float | None


def has_rest(config: DecomposeConfig) -> bool:
    """Whether the run has a second stream of text that it is not about."""
    return config.rest is not None


def judge(figures: TrustFigures, config: DecomposeConfig, *, own: bool) -> Judged:
    """The level of a prompt by the share of the KL with everything off; `own`: it is one of the run's prompts.

    Everything off costs nothing on a prompt where the model says nothing: then a KL of nothing is described, too.
    """
    last = config.reconstruction.positions == "answer"
    kl_all, off_all = _mean(figures.kl), _mean(figures.kl_off)
    kl, off = (figures.kl[-1], figures.kl_off[-1]) if last else (kl_all, off_all)
    share = _share(kl, off)
    rest = None if figures.kl_rest is None else _mean(figures.kl_rest)
    level: TrustLevel = "good" if share <= GOOD else "partly" if share <= PARTLY else "not"
    by_subject = config.reconstruction.remainder == "subject"
    silent = not figures.described  # no name of the run stands here: the remainder is on everywhere
    if rest is not None and (silent or (level == "not" and _share(rest, off_all) <= GOOD)):
        level = "outside"
    where = "at the last position" if last else "on average"
    named = " at the names" if by_subject else ""
    figure = (
        f"KL {nats(kl)} nats {where} under CI as masks with the remainder off{named}, "
        f"of {nats(off)} with everything off"
    )
    if level == "outside":
        quiet = f"Under CI as masks with the remainder on the output moves by {nats(rest or 0)} nats (KL)."
        sentence = f"{_outside(figures)} {quiet}"
    elif level == "not":
        sentence = f"{_not_described(config, own=own)} {figure}."
    else:
        word = "describes" if level == "good" else "partly describes"
        sentence = f"This decomposition {word} this prompt. {figure}."
    if last and level in ("good", "partly"):
        sentence += (
            f" The run counts no other position: over all of them it is {nats(kl_all)} of {nats(off_all)}."
        )
    return Judged(level, sentence, "last" if last else "all", kl, off, share, kl_all, off_all, rest)


def _outside(figures: TrustFigures) -> str:
    if figures.fires == 0:
        return "Nothing of this decomposition fires here."
    return f"This decomposition is about other text: {figures.fires_per_position:.2g} components fire per position."


def _not_described(config: DecomposeConfig, *, own: bool) -> str:
    if own:
        return "This decomposition does not describe this prompt, although it is one of the run's own."
    if config.data.kind == "corpus":
        return "This decomposition does not describe this prompt. What fires here says little."
    return "This decomposition was made for other text. What fires here says little."


def nats(value: float) -> str:
    """A KL as the page writes it (frontend/src/api/words.ts), without its unit."""
    if value < ROUNDING:
        return "< 1e-7"
    if value < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def _mean(values: Sequence[float]) -> float:
    return max(0.0, sum(values) / len(values))


def _share(kl: float, off: float) -> float:
    return 0.0 if kl < ROUNDING else kl / max(off, ROUNDING)
