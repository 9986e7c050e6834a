"""How a run starts, steps, and finds the number of its components."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from workers.spd.config.base import Frozen


class StartConfig(Frozen):
    """Start values of V and U.

    random: V ~ N(0, 1/d_in), U ~ N(0, 1/C). svd: leading singular directions of W. data: the dual basis of the
    token inputs, exact on the data; with `background`, the dual that is quietest on other text, the more so the larger
    `ridge`. rest: the text of the run's second stream (`rest`).
    """

    kind: Literal["random", "svd", "data"] = Field(
        default="data",
        description="random values, singular directions, or the dual basis of the token inputs",
    )
    background: Literal["rest"] | None = Field(
        default=None,
        description="other text on which a data start is made quiet; null: none, the shortest dual",
    )
    ridge: float = Field(
        default=1.0, gt=0, description="weight of the background against the length of the read directions"
    )
    background_layers: int | None = Field(
        default=None,
        ge=0,
        description="only sites below this layer are made quiet; null: all. A quiet dual is a longer one"
        " and suffers more when other sites are masked, so it pays where the stream is still clean",
    )

    contexts: int | None = Field(
        default=None,
        ge=0,
        description="with start `data`: one component a distinct token (the mean of its inputs) and this many for how a"
        " token's inputs differ between contexts, shared by all tokens; null: one per token of every prompt",
    )

    @model_validator(mode="after")
    def _background_is_used(self) -> StartConfig:
        if self.background is not None and self.kind != "data":
            raise ValueError(f"background goes with kind “data”; “{self.kind}” would ignore it.")
        if self.contexts is not None and self.kind != "data":
            raise ValueError(f"contexts goes with kind “data”; “{self.kind}” would ignore it.")
        if "ridge" in self.model_fields_set and self.ridge != 1.0 and self.background is None:
            raise ValueError("ridge weighs a background; without one it would be ignored.")
        return self


class OptimizerConfig(Frozen):
    """Adam with a cosine decay to zero after `warmup` (share of the steps)."""

    ci_learning_rate: float = Field(
        default=5e-3, gt=0, description="peak learning rate of the causal importance functions, per Adam step"
    )
    component_learning_rate: float = Field(
        default=5e-5,
        gt=0,
        description="peak learning rate of V and U, per Adam step. 100 times less than the functions': the "
        "weights of language models are small and differ in scale",
    )
    component_steps: Literal["absolute", "relative"] = Field(
        default="absolute",
        description="relative: the rates of V and U are multiplied, a site, by the RMS of their start values, since the"
        " weights of real models differ in scale by orders of magnitude",
    )
    read_learning_rate: float | None = Field(
        default=None,
        ge=0,
        description="V's own; null: as the components'; 0 keeps the read directions of the start",
    )
    beta1: float = Field(default=0.9, ge=0, lt=1, description="Adam's decay of the mean of gradients")
    beta2: float = Field(
        default=0.99,
        ge=0,
        lt=1,
        description="Adam's decay of the mean of squared gradients; 0.99 forgets sooner than the usual 0.999, "
        "for short runs",
    )
    epsilon: float = Field(
        default=1e-8,
        gt=0,
        description="Adam's: gradients far below it hardly move anything, so a run that is done settles instead of"
        " drifting with noise",
    )
    warmup: float = Field(
        default=0.0, ge=0, le=1, description="share of the steps over which the learning rates grow from 0"
    )
    grad_clip: float | None = Field(
        default=None, gt=0, description="largest norm of a gradient; longer ones are scaled down to it"
    )
    grad_clip_by: Literal["all", "part"] = Field(
        default="all",
        description="all: the norm of everything trained; part: every importance function, V and U by itself, so that"
        " one spike of a site neither silences the others nor lives on in its Adam moments",
    )


class ReconstructionConfig(Frozen):
    """What counts as the same output, and who is asked."""

    positions: Literal["answer", "all"] = Field(
        default="all",
        description="which outputs count: those at the answer's position, or at all positions, which need "
        "more components",
    )
    distance: Literal["kl", "mse"] = Field(
        default="kl",
        description="kl: KL(target ‖ masked) in nats; mse: mean squared difference of log-probabilities",
    )
    first_position: Literal["masked", "unmasked"] = Field(
        default="masked",
        description="unmasked: the target's own weights run at position 0 (an attention sink in Llama)",
    )
    remainder: Literal["everywhere", "subject"] = Field(
        default="everywhere",
        description="where the remainder is masked. subject: only at the tokens of what a prompt is about, its `fact`"
        " as it stands there, so that the words around it need no components; elsewhere it stays on, as on rest text",
    )
    passes: Literal["each", "divided"] = Field(
        default="each",
        description="each: every prompt of a step meets every masked pass; divided: a step's prompts are shared out"
        " among the passes, which costs one pass in all and asks each of them on other text",
    )


Share = Annotated[float, Field(gt=0, lt=1)]


Positions = Annotated[
    int,
    Field(
        ge=1,
        le=1_000_000,
        description="dead too: CI there at fewer positions than this. Over running text one odd position (an attention "
        "sink in mid-window) can switch on every component of a site",
    ),
]


class PruneConfig(Frozen):
    """Drop components that are dead on the data at these shares of the steps."""

    at: tuple[Share, ...] = Field(
        default=(0.5, 0.75), description="shares of the steps after which it happens"
    )
    below: float = Field(default=0.02, ge=0, le=1, description="dead: CI never above this on the data")
    positions: Positions = 1


class AdaptConfig(Frozen):
    """With `C: auto`: fit the number of components to what is used, at these shares of the steps. Dead ones go; a site
    whose remainder alone carries more than `grow_above` gets `grow` more, along what the remainder does on the data."""

    at: tuple[Share, ...] = Field(
        default=(0.25, 0.5, 0.75),
        min_length=1,
        max_length=20,
        description="shares of the steps after which it happens",
    )
    prune_below: float = Field(default=0.02, ge=0, le=1, description="dead: CI never above this on the data")
    positions: Positions = 1
    grow_above: float = Field(
        default=0.05,
        gt=0,
        description="KL with the site's remainder alone off, nats at the counted positions",
    )
    grow: int = Field(default=8, ge=1, le=1024, description="components per site and adaptation, at most")


class EliminateConfig(Frozen):
    """Take components out that the output does not need, at these shares of the steps (backward elimination)."""

    at: tuple[Share, ...] = Field(
        default=(0.5, 0.7), description="shares of the steps after which it happens"
    )
    budget: float = Field(
        default=0.05,
        gt=0,
        description="KL under CI-as-masks that may be spent, nats at the counted positions",
    )
    rounds: int = Field(
        default=2,
        ge=1,
        le=20,
        description="most rounds each time: in a round every component that is left is tried alone, then the "
        "cheapest are dropped together",
    )
