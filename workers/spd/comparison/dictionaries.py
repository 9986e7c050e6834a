"""Latents of sparse autoencoders as a method: one TopK autoencoder of what each site reads (the library sparsify),
trained on the text that every method may learn from."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from workers.spd.comparison.edits import from_first
from workers.spd.comparison.methods import SHORT, Choice
from workers.spd.comparison.stored import MethodCard
from workers.spd.comparison.subject import Subject
from workers.spd.comparison.world import World
from workers.spd.targets.masks import SiteChange, masked, recorded

LATENTS, ACTIVE, STEPS, ROWS, RATE = 1024, 16, 300, 256, 1e-3
INSTALLED = find_spec("sparsify") is not None


class Coder(nn.Module):
    """An autoencoder of one input, divided by its RMS. Sites that read the same share one."""

    def __init__(self, rows: Float[Tensor, "rows d_in"], seed: int) -> None:
        super().__init__()
        with contextlib.redirect_stdout(io.StringIO()):  # it says at import that there is no Triton
            from sparsify import SparseCoder, SparseCoderConfig  # pyright: ignore[reportMissingImports]  (an extra)
        self.scale = float(rows.pow(2).mean().sqrt())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            config = SparseCoderConfig(num_latents=LATENTS, k=ACTIVE)
            self.coder = SparseCoder(rows.shape[1], config, device=rows.device)
        self.coder.b_dec.data = rows.mean(0) / self.scale
        self._train(rows / self.scale, torch.Generator().manual_seed(seed))
        self.requires_grad_(False)

    def _train(self, rows: Float[Tensor, "rows d_in"], generator: torch.Generator) -> None:
        optimizer = torch.optim.Adam(self.coder.parameters(), lr=RATE)
        for _ in range(STEPS):
            drawn = torch.randint(len(rows), (ROWS,), generator=generator).to(rows.device)
            self.coder.set_decoder_norm_to_unit_norm()
            optimizer.zero_grad()
            with torch.enable_grad():
                self.coder(rows[drawn]).fvu.backward()
            optimizer.step()
        self.coder.set_decoder_norm_to_unit_norm()

    def active(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch latents"]:
        """The latents of an input, 0 but for the ACTIVE largest."""
        values, index, _ = self.coder.encode((x / self.scale).flatten(0, -2))
        dense = torch.zeros(len(values), LATENTS, dtype=values.dtype, device=values.device)
        return dense.scatter(1, index, values).unflatten(0, x.shape[:-1])

    def writes(self, weight: Float[Tensor, "d_out d_in"]) -> Float[Tensor, "latents d_out"]:
        """What a unit of each latent gives at a site of this weight, W d."""
        assert self.coder.W_dec is not None
        return self.coder.W_dec @ weight.T * self.scale


@dataclass(frozen=True)
class SiteCoder:
    """The autoencoder of what a site reads, and what its latents give there."""

    coder: Coder
    writes: Float[Tensor, "latents d_out"]


@dataclass(frozen=True)
class Latents:
    """Latents taken out of what sites read: y − Σ a_i(x) W d_i."""

    coders: Mapping[str, SiteCoder]
    index: Mapping[str, list[int]]

    def running(
        self, tokens: Int[Tensor, "batch seq"], first: int
    ) -> contextlib.AbstractContextManager[None]:
        """As a pass of these tokens runs it."""
        here = from_first(tokens, first).float()[..., None]
        changes: dict[str, SiteChange] = {
            site: _Without(self.coders[site], own, here) for site, own in self.index.items()
        }
        return masked(changes)


@dataclass(frozen=True)
class _Without:
    site: SiteCoder
    index: list[int]
    here: Float[Tensor, "batch seq 1"]

    def applied(
        self, module: nn.Module, x: Float[Tensor, "batch seq d_in"], output: Float[Tensor, "batch seq d_out"]
    ) -> Float[Tensor, "batch seq d_out"]:
        active = self.site.coder.active(x)[..., self.index] * self.here
        return output - active @ self.site.writes[self.index]


@dataclass(frozen=True)
class SparseLatents:
    """The latents on at the subject, by the common rule."""

    card: MethodCard
    coders: Mapping[str, SiteCoder]

    def choose(self, subject: Subject, budgets: Sequence[int]) -> dict[int, Choice]:
        most = max(*budgets, SHORT)
        pool: list[tuple[float, str, int]] = []
        for site, own in self.coders.items():
            on = own.coder.active(subject.inputs[site].float())
            effects = -(on * (subject.gradients[site] @ own.writes.T)).sum(0)
            pool += [(float(effects[at]), site, at) for at in on.any(0).nonzero().flatten().tolist()]
        places = [(site, at) for _, site, at in sorted(pool)[:most]]
        alone = {place: subject.exact(self._edit([place])) for place in places[:SHORT]}
        ordered = sorted(alone, key=lambda place: (alone[place], place)) + places[SHORT:]
        return {
            budget: Choice(
                self._edit(ordered[:budget]), [f"latent {at} at {site}" for site, at in ordered[:budget]]
            )
            for budget in budgets
            if ordered
        }

    def _edit(self, places: Sequence[tuple[str, int]]) -> Latents:
        index: dict[str, list[int]] = {}
        for site, at in places:
            index.setdefault(site, []).append(at)
        return Latents(self.coders, index)


def trained_coders(world: World, check_stop: Callable[[], None] = lambda: None) -> dict[str, SiteCoder]:
    """One for each different input of the sites that read vectors."""
    rows: dict[str, list[Tensor]] = {}
    same: dict[str, str] = {}
    for at in range(0, len(world.learnt), 16):
        check_stop()
        tokens = torch.tensor(world.learnt[at : at + 16], device=world.target.device)
        with torch.no_grad(), recorded() as inputs:
            world.target.logits(tokens, torch.zeros(1, dtype=torch.long, device=tokens.device))
        first: dict[int, str] = {}
        for site in world.sites:
            if inputs[site].is_floating_point():
                same[site] = first.setdefault(inputs[site].data_ptr(), site)
        for site in first.values():
            rows.setdefault(site, []).append(inputs[site][:, 1:].flatten(0, 1).float())
    coders: dict[str, Coder] = {}
    for site, parts in rows.items():
        check_stop()
        coders[site] = Coder(torch.cat(parts), world.seed)
    return {
        site: SiteCoder(coders[shared], coders[shared].writes(world.weight(site)))
        for site, shared in same.items()
    }
