"""What a run reads that does not come with Unweave, folders of this machine and the hub: for administrators."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from backend.errors import ApiError
from workers.spd.config import (
    DecomposeConfig,
    FolderSource,
    HubSource,
    Source,
    load_config,
    preset_names,
)
from workers.spd.statistics.config import HarvestConfig


def check_sources(asked: DecomposeConfig | HarvestConfig | Source) -> None:
    """Raises ApiError 403 where a folder, a dataset or a repository of the hub is named that no preset names."""
    for key, named in _named(asked):
        if (key, named) not in _of_presets():
            said = f"“{key}” is a folder, a dataset or a repository of the hub, and to read that needs the role admin."
            raise ApiError(403, "role_too_small", said, {"field": key, "needed": "admin"})


def _named(asked: DecomposeConfig | HarvestConfig | Source) -> Iterator[tuple[str, str]]:
    """Everything from elsewhere that a config names, with its key."""
    if isinstance(asked, FolderSource | HubSource):
        yield "target", asked.model_dump_json()
    if isinstance(asked, DecomposeConfig):
        yield from _named(asked.target)
        texts = {"data": asked.data, "rest.text": asked.rest.text if asked.rest is not None else None}
        for where, text in texts.items():
            for key, value in (
                ("path", text and text.places().get("path")),
                ("dataset", text and text.dataset),
            ):
                if value is not None:
                    yield f"{where}.{key}", str(value)
    if isinstance(asked, HarvestConfig):
        for key, value in (("path", asked.path), ("dataset", asked.dataset)):
            if value is not None:
                yield key, str(value)


@cache
def _of_presets() -> frozenset[tuple[str, str]]:
    return frozenset(named for name in preset_names() for named in _named(load_config(name)))
