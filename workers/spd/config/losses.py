"""What a run is trained on: a union told apart by `kind`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from workers.spd.config.base import Frozen

Coefficient = Annotated[float, Field(ge=0)]


class Faithfulness(Frozen):
    """Mean squared difference of V·U and W over all entries of all sites."""

    kind: Literal["faithfulness"] = "faithfulness"
    coefficient: Coefficient = 1.0


class ImportanceMinimality(Frozen):
    """Σ |g|^p over components, mean over positions; the coefficient warms up, p goes from p_start to p_end."""

    kind: Literal["importance_minimality"] = "importance_minimality"
    coefficient: Coefficient = 5e-3
    p_start: float = Field(default=1.0, gt=0, le=4)
    p_end: float = Field(default=0.5, gt=0, le=4)
    warmup: float = Field(
        default=0.25, ge=0, le=1, description="share of the steps over which it grows from 0"
    )
    hold: float = Field(
        default=0.0, ge=0, le=1, description="share of the steps after the warm-up that keep all of it"
    )
    end: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="share of the coefficient left at the last step; it falls geometrically",
    )
    slope_above: float = Field(
        default=0.01,
        ge=0,
        le=100,
        description="slope of the upper sigmoid past 1; 1 frees importances that overshot",
    )
    past_one: Literal["power", "linear"] = Field(
        default="power",
        description="power: (1 + slope·(γ − 1))^p, whose pull fades the further γ overshot; linear: 1 + slope·(γ − 1)",
    )

    @model_validator(mode="after")
    def _has_time_to_fall(self) -> ImportanceMinimality:
        if self.end != 1 and self.hold > 0 and self.warmup + self.hold >= 1:
            raise ValueError("warmup and hold take all the steps, so end would be ignored.")
        return self


class Sampled(Frozen):
    """A loss that averages over passes, each with masks of its own."""

    uniform: int = Field(default=1, ge=0, le=64, description="samples with r ~ U(0, 1)")
    level: int = Field(
        default=1, ge=0, le=64, description="samples with r ~ Bernoulli(λ), one λ ~ U(0, 1) a sample"
    )

    @model_validator(mode="after")
    def _has_samples(self) -> Sampled:
        if self.uniform + self.level == 0:
            raise ValueError("at least one of uniform and level must be above 0.")
        return self


class StochasticReconstruction(Sampled):
    """KL(target ‖ masked) with m = g + (1 − g)·r at every site. Each sample draws its own masks."""

    kind: Literal["stochastic_reconstruction"] = "stochastic_reconstruction"
    coefficient: Coefficient = 1.0


class PartialReconstruction(Sampled):
    """The same, but only a random subset of the sites (or layers, or positions) is replaced in a sample."""

    kind: Literal["partial_reconstruction"] = "partial_reconstruction"
    coefficient: Coefficient = 1.0
    route: Literal["site", "layer", "position"] = "layer"
    level: int = Field(default=0, ge=0, le=64, description="samples with r ~ Bernoulli(λ)")


class AdversarialReconstruction(Frozen):
    """The same with sources kept between steps and moved by sign ascent on the loss (persistent PGD)."""

    kind: Literal["adversarial_reconstruction"] = "adversarial_reconstruction"
    coefficient: Coefficient = 1.0
    step_size: float = Field(default=0.1, gt=0, le=1)
    shared: Literal["batch", "batch_and_positions"] = Field(
        default="batch",
        description="what a component's source is shared over: the batch (each position has its own), or the batch and"
        " its positions, as the adversary that judges a run",
    )
    restart: int | None = Field(
        default=None,
        ge=1,
        description="steps after which the sources start afresh, so that training meets ever new opponents instead of"
        " one that it has learned to resist; null: never",
    )
    after: float = Field(default=0.3, ge=0, le=1, description="share of the steps before it starts")


Loss = Annotated[
    Faithfulness
    | ImportanceMinimality
    | StochasticReconstruction
    | PartialReconstruction
    | AdversarialReconstruction,
    Field(discriminator="kind"),
]
