"""Harvests of a decomposition: found beside its artefact or in the home folder, opened once, read a component at a
time."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.errors import ApiError, not_found
from backend.schemas.common import Listing, Token
from backend.schemas.components import (
    ActivationHistogram,
    AffectedWindow,
    CofiringRow,
    ComponentHarvest,
    ComponentLink,
    Direction,
    DirectionItem,
    ExampleBand,
    HarvestExample,
    HarvestSummary,
    Nearest,
    NearRow,
    TokenStat,
)
from backend.services.automatic_labels import AutomaticLabels, automatic_labels, label_score, version
from backend.services.entries import Entry
from workers.jobs.harvesting import FOLDER, harvest_place
from workers.spd.artifact import ArtifactError

if TYPE_CHECKING:
    from workers.spd.statistics.store import HarvestStore

log = logging.getLogger("unweave")

SOURCES = ("train", "held_out", "bystander", "corpus", "sequence")
KINDS = ("token", "neuron", "head")
MOST_OPEN = 16

Links = Callable[[Iterable[int]], dict[int, ComponentLink]]


@dataclass(frozen=True)
class _Found:
    """A folder with a harvest of this decomposition; `stamp` tells one that was replaced."""

    path: Path
    stamp: int
    shipped: bool


class Harvests:
    """Finds and opens harvests. A folder that cannot be read is skipped with a line in the log."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._open: dict[Path, tuple[int, HarvestStore]] = {}
        self._broken: dict[Path, int] = {}
        self._labels: dict[Path, tuple[int, AutomaticLabels]] = {}
        self._lock = threading.Lock()

    def place(self, entry: Entry) -> Path:
        """Where new harvests of a decomposition go."""
        return harvest_place(self.home, entry.hash)

    def listing(self, entry: Entry) -> Listing[HarvestSummary]:
        """Every harvest of a decomposition, the newest first."""
        items = [_summary(store, folder) for folder, store in self._stores(entry)]
        return Listing[HarvestSummary](items=items, total=len(items))

    def folders(self, entry: Entry) -> list[Path]:
        """The folders of all its harvests, the newest first."""
        return [folder.path for folder, _ in self._stores(entry)]

    def component(
        self, entry: Entry, ordinal: int, links: Links, harvest: str | None = None
    ) -> ComponentHarvest | None:
        """What a harvest (the newest, or the one of this id) says of a component. None where there is none. Raises
        ApiError 404 for an id that is not there."""
        stores = self._stores(entry)
        if harvest is not None:
            stores = [(folder, store) for folder, store in stores if store.info.id == harvest]
            if not stores:
                raise not_found("unknown_harvest", f"“{entry.slug}” has no harvest “{harvest[:80]}”.")
        if not stores:
            return None
        folder, store = stores[0]
        try:
            row = store.row(ordinal)
            found = _component(entry, _summary(store, folder), row, links)
            return found.model_copy(update={"label": label_score(entry, store, row)})
        except ArtifactError as error:
            raise ApiError(500, "broken_harvest", str(error)) from error

    def labels_of(self, entry: Entry) -> str:
        """The harvest whose labels are those of the decomposition; empty where none has any."""
        return next((version(store) for _, store in self._stores(entry) if store.info.labels), "")

    def labels(self, entry: Entry) -> AutomaticLabels | None:
        """The labels of the newest harvest that has some."""
        for folder, store in self._stores(entry):
            if store.info.labels is None:
                continue
            known = self._labels.get(folder.path)
            if known is None or known[0] != folder.stamp:
                try:
                    known = folder.stamp, automatic_labels(entry, store)
                except ArtifactError as error:
                    log.warning("the labels of %s: %s", folder.path, error)
                    continue
                self._labels[folder.path] = known
            return known[1]
        return None

    def _stores(self, entry: Entry) -> list[tuple[_Found, HarvestStore]]:
        opened = [
            (place, store)
            for place in _folders(entry, self.place(entry))
            if (store := self._store(place, entry)) is not None
        ]
        return sorted(opened, key=lambda item: item[1].info.created_at, reverse=True)

    def _store(self, folder: _Found, entry: Entry) -> HarvestStore | None:
        from workers.spd.statistics.store import HarvestStore

        with self._lock:
            opened = self._open.get(folder.path)
            if opened is not None and opened[0] == folder.stamp:
                return opened[1]
            if self._broken.get(folder.path) == folder.stamp:
                return None
            try:
                store = HarvestStore(folder.path)
                if store.info.artifact_hash != entry.hash or store.info.components != len(entry.ordinals):
                    raise ArtifactError(
                        f"The harvest “{folder.path.name}” is not of “{entry.slug}” as it is."
                    )
            except Exception as error:  # whatever a file from elsewhere makes a parser raise
                log.warning("skipped the harvest %s: %s", folder.path, error)
                self._broken[folder.path] = folder.stamp
                return None
            while len(self._open) >= MOST_OPEN:
                del self._open[next(iter(self._open))]
            self._open[folder.path] = folder.stamp, store
            return store


