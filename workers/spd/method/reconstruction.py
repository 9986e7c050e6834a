"""The reconstruction losses of one step: passes under drawn masks, compared with the target (SPEC 7 to 9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from workers.spd.config import (
    AdversarialReconstruction,
    Loss,
    PartialReconstruction,
    StochasticReconstruction,
)
from workers.spd.method.decomposition import Decomposition
from workers.spd.method.losses import Distance
from workers.spd.method.mask_sources import SourceKind, draw, routed
from workers.spd.method.processes import World
from workers.spd.prompts.batches import Batch

ReconstructionLoss = StochasticReconstruction | PartialReconstruction | AdversarialReconstruction


@dataclass(frozen=True)
class Pass:
    """One masked pass within a step: which loss it belongs to, where its sources come from, its share of the loss."""

    loss: ReconstructionLoss
    sources: SourceKind
    weight: float

    @property
    def name(self) -> str:
        return self.loss.kind if self.sources == "adversarial" else f"{self.loss.kind}_{self.sources}"


def passes_of(losses: Sequence[Loss], progress: float) -> list[Pass]:
    """The masked passes of a step at this share of the run; they run as one batch, adversarial ones last."""
    result: list[Pass] = []
    for loss in losses:
        if isinstance(loss, StochasticReconstruction | PartialReconstruction):
            weight = loss.coefficient / (loss.uniform + loss.level)
            result += [Pass(loss, "uniform", weight)] * loss.uniform
            result += [Pass(loss, "level", weight)] * loss.level
    for loss in losses:
        if isinstance(loss, AdversarialReconstruction) and progress >= loss.after:
            result.append(Pass(loss, "adversarial", loss.coefficient))
    return result


class Adversary:
    """Sources kept between steps, one a site, a position and a component, shared over the batch: [seq, C + 1], or over
    its positions too: [1, C + 1]; the last column is the remainder's. They move by sign ascent on the loss (persistent
    PGD)."""

    def __init__(self, sources: dict[str, Tensor]) -> None:
        self.sources = {site: value.detach().clone().requires_grad_() for site, value in sources.items()}

    @classmethod
    def drawn(
        cls,
        g: dict[str, Tensor],
        generator: torch.Generator,
        shared: Literal["batch", "batch_and_positions"] = "batch",
    ) -> Adversary:
        """A random start for importances of these shapes, {site: [batch, seq, C]}."""
        return cls(
            {
                site: torch.rand(
                    v.shape[1] if shared == "batch" else 1, v.shape[2] + 1, generator=generator
                ).to(v.device)
                for site, v in g.items()
            }
        )

    @torch.no_grad()
    def ascend(self, step_size: float, world: World) -> None:
        """Move up the gradient that the step's backward pass left, and stay within 0–1."""
        for source in self.sources.values():
            assert source.grad is not None
            world.add_up([source.grad])
            source.add_(step_size * source.grad.sign()).clamp_(0, 1)
            source.grad = None

    def kept(self, keep: dict[str, list[int]]) -> Adversary:
        """Only the sources of the components at these places (and the remainders')."""
        return Adversary({site: value[:, [*keep[site], -1]] for site, value in self.sources.items()})

    def grown(self, added: dict[str, int], generator: torch.Generator) -> Adversary:
        """With random sources for so many more components a site, before the remainder's."""
        return Adversary(
            {
                site: torch.cat(
                    [
                        value[:, :-1],
                        torch.rand(value.shape[0], added.get(site, 0), generator=generator).to(value.device),
                        value[:, -1:],
                    ],
                    dim=1,
                )
                for site, value in self.sources.items()
            }
        )


def reconstruction(
    decomposition: Decomposition,
    batch: Batch,
    g: dict[str, Tensor],
    passes: Sequence[Pass],
    generator: torch.Generator,
    *,
    distance: Distance = "kl",
    adversary: Adversary | None = None,
    world: World | None = None,
    precision: str = "float32",
) -> tuple[Tensor, dict[str, float]]:
    """The losses weighted and summed, and each by name (nats, or squared nats for `mse`).

    `batch` holds the prompts of all processes, `g` and the result those of this one: all draw the masks of all
    prompts and take their own, so several processes compute what one would.
    """
    world = world or World()
    everyone, mine = batch.tokens.shape[0], world.rows(batch.tokens.shape[0])
    seq, sites, device = batch.tokens.shape[1], decomposition.sites, batch.tokens.device
    if not passes:
        return torch.zeros((), device=device), {}
    own = batch.rows(mine.to(device)) if world.size > 1 else batch
    sizes = [g[site].shape[-1] + 1 for site in sites]
    drawn: list[SourceKind] = [item.sources for item in passes if item.sources != "adversarial"]
    r = draw(drawn, (everyone, seq, sum(sizes)), generator)[:, mine].to(device)
    source = dict(zip(sites, r.split(sizes, dim=-1), strict=True))
    if len(drawn) < len(passes):
        assert adversary is not None
        shape = (len(passes) - len(drawn), len(mine), seq)
        source = {
            site: torch.cat([value, adversary.sources[site].expand(*shape, -1)])
            for site, value in source.items()
        }
    mask = {site: (g[site] + (1 - g[site]) * value[..., :-1]).flatten(0, 1) for site, value in source.items()}
    delta = {site: value[..., -1:].flatten(0, 1) for site, value in source.items()}
    replaced = _replaced(decomposition, batch, passes, generator, mine)
    masks = decomposition.site_masks(mask, delta, replaced)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        values = decomposition.distance(own, masks, len(passes), distance)
    each = (values * own.counted).sum((-2, -1)) / batch.counted.sum()
    total = torch.stack([value * item.weight for value, item in zip(each, passes, strict=True)]).sum()
    return total, _named(passes, world.summed(each.detach()))


