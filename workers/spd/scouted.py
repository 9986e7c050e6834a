"""What is known of a model, of prompts and of a run before it is started: the answers of `workers.spd.run.scout`."""

from __future__ import annotations

from pydantic import Field

from workers.spd.config.base import Frozen


class ModuleView(Frozen):
    """A module with weights of its own. `refused`: why it cannot be a site, a plain sentence."""

    path: str
    kind: str = Field(description="its class")
    d_out: int | None = None
    d_in: int | None = None
    parameters: int
    refused: str | None = None


class ModelView(Frozen):
    """A model as its config and headers describe it; no weights are read for this."""

    name: str
    architecture: str
    layers: int
    d_model: int
    vocabulary: int
    context_length: int
    parameters: int
    license: str | None = None
    tokenizer: str = Field(description="its kind and size, in words")
    bos: bool = Field(description="whether it has a token that begins a text")
    weight_bytes: int = Field(description="memory its weights take, in float32")
    available_bytes: int = Field(description="memory that is free on the device this moment")
    notes: list[str] = []
    modules: list[ModuleView]


class Piece(Frozen):
    id: int
    piece: str = Field(description="the text it stands for, its leading space kept")


class Guess(Frozen):
    """A token the model predicts after a prompt."""

    piece: str
    probability: float


class AskedPrompt(Frozen):
    """What the model makes of a prompt. `fault`: why it cannot be used as it stands; `suggestion`: an answer that
    can be, or that the model finds likelier."""

    tokens: list[Piece]
    likeliest: list[Guess] = []
    answer_pieces: list[str] = []
    rank: int | None = Field(default=None, description="of the answer among all tokens; 1 is the likeliest")
    probability: float | None = None
    fault: str | None = None
    warning: str | None = None
    suggestion: str | None = None


class Estimate(Frozen):
    """What a run will take, from a few of its steps. Seconds by part; `steps`: how many were timed."""

    device: str
    seconds: dict[str, float]
    total_seconds: float
    memory_bytes: int
    available_bytes: int
    components: dict[str, int] = Field(description="components at the start, by site")
    steps: int
    notes: list[str] = []
