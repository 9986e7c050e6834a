"""What a server calls its decompositions, and which it has put away: `shelf/<hash>.json` in the home folder. An
artefact itself never changes, since findings name it by its content."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from pydantic import ValidationError

from backend.schemas.decompositions import ShelfEdit, ShelfEntry
from workers.spd.artifact import write_json

log = logging.getLogger("unweave")


class Shelf:
    """One small file a decomposition that was renamed or put away; the others have none."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "shelf"

    def read(self, digest: str) -> ShelfEntry:
        """What was set, nothing where nothing was."""
        try:
            return ShelfEntry.model_validate(json.loads(self._file(digest).read_bytes()))
        except FileNotFoundError:
            return ShelfEntry()
        except (OSError, ValueError, ValidationError) as error:
            log.warning("%s cannot be read: %s", self._file(digest), error)
            return ShelfEntry()

    def edit(self, digest: str, edit: ShelfEdit) -> None:
        """Set what the edit names; null takes the artefact's own words again."""
        whole = self.read(digest).model_copy(update=edit.model_dump(exclude_unset=True))
        write_json(self._file(digest), whole.model_dump(exclude_none=True))

    def forget(self, digest: str) -> None:
        """Take down what was set."""
        self._file(digest).unlink(missing_ok=True)

    def _file(self, digest: str) -> Path:
        return self.folder / f"{digest[:16]}.json"
