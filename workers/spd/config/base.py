"""What every part of a config is: frozen, and strict about its keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ConfigError(ValueError):
    """A config that cannot be used; the message is a plain sentence that names the key at fault."""


Seed = Annotated[int, Field(ge=0, le=2**53 - 1)]
"""What torch's generators take, and every reader of JSON keeps exactly."""
