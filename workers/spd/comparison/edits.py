"""Edits of a model: everything a method of the comparison may do to it, each run by one forward pass.

Most are rank-one terms, W x − Σ (x·v) u, through the same masks as a suppressed component. The others change what a
site or a block gives. An edit reaches every position, but the first where a decomposition leaves that to the target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from workers.spd.targets.masks import SiteChange, SiteMask, masked


@runtime_checkable
class Edit(Protocol):
    """A changed model. `first`: positions at the beginning of a prompt that stay the target's."""

    def running(self, tokens: Int[Tensor, "batch seq"], first: int) -> Any:
        """A context in which passes over `tokens` run the changed model."""
        ...


@dataclass(frozen=True)
class Terms:
    """Rank-one terms to be taken from each site's weight: read directions in columns, writes in rows."""

    V: Mapping[str, Float[Tensor, "d_in _n"]]
    U: Mapping[str, Float[Tensor, "_n d_out"]]

    def running(self, tokens: Int[Tensor, "batch seq"], first: int) -> Any:
        """y − Σ (x·v) u at every position from `first` on."""
        amount = -from_first(tokens, first).float()[..., None]
        return masked({site: SiteMask(V, self.U[site], amount.to(V)) for site, V in self.V.items()})

    def each_alone(self, rows: int, seq: int, first: int) -> dict[str, SiteMask]:
        """Masks of one pass over `rows` prompts for every term, terms first: term n alone in its rows."""
        count, place, masks = self.count, 0, {}
        for site, V in self.V.items():
            own = V.shape[1]
            alone = torch.zeros(count, rows, seq, own, dtype=V.dtype, device=V.device)
            for column in range(own):
                alone[place + column, :, first:, column] = -1
            masks[site] = SiteMask(V, self.U[site], alone.flatten(0, 1))
            place += own
        return masks

    @property
    def count(self) -> int:
        """Terms over all sites."""
        return sum(V.shape[1] for V in self.V.values())

    def chosen(self, places: Sequence[tuple[str, int]]) -> Terms:
        """Some of them, by site and column."""
        columns: dict[str, list[int]] = {}
        for site, column in places:
            columns.setdefault(site, []).append(column)
        return Terms(
            {site: self.V[site][:, own] for site, own in columns.items()},
            {site: self.U[site][own] for site, own in columns.items()},
        )


def from_first(tokens: Int[Tensor, "batch seq"], first: int) -> Bool[Tensor, "batch seq"]:
    """Every position but the first ones."""
    here = torch.ones_like(tokens, dtype=torch.bool)
    here[:, :first] = False
    return here


# --- what no rank-one term can do -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Patches:
    """What sites give at the subject's places, replaced by what they give in a donor's prompts. It acts only where the
    subject's tokens stand in this order: `words` are its tokens, `outputs` one row for each."""

    words: tuple[int, ...]
    outputs: Mapping[str, Mapping[int, Float[Tensor, " d_out"]]]

    def running(self, tokens: Int[Tensor, "batch seq"], first: int) -> Any:
        """As a pass of these tokens runs it."""
        starts = matches(tokens, self.words)
        changes: dict[str, SiteChange] = {}
        for site, rows in self.outputs.items():
            changes[site] = _Replaced(
                [(starts, offset, row) for offset, row in rows.items()], from_first(tokens, first)
            )
        return masked(changes)


@dataclass(frozen=True)
class _Replaced:
    rows: list[tuple[Bool[Tensor, "batch seq"], int, Float[Tensor, " d_out"]]]
    allowed: Bool[Tensor, "batch seq"]

    def applied(
        self, module: nn.Module, x: Float[Tensor, "batch seq d_in"], output: Float[Tensor, "batch seq d_out"]
    ) -> Float[Tensor, "batch seq d_out"]:
        for starts, offset, row in self.rows:
            here = torch.roll(starts, offset, 1) & self.allowed
            output = torch.where(here[..., None], row.to(output), output)
        return output


def matches(tokens: Int[Tensor, "batch seq"], words: Sequence[int]) -> Bool[Tensor, "batch seq"]:
    """Where this run of tokens begins."""
    found = torch.zeros_like(tokens, dtype=torch.bool)
    width = tokens.shape[1] - len(words) + 1
    if words and width > 0:
        found[:, :width] = torch.stack(
            [tokens[:, at : at + width] == word for at, word in enumerate(words)]
        ).all(0)
    return found


State = Float[Tensor, "batch seq d_model"]
_changes: ContextVar[Mapping[int, Callable[[State], State]] | None] = ContextVar(
    "unweave_blocks", default=None
)
_states: ContextVar[dict[int, State] | None] = ContextVar("unweave_states", default=None)


@contextmanager
def blocks_changed(changes: Mapping[int, Callable[[State], State]]) -> Iterator[None]:
    """Within this block, passes hand on what these functions make of the outputs of attached blocks."""
    token = _changes.set(changes)
    try:
        yield
    finally:
        _changes.reset(token)


@dataclass(frozen=True)
class Projections:
    """A block's output without its part along a direction: h − ((h − mean)·d) d, for each block named."""

    directions: Mapping[int, Float[Tensor, "n d_model"]]
    means: Mapping[int, Float[Tensor, " d_model"]]

    def running(self, tokens: Int[Tensor, "batch seq"], first: int) -> Any:
        """As a pass of these tokens runs it."""
        here = from_first(tokens, first).float()[..., None]
        return blocks_changed(
            {
                block: _projected(directions, self.means[block], here)
                for block, directions in self.directions.items()
            }
        )


def _projected(
    directions: Float[Tensor, "n d_model"],
    mean: Float[Tensor, " d_model"],
    here: Float[Tensor, "batch seq 1"],
) -> Callable[[State], State]:
    return lambda hidden: hidden - (((hidden - mean) @ directions.T) * here) @ directions


@contextmanager
def states() -> Iterator[dict[int, State]]:
    """Within this block, passes note what each attached block gives."""
    noted: dict[int, State] = {}
    token = _states.set(noted)
    try:
        yield noted
    finally:
        _states.reset(token)


def attach_blocks(blocks: Sequence[nn.Module]) -> None:
    """Let blocks obey `blocks_changed` and `states`. Calling it again changes nothing."""
    for place, block in enumerate(blocks):
        if getattr(block, "_unweave_projects", None) is None:
            block._unweave_projects = place  # type: ignore[assignment]
            block.register_forward_hook(_project)


def _project(block: nn.Module, args: Any, output: Any) -> Any:
    place, changes, noted = int(block._unweave_projects), _changes.get(), _states.get()  # type: ignore[arg-type]
    hidden = output[0] if isinstance(output, tuple) else output
    if noted is not None:
        noted[place] = hidden
    change = None if changes is None else changes.get(place)
    if change is None:
        return None
    changed = change(hidden)
    return (changed, *output[1:]) if isinstance(output, tuple) else changed
