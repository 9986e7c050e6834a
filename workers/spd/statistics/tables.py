"""From counts to what a component's page shows, as columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch

from workers.spd.method.decomposition import Decomposition
from workers.spd.statistics.config import HarvestConfig
from workers.spd.statistics.counts import Counts, Pairs, Together
from workers.spd.statistics.directions import LIKENESSES, Nearest, Scored, faces, nearest, strongest
from workers.spd.statistics.examples import Examples
from workers.spd.statistics.labels import chosen_tokens
from workers.spd.statistics.store import Columns, Ragged
from workers.spd.statistics.text import SOURCES, Window
from workers.spd.targets.sites import write_slices

TOKENS = 12
"""Tokens kept a component: those it fires on most often, and as many again of those it prefers most."""
COFIRING = 12
AFFECTED = 4
KINDS = ("token", "neuron", "head")


class Effects:
    """KL of suppressing components alone, by window. `shared`: the windows on which all of them were."""

    def __init__(self, shared: list[int], components: int) -> None:
        self.shared, self.components = shared, components
        self.done: set[int] = set()
        self._ids: dict[int, list[int]] = {}
        self._source: dict[int, int] = {}
        self._kl: dict[tuple[int, int], np.ndarray] = {}

    def add(self, number: int, window: Window, components: list[int], kl: list[np.ndarray]) -> None:
        self.done.add(number)
        self._ids[number], self._source[number] = window.ids, SOURCES.index(window.source)
        self._kl |= {
            (component, number): values.astype(np.float32)
            for component, values in zip(components, kl, strict=True)
        }

    def state(self) -> dict[str, np.ndarray]:
        """Everything, as named arrays."""
        pairs = list(self._kl)
        windows = sorted(self.done)
        return {
            "done": np.array([[n, self._source[n], len(self._ids[n])] for n in windows], np.int64).reshape(
                -1, 3
            ),
            "ids": np.array([i for n in windows for i in self._ids[n]], np.int64),
            "pairs": np.array(pairs, np.int64).reshape(-1, 2),
            "kl": np.concatenate([self._kl[pair] for pair in pairs] or [np.empty(0, np.float32)]),
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """What `state` gave."""
        first = 0
        for number, source, length in state["done"].tolist():
            self.done.add(number)
            self._source[number], self._ids[number] = (
                source,
                state["ids"][first : first + length].tolist(),
            )
            first += length
        first = 0
        for component, number in state["pairs"].tolist():
            length = len(self._ids[number])
            self._kl[component, number] = state["kl"][first : first + length]
            first += length

    def columns(self, total: int) -> Columns:
        """effect_mean and effect_max, nats (NaN where not measured), over all positions of the shared windows; and the
        windows it moves most."""
        by_component: dict[int, list[int]] = {}
        for component, number in self._kl:
            by_component.setdefault(component, []).append(number)
        shared = set(self.shared)
        mean, most = np.full(total, np.nan, np.float32), np.full(total, np.nan, np.float32)
        lengths = [0] * total
        rows: list[tuple[int, int]] = []
        for component in sorted(by_component):
            numbers = by_component[component]
            common = [self._kl[component, n] for n in numbers if n in shared]
            if common:
                mean[component] = np.concatenate(common).mean()
            most[component] = max(float(self._kl[component, n].max()) for n in numbers)
            numbers.sort(key=lambda n: (-float(self._kl[component, n].max()), n))
            affected = [n for n in numbers if self._kl[component, n].max() > 0][:AFFECTED]
            lengths[component] = len(affected)
            rows += [(component, n) for n in affected]
        sizes = np.array([len(self._ids[n]) for _, n in rows], np.int64)
        inner = np.r_[0, np.cumsum(sizes)].astype(np.int64)
        ids = [i for _, n in rows for i in self._ids[n]]
        kl = np.concatenate([self._kl[row] for row in rows] or [np.empty(0, np.float32)])
        affected = Ragged.of(
            lengths,
            {
                "window": np.array([n for _, n in rows], np.int32),
                "source": np.array([self._source[n] for _, n in rows], np.int8),
                "tokens": Ragged(inner, {"": np.array(ids, np.int32)}),
                "kl": Ragged(inner, {"": kl}),
            },
        )
        return {"effect_mean": mean, "effect_max": most, "affected": affected}


def columns(
    decomposition: Decomposition,
    counts: Counts,
    examples: Examples,
    effects: Effects,
    config: HarvestConfig,
    check_stop: Callable[[], None],
    labels: Sequence[Sequence[int]] | None = None,
) -> Columns:
    """Everything a harvest stores, one row per component. `labels`: token ids of the labels that are there already;
    without them, labels are made of the windows that were not held out."""
    counts.flush()
    total, fires = counts.components, counts.fires
    positions = max(1, counts.positions)
    top = (
        counts.top.rows
    )  # the sign of the strongest firings: off them, many components fire a little either way
    strongest_sum = np.bincount(top.component, weights=top.activation, minlength=total)
    sign = np.where(strongest_sum < 0, -1, 1).astype(np.int8)
    near = nearest(decomposition, fires > 0, check_stop)
    reads, writes, read_face, write_face, slices = _directions(decomposition, sign, check_stop)
    return {
        "fires": fires,
        "density": (fires / positions).astype(np.float64),
        "mean_ci": counts.ci_sum / positions,
        "max_ci": counts.ci_max,
        "mean_activation": np.where(fires > 0, counts.activation_sum / np.maximum(1, fires), 0.0),
        "sign": sign,
        "ci_histogram": counts.ci_bins,
        "activation_range": 2.0**counts.exponent,
        "activation_histogram": counts.bins,
        "activation_histogram_firing": counts.firing_bins,
        **label_columns(counts, labels),
        "inputs": _token_table(counts, counts.inputs, counts.input_total, check_stop),
        "outputs": _token_table(counts, counts.outputs, counts.output_total, check_stop),
        "cofiring": cofiring(counts.together, total, check_stop),
        **{f"near_{name}": _near(near[name]) for name in LIKENESSES},
        "read_face": read_face,
        "write_face": write_face,
        "write_slice": slices,
        "reads": _scored(reads),
        "writes": _scored(writes),
        **effects.columns(total),
        "examples": examples.ragged(total),
    }


def token_scores(
    counts: np.ndarray, token_totals: np.ndarray, fires: int, positions: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """precision P(fires | token), recall P(token | fires), and PMI in nats, of tokens with these counts of firings."""
    precision = counts / token_totals
    recall = counts / fires
    return precision, recall, np.log(precision * (positions / fires))


def label_columns(counts: Counts, given: Sequence[Sequence[int]] | None) -> Columns:
    """The tokens of every component's label, and what they are worth on the held-out windows (`LabelScore`)."""
    held = counts.held
    chosen: list[np.ndarray] = []
    hits, guesses = np.zeros(counts.components, np.int64), np.zeros(counts.components, np.int64)
    for component in range(counts.components):
        there, often = held.of(component)
        if given is None:
            tokens, all_counts = counts.inputs.of(component)
            kept = dict(zip(there.tolist(), often.tolist(), strict=True))
            fitted = all_counts - np.array([kept.get(token, 0) for token in tokens.tolist()], np.int64)
            totals = (counts.input_total - counts.held_total)[tokens]
            fires = int(counts.fires[component] - counts.held_fires[component])
            chosen.append(chosen_tokens(tokens, fitted, totals, fires))
        else:
            chosen.append(np.array(given[component], np.int64))
        hits[component] = often[np.isin(there, chosen[-1])].sum()
        guesses[component] = counts.held_total[chosen[-1]].sum()
    flat = np.concatenate(chosen) if chosen else np.empty(0)
    return {
        "label_tokens": Ragged.of([len(tokens) for tokens in chosen], {"": flat.astype(np.int32)}),
        "label_hits": hits,
        "label_guesses": guesses,
        "label_fires": counts.held_fires,
    }


