"""What every part of a config is: frozen, and strict about its keys."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ConfigError(ValueError):
    """A config that cannot be used; the message is a plain sentence that names the key at fault."""


Seed = Annotated[int, Field(ge=0, le=2**53 - 1)]
"""What torch's generators take, and every reader of JSON keeps exactly."""


def stays_inside(path: str) -> str:
    """The path or pattern itself. Raises ValueError where it is absolute or climbs out of the folder it starts from."""
    if path.startswith(("/", "\\", "~")) or ":" in path or ".." in re.split(r"[/\\]", path):
        raise ValueError("must lie below its folder: a relative path without “..”")
    return path


def _no_nul(path: str) -> str:
    if "\0" in path:
        raise ValueError("a path has no NUL character")
    return path


LocalPath = Annotated[str, Field(min_length=1, max_length=1_000), AfterValidator(_no_nul)]
"""A file or folder of this machine."""

InsidePath = Annotated[
    str, Field(min_length=1, max_length=200), AfterValidator(_no_nul), AfterValidator(stays_inside)
]
"""A path or glob below some folder."""

Revision = Annotated[str, Field(pattern=r"^\w(?:[/-]|\.?\w)*$", max_length=200)]
"""A branch, tag or commit, as git allows them: never `..`, no character that means something in an address."""
