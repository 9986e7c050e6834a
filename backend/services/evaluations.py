"""Evaluations of a decomposition: found beside its artefact or in the home folder, read as they were stored."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from backend.errors import not_found
from backend.schemas.common import Listing
from backend.schemas.evaluations import EvaluationSummary
from backend.services.entries import Entry
from workers.spd.artifact import MOST_JSON
from workers.spd.comparison.stored import FOLDER, Evaluation, evaluation_place

log = logging.getLogger("unweave")


class Evaluations:
    """A file that cannot be read, or is of another artefact, is skipped with a line in the log."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._read: dict[Path, tuple[int, Evaluation | None]] = {}
        self._lock = threading.Lock()

    def listing(self, entry: Entry) -> Listing[EvaluationSummary]:
        """Every evaluation of a decomposition, the newest first."""
        items = [
            EvaluationSummary(
                id=id, created_at=one.created_at, facts=len(one.facts), methods=len(one.methods),
                seed=one.config.seed, source=one.config.source, budgets=one.config.budgets, seconds=one.seconds,
            )
            for id, one in self._all(entry)
        ]  # fmt: skip
        return Listing[EvaluationSummary](items=items, total=len(items))

    def get(self, entry: Entry, id: str) -> Evaluation:
        """One of them; “latest” is the newest. Raises ApiError 404."""
        for name, one in self._all(entry):
            if id in ("latest", name):
                return one
        raise not_found(
            "unknown_evaluation",
            f"“{entry.slug}” has no evaluation yet. Make one with `unweave evaluate {entry.slug}`."
            if id == "latest"
            else f"“{entry.slug}” has no evaluation “{id[:80]}”.",
        )

    def _all(self, entry: Entry) -> list[tuple[str, Evaluation]]:
        found = {
            path.stem: one for path in self._paths(entry) if (one := self._open(path, entry)) is not None
        }
        return sorted(found.items(), key=lambda item: (item[1].created_at, item[0]), reverse=True)

    def _paths(self, entry: Entry) -> Iterator[Path]:
        for root in (entry.artifact.path / FOLDER, evaluation_place(self.home, entry.hash)):
            yield from sorted(root.glob("*.json"))

    def _open(self, path: Path, entry: Entry) -> Evaluation | None:
        try:
            stat = path.stat()
            with self._lock:
                stamp, known = self._read.get(path, (0, None))
                if stamp == stat.st_mtime_ns:
                    return known
            if stat.st_size > MOST_JSON:
                raise ValueError("it is too large")
            made = Evaluation.model_validate_json(path.read_bytes())
            if made.artifact_hash != entry.hash:
                raise ValueError(f"it is not of “{entry.slug}” as it is")
        except (OSError, ValueError, ValidationError) as error:
            log.warning("skipped the evaluation %s: %s", path, str(error).splitlines()[0])
            return None
        with self._lock:
            self._read[path] = (stat.st_mtime_ns, made)
        return made
