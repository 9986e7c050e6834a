"""A harvest on disk: one Arrow file with one row per component, in small compressed batches, and a JSON file about it.

    harvest.json       `HarvestInfo`: the artefact, the corpus, the seed, what was counted, the file's SHA-256
    components.arrow   Arrow IPC (zstd): one row per component in the artefact's order, BATCH rows per batch

The footer of an Arrow file holds where each batch lies, so a component's page reads one batch of BATCH rows however
many components there are (docs/adr/0003-harvests-in-arrow.md). The folder is written aside and renamed. It lies beside
the artefact and is no part of its hash: an artefact can have any number of harvests, by corpus, settings and seed.
Imports no torch.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, ValidationError

from workers.spd.artifact import ArtifactError, Stored, parse_json, sha256
from workers.spd.statistics.config import HarvestConfig

FORMAT = 1
INFO, TABLE = "harvest.json", "components.arrow"
BATCH = 32
QUANTILES = ("top", "90-100", "50-90", "10-50")


class HarvestInfo(Stored):
    """Of what a harvest says something. `id` names it within its decomposition."""

    format: int = FORMAT
    id: str
    artifact_hash: str
    weights_hash: str
    corpus: str
    described: str = Field(description="the corpus in words")
    corpus_hash: str
    config: HarvestConfig
    threshold: float
    windows: int
    tokens: int
    positions: int = Field(description="those counted: without the first where it stays the target's own")
    all_read: bool
    sources: dict[str, int] = Field(description="windows by where they come from")
    components: int
    fired: int = Field(description="components above the threshold somewhere in the corpus")
    ablated: int = Field(description="components suppressed alone")
    ablation_windows: int = Field(description="windows on which all of them were")
    sampled_positions: int = Field(description="positions over which firing together was counted")
    dtype: str
    device: str
    versions: dict[str, str]
    created_at: datetime
    seconds: float
    labels: Literal["prompts", "corpus"] | None = Field(
        default=None,
        description="where the tokens of labels come from: the run's training prompts, or half of this corpus",
    )
    label_positions: int = Field(default=0, description="positions on which labels were scored")
    notes: list[str] = []
    files: dict[str, str] = Field(description="path → SHA-256")


@dataclass(frozen=True)
class Ragged:
    """A list of records a row: row i has the items offsets[i] … offsets[i + 1] of every field. A field may be ragged
    itself."""

    offsets: np.ndarray
    fields: Mapping[str, np.ndarray | Ragged]

    @classmethod
    def of(cls, parts: list[int], fields: Mapping[str, np.ndarray | Ragged]) -> Ragged:
        """From the number of items of each row."""
        return cls(np.cumsum([0, *parts]).astype(np.int64), fields)


Columns = Mapping[str, "np.ndarray | Ragged"]


def write_store(folder: Path, info: HarvestInfo, columns: Columns) -> HarvestInfo:
    """Write a harvest aside and rename it to `folder`, in place of one that stood there. Returns the info with the
    file's hash."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    schema = _batch(columns, 0, 0).schema
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with (
        pa.OSFile(str(part / TABLE), "wb") as file,
        pa.ipc.new_file(file, schema, options=options) as writer,
    ):
        for first in range(0, info.components, BATCH):
            writer.write_batch(_batch(columns, first, min(first + BATCH, info.components)))
    info = info.model_copy(update={"files": {TABLE: sha256(part / TABLE)}})
    (part / INFO).write_text(info.model_dump_json(indent=1) + "\n", encoding="utf-8")
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(part, folder)
    shutil.rmtree(old, ignore_errors=True)
    return info


