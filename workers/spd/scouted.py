"""What is known of a model, of prompts and of a run before it is started: the answers of `workers.spd.run.scout`."""

from __future__ import annotations

from pydantic import Field

from workers.spd.config.base import Frozen

UNFIT = "it does not fit here."


class ModuleView(Frozen):
    """A module with weights of its own."""

    path: str = Field(description="its name in the model, as patterns of sites match it")
    kind: str = Field(description="its class")
    d_out: int | None = Field(
        default=None, description="width of what it writes; null where it has no matrix"
    )
    d_in: int | None = Field(default=None, description="width of what it reads; null where it has no matrix")
    parameters: int = Field(description="of the module itself")
    refused: str | None = Field(default=None, description="why it cannot be a site, a plain sentence")


class ModelView(Frozen):
    """A model as its config and headers describe it; no weights are read for this."""

    name: str = Field(description="what the model is called")
    architecture: str = Field(description="its class in transformers")
    layers: int = Field(description="number of blocks")
    d_model: int = Field(description="width of the residual stream")
    vocabulary: int = Field(description="number of tokens it predicts")
    context_length: int = Field(description="most tokens of one prompt")
    parameters: int = Field(description="of the whole model")
    license: str | None = Field(default=None, description="as its source states it")
    tokenizer: str = Field(description="its kind and size, in words")
    bos: bool = Field(description="whether it has a token that begins a text")
    weight_bytes: int = Field(description="memory its weights take, in float32")
    available_bytes: int = Field(description="memory that is free on the device this moment")
    notes: list[str] = Field(default=[], description="what gives reason to stop and think, in sentences")
    modules: list[ModuleView] = Field(description="in the order of the model")

    def beside(self, available_bytes: int) -> ModelView:
        """The same where this much memory is free, with a note where that is too little."""
        notes = [note for note in self.notes if not note.endswith(UNFIT)]
        if self.weight_bytes > available_bytes:
            notes.append(
                f"Its weights take {self.weight_bytes / 2**30:.1f} GiB in float32 and {available_bytes / 2**30:.1f} "
                f"GiB are free: {UNFIT}"
            )
        return self.model_copy(update={"available_bytes": available_bytes, "notes": notes})


class Piece(Frozen):
    """One token of a prompt."""

    id: int = Field(description="its place in the vocabulary")
    piece: str = Field(description="the text it stands for, its leading space kept")


class Guess(Frozen):
    """A token the model predicts after a prompt."""

    piece: str = Field(description="the text it stands for, its leading space kept")
    probability: float = Field(description="0 to 1")


class AskedPrompt(Frozen):
    """What the model makes of a prompt."""

    tokens: list[Piece] = Field(description="how it is split")
    likeliest: list[Guess] = Field(default=[], description="what the model expects next, the likeliest first")
    answer_pieces: list[str] = Field(
        default=[], description="how the answer is split; usable where it is one"
    )
    rank: int | None = Field(default=None, description="of the answer among all tokens; 1 is the likeliest")
    probability: float | None = Field(default=None, description="of the answer, 0 to 1")
    fault: str | None = Field(default=None, description="why it cannot be used as it stands")
    warning: str | None = Field(default=None, description="what is odd about it, though it can be used")
    suggestion: str | None = Field(
        default=None, description="an answer that can be used, or that the model finds likelier"
    )


class Estimate(Frozen):
    """What a run will take, from a few of its steps."""

    device: str = Field(description="where the steps were timed")
    seconds: dict[str, float] = Field(description="by part of the run")
    total_seconds: float = Field(description="of all parts")
    memory_bytes: int = Field(description="at the peak")
    available_bytes: int = Field(description="memory that was free on the device before")
    components: dict[str, int] = Field(description="components at the start, by site")
    steps: int = Field(description="how many were timed")
    notes: list[str] = Field(default=[], description="what gives reason to stop and think, in sentences")