def divided_reconstruction(
    decomposition: Decomposition,
    batch: Batch,
    g: dict[str, Tensor],
    passes: Sequence[Pass],
    generator: torch.Generator,
    *,
    distance: Distance = "kl",
    adversary: Adversary | None = None,
    world: World | None = None,
    precision: str = "float32",
) -> tuple[Tensor, dict[str, float]]:
    """The same with the prompts shared out among the passes: each prompt meets one of them (SPEC 7).

    A level source has a λ of its own for each prompt.
    """
    world = world or World()
    everyone, mine = batch.tokens.shape[0], world.rows(batch.tokens.shape[0])
    seq, sites, device = batch.tokens.shape[1], decomposition.sites, batch.tokens.device
    if not passes:
        return torch.zeros((), device=device), {}
    own = batch.rows(mine.to(device)) if world.size > 1 else batch
    meets = (
        torch.arange(everyone) * len(passes) // everyone
    )  # which pass each prompt meets; adversarial ones last
    sources = [passes[number].sources for number in meets.tolist()]
    sizes = [g[site].shape[-1] + 1 for site in sites]
    drawn = sum(kind != "adversarial" for kind in sources)
    r = torch.rand(drawn, seq, sum(sizes), generator=generator)
    level = torch.rand(drawn, 1, 1, generator=generator)
    for row in range(drawn):
        if sources[row] == "level":
            r[row] = (r[row] < level[row]).float()
    source = dict(zip(sites, r[mine[mine < drawn]].to(device).split(sizes, dim=-1), strict=True))
    if drawn < everyone:
        assert adversary is not None
        shape = (int((mine >= drawn).sum()), seq, -1)
        source = {s: torch.cat([value, adversary.sources[s].expand(shape)]) for s, value in source.items()}
    mask = {site: g[site] + (1 - g[site]) * value[..., :-1] for site, value in source.items()}
    delta = {site: value[..., -1:] for site, value in source.items()}
    everywhere = torch.ones(everyone, seq, 1, dtype=torch.bool)
    replaced = dict.fromkeys(sites, everywhere)
    for number, item in enumerate(passes):
        if isinstance(item.loss, PartialReconstruction):
            part = _routed(decomposition, batch, item.loss, generator)
            here = (meets == number)[:, None, None]
            replaced = {site: torch.where(here, part[site], all_of) for site, all_of in replaced.items()}
    masks = decomposition.site_masks(
        mask, delta, {s: value[mine].to(device) for s, value in replaced.items()}
    )
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        values = decomposition.distance(own, masks, 1, distance)[0]
    counted, of = batch.counted.sum(-1), meets.to(device)
    rows = (values * own.counted).sum(-1)
    each = torch.stack(
        [rows[of[mine] == number].sum() / counted[of == number].sum() for number in range(len(passes))]
    )
    total = torch.stack([value * item.weight for value, item in zip(each, passes, strict=True)]).sum()
    return total, _named(passes, world.summed(each.detach()))


def _named(passes: Sequence[Pass], values: Tensor) -> dict[str, float]:
    """The mean over the passes of a name."""
    named: dict[str, list[float]] = {}
    for value, item in zip(values.tolist(), passes, strict=True):
        named.setdefault(item.name, []).append(value)
    return {name: sum(found) / len(found) for name, found in named.items()}


def _replaced(
    decomposition: Decomposition,
    batch: Batch,
    passes: Sequence[Pass],
    generator: torch.Generator,
    mine: Tensor,
) -> dict[str, Tensor] | None:
    """Where each pass replaces the target's weights, {site: [passes · rows, seq, 1]}; None where all do everywhere."""
    if not any(isinstance(item.loss, PartialReconstruction) for item in passes):
        return None
    sites = decomposition.sites
    everything = torch.ones(*batch.tokens.shape, 1, dtype=torch.bool)
    parts = [
        _routed(decomposition, batch, item.loss, generator)
        if isinstance(item.loss, PartialReconstruction)
        else dict.fromkeys(sites, everything)
        for item in passes
    ]
    device = batch.tokens.device
    return {
        site: torch.stack([part[site][mine] for part in parts]).flatten(0, 1).to(device) for site in sites
    }


def _routed(
    decomposition: Decomposition, batch: Batch, loss: PartialReconstruction, generator: torch.Generator
) -> dict[str, Tensor]:
    """Where a partial pass replaces the target's weights, {site: [batch, seq, 1]}, on the CPU."""
    sites = decomposition.sites
    layers = {site: decomposition.target.layer(site) for site in sites}
    here = batch.masked(decomposition.first_unmasked).cpu()
    return routed(sites, layers, loss.route, here, generator)