def _token_table(counts: Counts, pairs: Pairs, totals: np.ndarray, check_stop: Callable[[], None]) -> Ragged:
    """Tokens of a component: the most frequent, then those with the largest PMI among those it fired on twice."""
    lengths: list[int] = []
    parts: list[tuple[np.ndarray, ...]] = []
    for component, fired in enumerate(counts.fires.tolist()):
        if component % 1024 == 0:
            check_stop()
        tokens, counted = pairs.of(component) if fired else (np.empty(0, np.int64), np.empty(0, np.int64))
        precision, recall, pmi = token_scores(counted, totals[tokens], max(1, fired), counts.positions)
        often = np.argsort(-counted, kind="stable")[:TOKENS]
        liked = np.argsort(-np.where(counted > 1, pmi, -np.inf), kind="stable")[:TOKENS]
        liked = liked[counted[liked] > 1]
        chosen = np.array(sorted({*often.tolist(), *liked.tolist()}), np.int64)
        chosen = chosen[np.lexsort((-pmi[chosen], -counted[chosen]))]
        lengths.append(len(chosen))
        parts.append(
            (tokens[chosen], counted[chosen], totals[tokens[chosen]], precision[chosen], recall[chosen], pmi[chosen])
        )  # fmt: skip
    names = ("token", "count", "total", "precision", "recall", "pmi")
    kinds = (np.int32, np.int64, np.int64, np.float32, np.float32, np.float32)
    return Ragged.of(
        lengths,
        {
            name: np.concatenate([part[place] for part in parts]).astype(kind)
            for place, (name, kind) in enumerate(zip(names, kinds, strict=True))
        },
    )


