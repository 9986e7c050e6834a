"""What a run is trained on: a union discriminated by `kind`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from workers.spd.config.base import Frozen

Coefficient = Annotated[float, Field(ge=0)]
Shared = Literal["batch", "batch_and_positions", "nothing"]
"""What one source of a component's mask serves (see `AdversaryOptions.shared`)."""


class Faithfulness(Frozen):
    """Mean squared difference of V·U and W over all entries of all sites."""

    kind: Literal["faithfulness"] = Field(
        default="faithfulness", description="the components' sum against the weights"
    )
    coefficient: Coefficient = Field(
        default=1.0,
        description="weight of this loss, in squared weight units, which are small: 10 to 10,000 are usual",
    )


class ImportanceMinimality(Frozen):
    """Σ |g|^p over components, mean over positions; the coefficient warms up, p goes from p_start to p_end."""

    kind: Literal["importance_minimality"] = Field(
        default="importance_minimality", description="the sum of the causal importances"
    )
    coefficient: Coefficient = Field(
        default=5e-3,
        description="weight of this loss once it has warmed up. Larger is sparser; 0.03 from the first step "
        "breaks the reconstruction",
    )
    p_start: float = Field(default=1.0, gt=0, le=4, description="p at the first step; it changes linearly")
    p_end: float = Field(
        default=0.5, gt=0, le=4, description="p at the last step; below 1 it pulls small importances to 0"
    )
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

    kind: Literal["stochastic_reconstruction"] = Field(
        default="stochastic_reconstruction", description="reconstruction under random masks"
    )
    coefficient: Coefficient = Field(default=1.0, description="weight of this loss, which is in nats")


class PartialReconstruction(Sampled):
    """The same, but only a random subset of the sites (or layers, or positions) is replaced in a sample."""

    kind: Literal["partial_reconstruction"] = Field(
        default="partial_reconstruction", description="reconstruction with a random part replaced"
    )
    coefficient: Coefficient = Field(default=1.0, description="weight of this loss, which is in nats")
    route: Literal["site", "layer", "position"] = Field(
        default="layer",
        description="what is chosen at random for each prompt: sites, layers (all sites of a layer together), "
        "or positions",
    )
    level: int = Field(default=0, ge=0, le=64, description="samples with r ~ Bernoulli(λ)")


class AdversaryOptions(Frozen):
    """Sources of stochastic masks that climb the loss by sign steps (PGD). These defaults judge a run; training's are
    those of `adversarial_reconstruction`."""

    steps: int = Field(
        default=20,
        ge=0,
        le=1_000,
        description="sign steps each time; each costs a forward and a backward pass",
    )
    step_size: float = Field(
        default=0.1, gt=0, le=1, description="how far a source, which lies in 0–1, moves in one step"
    )
    shared: Shared = Field(
        default="batch",
        description="what a component's source is shared over: the batch (each position has its own), the batch and its"
        " positions, or nothing (each prompt and position has its own: the strongest)",
    )
    remainder: bool = Field(
        default=True, description="whether it moves the remainder's mask too; false: the remainder stays off"
    )


class AdversarialReconstruction(AdversaryOptions):
    """The same under an adversary's masks, with sources kept from step to step (persistent PGD) or drawn anew."""

    kind: Literal["adversarial_reconstruction"] = Field(
        default="adversarial_reconstruction", description="reconstruction under an adversary's masks"
    )
    coefficient: Coefficient = Field(default=1.0, description="weight of this loss, which is in nats")
    steps: int = Field(
        default=1,
        ge=1,
        le=1_000,
        description="sign steps per training step. Sources that are kept take one of them with the gradient of the"
        " training step itself; every other one costs a forward and a backward pass over the step's prompts",
    )
    restart: int | None = Field(
        default=None,
        ge=1,
        description="training steps after which the sources start afresh, so that training meets new opponents instead"
        " of one that it has learned to resist; 1: in each step, which needs several sign steps; null: never",
    )
    after: float = Field(default=0.3, ge=0, le=1, description="share of the training steps before it starts")

    @property
    def fresh(self) -> bool:
        """Whether the sources start afresh in each training step, so that none are kept."""
        return self.restart == 1

    @property
    def keeps_positions(self) -> bool:
        """Whether sources belong to positions from step to step, so that every batch must have the same length."""
        return not self.fresh and self.shared == "batch"

    @model_validator(mode="after")
    def _kept_sources_are_shared(self) -> AdversarialReconstruction:
        if self.shared == "nothing" and not self.fresh:
            raise ValueError(
                "shared “nothing” gives each prompt sources of its own, which do not fit the next step's prompts; set "
                "restart to 1, or share the sources over the batch."
            )
        return self


Loss = Annotated[
    Faithfulness
    | ImportanceMinimality
    | StochasticReconstruction
    | PartialReconstruction
    | AdversarialReconstruction,
    Field(discriminator="kind"),
]
