"""What one pass over a corpus counts, in memory that does not grow with the corpus.

Dense tables hold a few numbers a component; what pairs components with tokens is sparse; of the firings themselves a
component keeps its strongest and an even sample. The sample is chosen by a hash of (seed, component, window, position),
so it depends neither on the order of the windows nor on where a harvest was interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

CI_BINS = 25
ACTIVATION_BINS = 32
STRONGEST = 12
SAMPLED = 96
SAMPLED_POSITIONS = 4096
MOST_PAIRS = 20_000_000
FLUSH = 400_000
START = -24  # activations are binned over ±2^START at first, and the range doubles as it must


@dataclass(frozen=True)
class Firings:
    """Columns of equal length: components (by ordinal) that fired, where, and how strongly."""

    component: np.ndarray
    window: np.ndarray
    position: np.ndarray
    ci: np.ndarray
    activation: np.ndarray

    def __len__(self) -> int:
        return len(self.component)

    def pick(self, chosen: np.ndarray) -> Firings:
        return Firings(*(getattr(self, name)[chosen] for name in FIRING_COLUMNS))

    @classmethod
    def joined(cls, parts: list[Firings]) -> Firings:
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in FIRING_COLUMNS))

    @classmethod
    def none(cls) -> Firings:
        return cls(*(np.empty(0, dtype) for dtype in FIRING_COLUMNS.values()))


FIRING_COLUMNS = {
    "component": np.int32, "window": np.int32, "position": np.int32, "ci": np.float32, "activation": np.float32,
}  # fmt: skip


def mixed(*parts: np.ndarray | int) -> np.ndarray:
    """A 64-bit hash of whole numbers (splitmix64 rounds), the same on every machine."""
    value = np.zeros(1, np.uint64)
    for part in parts:
        with np.errstate(over="ignore"):
            value = value + np.asarray(part).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
            value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            value = value ^ (value >> np.uint64(31))
    return value


def rank_in_group(groups: np.ndarray) -> np.ndarray:
    """0, 1, 2, … within each run of equal values of a sorted array."""
    if not len(groups):
        return np.empty(0, np.int64)
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    return np.arange(len(groups)) - np.repeat(starts, np.diff(np.r_[starts, len(groups)]))


class Pairs:
    """How often each (component, token) occurs. Past `most` pairs the rarest go, and `dropped` says that some did."""

    def __init__(self, vocabulary: int, most: int = MOST_PAIRS) -> None:
        self.vocabulary, self.most = vocabulary, most
        self.keys, self.counts = np.empty(0, np.int64), np.empty(0, np.int64)
        self.dropped = 0
        self._waiting: list[np.ndarray] = []
        self._size = 0

    def add(self, component: np.ndarray, token: np.ndarray) -> None:
        self._waiting.append(component.astype(np.int64) * self.vocabulary + token)
        self._size += len(component)
        if self._size > max(FLUSH, len(self.keys)):
            self.flush()

    def flush(self) -> None:
        if not self._waiting:
            return
        new, counts = np.unique(np.concatenate(self._waiting), return_counts=True)
        self._waiting, self._size = [], 0
        keys = np.concatenate([self.keys, new])
        both = np.concatenate([self.counts, counts])
        self.keys, inverse = np.unique(keys, return_inverse=True)
        self.counts = np.bincount(inverse, both, minlength=len(self.keys)).astype(np.int64)
        least = 1
        while len(self.keys) > self.most:
            keep = self.counts > least
            self.dropped += int(self.counts[~keep].sum())
            self.keys, self.counts, least = self.keys[keep], self.counts[keep], least * 2

    def of(self, component: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and counts of one component. Call `flush` before."""
        first, last = np.searchsorted(
            self.keys, [component * self.vocabulary, (component + 1) * self.vocabulary]
        )
        return self.keys[first:last] - component * self.vocabulary, self.counts[first:last]


class Kept:
    """A few firings per component: its strongest (one per window), or an even sample."""

    def __init__(self, most: int, seed: int, *, strongest: bool) -> None:
        self.most, self.seed, self.strongest = most, seed, strongest
        self.rows = Firings.none()
        self._waiting: list[Firings] = []
        self._size = 0

    def add(self, new: Firings) -> None:
        self._waiting.append(new)
        self._size += len(new)
        if self._size > max(FLUSH, len(self.rows)):
            self.flush()

    def flush(self) -> None:
        if not self._waiting:
            return
        rows = Firings.joined([self.rows, *self._waiting])
        self._waiting, self._size = [], 0
        chance = mixed(self.seed, rows.component, rows.window, rows.position)
        if self.strongest:
            size = np.abs(rows.activation)
            rows_, chance_ = rows, chance
            best = np.lexsort((chance_, -size, -rows_.ci, rows_.window, rows_.component))
            pair = rows.component[best].astype(np.int64) << 32 | rows.window[best]
            best = best[rank_in_group(pair) == 0]
            rows, chance = rows.pick(best), chance[best]
            order = np.lexsort((chance, -np.abs(rows.activation), -rows.ci, rows.component))
        else:
            order = np.lexsort((chance, rows.component))
        order = order[rank_in_group(rows.component[order]) < self.most]
        self.rows = rows.pick(order)


