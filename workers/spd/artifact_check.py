"""Whether an artefact from elsewhere holds what its manifest says: tensors of the stated shapes with finite numbers,
columns of one length, components and tokens that exist. Hashes cannot say this: whoever writes a manifest can hash
anything. Imports no torch, and reads nothing before its size is known to fit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workers.spd.artifact import Artifact, ArtifactError, SiteCard
from workers.spd.keys import ComponentKey

COMPONENTS, CI, TARGET = "components.safetensors", "ci.safetensors", "target/model.safetensors"
MOST_HEADER = 2**26
CHUNK = 2**22
ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
MODEL_SIZES = {
    "parameters": 10**15, "layers": 10**4, "d_model": 10**6, "vocabulary": 10**8, "context_length": 10**9,
}  # fmt: skip
# A floating number is infinite or NaN where all bits of its exponent are set: as unsigned integers of the same width.
EXPONENTS: dict[str, tuple[type[np.unsignedinteger[Any]], int]] = {
    "F64": (np.uint64, 0x7FF << 52),
    "F32": (np.uint32, 0xFF << 23),
    "F16": (np.uint16, 0x1F << 10),
    "BF16": (np.uint16, 0xFF << 7),
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a safetensors file: its bytes lie from `begin` to `end` of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def tensors_of(path: Path) -> dict[str, StoredTensor]:
    """The header of a safetensors file, checked against the file's size. Raises ArtifactError."""

    def refuse(why: str) -> ArtifactError:
        return ArtifactError(f"“{path.name}” is not a safetensors file that can be used: {why}.")

    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(MOST_HEADER, size - 8):
            raise refuse(f"its header of {length:,} bytes does not fit its {size:,} bytes")
        try:
            header = json.loads(file.read(length).decode("utf-8"))
        except (ValueError, RecursionError):
            raise refuse("its header cannot be read") from None
    if not isinstance(header, dict):
        raise refuse("its header cannot be read")
    start, stored = 8 + length, {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            dtype, shape, (first, last) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
            whole = all(type(n) is int and n >= 0 for n in (*shape, first, last))
        except (KeyError, TypeError, ValueError):
            raise refuse(f"the entry “{name[:80]}” cannot be read") from None
        if not whole or dtype not in ITEM_BYTES:
            raise refuse(f"the entry “{name[:80]}” cannot be read")
        if last - first != math.prod(shape) * ITEM_BYTES[dtype] or start + last > size:
            raise refuse(f"“{name[:80]}” of shape {list(shape)} does not fit its bytes")
        stored[name] = StoredTensor(dtype, shape, start + first, start + last)
    at = start
    for tensor in sorted(stored.values(), key=lambda tensor: (tensor.begin, tensor.end)):
        if tensor.begin != at:
            raise refuse("its tensors overlap, or leave gaps")
        at = tensor.end
    if at != size:
        raise refuse("it holds bytes that belong to no tensor")
    return stored


def check_artifact(artifact: Artifact) -> None:
    """Raise ArtifactError, a sentence that names what is wrong, where an artefact does not hold together."""
    _check_sites(artifact)
    _check_tensors(artifact)
    _check_harvest(artifact)
    _ = artifact.curves


def _refuse(artifact: Artifact, why: str) -> ArtifactError:
    return ArtifactError(f"“{artifact.path.name}” does not hold together: {why}.")


def _check_sites(artifact: Artifact) -> None:
    manifest, names = artifact.manifest, set[str]()
    for site in manifest.sites:
        if site.name in names:
            raise _refuse(artifact, f"the site {site.name} stands twice")
        names.add(site.name)
        try:
            ComponentKey.parse(f"{site.name}:{max(site.trained - 1, 0)}")
        except ValueError:
            raise _refuse(
                artifact, f"{site.name[:120]} with {site.trained:,} components cannot be a site"
            ) from None
        if min(site.d_in, site.d_out) < 1:
            raise _refuse(artifact, f"{site.name} has sizes that cannot be")
        if len(set(site.kept)) != len(site.kept) or not all(0 <= n < site.trained for n in site.kept):
            raise _refuse(artifact, f"{site.name} keeps components that it did not train, or one twice")
    for figures in (manifest.l0_by_site, manifest.faithfulness_by_site):
        if unknown := set(figures) - names:
            raise _refuse(artifact, f"it measures sites it does not have: {sorted(unknown)[0][:80]}")
    model = manifest.target.model
    for name, most in MODEL_SIZES.items():
        if not 1 <= getattr(model, name) <= most:
            raise _refuse(artifact, f"a model of {getattr(model, name):,} {name} cannot be")


def _check_tensors(artifact: Artifact) -> None:
    for name in (COMPONENTS, CI):
        if name not in artifact.manifest.files:
            raise _refuse(artifact, f"it has no {name}")
    sites = artifact.manifest.sites
    stored = tensors_of(artifact.path / COMPONENTS)
    wanted = {f"{site.name}.{part}": shape for site in sites for part, shape in _shapes(site).items()}
    if stored.keys() != wanted.keys():
        odd = sorted(stored.keys() ^ wanted.keys())[0]
        raise _refuse(artifact, f"{COMPONENTS} and its sites differ in {odd[:120]}")
    for name, tensor in stored.items():
        kinds = ("I64",) if name.endswith(".index") else tuple(EXPONENTS)
        if tensor.shape != wanted[name] or tensor.dtype not in kinds:
            raise _refuse(
                artifact, f"{name} is {tensor.dtype} {list(tensor.shape)}, where {list(wanted[name])} belongs"
            )
    for site in sites:
        index = stored[f"{site.name}.index"]
        read = np.concatenate(
            [np.empty(0, "<i8"), *_pieces(artifact.path / COMPONENTS, index, np.dtype("<i8"))]
        )
        if read.tolist() != site.kept:
            raise _refuse(artifact, f"{site.name}.index is not the list of components it keeps")
    for name in (COMPONENTS, CI, TARGET):
        if name in artifact.manifest.files:
            _check_finite(artifact, name, tensors_of(artifact.path / name))


def _shapes(site: SiteCard) -> dict[str, tuple[int, ...]]:
    kept = len(site.kept)
    return {"V": (site.d_in, kept), "U": (kept, site.d_out), "index": (kept,)}


def _check_finite(artifact: Artifact, file: str, tensors: Mapping[str, StoredTensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype in EXPONENTS:
            kind, exponent = EXPONENTS[tensor.dtype]
            bits = kind(exponent)
            for piece in _pieces(artifact.path / file, tensor, np.dtype(kind).newbyteorder("<")):
                if ((piece & bits) == bits).any():
                    raise _refuse(artifact, f"{name} in {file} holds a number that is not finite")


def _pieces(path: Path, tensor: StoredTensor, dtype: np.dtype[Any]) -> Iterator[np.ndarray]:
    with path.open("rb") as file:
        file.seek(tensor.begin)
        left = tensor.end - tensor.begin
        while left:
            raw = file.read(min(left, CHUNK))
            if not raw:
                raise ArtifactError(f"“{path.name}” ends too soon.")
            left -= len(raw)
            yield np.frombuffer(raw, dtype)


def _check_harvest(artifact: Artifact) -> None:
    sites = artifact.manifest.sites
    kept = {site.name: frozenset(site.kept) for site in sites}
    columns = artifact.columns
    lengths = {
        name: len(getattr(columns, name))
        for name, column in type(columns).model_fields.items()
        if column.is_required() or getattr(columns, name)  # a column that may be missing is empty then
    }
    if len(set(lengths.values())) != 1:
        raise _refuse(artifact, f"its component columns have different lengths: {lengths}")
    rows = list(zip(columns.site, columns.index, strict=True))
    for site, number in rows:
        if number not in kept.get(site, ()):
            raise _refuse(artifact, f"it lists the component {site[:120]}:{number}, which it does not store")
    if len(set(rows)) != len(rows):
        raise _refuse(artifact, "it lists a component twice")
    for prompt in artifact.prompts:
        tokens = len(prompt.token_ids)
        points = (prompt.site, prompt.position, prompt.component, prompt.ci, prompt.inner_activation)
        if len({len(column) for column in points}) != 1 or len(prompt.pieces) != tokens:
            raise _refuse(artifact, f"the columns of the prompt “{prompt.text[:60]}” have different lengths")
        if not all(0 <= token < artifact.manifest.target.model.vocabulary for token in prompt.token_ids):
            raise _refuse(artifact, f"the prompt “{prompt.text[:60]}” has tokens outside the vocabulary")
        for site, position, component in zip(prompt.site, prompt.position, prompt.component, strict=True):
            if not (
                0 <= site < len(sites) and 0 <= position < tokens and component in kept[sites[site].name]
            ):
                raise _refuse(artifact, "it has harvested values outside its sites, components or prompts")
    for group in artifact.groups:
        for key in group.components:
            try:
                parsed = ComponentKey.parse(key)
            except ValueError:
                raise _refuse(
                    artifact, f"the group “{group.name[:60]}” names no component: {key[:120]}"
                ) from None
            if parsed.index not in kept.get(parsed.site, ()):
                raise _refuse(
                    artifact, f"the group “{group.name[:60]}” names {key[:120]}, which is not stored"
                )
