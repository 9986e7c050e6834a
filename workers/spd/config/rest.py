"""The second stream of a targeted decomposition: running text that it is not about."""

from __future__ import annotations

from pydantic import Field, model_validator

from workers.spd.config.base import Frozen
from workers.spd.config.data import CorpusData
from workers.spd.config.losses import Coefficient, ImportanceMinimality


class QuietWrites(Frozen):
    """A second-order step on the writes before the first step: what other text would miss goes, what removal does to
    the run's own prompts stays."""

    weight: float = Field(
        default=0.003, gt=0, description="of what other text would miss against what the prompts are about"
    )
    windows: int = Field(
        default=200, ge=1, le=100_000, description="of rest text, by which it is known what is missed"
    )
    draws: int = Field(
        default=32,
        ge=1,
        le=10_000,
        description="random masks a prompt, under which it is known what it is about",
    )


class RestConfig(Frozen):
    """Broad running text beside the run's own prompts (SPEC 27). There the remainder stays on, and a component must
    either be off without its removal being seen, or be important; every pass counts all positions.

    `uniform` and `level` are passes a step under masks g + (1 − g)·r, `removed` those with every component off,
    whatever its importance.
    """

    text: CorpusData = Field(description="where the text comes from, its windows, and what is held out")
    coefficient: Coefficient = Field(default=5.0, description="of the reconstruction, a mean over the passes")
    uniform: int = Field(default=1, ge=0, le=64, description="passes a step with r ~ U(0, 1)")
    level: int = Field(default=0, ge=0, le=64, description="passes a step with r ~ Bernoulli(λ)")
    removed: int = Field(default=1, ge=0, le=64, description="passes a step with every component off")
    minimality: ImportanceMinimality = Field(
        default=ImportanceMinimality(coefficient=0.05), description="of the importances on this text"
    )
    planted: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="the share of a step's windows in which one token, at a random place, is replaced by one of the"
        " subjects' own, so that a component tells its subject from the same word elsewhere; above 0, a quiet start of"
        " the layers after the first sees such windows only",
    )
    quiet_writes: QuietWrites | None = Field(
        default=None, description="a step on the writes alone, before the first one; null: none"
    )
    start_windows: int = Field(
        default=2_048,
        ge=1,
        le=100_000,
        description="windows from which the second moments of a quiet start are taken",
    )

    @model_validator(mode="after")
    def _has_passes(self) -> RestConfig:
        if not self.uniform + self.level + self.removed:
            raise ValueError("rest needs a pass: uniform, level or removed.")
        return self
