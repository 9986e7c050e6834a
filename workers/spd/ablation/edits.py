"""From conditions to the masks of a pass (docs/ablation.md)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from workers.spd.ablation.passes import Passes, Touch
from workers.spd.method.decomposition import Decomposition
from workers.spd.queries import LEAST_STRENGTH, MOST_STRENGTH, Condition, Edit
from workers.spd.targets.masks import SiteMask


class Editor:
    """Turns conditions on one decomposition into masks. Holds nothing of any request."""

    def __init__(self, decomposition: Decomposition, passes: Passes) -> None:
        self.decomposition, self.passes = decomposition, passes
        self.first = 1 if decomposition.first_unmasked else 0
        self.column = {
            (site, index): column
            for site, indices in decomposition.components.index.items()
            for column, index in enumerate(indices)
        }

    def acts(self, condition: Condition, seq: int) -> bool:
        """Whether a condition changes anything in a prompt of `seq` tokens."""
        return not condition.only_suppresses or any(self._acts(edit, seq) for edit in condition.edits)

    def _acts(self, edit: Edit, seq: int) -> bool:
        return edit.strength != 0 and bool(edit.rows(seq, self.first))

    def touch(self, condition: Condition, seq: int) -> Touch:
        """Where a pass under this condition first differs from the clean one."""
        if not condition.only_suppresses:
            sites = self.decomposition.sites
            return Touch(min(self.passes.block_of(site) for site in sites), min(self.first, seq - 1))
        acting = [edit for edit in condition.edits if self._acts(edit, seq)]
        if not acting:
            return Touch(len(self.passes.blocks), seq - 1)
        return Touch(
            min(self.passes.block_of(edit.site) for edit in acting),
            min(min(edit.rows(seq, self.first)) for edit in acting),
        )

    def masks(self, conditions: Sequence[Condition], start: int, stop: int) -> dict[str, SiteMask]:
        """One pass for several conditions, a row each, at the positions `start` … `stop` − 1 (of a prompt, or beyond
        it). Sites that no condition changes are left out."""
        edits: dict[str, list[list[Edit]]] = {}
        for row, condition in enumerate(conditions):
            for edit in condition.edits:
                assert LEAST_STRENGTH <= edit.strength <= MOST_STRENGTH, edit
                assert (edit.site, edit.index) in self.column, edit
                edits.setdefault(edit.site, [[] for _ in conditions])[row].append(edit)
        sites = list(edits)
        if not all(condition.only_suppresses for condition in conditions):
            sites = self.decomposition.sites
        none: list[list[Edit]] = [[] for _ in conditions]
        return {site: self._site_mask(site, conditions, edits.get(site, none), start, stop) for site in sites}

    def _site_mask(
        self,
        site: str,
        conditions: Sequence[Condition],
        edits: Sequence[Sequence[Edit]],
        start: int,
        stop: int,
    ) -> SiteMask:
        """m − m_Δ of the components that some condition masks otherwise than the remainder, and m_Δ where one drops
        it. With a = Σ strength of the edits there, m is 1 − a for suppress and a for keep_only."""
        V, U = self.decomposition.components.V[site], self.decomposition.components.U[site]
        columns = self._columns(site, conditions, edits)
        if len(columns) < V.shape[1]:
            V, U = V[:, columns], U[columns]
        place = {column: at for at, column in enumerate(columns)}
        coefficient = torch.zeros(len(conditions), stop - start, len(columns))
        delta = torch.ones(len(conditions), stop - start, 1)
        own = max(0, self.first - start)  # positions left to the target
        for row, condition in enumerate(conditions):
            amount = coefficient[row]
            for edit in edits[row]:
                amount[self._reached(edit, start, stop), place[self.column[site, edit.index]]] += (
                    edit.strength
                )
            if condition.mode == "suppress":
                amount.neg_()
            if not condition.only_suppresses:
                amount += (condition.mode == "suppress") - condition.keeps_remainder
                delta[row] = float(condition.keeps_remainder)
                amount[:own], delta[row, :own] = 0, 1
        drops = any(not condition.keeps_remainder for condition in conditions)
        return SiteMask(V, U, coefficient.to(V), delta.to(V) if drops else None)

    def _reached(self, edit: Edit, start: int, stop: int) -> slice | list[int]:
        """The rows of positions `start` … `stop` − 1 that an edit reaches."""
        if edit.positions is None:
            return slice(max(0, max(self.first, edit.start or 0) - start), None)
        return [position - start for position in edit.rows(stop) if position >= start]

    def _columns(
        self, site: str, conditions: Sequence[Condition], edits: Sequence[Sequence[Edit]]
    ) -> list[int]:
        """The components whose mask differs from the remainder's in some condition: the edited ones, but all where a
        condition suppresses without the remainder or keeps with it."""
        every = self.decomposition.components.V[site].shape[1]
        if any((condition.mode == "suppress") != condition.keeps_remainder for condition in conditions):
            return list(range(every))
        columns = dict.fromkeys(self.column[site, edit.index] for part in edits for edit in part)
        return sorted(columns) if len(columns) == every else list(columns)
