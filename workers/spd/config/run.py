"""The whole of a config, and what of one part must fit another."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from workers.spd.config.base import Frozen, Seed
from workers.spd.config.ci import CIConfig, SharedMLPCI
from workers.spd.config.data import DataConfig
from workers.spd.config.losses import AdversarialReconstruction, Loss
from workers.spd.config.rest import RestConfig
from workers.spd.config.sources import Source
from workers.spd.config.training import (
    AdaptConfig,
    EliminateConfig,
    OptimizerConfig,
    PruneConfig,
    ReconstructionConfig,
    StartConfig,
)


class CheckConfig(Frozen):
    """A selectivity test the run makes at its end: suppress the groups, watch an answer on a prompt."""

    groups: tuple[str, ...] = Field(min_length=1, description="group names, as harvested: ␣Woods")
    prompt: str = Field(description="the prompt on which the groups are suppressed")
    answer: str = Field(description="the token whose probability is watched, with its leading space")
    role: Literal["target", "bystander", "reverse"] = Field(
        description="target: the answer should fall; bystander: it should stay; reverse: the same fact asked "
        "the other way round"
    )
    at_least: float | None = Field(default=None, description="the share by which the probability must fall")
    at_most: float | None = Field(default=None, description="the share by which it may move, either way")
    keeps: float | None = Field(default=None, description="the share of the probability that must remain")
    looked_at: bool = Field(
        default=False, description="whether it was looked at while the run's settings were chosen"
    )


LONGEST_NAME = 100


class DecomposeConfig(Frozen):
    """Everything that decides what a run computes. The same config, seed and device give the same numbers."""

    name: str = Field(
        pattern=rf"^[a-z0-9][a-z0-9-]{{0,{LONGEST_NAME - 1}}}$", description="slug of the result"
    )
    title: str = Field(
        default="", max_length=200, description="what the page calls the result; empty: its name"
    )
    description: str = Field(
        default="", max_length=2_000, description="what the run is about, shown on its page"
    )
    seed: Seed = Field(default=0, description="decides every random draw of the run")
    target: Source = Field(description="the model that is decomposed")
    sites: tuple[str, ...] = Field(min_length=1, description="module paths; * matches within a path")
    C: int | Literal["auto"] = Field(
        default=16,
        description="components per site at the start; auto: one per token input (start data) or full rank, and from "
        "there as `adapt` says. A data start takes at most one per token input.",
    )
    start: StartConfig = Field(default=StartConfig(), description="values of V and U before the first step")
    ci: CIConfig = Field(default=SharedMLPCI(), description="the causal importance functions")
    losses: tuple[Loss, ...] = Field(min_length=1, description="what is trained on, each kind at most once")
    data: DataConfig = Field(description="what the run reads")
    rest: RestConfig | None = Field(
        default=None,
        description="a second stream of other text, for a decomposition of a few prompts or facts",
    )
    reconstruction: ReconstructionConfig = Field(
        default=ReconstructionConfig(), description="what counts as the same output"
    )
    optimizer: OptimizerConfig = Field(default=OptimizerConfig(), description="Adam and its learning rates")
    steps: int = Field(default=1_000, ge=1, le=10_000_000, description="training steps")
    faithfulness_steps: int = Field(
        default=0, ge=0, le=10_000_000, description="steps on faithfulness alone, before the run"
    )
    adapt: AdaptConfig | None = Field(
        default=None, description="with C: auto, when components are dropped and added; null: never"
    )
    prune: PruneConfig | None = Field(
        default=None, description="when dead components are dropped; null: never"
    )
    eliminate: EliminateConfig | None = Field(
        default=None, description="when components that the output does not need are closed; null: never"
    )
    threshold: float = Field(default=0.1, gt=0, lt=1, description="CI above which a component counts as used")
    checkpoint_every: int = Field(
        default=200, ge=1, description="steps between checkpoints; a killed run loses at most so many"
    )
    log_every: int = Field(default=20, ge=1, description="steps between lines of the log")
    evidence_every: int | None = Field(
        default=200,
        ge=1,
        description="steps between small evidence tables in the log; null: only the one at the end",
    )
    checks: tuple[CheckConfig, ...] = Field(default=(), description="selectivity tests made at the end")
    stored_dtype: Literal["float32", "float16"] = Field(
        default="float32", description="precision of the stored components; float16 halves the artefact"
    )
    precision: Literal["float32", "bf16"] = Field(
        default="float32",
        description="bf16: training's masked passes run under autocast; losses stay float32",
    )
    target_weights: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="bfloat16: the target's weights are held and multiplied so, in half the memory; what is trained "
        "stays float32",
    )

    @property
    def bos(self) -> bool:
        """Whether every prompt begins with the model's BOS token."""
        return self.data.bos

    @property
    def subjects(self) -> list[str]:
        """What the prompts or facts of the run are about, each once."""
        if self.data.kind == "prompts":
            return list(dict.fromkeys(prompt.fact for prompt in self.data.prompts if prompt.fact))
        if self.data.kind == "facts":
            return [subject for relation in self.data.relations for subject in relation.facts]
        return []

    @property
    def adversary(self) -> AdversarialReconstruction | None:
        """The adversarial loss, where there is one."""
        return next((loss for loss in self.losses if isinstance(loss, AdversarialReconstruction)), None)

    @model_validator(mode="after")
    def _components_are_positive(self) -> DecomposeConfig:
        if isinstance(self.C, int) and not 1 <= self.C <= 100_000:
            raise ValueError("C must lie between 1 and 100,000.")
        kinds = [loss.kind for loss in self.losses]
        if len(set(kinds)) != len(kinds):
            raise ValueError("Each kind of loss may stand once in “losses”.")
        return self

    @model_validator(mode="after")
    def _adapt_is_used(self) -> DecomposeConfig:
        if self.adapt is not None and self.C != "auto":
            raise ValueError(f"adapt goes with C: auto; a fixed C ({self.C}) stays as it is.")
        if self.adapt is not None and self.prune is not None:
            raise ValueError("adapt drops dead components itself; leave prune out.")
        return self

    @model_validator(mode="after")
    def _start_fits_the_data(self) -> DecomposeConfig:
        if self.data.kind == "corpus" and self.start.kind == "data":
            raise ValueError(
                "start.kind “data” gives each token input a component of its own, for short prompts; a corpus has too "
                "many. Take “svd” or “random”."
            )
        return self

    @model_validator(mode="after")
    def _passes_have_prompts(self) -> DecomposeConfig:
        if self.reconstruction.passes == "each":
            return self
        passes = sum(
            getattr(loss, "uniform", 0)
            + getattr(loss, "level", 0)
            + isinstance(loss, AdversarialReconstruction)
            for loss in self.losses
        )
        size = self.data.batch_size
        if size is not None and size < passes:
            raise ValueError(
                f"reconstruction.passes “divided” shares {size} prompts a step out among {passes} passes; raise "
                "data.batch_size."
            )
        return self

    @model_validator(mode="after")
    def _held_out_is_new_to_the_target(self) -> DecomposeConfig:
        data, target = self.data, self.target
        if data.kind != "corpus" or target.kind != "text_model" or data.package is None:
            return self
        apart = data.package.model_copy(update={"license": None}) == target.text.model_copy(
            update={"license": None}
        )
        if apart and data.held_out != target.held_out:
            raise ValueError(
                f"data.held_out ({data.held_out:g}) must be target.held_out ({target.held_out:g}): otherwise text that "
                "the model was trained on would count as held out."
            )
        return self

    @model_validator(mode="after")
    def _prompts_have_subjects(self) -> DecomposeConfig:
        if self.reconstruction.remainder == "subject" and self.data.kind not in ("prompts", "facts"):
            raise ValueError(
                f"reconstruction.remainder “subject” goes with data.kind “prompts” or “facts”; “{self.data.kind}” is "
                "about nothing in particular."
            )
        return self

    @model_validator(mode="after")
    def _rest_fits_the_run(self) -> DecomposeConfig:
        if self.start.background == "rest" and self.rest is None:
            raise ValueError("start.background “rest” is the text of the run's second stream; give “rest”.")
        if self.rest is None:
            return self
        if self.data.kind not in ("prompts", "facts"):
            raise ValueError(
                f"rest goes with data.kind “prompts” or “facts”, which are about a few things; “{self.data.kind}” is "
                "about all of its text."
            )
        if any(loss.kind == "faithfulness" for loss in self.losses):
            raise ValueError(
                "rest and the loss “faithfulness” ask for opposite things: what the prompts do not need belongs to the "
                "remainder. Leave one of them out."
            )
        if self.adapt is not None:
            raise ValueError(
                "rest keeps what no prompt needs in the remainder; adapt would grow it. Leave one out."
            )
        if self.rest.text.bos != self.bos:
            raise ValueError("rest.text.bos and data.bos must be the same.")
        return self

    @model_validator(mode="after")
    def _data_fit_the_target(self) -> DecomposeConfig:
        if (self.target.kind == "induction") != (self.data.kind == "induction"):
            raise ValueError(
                f"data.kind “{self.data.kind}” does not go with target.kind “{self.target.kind}”: the induction model "
                "reads sequences drawn for it (data.kind “induction”), every other model prompts."
            )
        return self