class Together:
    """Which components fire at the same positions, at an even sample of positions."""

    def __init__(self, most: int, seed: int) -> None:
        self.most, self.seed = most, seed
        self.chances = np.empty(0, np.uint64)
        self.component, self.chance = np.empty(0, np.int32), np.empty(0, np.uint64)

    def add(self, places: np.ndarray, component: np.ndarray, at: np.ndarray) -> None:
        """places: (window, position) of every position seen, [n, 2]; component fired at `places[at]`."""
        chances = mixed(self.seed, places[:, 0], places[:, 1])
        self.chances = np.sort(np.concatenate([self.chances, chances]))[: self.most]
        if not len(self.chances):
            return
        last = self.chances[-1]
        new = chances[at]
        inside = new <= last
        self.component = np.concatenate([self.component, component[inside].astype(np.int32)])
        self.chance = np.concatenate([self.chance, new[inside]])
        keep = self.chance <= last
        if not keep.all():
            self.component, self.chance = self.component[keep], self.chance[keep]


class Counts:
    """All counts of `components` components over a vocabulary; `add` takes one batch's importances."""

    def __init__(self, components: int, vocabulary: int, threshold: float, seed: int) -> None:
        self.threshold, self.components = threshold, components
        self.positions = self.windows = self.tokens = 0
        self.fires = np.zeros(components, np.int64)
        self.ci_sum = np.zeros(components)
        self.ci_max = np.zeros(components, np.float32)
        self.activation_sum = np.zeros(components)
        self.ci_bins = np.zeros((components, CI_BINS), np.int64)
        self.exponent = np.full(components, START, np.int64)
        self.bins = np.zeros((components, ACTIVATION_BINS), np.int64)
        self.firing_bins = np.zeros((components, ACTIVATION_BINS), np.int64)
        self.input_total = np.zeros(vocabulary, np.int64)
        self.output_total = np.zeros(vocabulary, np.int64)
        self.inputs, self.outputs = Pairs(vocabulary), Pairs(vocabulary)
        self.held = Pairs(vocabulary)
        self.held_fires = np.zeros(components, np.int64)
        self.held_total = np.zeros(vocabulary, np.int64)
        self.top = Kept(STRONGEST, seed, strongest=True)
        self.sample = Kept(SAMPLED, seed, strongest=False)
        self.together = Together(SAMPLED_POSITIONS, seed)

    def add(
        self,
        tokens: Int[Tensor, "batch seq"],
        counted: Bool[Tensor, "batch seq"],
        g: Mapping[str, Float[Tensor, "batch seq _C"]],
        inner: Mapping[str, Float[Tensor, "batch seq _C"]],
        predicted: Int[Tensor, "batch seq"],
        numbers: np.ndarray,
        held: np.ndarray | None = None,
    ) -> None:
        """One batch. tokens, predicted: ids; counted: the positions that count; numbers: of the windows, [batch]; held:
        [batch] bool, the windows on which labels are scored (none of them, where it is not given)."""
        rows, places = counted.nonzero(as_tuple=True)
        window = numbers[rows.cpu().numpy()]
        position = places.cpu().numpy()
        ids, outputs = tokens[counted].cpu().numpy(), predicted[counted].cpu().numpy()
        self.positions += len(window)
        self.windows += len(numbers)
        self.tokens += tokens.numel()
        self.input_total += np.bincount(ids, minlength=len(self.input_total))
        self.output_total += np.bincount(outputs, minlength=len(self.output_total))
        parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
        first = 0
        for site, value in g.items():
            ci, activation = value[counted], inner[site][counted].float()
            at, component = (ci > self.threshold).nonzero(as_tuple=True)
            fired = ci[at, component].cpu().numpy(), activation[at, component].cpu().numpy()
            self._dense(first, ci, activation, at, component)
            parts.append((component.cpu().numpy() + first, at.cpu().numpy(), *fired))
            first += ci.shape[1]
        component, at, ci, activation = (np.concatenate(part) for part in zip(*parts, strict=True))
        self.fires += np.bincount(component, minlength=self.components)
        self.activation_sum += np.bincount(component, activation, minlength=self.components)
        firings = Firings(
            component.astype(np.int32), window[at].astype(np.int32), position[at].astype(np.int32),
            ci.astype(np.float32), activation.astype(np.float32),
        )  # fmt: skip
        self.top.add(firings)
        self.sample.add(firings)
        self.inputs.add(component, ids[at])
        self.outputs.add(component, outputs[at])
        if held is not None:
            scored = held[rows.cpu().numpy()]
            self.held_total += np.bincount(ids[scored], minlength=len(self.held_total))
            there = scored[at]
            self.held_fires += np.bincount(component[there], minlength=self.components)
            self.held.add(component[there], ids[at[there]])
        self.together.add(np.stack([window, position], 1), component, at)

    def _dense(
        self,
        first: int,
        ci: Float[Tensor, "positions C"],
        activation: Float[Tensor, "positions C"],
        at: Int[Tensor, " firings"],
        component: Int[Tensor, " firings"],
    ) -> None:
        """Sums and histograms of one site; fired at (at, component)."""
        size = ci.shape[1]
        if not len(ci) or not size:
            return
        here = slice(first, first + size)
        self.ci_sum[here] += ci.double().sum(0).cpu().numpy()
        self.ci_max[here] = np.maximum(self.ci_max[here], ci.amax(0).cpu().numpy())
        on = (ci > 0).nonzero(as_tuple=True)
        place = (ci[on] * CI_BINS).ceil().long().clamp(1, CI_BINS) - 1
        self.ci_bins[here] += _table(on[1] * CI_BINS + place, size, CI_BINS)
        peak = activation.abs().amax(0)
        exponent = torch.where(peak > 0, torch.frexp(peak).exponent, START)
        self._widen(here, exponent.cpu().numpy().astype(np.int64))
        unit = torch.from_numpy(2.0 ** self.exponent[here]).to(activation)
        place = ((activation / unit + 1) * (ACTIVATION_BINS / 2)).long().clamp(0, ACTIVATION_BINS - 1)
        flat = torch.arange(size, device=ci.device) * ACTIVATION_BINS + place
        self.bins[here] += _table(flat.flatten(), size, ACTIVATION_BINS)
        self.firing_bins[here] += _table(flat[at, component], size, ACTIVATION_BINS)

    def _widen(self, here: slice, needed: np.ndarray) -> None:
        """Double the ranges that are too small: two bins become one, no count is lost."""
        now = self.exponent[here]
        fresh = self.bins[here].sum(1) == 0
        now[fresh] = np.maximum(needed[fresh], START)
        half = ACTIVATION_BINS // 2
        while (short := np.flatnonzero(now < needed)).size:
            for table in (self.bins[here], self.firing_bins[here]):
                pairs = table[short].reshape(len(short), half, 2).sum(2)
                table[short] = 0
                table[short, half // 2 : half // 2 + half] = pairs
            now[short] += 1

    def flush(self) -> None:
        """Bring everything that waits into its table."""
        for part in (self.top, self.sample, self.inputs, self.outputs, self.held):
            part.flush()

    # --- checkpoints ------------------------------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        """Everything, as named arrays."""
        self.flush()
        result = {name: getattr(self, name) for name in _TABLES}
        result["totals"] = np.array([self.positions, self.windows, self.tokens], np.int64)
        for name, pairs in (("inputs", self.inputs), ("outputs", self.outputs), ("held", self.held)):
            result[f"{name}.keys"], result[f"{name}.counts"] = pairs.keys, pairs.counts
            result[f"{name}.dropped"] = np.array([pairs.dropped], np.int64)
        for name, kept in (("top", self.top), ("sample", self.sample)):
            result |= {f"{name}.{column}": getattr(kept.rows, column) for column in FIRING_COLUMNS}
        together = self.together
        result |= {"together.component": together.component}
        result |= {
            "together.chance": together.chance.view(np.int64),
            "together.chances": together.chances.view(np.int64),
        }
        return {name: np.ascontiguousarray(value) for name, value in result.items()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """What `state` gave. Raises KeyError where something is missing."""
        for name in _TABLES:
            setattr(self, name, state[name].copy())
        self.positions, self.windows, self.tokens = (int(value) for value in state["totals"])
        for name, pairs in (("inputs", self.inputs), ("outputs", self.outputs), ("held", self.held)):
            pairs.keys, pairs.counts = state[f"{name}.keys"].copy(), state[f"{name}.counts"].copy()
            pairs.dropped = int(state[f"{name}.dropped"][0])
        for name, kept in (("top", self.top), ("sample", self.sample)):
            kept.rows = Firings(*(state[f"{name}.{column}"].copy() for column in FIRING_COLUMNS))
        self.together.component = state["together.component"].copy()
        self.together.chance = state["together.chance"].view(np.uint64).copy()
        self.together.chances = state["together.chances"].view(np.uint64).copy()


_TABLES = (
    "fires", "ci_sum", "ci_max", "activation_sum", "ci_bins", "exponent", "bins", "firing_bins", "input_total",
    "output_total", "held_fires", "held_total",
)  # fmt: skip


def _table(places: Int[Tensor, " places"], rows: int, columns: int) -> np.ndarray:
    return torch.bincount(places, minlength=rows * columns).view(rows, columns).cpu().numpy()