def _folders(entry: Entry, place: Path) -> list[_Found]:
    folders: list[_Found] = []
    for root, shipped in ((entry.artifact.path / FOLDER, entry.shipped), (place, False)):
        try:
            paths = sorted(root.iterdir())
        except OSError:
            continue
        for path in paths:
            if path.suffix in (".partial", ".part", ".old"):
                continue
            try:
                folders.append(_Found(path, (path / "harvest.json").stat().st_mtime_ns, shipped))
            except OSError:
                continue
    return folders


def _summary(store: HarvestStore, folder: _Found) -> HarvestSummary:
    info = store.info
    same = info.model_dump(include=set(HarvestSummary.model_fields) - {"seed", "shipped"})
    return HarvestSummary(**same, seed=info.config.seed, shipped=folder.shipped)


# --- one component --------------------------------------------------------------------------------------------


def _component(entry: Entry, harvest: HarvestSummary, row: dict[str, Any], links: Links) -> ComponentHarvest:
    near = {name: row[f"near_{name}"] for name in ("matrix", "reads", "writes")}
    others = {item["ordinal"] for items in (row["cofiring"], *near.values()) for item in items}
    known = links(others)
    high = row["activation_range"]
    return ComponentHarvest(
        harvest=harvest,
        fires=row["fires"],
        density=row["density"],
        mean_ci=row["mean_ci"],
        max_ci=_short(row["max_ci"]),
        mean_activation=_short(row["mean_activation"]),
        zeros=max(0, harvest.positions - sum(row["ci_histogram"])),
        ci_histogram=row["ci_histogram"],
        activation_histogram=ActivationHistogram(
            low=-high,
            high=high,
            counts=row["activation_histogram"],
            firing=row["activation_histogram_firing"],
        ),
        inputs=[_token_stat(entry, item) for item in row["inputs"]],
        outputs=[_token_stat(entry, item) for item in row["outputs"]],
        cofiring=[
            CofiringRow(
                component=known[item["ordinal"]],
                both=item["both"],
                jaccard=_short(item["jaccard"]),
                pmi=_short(item["pmi"]),
            )
            for item in row["cofiring"]
            if item["ordinal"] in known
        ],
        nearest=Nearest(
            **{
                name: [
                    NearRow(component=known[item["ordinal"]], cosine=_short(item["cosine"]))
                    for item in items
                    if item["ordinal"] in known
                ]
                for name, items in near.items()
            }
        ),
        reads=_direction(entry, row["read_face"], row["reads"], None),
        writes=_direction(entry, row["write_face"], row["writes"], row["write_slice"] or None),
        effect_mean=_known(row["effect_mean"]),
        effect_max=_known(row["effect_max"]),
        affected=[
            AffectedWindow(
                source=SOURCES[item["source"]],
                tokens=_tokens(entry, item["tokens"]),
                kl=[_short(kl) for kl in item["kl"]],
            )
            for item in row["affected"]
        ],
        bands=_bands(entry, row["examples"]),
    )


def _bands(entry: Entry, items: list[dict[str, Any]]) -> list[ExampleBand]:
    from workers.spd.statistics.store import QUANTILES

    bands: list[ExampleBand] = []
    for place, name in enumerate(QUANTILES):
        examples = [
            HarvestExample(
                source=SOURCES[item["source"]], window=item["window"], start=item["start"], at=item["at"],
                tokens=_tokens(entry, item["tokens"]), ci=[_short(v, 4) for v in item["ci"]],
                inner_activation=[_short(v, 4) for v in item["activation"]],
            )
            for item in items
            if item["quantile"] == place
        ]  # fmt: skip
        bands.append(ExampleBand(quantile=name, examples=examples))  # type: ignore[arg-type]
    return bands


def _direction(entry: Entry, face: Any, items: list[dict[str, Any]], slice: str | None) -> Direction:
    scored = [
        DirectionItem(
            kind=KINDS[item["kind"]],
            number=item["id"],
            token=entry.token(item["id"]) if KINDS[item["kind"]] == "token" else None,
            score=_short(item["score"]),
        )
        for item in items
    ]
    return Direction(face=face, slice=slice, items=scored)


def _token_stat(entry: Entry, item: dict[str, Any]) -> TokenStat:
    return TokenStat(
        token=entry.token(item["token"]), count=item["count"], total=item["total"],
        precision=_short(item["precision"]), recall=_short(item["recall"]), pmi=_short(item["pmi"]),
    )  # fmt: skip


def _tokens(entry: Entry, ids: list[int]) -> list[Token]:
    return [entry.token(token_id) for token_id in ids]


def _short(value: float, digits: int = 5) -> float:
    """A stored number without the digits its type does not have."""
    return float(f"{value:.{digits}g}")


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else _short(value)
