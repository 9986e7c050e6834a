"""The catalogue, rebuilt from artefact folders: the folders are the truth, these rows make them quick to search."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from backend.db.tables import ComponentIndexRow, DecompositionRow, LabelRow
from workers.spd.artifact import MANIFEST, Artifact, HarvestColumns
from workers.spd.keys import ComponentKey, short_name

SKIPPED_ENDINGS = (".partial", ".old", ".part")
CHUNK = 5_000


@dataclass(frozen=True)
class Folder:
    """A folder that should hold an artefact. `place` is its name in the index, the same on every machine."""

    place: str
    path: Path
    signature: str
    shipped: bool


def scan(root: Path, *, shipped: bool) -> list[Folder]:
    """Folders under `root` by name; hidden ones and work in progress are left out. A missing root is empty."""
    folders: list[Folder] = []
    try:
        entries = sorted(root.iterdir())
    except OSError:
        return []
    for path in entries:
        if path.name.startswith((".", "_")) or path.name.endswith(SKIPPED_ENDINGS) or not path.is_dir():
            continue
        try:
            stat = (path / MANIFEST).stat()
            signature = f"{stat.st_mtime_ns}-{stat.st_size}"
        except OSError:
            signature = "none"
        folders.append(Folder(f"{'shipped' if shipped else 'home'}/{path.name}", path, signature, shipped))
    return folders


def visible(token: str) -> str:
    """A token with its spaces and line ends in sight: " Woods" → "␣Woods"."""
    return token.replace(" ", "␣").replace("\n", "↵")


def _search_text(key: str, site: str, label: str, tokens: list[str]) -> str:
    shown = [visible(token) for token in tokens]
    return "\n".join([key, short_name(site), label, *tokens, *shown]).lower()


_WRITES = re.compile(r"^(fires (?:on .*?|weakly)) · writes (?!the \w+ slice$).*$", re.DOTALL)


def run_label(columns: HarvestColumns, ordinal: int) -> str:
    """What a run alone calls a component. Runs of before named the strongest tokens that it writes however weak they
    were; what it writes takes a harvest to say."""
    return _WRITES.sub(r"\1", columns.label[ordinal])


def component_rows(artifact: Artifact) -> Iterator[dict[str, Any]]:
    """Index rows of a checked artefact's components."""
    columns = artifact.columns
    for ordinal, (site, index) in enumerate(zip(columns.site, columns.index, strict=True)):
        label, tokens = run_label(columns, ordinal), columns.top_tokens[ordinal]
        yield {
            "hash": artifact.hash,
            "ordinal": ordinal,
            "site": site,
            "index": index,
            "alive": columns.alive[ordinal],
            "mean_ci": columns.mean_ci[ordinal],
            "max_ci": columns.max_ci[ordinal],
            "density": columns.density[ordinal],
            "write_norm": columns.write_norm[ordinal],
            "effect": columns.effect[ordinal],
            "label": label,
            "label_order": label.lower()[:100],
            "top_token": columns.top_token[ordinal],
            "top_tokens": tokens,
            "search": _search_text(f"{site}:{index}", site, label, tokens),
        }


def indexed(session: Session, folder: Folder) -> DecompositionRow | None:
    """The row of a folder if the index holds it as it is now."""
    row = session.scalar(select(DecompositionRow).where(DecompositionRow.place == folder.place))
    return row if row is not None and row.signature == folder.signature else None


def forget(session: Session, *, hash: str | None = None, place: str | None = None) -> None:
    """Take a decomposition out of the index; its folder is left alone."""
    rows = select(DecompositionRow.hash)
    rows = rows.where(DecompositionRow.hash == hash) if hash else rows.where(DecompositionRow.place == place)
    for hash in session.scalars(rows).all():
        session.execute(delete(ComponentIndexRow).where(ComponentIndexRow.hash == hash))
        session.execute(delete(DecompositionRow).where(DecompositionRow.hash == hash))


def store(session: Session, folder: Folder, artifact: Artifact) -> DecompositionRow:
    """Write an artefact's rows in place of what stood there. A slug that is taken gets a piece of the hash."""
    forget(session, place=folder.place)
    forget(session, hash=artifact.hash)
    taken = session.scalar(select(DecompositionRow.hash).where(DecompositionRow.slug == artifact.name))
    row = DecompositionRow(
        hash=artifact.hash,
        slug=artifact.name if taken is None else f"{artifact.name}-{artifact.hash[:8]}",
        place=folder.place,
        signature=folder.signature,
        indexed_at=datetime.now(UTC),
    )
    session.add(row)
    session.flush()
    rows = component_rows(artifact)
    while chunk := list(islice(rows, CHUNK)):
        session.execute(insert(ComponentIndexRow), chunk)
    for key, label in current_labels(session, artifact.hash).items():
        if label.text is not None:
            rename(session, artifact.hash, key, label.text)
    return row


def current_labels(session: Session, hash: str) -> dict[str, LabelRow]:
    """The newest version of every label of a decomposition, by component key."""
    rows = session.scalars(select(LabelRow).where(LabelRow.hash == hash).order_by(LabelRow.version))
    return {row.key: row for row in rows}


def relabel(
    session: Session, artifact: Artifact, harvest: str, labels: Sequence[str], f1: Sequence[float | None]
) -> None:
    """Give every component of the index the automatic label and the score that a harvest has for it; labels that
    people gave stay."""
    columns = artifact.columns
    named = {key for key, row in current_labels(session, artifact.hash).items() if row.text is not None}
    rows: list[dict[str, Any]] = []
    for ordinal, (site, index) in enumerate(zip(columns.site, columns.index, strict=True)):
        key, label, score = f"{site}:{index}", labels[ordinal], f1[ordinal]
        row: dict[str, Any] = {"hash": artifact.hash, "ordinal": ordinal}
        if key in named:  # the score is the automatic label's
            rows.append({**row, "label_f1": -1.0})
            continue
        words = {
            "label": label, "label_order": label.lower()[:100],
            "search": _search_text(key, site, label, columns.top_tokens[ordinal]),
        }  # fmt: skip
        rows.append({**row, "label_f1": -1.0 if score is None else score, **words})
    for same in ([row for row in rows if "label" in row], [row for row in rows if "label" not in row]):
        if same:
            session.execute(update(ComponentIndexRow), same)
    session.execute(
        update(DecompositionRow).where(DecompositionRow.hash == artifact.hash).values(labels_of=harvest)
    )


def rename(session: Session, hash: str, key: str, label: str, f1: float | None = None) -> None:
    """Give a component of the index another label, in its row and in what `q` looks into, and its score."""
    parsed = ComponentKey.parse(key)
    row = session.scalar(
        select(ComponentIndexRow).where(
            ComponentIndexRow.hash == hash,
            ComponentIndexRow.site == parsed.site,
            ComponentIndexRow.index == parsed.index,
        )
    )
    if row is not None:  # an artefact may hold fewer components than were once labelled
        row.label, row.label_order = label, label.lower()[:100]
        row.label_f1 = -1.0 if f1 is None else f1
        row.search = _search_text(key, row.site, label, row.top_tokens)


def places(session: Session) -> list[str]:
    """Every place the index knows."""
    return list(session.scalars(select(DecompositionRow.place)))
