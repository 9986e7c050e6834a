"""Automatic labels of a decomposition's components, as a harvest has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backend.db.index import run_label, visible
from backend.schemas.components import LabelScore
from backend.services.entries import Entry
from workers.spd.statistics.labels import LabelScore as Score
from workers.spd.statistics.labels import label_text, writes_bar

if TYPE_CHECKING:
    from workers.spd.statistics.store import HarvestStore

SORTED_OUT = 0.2  # a label made of a corpus that does worse on the rest of it names nothing
LABEL_COUNTS = ("label_hits", "label_guesses", "label_fires")
TOKEN = 0  # of the kinds of what a component writes


@dataclass(frozen=True)
class AutomaticLabels:
    """Labels of all components, by their place, from one harvest; f1: how well they predict firing, None: not known."""

    harvest: str
    texts: list[str]
    f1: list[float | None]


def version(store: HarvestStore) -> str:
    """A harvest, told from one that was made anew under the same name."""
    return f"{store.info.id} {store.info.created_at.isoformat()}"


def automatic_labels(entry: Entry, store: HarvestStore) -> AutomaticLabels:
    """What a harvest calls every component. Raises ArtifactError where it cannot be read."""
    columns, target = entry.artifact.columns, entry.artifact.manifest.target.model
    bar = writes_bar(target.vocabulary, target.d_model)
    texts: list[str] = []
    scores: list[float | None] = []
    for ordinal, row in enumerate(store.rows("label_tokens", "writes", *LABEL_COUNTS)):
        writes = [
            entry.piece(item["id"])
            for item in row["writes"]
            if item["kind"] == TOKEN and item["score"] >= bar
        ][:2]
        tokens = [entry.piece(token) for token in row["label_tokens"]]
        f1 = _score(store, row).f1 if tokens else None
        if store.info.labels == "prompts":
            text = run_label(columns, ordinal)
            automatic = text.startswith("fires ") and " · " not in text
            texts.append(with_writes(text, writes) if automatic else text)
        else:
            alive = columns.alive[ordinal] or bool(tokens)
            named = label_text([visible(token) for token in tokens], [], alive=alive)
            hopeless = f1 is not None and f1 < SORTED_OUT
            texts.append(with_writes("fires where no token predicts it" if hopeless else named, writes))
        scores.append(f1)
    return AutomaticLabels(version(store), texts, scores)


def with_writes(text: str, writes: Sequence[str]) -> str:
    """A label with what the component writes."""
    return text + (f" · writes {', '.join(visible(token) for token in writes)}" if writes else "")


def _score(store: HarvestStore, row: dict[str, Any]) -> Score:
    hits, guesses, fires = (row[name] for name in LABEL_COUNTS)
    return Score(hits, guesses, fires, store.info.label_positions)


def label_score(entry: Entry, store: HarvestStore, row: dict[str, Any]) -> LabelScore | None:
    """How well a component's label predicts where it fires; None where the harvest has none."""
    if store.info.labels is None or not row["label_tokens"]:
        return None
    score = _score(store, row)
    return LabelScore(
        source=store.info.labels, tokens=[entry.token(token) for token in row["label_tokens"]],
        precision=score.precision, recall=score.recall, f1=score.f1, balanced_accuracy=score.balanced_accuracy,
        fires=score.fires, positions=score.positions,
    )  # fmt: skip
