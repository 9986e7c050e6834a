"""The adversary: stochastic masks whose sources climb the loss by sign steps (PGD; SPEC 8, 13).

One adversary serves training, evidence and the regimes of a prompt. Its options (`AdversaryOptions`) say what a source
is shared over, how many steps it takes and of what size, and whether it may move the remainder's mask; training's say
too when it starts afresh.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workers.spd.config import AdversarialReconstruction, AdversaryOptions
from workers.spd.method.mask_sources import Sources, random_sources
from workers.spd.method.processes import World


class Adversary:
    """Sources of every site, the last column for the remainder, with the options they move by.

    Their shape is that of `random_sources`: [seq, C + 1] where they are shared over the batch, [1, C + 1] over batch
    and positions, [batch, seq, C + 1] over nothing.
    """

    def __init__(
        self,
        sources: Mapping[str, Float[Tensor, "... C_and_remainder"]],
        options: AdversaryOptions | None = None,
    ) -> None:
        self.options = options or AdversaryOptions()
        self.sources: Sources = {
            site: value.detach().clone().requires_grad_() for site, value in sources.items()
        }

    @classmethod
    def drawn(
        cls,
        g: Mapping[str, Float[Tensor, "batch seq C"]],
        generator: torch.Generator,
        options: AdversaryOptions | None = None,
    ) -> Adversary:
        """A random start for importances of these shapes."""
        options = options or AdversaryOptions()
        sources = random_sources(g, generator, options.shared)
        if not options.remainder:
            for value in sources.values():
                value[..., -1] = 0
        return cls(sources, options)

    @property
    def fresh(self) -> bool:
        """Whether its sources are drawn anew in each training step."""
        return isinstance(self.options, AdversarialReconstruction) and self.options.fresh

    def climb(
        self, loss: Callable[[Sources], Float[Tensor, ""]], steps: int, world: World | None = None
    ) -> Iterator[float]:
        """So many sign steps up a loss of the sources; yields the loss before each step.

        In several processes the gradients are summed over them.
        """
        for _ in range(steps):
            with torch.enable_grad():
                value = loss(self.sources)
                gradients = torch.autograd.grad(value, list(self.sources.values()))
            yield float(value.detach())
            self._move(gradients, world or World())

    def ascend(self, world: World) -> None:
        """One sign step along the gradient that a backward pass has left in the sources."""
        gradients: list[Tensor] = []
        for source in self.sources.values():
            assert source.grad is not None
            gradients.append(source.grad)
        self._move(gradients, world)

    @torch.no_grad()
    def _move(self, gradients: Sequence[Float[Tensor, "... _"]], world: World) -> None:
        """One step along these gradients; sources handed out before stay as they were."""
        world.add_up(gradients)
        moved: Sources = {}
        for (site, source), gradient in zip(self.sources.items(), gradients, strict=True):
            step = self.options.step_size * gradient.sign()
            if not self.options.remainder:
                step[..., -1] = 0
            moved[site] = (source.detach() + step).clamp(0, 1).requires_grad_()
        self.sources = moved

    def rows(self, site: str, rows: Int[Tensor, " rows"]) -> Float[Tensor, "... C_and_remainder"]:
        """A site's sources for these prompts of the batch."""
        source = self.sources[site]
        return source[rows.to(source.device)] if self.options.shared == "nothing" else source

    def kept(self, keep: Mapping[str, list[int]]) -> Adversary:
        """Only the sources of the components at these places (and the remainders')."""
        return Adversary(
            {site: value[..., [*keep[site], -1]] for site, value in self.sources.items()}, self.options
        )

    def grown(self, added: Mapping[str, int], generator: torch.Generator) -> Adversary:
        """With random sources for so many more components per site, before the remainder's."""

        def widened(
            site: str, value: Float[Tensor, "... C_and_remainder"]
        ) -> Float[Tensor, "... more_and_remainder"]:
            new = torch.rand(*value.shape[:-1], added.get(site, 0), generator=generator).to(value.device)
            return torch.cat([value[..., :-1], new, value[..., -1:]], dim=-1)

        return Adversary({site: widened(site, value) for site, value in self.sources.items()}, self.options)
