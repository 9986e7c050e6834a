"""What a run must report: its evidence, on prompts it trained on and prompts it did not (SPEC 11 to 13).

Every KL is KL(target ‖ masked) in nats, a mean over the counted positions (the answer's, or all).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workers.spd.ablation.selfcheck import everything_on
from workers.spd.config import AdversaryOptions
from workers.spd.method import losses
from workers.spd.method.adversary import Adversary
from workers.spd.method.decomposition import Decomposition, mean_counted
from workers.spd.method.mask_sources import Masks, Remainders, Sources, random_sources, stochastic_masks
from workers.spd.prompts.batches import Batch, answer_column
from workers.spd.targets.masks import masked

STOCHASTIC_SEEDS = 16
LIGHT_SEEDS = 2


@dataclass(frozen=True)
class Evidence:
    """Figures of one split by name; `spread` holds the standard deviation over seeds where there are several."""

    figures: dict[str, float]
    spread: dict[str, float]
    l0_by_site: dict[str, float]


class Evaluator:
    """Mask regimes of one decomposition on one batch. `check_stop` is called before every pass and may raise."""

    def __init__(
        self,
        decomposition: Decomposition,
        batch: Batch,
        threshold: float,
        check_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self.decomposition, self.batch, self.threshold = decomposition, batch, threshold
        self.check_stop = check_stop
        with torch.no_grad():
            self.g = decomposition.importances(batch.inputs, batch.valid).g
        self.valid = batch.masked(decomposition.first_unmasked)

    def _constant(self, value: float) -> tuple[Masks, Remainders]:
        mask = {site: torch.full_like(g, value) for site, g in self.g.items()}
        return mask, self._delta(value)

    def _delta(self, value: float) -> Remainders:
        return {site: torch.full_like(g[..., :1], value) for site, g in self.g.items()}

    def _kl(self, mask: Masks, delta: Remainders) -> Float[Tensor, ""]:
        self.check_stop()
        masks = self.decomposition.site_masks(mask, self.batch.remainder(delta))
        return mean_counted(self.decomposition.kl(self.batch, masks)[0], self.batch.counted)

    def _stochastic(self, sources: Sources) -> Float[Tensor, ""]:
        return self._kl(*stochastic_masks(self.g, sources))

    @torch.no_grad()
    def kl_everything_on(self) -> float:
        """The self-check: through the components, with the remainder formed explicitly, against the target."""
        masks = everything_on(self.decomposition)
        return max(0.0, float(mean_counted(self.decomposition.kl(self.batch, masks)[0], self.batch.counted)))

    @torch.no_grad()
    def kl_components_only(self) -> float:
        """Every component on, the remainder off."""
        return float(self._kl(self._constant(1.0)[0], self._delta(0.0)))

    @torch.no_grad()
    def kl_ci_masks(self) -> float:
        """Causal importances as masks, the remainder off."""
        return float(self._kl(self.g, self._delta(0.0)))

    @torch.no_grad()
    def kl_rounded_ci(self) -> float:
        """1 above the threshold, 0 below, the remainder off."""
        return float(self._kl({s: (g > self.threshold).to(g) for s, g in self.g.items()}, self._delta(0.0)))

    @torch.no_grad()
    def kl_everything_off(self) -> float:
        """No component, no remainder: the scale of the others."""
        return float(self._kl(*self._constant(0.0)))

    @torch.no_grad()
    def kl_stochastic(self, seeds: int = STOCHASTIC_SEEDS) -> tuple[float, float]:
        """Uniform sources: mean and standard deviation over seeds."""
        values = []
        for seed in range(seeds):
            generator = torch.Generator().manual_seed(seed)
            values.append(float(self._stochastic(random_sources(self.g, generator))))
        spread = torch.tensor(values).std(unbiased=False)
        return sum(values) / len(values), float(spread)

    def kl_adversarial(self, seed: int = 0, options: AdversaryOptions | None = None) -> float:
        """The worst that an adversary finds from a random start: the largest KL it meets."""
        options = options or AdversaryOptions()
        adversary = Adversary.drawn(self.g, torch.Generator().manual_seed(seed), options)
        worst = max(adversary.climb(self._stochastic, options.steps), default=0.0)
        with torch.no_grad():
            return max(0.0, worst, float(self._stochastic(adversary.sources)))

    @torch.no_grad()
    def ce_unrecovered(self, answers: Int[Tensor, " batch"]) -> float | None:
        """(CE under CI-as-masks − CE of the target) / (CE with everything off − CE of the target), at the answers."""
        batch, rows = self.batch, torch.arange(len(answers), device=answers.device)
        column = answer_column(batch)

        def ce(logits: Float[Tensor, "batch kept vocab"]) -> float:
            return float(-torch.log_softmax(logits.float(), -1)[rows, column, answers].mean())

        def run(mask: Masks) -> float:
            delta = self.batch.remainder(self._delta(0.0))
            with masked(self.decomposition.site_masks(mask, delta)):
                return ce(self.decomposition.target.logits(batch.tokens, batch.keep))

        target = float(-batch.log_probs[rows, column, answers].mean())
        zero = run(self._constant(0.0)[0])
        return None if zero - target <= 0 else (run(self.g) - target) / (zero - target)

    def l0_by_site(self) -> dict[str, float]:
        """Components above the threshold, mean over the masked positions."""
        return {
            site: float((g[self.valid] > self.threshold).sum(-1).float().mean()) for site, g in self.g.items()
        }

    def alive(self) -> int:
        """Components above the threshold somewhere at a masked position of this batch."""
        return sum(int((g[self.valid] > self.threshold).any(0).sum()) for g in self.g.values())

    def light(self) -> dict[str, float]:
        """The few figures that a run measures while it trains."""
        return {
            "kl_everything_on": self.kl_everything_on(),
            "kl_ci_masks": self.kl_ci_masks(),
            "kl_rounded_ci": self.kl_rounded_ci(),
            "kl_stochastic": self.kl_stochastic(LIGHT_SEEDS)[0],
            "l0": sum(self.l0_by_site().values()),
            "alive": float(self.alive()),
        }

    def evidence(self, answers: Int[Tensor, " batch"] | None) -> Evidence:
        """All of it."""
        mean, spread = self.kl_stochastic()
        l0 = self.l0_by_site()
        figures = {
            "kl_everything_on": self.kl_everything_on(),
            "kl_components_only": self.kl_components_only(),
            "kl_ci_masks": self.kl_ci_masks(),
            "kl_rounded_ci": self.kl_rounded_ci(),
            "kl_stochastic": mean,
            "kl_adversarial": self.kl_adversarial(),
            "kl_everything_off": self.kl_everything_off(),
            "l0": sum(l0.values()),
        }
        if answers is not None:
            unrecovered = self.ce_unrecovered(answers)
            if unrecovered is not None:
                figures["ce_unrecovered_ci_masks"] = unrecovered
        return Evidence(figures, {"kl_stochastic": spread}, l0)


@torch.no_grad()
def faithfulness_by_site(decomposition: Decomposition) -> tuple[float, dict[str, float]]:
    """Mean squared difference of components and weights: over all sites, and a site. Squared weight units."""
    V, U = decomposition.components.V, decomposition.components.U
    W = {site: decomposition.target.weight(site).float() for site in decomposition.sites}
    each = {
        site: max(0.0, float(losses.squared_residual(W[site], V[site], U[site]))) / W[site].numel()
        for site in W
    }
    return max(0.0, float(losses.faithfulness(W, V, U))), each
