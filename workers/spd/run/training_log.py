"""The figures of a training, a line of JSON per logged step: `metrics.jsonl`."""

from __future__ import annotations

import json
from pathlib import Path


class TrainingLog:
    """The lines so far, in memory and on disk. A resumed run keeps the first `keep` lines of the file, those that its
    checkpoint knows. Only a process that `writes` touches the disk."""

    def __init__(self, path: Path, *, keep: int, writes: bool) -> None:
        self.path, self.writes = path, writes
        self.lines = path.read_text(encoding="utf-8").splitlines()[:keep] if keep else []

    def begin(self) -> None:
        """Drop from the file what came after the checkpoint."""
        if self.writes:
            self.path.write_text("".join(line + "\n" for line in self.lines), encoding="utf-8")

    def record(self, step: int, figures: dict[str, float]) -> None:
        """Add the line of a step, its figures to six digits."""
        self.lines.append(json.dumps({"step": step, **{k: float(f"{v:.6g}") for k, v in figures.items()}}))
        if self.writes:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(self.lines[-1] + "\n")
