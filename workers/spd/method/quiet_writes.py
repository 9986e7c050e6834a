"""Writes that other text does not notice: a second-order step before the first one (SPEC 27).

Removing a_c u_c from what a site writes costs ½ a_c² u_cᵀ F u_c nats, F the Fisher information of the output about what
the site writes. Of u only a part is what the run's prompts are about; the rest is what other text would miss. So

    u ← argmin  (u − u₀)ᵀ (T + εI) (u − u₀) + w · uᵀ F u

with F over rest text, and T the same over the run's prompts where the component reads, under random masks, so that
removal keeps doing there what it did. Both of trace d_out; ε = w / 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack

import torch
from jaxtyping import Float
from torch import Tensor

from workers.spd.config import QuietWrites
from workers.spd.method.decomposition import Decomposition
from workers.spd.method.mask_sources import draw
from workers.spd.prompts.batches import Batch
from workers.spd.targets.masks import SiteMask, inner_activation, masked
from workers.spd.targets.target import Target

ROWS = 16


def quiet_writes(
    decomposition: Decomposition,
    prompts: Batch,
    rest: Iterable[Batch],
    config: QuietWrites,
    generator: torch.Generator,
    check_stop: Callable[[], None] = lambda: None,
) -> dict[str, Float[Tensor, "C d_out"]]:
    """The writes of every site, changed; the decomposition keeps its own. `rest`: windows of the other text."""
    told = _rest_information(decomposition, rest, generator, check_stop)
    own = _prompt_information(decomposition, prompts, config.draws, generator, check_stop)
    result: dict[str, Tensor] = {}
    for site, U in decomposition.components.U.items():
        F, before = _unit(told[site]), U.detach().double()
        eye = torch.eye(len(F), dtype=F.dtype, device=F.device)
        kept = torch.stack([_unit(T) for T in own[site]]) + config.weight / 3 * eye
        after = torch.linalg.solve(kept + config.weight * F, torch.einsum("cij,cj->ci", kept, before))
        result[site] = after.to(U)
    return result


def _unit(information: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """Scaled to a mean diagonal of 1, in float64; nothing known stays nothing."""
    scaled = information.double()
    return scaled / scaled.diagonal().mean().clamp_min(1e-30)


def _rest_information(
    decomposition: Decomposition,
    rest: Iterable[Batch],
    generator: torch.Generator,
    check_stop: Callable[[], None],
) -> dict[str, Float[Tensor, "d_out d_out"]]:
    """F of every site: the sum of g gᵀ over the positions of rest text."""
    total: dict[str, Tensor] = {}
    for batch in rest:
        check_stop()
        here = batch.masked(decomposition.first_unmasked)
        for site, g in output_gradients(decomposition.target, decomposition.sites, batch, generator).items():
            chosen = g[here]
            total[site] = total.get(site, 0) + chosen.T @ chosen
    return total


def _prompt_information(
    decomposition: Decomposition,
    prompts: Batch,
    draws: int,
    generator: torch.Generator,
    check_stop: Callable[[], None],
) -> dict[str, Float[Tensor, "C d_out d_out"]]:
    """T of every component: the sum of a² g gᵀ over the prompts' positions, each prompt under `draws` random masks:
    by turns of what a group's removal does, and of what training asks."""
    sites, components = decomposition.sites, decomposition.components
    total = {
        site: torch.zeros(len(U), U.shape[1], U.shape[1], device=U.device) for site, U in components.U.items()
    }
    for first in range(0, len(prompts.tokens), ROWS):
        check_stop()
        rows = torch.arange(first, min(first + ROWS, len(prompts.tokens)), device=prompts.tokens.device)
        batch = prompts.rows(rows).trimmed()
        here = batch.masked(decomposition.first_unmasked)
        inner = {
            site: (inner_activation(batch.inputs[site], V.detach()) * here[..., None]).flatten(0, 1)
            for site, V in components.V.items()
        }
        for number in range(draws):
            mask, delta = (_level if number % 2 else _removal)(decomposition, batch, generator)
            masks = decomposition.site_masks(mask, batch.remainder(delta))
            for site, g in output_gradients(decomposition.target, sites, batch, generator, masks).items():
                for place, a in enumerate(inner[site].T):
                    reads = a.abs() > 1e-3 * a.abs().max()
                    weighted = g.flatten(0, 1)[reads] * a[reads, None]
                    total[site][place] += weighted.T @ weighted
    return total


def _removal(
    decomposition: Decomposition, batch: Batch, generator: torch.Generator
) -> tuple[dict[str, Float[Tensor, "batch seq _"]], dict[str, Float[Tensor, "batch seq 1"]]]:
    """All components of a random subset of sites (SPEC 8) suppressed with one random strength, the remainder on."""
    sites = decomposition.sites
    count = 1 + int(torch.randint(len(sites), (), generator=generator))
    chosen = {sites[place] for place in torch.randperm(len(sites), generator=generator)[:count].tolist()}
    kept = float(torch.rand((), generator=generator))
    mask = {
        site: torch.full((*batch.tokens.shape, len(U)), kept if site in chosen else 1.0, device=U.device)
        for site, U in decomposition.components.U.items()
    }
    return mask, {site: torch.ones_like(value[..., :1]) for site, value in mask.items()}


def _level(
    decomposition: Decomposition, batch: Batch, generator: torch.Generator
) -> tuple[dict[str, Float[Tensor, "batch seq _"]], dict[str, Float[Tensor, "batch seq 1"]]]:
    """Level masks (SPEC 7) of components and remainders, one level for all prompts."""
    sizes = [len(U) + 1 for U in decomposition.components.U.values()]
    r = draw(["level"], (*batch.tokens.shape, sum(sizes)), generator)[0].to(batch.tokens.device)
    drawn = dict(zip(decomposition.sites, r.split(sizes, dim=-1), strict=True))
    return {s: value[..., :-1] for s, value in drawn.items()}, {
        s: value[..., -1:] for s, value in drawn.items()
    }


def output_gradients(
    target: Target,
    sites: Sequence[str],
    batch: Batch,
    generator: torch.Generator,
    masks: dict[str, SiteMask] | None = None,
) -> dict[str, Float[Tensor, "batch seq d_out"]]:
    """∂ Σ log p(y) / ∂ what each site writes, y drawn from the model's own distribution at every counted position: the
    mean of g gᵀ is the Fisher information."""
    probes: dict[str, Tensor] = {}

    def probe(site: str) -> Callable[..., Float[Tensor, ...]]:
        def add(module: object, args: object, output: Float[Tensor, ...]) -> Float[Tensor, ...]:
            probes[site] = torch.zeros_like(output, requires_grad=True)
            return output + probes[site]

        return add

    with ExitStack() as stack:
        for site in sites:
            hook = target.model.get_submodule(site).register_forward_hook(probe(site))
            stack.callback(hook.remove)
        stack.enter_context(torch.enable_grad())
        stack.enter_context(masked(masks or {}))
        log_probs = torch.log_softmax(target.logits(batch.tokens, batch.keep).float(), dim=-1)
        p = log_probs.detach().exp().flatten(0, 1).cpu()
        y = torch.multinomial(p, 1, generator=generator).to(log_probs.device).view(*batch.counted.shape, 1)
        said = (log_probs.gather(-1, y)[..., 0] * batch.counted).sum()
        gradients = torch.autograd.grad(said, list(probes.values()))
    return {site: g.detach() for site, g in zip(probes, gradients, strict=True)}
