"""Shapes every route shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue

T = TypeVar("T")


class Wire(BaseModel):
    """A shape on the wire: unknown keys are an error that names them, NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Body(Wire):
    """A shape that clients send. Types are JSON schema's: true is no number and "3" none, 3.0 is the integer 3."""

    model_config = ConfigDict(strict=True)

    @model_validator(mode="before")
    @classmethod
    def _integers(cls, data: Any) -> Any:
        given = cast(dict[str, Any], data)
        return {name: _whole(value) for name, value in given.items()} if isinstance(data, dict) else data


def _whole(value: Any) -> Any:
    if isinstance(value, list):
        return [_whole(item) for item in cast(list[Any], value)]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def never(*cases: dict[str, Any]) -> ConfigDict:
    """A model's config that rules out these cases in its JSON schema; the model's own validator says it in words."""
    return ConfigDict(json_schema_extra={"not": {"anyOf": [*cases]}})


def not_just_one(first: str, second: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The cases that two optional fields are both given, and that neither is."""
    given: dict[str, Any] = {"not": {"type": "null"}}
    absent = {"type": "null"}
    return (
        {"required": [first, second], "properties": {first: given, second: given}},
        {"properties": {first: absent, second: absent}},
    )


KEY: dict[str, Any] = {"pattern": r"^[A-Za-z0-9_.]+:[0-9]{1,7}$"}
CURSOR = {"pattern": r"^[0-9]{1,7}$"}
"""Shapes that the schema states and the services check, each with an error of its own."""


@dataclass(frozen=True)
class DescribedAs:
    """Plain data that another model describes in the OpenAPI, field by field; it is validated later, where its errors
    get a sentence of their own."""

    model: type[BaseModel]

    def __get_pydantic_json_schema__(self, _: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(self.model.__pydantic_core_schema__)


class ErrorBody(Wire):
    """Every error of the API. `message` is a plain sentence that says what happened and what to do."""

    code: str = Field(examples=["unknown_component"])
    message: str
    details: dict[str, Any] | None = None


class Listing(Wire, Generic[T]):
    """A page of a list. `next_cursor` is null on the last page; `total` counts all that match."""

    items: list[T]
    next_cursor: str | None = None
    total: int


class Token(Wire):
    """One token of a prompt; `piece` is the text it stands for, its leading space kept."""

    id: int
    piece: str


class Provenance(Wire):
    """From what a number comes; shown beside every result."""

    decomposition: str = Field(description="readable slug")
    artifact_hash: str = Field(description="SHA-256 of the decomposition's content")
    weights_hash: str = Field(description="SHA-256 of the target model's weights")
    model: str
    dtype: str
    device: str
    versions: dict[str, str] = Field(description="unweave, torch, transformers")
    threshold: float = Field(description="CI above which a component counts as used")


EngineState = Literal["absent", "fetching", "converting", "loading", "ready", "failed"]


class TargetStatus(Wire):
    """Where the weights of one target model are. `progress` is 0–1, or null where it is not known."""

    weights_hash: str
    model: str
    state: EngineState
    progress: float | None = None
    message: str | None = Field(
        default=None, description="a plain sentence: what is happening, or what failed and what to do"
    )