def cofiring(together: Together, total: int, check_stop: Callable[[], None] = lambda: None) -> Ragged:
    """For every component those that fire with it, by the Jaccard index of the positions, with PMI in nats; at least
    two positions in common."""
    sampled = len(together.chances)
    place = np.searchsorted(together.chances, together.chance)
    by_place = np.argsort(place, kind="stable")
    at_place = np.searchsorted(place[by_place], np.arange(sampled + 1))
    by_component = np.argsort(together.component, kind="stable")
    at_component = np.searchsorted(together.component[by_component], np.arange(total + 1))
    fired = np.diff(at_component)
    lengths: list[int] = []
    parts: list[tuple[np.ndarray, ...]] = []
    for component in range(total):
        if component % 256 == 0:
            check_stop()
        mine = place[by_component[at_component[component] : at_component[component + 1]]]
        if len(mine) < 2:
            lengths.append(0)
            continue
        with_it = np.concatenate([together.component[by_place[at_place[p] : at_place[p + 1]]] for p in mine])
        others, both = np.unique(with_it, return_counts=True)
        keep = (others != component) & (both > 1)
        others, both = others[keep], both[keep]
        jaccard = both / (len(mine) + fired[others] - both)
        order = np.lexsort((others, -both, -jaccard))[:COFIRING]
        others, both, jaccard = others[order], both[order], jaccard[order]
        pmi = np.log(both * sampled / (len(mine) * fired[others]))
        lengths.append(len(others))
        parts.append((others, both, jaccard, pmi))
    empty = (np.empty(0), np.empty(0), np.empty(0), np.empty(0))
    merged = [np.concatenate(part) for part in zip(*(parts or [empty]), strict=True)]
    kinds = {"ordinal": np.int32, "both": np.int64, "jaccard": np.float32, "pmi": np.float32}
    return Ragged.of(
        lengths, {name: part.astype(kind) for (name, kind), part in zip(kinds.items(), merged, strict=True)}
    )


def _near(nearest: Nearest) -> Ragged:
    used = nearest.ordinals >= 0
    return Ragged.of(
        used.sum(1).tolist(), {"ordinal": nearest.ordinals[used], "cosine": nearest.cosines[used]}
    )


def _directions(
    decomposition: Decomposition, sign: np.ndarray, check_stop: Callable[[], None]
) -> tuple[list[Scored | None], list[Scored | None], np.ndarray, np.ndarray, np.ndarray]:
    reads: list[Scored | None] = []
    writes: list[Scored | None] = []
    faced: list[tuple[str, str]] = []
    slices: list[str] = []
    first = 0
    for site in decomposition.sites:
        check_stop()
        V, U = decomposition.components.V[site], decomposition.components.U[site]
        size = V.shape[1]
        turn = torch.from_numpy(sign[first : first + size].astype(np.float32)).to(V.device)[:, None]
        face = faces(decomposition.target, site)
        if size:
            scored = strongest(decomposition.target, site, face[0], V.T.float() * turn, writes=False)
            reads += scored or [None] * size
            scored = strongest(decomposition.target, site, face[1], U.float() * turn, writes=True)
            writes += scored or [None] * size
        faced += [face] * size
        slices += [name or "" for name in write_slices(site, U)]
        first += size
    return (
        reads,
        writes,
        np.array([face for face, _ in faced], dtype=object),
        np.array([face for _, face in faced], dtype=object),
        np.array(slices, dtype=object),
    )


def _scored(rows: Iterable[Scored | None]) -> Ragged:
    rows = list(rows)
    lengths = [0 if row is None else len(row.ids) for row in rows]
    known = [row for row in rows if row is not None]
    kinds = [np.full(len(row.ids), KINDS.index(row.kind), np.int8) for row in known]
    return Ragged.of(
        lengths,
        {
            "kind": np.concatenate(kinds or [np.empty(0, np.int8)]),
            "id": np.concatenate([row.ids for row in known] or [np.empty(0)]).astype(np.int32),
            "score": np.concatenate([row.scores for row in known] or [np.empty(0)]).astype(np.float32),
        },
    )