def _batch(columns: Columns, first: int, last: int) -> pa.RecordBatch:
    arrays = [_array(column, first, last) for column in columns.values()]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def _array(column: np.ndarray | Ragged, first: int, last: int) -> pa.Array:
    if isinstance(column, np.ndarray):
        if column.ndim == 1:
            return pa.array(column[first:last], pa.string() if column.dtype == object else None)
        flat = np.ascontiguousarray(column[first:last]).reshape(-1)
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), column.shape[1])
    begin, end = int(column.offsets[first]), int(column.offsets[last])
    offsets = pa.array((column.offsets[first : last + 1] - begin).astype(np.int32))
    items = {name: _array(field, begin, end) for name, field in column.fields.items()}
    if list(items) == [""]:
        return pa.ListArray.from_arrays(offsets, items[""])
    return pa.ListArray.from_arrays(
        offsets, pa.StructArray.from_arrays(list(items.values()), names=list(items))
    )


def read_info(folder: Path) -> HarvestInfo:
    """What a harvest folder holds. Raises ArtifactError with a plain sentence where it is not one."""
    try:
        data = parse_json((folder / INFO).read_text(encoding="utf-8"))
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ArtifactError(f"The harvest “{folder.name}” has another format than {FORMAT}.")
        return HarvestInfo.model_validate(data)
    except (OSError, ValueError, ValidationError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArtifactError(f"The harvest “{folder.name}” cannot be read: {reason}.") from None


class HarvestStore:
    """An open harvest. Threads may share it. Raises ArtifactError where the file is damaged."""

    def __init__(self, folder: Path, info: HarvestInfo | None = None) -> None:
        self.folder, self.info = folder, info or read_info(folder)
        self._lock = threading.Lock()
        try:
            self._file = pa.memory_map(str(folder / TABLE), "r")
            self._reader = pa.ipc.open_file(self._file)
        except (OSError, pa.ArrowException) as error:
            raise ArtifactError(f"The harvest “{folder.name}” cannot be read: {error}.") from None

    def check(self) -> None:
        """Read every batch as if it came from a stranger. Raises ArtifactError where one is damaged or missing."""
        rows = 0
        try:
            with self._lock:
                for number in range(self._reader.num_record_batches):
                    batch = self._reader.get_batch(number)
                    batch.validate(full=True)
                    rows += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            raise ArtifactError(f"The harvest “{self.folder.name}” cannot be read: {error}.") from None
        if rows != self.info.components:
            raise ArtifactError(
                f"The harvest “{self.folder.name}” has {rows:,} components where {self.info.components:,} belong."
            )

    def row(self, ordinal: int) -> dict[str, Any]:
        """All that is stored of one component, by its place in the artefact's order. Reads one batch."""
        try:
            with self._lock:
                batch = self._reader.get_batch(ordinal // BATCH)
            return batch.slice(ordinal % BATCH, 1).to_pylist()[0]
        except (OSError, pa.ArrowException, IndexError) as error:
            raise ArtifactError(f"The harvest “{self.folder.name}” cannot be read: {error}.") from None

    def rows(self, *names: str) -> Iterator[dict[str, Any]]:
        """Some fields of every row, in order; costs the whole file."""
        options = pa.ipc.IpcReadOptions(
            included_fields=[self._reader.schema.get_field_index(n) for n in names]
        )
        try:
            with pa.memory_map(str(self.folder / TABLE), "r") as file:
                reader = pa.ipc.open_file(file, options=options)
                for number in range(reader.num_record_batches):
                    yield from reader.get_batch(number).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise ArtifactError(f"The harvest “{self.folder.name}” cannot be read: {error}.") from None

    def columns(self, *names: str) -> dict[str, np.ndarray]:
        """Whole columns of numbers; costs the whole file, so it is for building an index."""
        options = pa.ipc.IpcReadOptions(
            included_fields=[self._reader.schema.get_field_index(n) for n in names]
        )
        with pa.memory_map(str(self.folder / TABLE), "r") as file:
            table = pa.ipc.open_file(file, options=options).read_all()
        return {name: table.column(name).to_numpy() for name in names}

    def close(self) -> None:
        self._file.close()
