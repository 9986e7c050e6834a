"""Causal importance functions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from workers.spd.config.base import Frozen


class CIBase(Frozen):
    reads: Literal["inner", "input"] = Field(
        default="inner", description="inner activations x·V over their data RMS, or the site's whole input"
    )
    scale: Literal["rms", "peak"] = Field(
        default="rms",
        description="what activations are divided by: their RMS over the data, or their largest magnitude,"
        " for components that fire on few of many tokens",
    )
    start: float = Field(default=0.95, ge=0, le=1, description="every causal importance at step 0")


class AttentionCI(CIBase):
    """The paper's: one attention head with a learned relative term before the γ-MLP."""

    kind: Literal["attention"] = Field(
        default="attention", description="the paper's function: attention over the positions before an MLP"
    )
    scope: Literal["component", "site"] = Field(
        default="site",
        description="component: an attention network for each component, as in the paper, at a cost that "
        "grows with their number; site: one for all components of a site",
    )
    heads: int = Field(default=1, ge=1, le=16, description="the paper has one; each has d_k of its own")
    d_k: int = Field(default=16, ge=1, le=1024, description="width of a head's queries, keys and values")
    hidden: int = Field(default=32, ge=1, le=4096, description="hidden units of the MLP behind the attention")
    causal: bool = Field(
        default=True, description="whether a position sees only itself and earlier ones, as the target does"
    )
    sees_itself: bool = Field(
        default=True,
        description="false: attention leaves the position itself out (γ reads its x anyway), so that a token's first"
        " occurrence cannot pass for a later one; a position with nothing else to see sees itself",
    )
    max_distance: int = Field(
        default=128, ge=1, le=8192, description="relative positions further apart share one term"
    )
    relative_start: Literal["flat", "near"] = Field(
        default="flat",
        description="r at step 0. near: weights 1/distance without the position itself, and keys equal to queries, "
        "so what came just before shows from the start; every second head looks for earlier likes of a token instead, "
        "wherever they stand",
    )
    relative_gain: float = Field(
        default=1.0,
        gt=0,
        le=1_000,
        description="r is this times its parameter: larger learns sharp positions sooner",
    )


class SharedMLPCI(CIBase):
    """One MLP a site with C outputs."""

    kind: Literal["shared_mlp"] = Field(
        default="shared_mlp",
        description="one MLP for each site, with an output for each component: the cheapest",
    )
    hidden: int = Field(default=32, ge=1, le=4096, description="hidden units of each site's MLP")


class MLPCI(CIBase):
    """A per-component MLP of the scalar inner activation."""

    kind: Literal["mlp"] = Field(
        default="mlp", description="an MLP for each component, of its scalar inner activation"
    )
    reads: Literal["inner"] = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default="inner", description="this function reads a component's own inner activation and nothing else"
    )
    hidden: int = Field(default=16, ge=1, le=4096, description="hidden units of each component's MLP")


class VectorMLPCI(CIBase):
    """A per-component MLP of everything the site reads."""

    kind: Literal["vector_mlp"] = Field(
        default="vector_mlp",
        description="an MLP for each component, of everything its site reads: about 20 times the cost of "
        "shared_mlp",
    )
    hidden: int = Field(default=16, ge=1, le=4096, description="hidden units of each component's MLP")


class TransformerCI(CIBase):
    """One small transformer that sees every site at once."""

    kind: Literal["transformer"] = Field(
        default="transformer", description="one transformer that reads all sites together"
    )
    d_model: int = Field(
        default=64, ge=8, le=4096, description="width of its residual stream, a multiple of twice the heads"
    )
    layers: int = Field(default=2, ge=1, le=24, description="its layers, each attention and an MLP")
    heads: int = Field(default=4, ge=1, le=64, description="attention heads in each layer")
    causal: bool = Field(
        default=True, description="whether a position sees only itself and earlier ones, as the target does"
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> TransformerCI:
        if self.d_model % (2 * self.heads):
            raise ValueError(
                f"d_model {self.d_model} must be a multiple of twice the heads, {2 * self.heads}."
            )
        return self


CIConfig = Annotated[
    AttentionCI | SharedMLPCI | MLPCI | VectorMLPCI | TransformerCI, Field(discriminator="kind")
]
