"""From what is asked, a basket of components, to the masks of a pass (docs/ablation.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workers.spd.ablation.passes import Passes, Touch
from workers.spd.method.decomposition import Decomposition
from workers.spd.targets.masks import SiteMask

Mode = Literal["suppress", "keep_only"]
Remainder = Literal["on", "off"]


@dataclass(frozen=True)
class Edit:
    """One component of an ablation. `strength` 0–1; `positions` None means all, but never before `start`.

    Where the decomposition leaves the first position to the target (an attention sink), `positions` None means all
    but the first; naming position 0 reaches it.
    """

    site: str
    index: int
    strength: float = 1.0
    positions: tuple[int, ...] | None = None
    start: int | None = None


@dataclass(frozen=True)
class Condition:
    """One basket under one mode: what a pass is to be. `remainder` None means on to suppress, off to keep only."""

    edits: tuple[Edit, ...] = ()
    mode: Mode = "suppress"
    remainder: Remainder | None = None

    @property
    def keeps_remainder(self) -> bool:
        return self.remainder != "off" if self.mode == "suppress" else self.remainder == "on"


@dataclass(frozen=True)
class SiteEdit:
    """A site in one condition, for positions from some first one on: the components at `places`, or all where None.

    coefficient: m − m_Δ, [positions, places]; delta: m_Δ, [positions, 1], or None for 1 everywhere.
    """

    places: tuple[int, ...] | None
    coefficient: Float[Tensor, "positions places"]
    delta: Float[Tensor, "positions 1"] | None = None


class Editor:
    """Turns conditions on one decomposition into masks. Holds nothing of any request."""

    def __init__(self, decomposition: Decomposition, passes: Passes) -> None:
        self.decomposition, self.passes = decomposition, passes
        self.first = 1 if decomposition.first_unmasked else 0
        self.place = {
            (site, index): place
            for site, indices in decomposition.components.index.items()
            for place, index in enumerate(indices)
        }
        self._V, self._U = decomposition.components.V, decomposition.components.U

    def rows(self, edit: Edit, seq: int) -> tuple[int, ...]:
        """The positions an edit reaches in a prompt of `seq` tokens."""
        if edit.positions is None:
            return tuple(range(max(self.first, edit.start or 0), seq))
        return tuple(p for p in edit.positions if p >= (edit.start or 0))

    def touch(self, condition: Condition, seq: int) -> Touch:
        """Where a pass under this condition first differs from the clean one."""
        whole = len(self.passes.blocks)
        if not (condition.mode == "suppress" and condition.keeps_remainder):
            sites = self.decomposition.sites
            return Touch(min(self.passes.block_of(site) for site in sites), min(self.first, seq - 1))
        acting = [e for e in condition.edits if e.strength > 0 and self.rows(e, seq)]
        if not acting:
            return Touch(whole, seq - 1)
        return Touch(
            min(self.passes.block_of(e.site) for e in acting), min(min(self.rows(e, seq)) for e in acting)
        )

    def site_edits(self, condition: Condition, start: int, stop: int) -> dict[str, SiteEdit]:
        """What changes at each site at the positions `start` … `stop` − 1 (of a prompt, or beyond it)."""
        chosen: dict[str, list[Edit]] = {}
        for edit in condition.edits:
            assert 0 <= edit.strength <= 1, edit
            assert (edit.site, edit.index) in self.place, edit
            chosen.setdefault(edit.site, []).append(edit)
        if condition.mode == "suppress" and condition.keeps_remainder:
            return {site: self._suppressed(site, edits, start, stop) for site, edits in chosen.items()}
        return {
            site: self._masked(site, chosen.get(site, []), condition, start, stop)
            for site in self.decomposition.sites
        }

    def _amount(self, edits: Sequence[Edit], start: int, stop: int) -> Tensor:
        amount = torch.zeros(stop - start, len(edits))
        for column, edit in enumerate(edits):
            if edit.positions is None:
                amount[max(0, max(self.first, edit.start or 0) - start) :, column] = edit.strength
            else:
                rows = [row - start for row in self.rows(edit, stop) if start <= row < stop]
                amount[rows, column] = edit.strength
        return amount

    def _suppressed(self, site: str, edits: Sequence[Edit], start: int, stop: int) -> SiteEdit:
        places = tuple(self.place[site, edit.index] for edit in edits)
        return SiteEdit(places, -self._amount(edits, start, stop).to(self._V[site]))

    def _masked(
        self, site: str, edits: Sequence[Edit], condition: Condition, start: int, stop: int
    ) -> SiteEdit:
        """The general case: every component has a mask, and so has the remainder."""
        amount = self._amount(edits, start, stop)
        places = tuple(self.place[site, edit.index] for edit in edits)
        here = torch.zeros(stop - start, self._V[site].shape[1])
        here.index_add_(1, torch.tensor(places, dtype=torch.long), amount)
        mask = 1 - here if condition.mode == "suppress" else here
        delta = torch.full((stop - start, 1), float(condition.keeps_remainder))
        coefficient = mask - delta
        if self.first > start:
            coefficient[: self.first - start] = 0
            delta[: self.first - start] = 1
        if condition.keeps_remainder:
            return SiteEdit(None, coefficient.to(self._V[site]))
        used = tuple(dict.fromkeys(places)) if condition.mode == "keep_only" else None
        if used is not None:
            coefficient = coefficient[:, list(used)]
        return SiteEdit(used, coefficient.to(self._V[site]), delta.to(self._V[site]))

    def masks(self, conditions: Sequence[Mapping[str, SiteEdit]]) -> dict[str, SiteMask]:
        """One pass for several conditions, a row each; all over the same positions."""
        result: dict[str, SiteMask] = {}
        for site in dict.fromkeys(site for condition in conditions for site in condition):
            rows = [condition.get(site) for condition in conditions]
            result[site] = self._joined(site, rows)
        return result

    def _joined(self, site: str, rows: Sequence[SiteEdit | None]) -> SiteMask:
        V, U = self._V[site], self._U[site]
        present = [row for row in rows if row is not None]
        places: tuple[int, ...] | None = None
        if all(row.places is not None for row in present):
            places = tuple(dict.fromkeys(place for row in present for place in row.places or ()))
        if places is not None and len(places) < V.shape[1]:
            V, U = V[:, list(places)], U[list(places)]
        else:
            places = tuple(range(V.shape[1]))
        column = {place: at for at, place in enumerate(places)}
        n = present[0].coefficient.shape[0]
        coefficient = V.new_zeros(len(rows), n, len(places))
        delta = None if all(row.delta is None for row in present) else V.new_ones(len(rows), n, 1)
        for at, row in enumerate(rows):
            if row is None:
                continue
            if row.places is None:
                coefficient[at] = row.coefficient
            else:
                index = torch.tensor([column[p] for p in row.places], dtype=torch.long, device=V.device)
                coefficient[at].index_add_(1, index, row.coefficient)
            if delta is not None and row.delta is not None:
                delta[at] = row.delta
        return SiteMask(V, U, coefficient, delta)
