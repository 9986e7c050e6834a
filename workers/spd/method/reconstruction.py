"""The reconstruction losses of one step: passes under drawn masks, compared with the target (SPEC 7 to 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workers.spd.config import (
    AdversarialReconstruction,
    Loss,
    PartialReconstruction,
    StochasticReconstruction,
)
from workers.spd.method.adversary import Adversary
from workers.spd.method.decomposition import Decomposition
from workers.spd.method.losses import Distance
from workers.spd.method.mask_sources import SourceKind, draw, routed, stochastic_masks, uniform
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


def reconstruction(
    decomposition: Decomposition,
    batch: Batch,
    g: dict[str, Float[Tensor, "rows seq C"]],
    passes: Sequence[Pass],
    generator: torch.Generator,
    *,
    distance: Distance = "kl",
    adversary: Adversary | None = None,
    world: World | None = None,
    precision: str = "float32",
) -> tuple[Float[Tensor, ""], dict[str, float]]:
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
    r = draw(drawn, (everyone, seq, sum(sizes)), generator, mine, device)
    source = dict(zip(sites, r.split(sizes, dim=-1), strict=True))
    if len(drawn) < len(passes):
        assert adversary is not None
        shape = (len(passes) - len(drawn), len(mine), seq)
        source = {
            site: torch.cat([value, adversary.rows(site, mine).expand(*shape, -1)])
            for site, value in source.items()
        }
    mask, delta = stochastic_masks(g, source)
    replaced = _replaced(decomposition, batch, passes, generator, mine)
    masks = decomposition.site_masks(_joined(mask), _joined(own.remainder(delta)), replaced)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        values = decomposition.distance(own, masks, len(passes), distance)
    each = (values * own.counted).sum((-2, -1)) / batch.counted.sum()
    total = torch.stack([value * item.weight for value, item in zip(each, passes, strict=True)]).sum()
    return total, _named(passes, world.summed(each.detach()))


def divided_reconstruction(
    decomposition: Decomposition,
    batch: Batch,
    g: dict[str, Float[Tensor, "rows seq C"]],
    passes: Sequence[Pass],
    generator: torch.Generator,
    *,
    distance: Distance = "kl",
    adversary: Adversary | None = None,
    world: World | None = None,
    precision: str = "float32",
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """The same with the prompts shared out among the passes: each prompt meets one of them (SPEC 7).

    A level source has a λ of its own for each prompt.
    """
    world = world or World()
    everyone, mine = batch.tokens.shape[0], world.rows(batch.tokens.shape[0])
    seq, sites, device = batch.tokens.shape[1], decomposition.sites, batch.tokens.device
    if not passes:
        return torch.zeros((), device=device), {}
    own = batch.rows(mine.to(device)) if world.size > 1 else batch
    # Which pass each prompt meets; adversarial ones last.
    meets = torch.arange(everyone) * len(passes) // everyone
    sources = [passes[number].sources for number in meets.tolist()]
    sizes = [g[site].shape[-1] + 1 for site in sites]
    drawn = sum(kind != "adversarial" for kind in sources)
    here = mine[mine < drawn]
    r = uniform((drawn, seq, sum(sizes)), generator, here, device=device)
    level = torch.rand(drawn, 1, 1, generator=generator)
    for place, row in enumerate(here.tolist()):
        if sources[row] == "level":
            r[place] = (r[place] < float(level[row])).float()
    source = dict(zip(sites, r.split(sizes, dim=-1), strict=True))
    if drawn < everyone:
        assert adversary is not None
        attacked = mine[mine >= drawn]
        source = {
            site: torch.cat([value, adversary.rows(site, attacked).expand(len(attacked), seq, -1)])
            for site, value in source.items()
        }
    mask, delta = stochastic_masks(g, source)
    everywhere = torch.ones(everyone, seq, 1, dtype=torch.bool)
    replaced = dict.fromkeys(sites, everywhere)
    for number, item in enumerate(passes):
        if isinstance(item.loss, PartialReconstruction):
            part = _routed(decomposition, batch, item.loss, generator)
            here = (meets == number)[:, None, None]
            replaced = {site: torch.where(here, part[site], all_of) for site, all_of in replaced.items()}
    masks = decomposition.site_masks(
        mask, own.remainder(delta), {s: value[mine].to(device) for s, value in replaced.items()}
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


def _named(passes: Sequence[Pass], values: Float[Tensor, " passes"]) -> dict[str, float]:
    """The mean over the passes of a name."""
    named: dict[str, list[float]] = {}
    for value, item in zip(values.tolist(), passes, strict=True):
        named.setdefault(item.name, []).append(value)
    return {name: sum(figures) / len(figures) for name, figures in named.items()}


def _joined(
    values: Mapping[str, Float[Tensor, "passes batch seq n"]],
) -> dict[str, Float[Tensor, "rows seq n"]]:
    """Passes and prompts as the rows of one batch."""
    return {site: value.flatten(0, 1) for site, value in values.items()}


def _replaced(
    decomposition: Decomposition,
    batch: Batch,
    passes: Sequence[Pass],
    generator: torch.Generator,
    mine: Int[Tensor, " rows"],
) -> dict[str, Bool[Tensor, "passes_and_rows seq 1"]] | None:
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
) -> dict[str, Bool[Tensor, "batch seq 1"]]:
    """Where a partial pass replaces the target's weights, {site: [batch, seq, 1]}, on the CPU."""
    sites = decomposition.sites
    layers = {site: decomposition.target.layer(site) for site in sites}
    here = batch.masked(decomposition.first_unmasked).cpu()
    return routed(sites, layers, loss.route, here, generator)


def attack(
    adversary: Adversary,
    steps: int,
    decomposition: Decomposition,
    batch: Batch,
    g: dict[str, Float[Tensor, "rows seq C"]],
    item: Pass,
    *,
    distance: Distance,
    world: World,
    precision: str,
) -> None:
    """Let an adversary climb its own pass for so many steps, the importances fixed, before a training step meets it."""
    fixed = {site: value.detach() for site, value in g.items()}
    generator = torch.Generator()  # an adversarial pass draws nothing

    def loss(_: object) -> Float[Tensor, ""]:
        return reconstruction(
            decomposition, batch, fixed, [item], generator,
            distance=distance, adversary=adversary, world=world, precision=precision,
        )[0]  # fmt: skip

    for _ in adversary.climb(loss, steps, world):
        pass
