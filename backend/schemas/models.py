"""Before a run: models, prompts, configs and what a run will take."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from backend.schemas.common import Body, DescribedAs, Wire, never, not_just_one
from workers.spd.config import DecomposeConfig, PromptData, Source
from workers.spd.scouted import AskedPrompt

MOST_PROMPTS = 300


class ModelChoice(Wire):
    """A model that can be decomposed without naming a place."""

    name: str
    source: Source
    where: Literal["shipped", "folder"]


class ModelChoices(Wire):
    """The models that are at hand, and where others may lie."""

    items: list[ModelChoice]
    rooms: list[str] = Field(
        description="folders whose models jobs may read, as the owner of the server set them"
    )
    setting: str = Field(description="the setting that adds folders")


NO_KIND = {"required": ["source"], "properties": {"source": {"not": {"required": ["kind"]}}}}


class InspectRequest(Body):
    model_config = never(NO_KIND)

    source: Source
    fetch: bool = Field(
        default=False, description="fetch the weights of a package first, where they are not here"
    )


class AskRequest(Body):
    """Prompts to ask of a model."""

    model_config = never(NO_KIND)

    source: Source
    prompts: list[PromptData] = Field(min_length=1, max_length=MOST_PROMPTS)
    bos: bool = Field(default=False, description="whether every prompt begins with the model's BOS token")


class AskedPrompts(Wire):
    items: list[AskedPrompt] = Field(description="in the order of the prompts")


class PromptFile(Body):
    """The text of a file of prompts; its format is that of `format`, or else of `name`."""

    text: str = Field(max_length=1_000_000)
    name: str = Field(default="", max_length=300)
    format: Literal["text", "csv", "jsonl"] | None = None


class ReadPrompts(Wire):
    items: list[PromptData]


class Recipe(Wire):
    """The part of a config that is the method, for a kind of data in a size."""

    kind: Literal["prompts", "facts", "corpus"]
    size: Literal["quick", "good", "thorough"]
    sites: str = Field(description="pattern of the sites that it is made for")
    config: dict[str, Any]


class ConfigRequest(Body):
    """A config, as plain data or as YAML (exactly one)."""

    model_config = never(*not_just_one("config", "yaml"))

    config: Annotated[dict[str, Any], DescribedAs(DecomposeConfig)] | None = None
    yaml: str | None = Field(default=None, max_length=1_000_000)

    @model_validator(mode="after")
    def _one_of(self) -> ConfigRequest:
        if (self.config is None) == (self.yaml is None):
            raise ValueError("Send either “config” or “yaml”, one of the two.")
        return self


class ReviewedSite(Wire):
    """A site of a config. `components`: at the start, or null where only the data decide."""

    path: str
    d_out: int
    d_in: int
    parameters: int
    components: int | None


class Review(Wire):
    """A config looked at before it is started. `notes`: what gives reason to stop and think; it can be started all
    the same."""

    config: dict[str, Any] = Field(description="with what was given, and nothing else")
    yaml: str
    command: str = Field(description="the same run from a shell")
    sites: list[ReviewedSite]
    parameters: int = Field(description="of the matrices that are decomposed")
    components: int | None
    notes: list[str]
