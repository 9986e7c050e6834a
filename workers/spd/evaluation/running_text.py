"""What a decomposition of running text must withstand besides the regimes of every run (SPEC 26).

Every KL is KL(target ‖ masked) in nats, a mean over all positions of the batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workers.spd.config import AdversaryOptions
from workers.spd.method.adversary import Adversary
from workers.spd.method.decomposition import Decomposition, mean_counted
from workers.spd.method.mask_sources import Masks, Remainders, Sources, stochastic_masks
from workers.spd.method.start import svd_start
from workers.spd.prompts.batches import Batch
from workers.spd.targets.masks import inner_activation, masked

FEW = (20,)  # sign steps on windows of the training text
FOREIGN = (8, 16, 64)
ATTACKED = 16  # windows that the adversary works on: hundreds of passes forward and back

CheckStop = Callable[[], None]


class RunningText:
    """The tests of one decomposition on one batch of windows. `check_stop`, called before every pass, may raise."""

    def __init__(
        self,
        decomposition: Decomposition,
        batch: Batch,
        threshold: float,
        check_stop: CheckStop = lambda: None,
    ) -> None:
        self.decomposition, self.batch, self.threshold, self.check_stop = (
            decomposition,
            batch,
            threshold,
            check_stop,
        )
        with torch.no_grad():
            self.g = decomposition.importances(batch.inputs, batch.valid).g
        self.valid = batch.masked(decomposition.first_unmasked)

    def _first(self, windows: int) -> RunningText:
        """The same on the first windows of the batch."""
        chosen = torch.arange(min(windows, len(self.batch.tokens)), device=self.batch.tokens.device)
        return RunningText(self.decomposition, self.batch.rows(chosen), self.threshold, self.check_stop)

    def _kl(self, mask: Masks, delta: float | Remainders = 0.0) -> Float[Tensor, ""]:
        self.check_stop()
        remainder = (
            delta if isinstance(delta, Mapping) else {s: m[..., :1] * 0 + delta for s, m in mask.items()}
        )
        plan = self.decomposition.site_masks(mask, remainder)
        return mean_counted(self.decomposition.kl(self.batch, plan)[0], self.batch.counted)

    # --- the adversary --------------------------------------------------------------------------------------------

    def adversarial(
        self, budgets: Sequence[int], *, each_position: bool = False, seed: int = 0
    ) -> dict[int, float]:
        """The worst KL that sign steps of 0.1 have met after each number of steps, from one fresh random start.

        One source per component and one per remainder, shared over batch and positions, or over the batch alone.
        """
        options = AdversaryOptions(shared="batch" if each_position else "batch_and_positions")
        adversary = Adversary.drawn(self.g, torch.Generator().manual_seed(seed), options)

        def cost(sources: Sources) -> Float[Tensor, ""]:
            return self._kl(*stochastic_masks(self.g, sources))

        met = [*adversary.climb(cost, max(budgets))]
        with torch.no_grad():
            met.append(float(cost(adversary.sources)))
        return {steps: max(0.0, *met[: steps + 1]) for steps in budgets}

    # --- what is kept, what is taken away ---------------------------------------------------------------------------

    @torch.no_grad()
    def aggregated(self, foreign: int, seed: int = 0) -> float:
        """How much the KL under CI as masks rises where the importances of so many other positions, drawn anew for each
        position, join its own (the largest of them counts)."""
        generator = torch.Generator().manual_seed(seed)
        rows, seq = self.batch.tokens.shape
        places = self.valid.flatten().nonzero().flatten().cpu()
        others = [
            places[torch.randint(len(places), (rows * seq,), generator=generator)] for _ in range(foreign)
        ]
        union: dict[str, Tensor] = {}
        for site, g in self.g.items():
            flat = g.flatten(0, 1)
            joined = flat.clone()
            for chosen in others:
                torch.maximum(joined, flat[chosen.to(flat.device)], out=joined)
            union[site] = joined.view_as(g)
        return float(self._kl(union)) - float(self._kl(self.g))

    @torch.no_grad()
    def without_never_needed(self, needed: Mapping[str, Bool[Tensor, " _C"]]) -> float:
        """KL with the needed components fully on everywhere; the others and the remainder are gone."""
        return float(self._kl({s: needed[s].to(g).expand_as(g) for s, g in self.g.items()}))

    # --- cross-entropy ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def cross_entropy(self, mask: Masks | None) -> float:
        """Of the next token at every position but a window's last, nats; None: the target's own."""
        self.check_stop()
        batch = self.batch
        if mask is None:
            log_p = batch.log_probs
        else:
            off = {site: m[..., :1] * 0 for site, m in mask.items()}
            with masked(self.decomposition.site_masks(mask, off)):
                log_p = torch.log_softmax(
                    self.decomposition.target.logits(batch.tokens, batch.keep).float(), -1
                )
        losses = -log_p[:, :-1].gather(-1, batch.tokens[:, 1:, None])[..., 0]
        known = batch.valid[:, 1:]
        return float(losses[known].mean())

    # --- controls ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def start_with_as_many(self, seed: int = 0) -> float:
        """KL where each position of each site keeps as many singular directions of its weight, the start of training,
        as the decomposition has components above the threshold there: those that write most."""
        generator = torch.Generator().manual_seed(seed)
        target, components = self.decomposition.target, self.decomposition.components
        V: dict[str, Tensor] = {}
        U: dict[str, Tensor] = {}
        mask: dict[str, Tensor] = {}
        for site, g in self.g.items():
            weight = target.weight(site).float()
            V[site], U[site] = svd_start(weight, min(weight.shape), generator)
            written = inner_activation(self.batch.inputs[site], V[site]).abs() * U[site].norm(dim=1)
            place = written.argsort(-1, descending=True).argsort(-1)
            mask[site] = (place < (g > self.threshold).sum(-1, keepdim=True)).to(g)
        start = copy.copy(self.decomposition)
        start.components = type(components)(V, U, {site: list(range(v.shape[1])) for site, v in V.items()})
        self.check_stop()
        plan = start.site_masks(mask, {site: m[..., :1] * 0 for site, m in mask.items()})
        return float(mean_counted(start.kl(self.batch, plan)[0], self.batch.counted))

    @torch.no_grad()
    def random_with_as_many(self, seed: int = 0) -> float:
        """KL where each position keeps components drawn at random, in proportion to how often each is above the
        threshold, as many at a site as are above it there."""
        generator = torch.Generator().manual_seed(seed)
        mask: dict[str, Tensor] = {}
        for site, g in self.g.items():
            above = g > self.threshold
            often = above[self.valid].float().mean(0)
            # The largest of log(frequency) + Gumbel noise are a draw without replacement in that proportion.
            gumbel = -(-torch.rand(g.shape, generator=generator).clamp(1e-9, 1 - 1e-7).log()).log().to(g)
            place = (often.clamp_min(1e-9).log() + gumbel).argsort(-1, descending=True).argsort(-1)
            mask[site] = (place < above.sum(-1, keepdim=True)).to(g)
        return float(self._kl(mask))

    # --- all of it --------------------------------------------------------------------------------------------------

    def figures(
        self, needed: Mapping[str, Bool[Tensor, " _C"]], budgets: Sequence[int] = FEW
    ) -> dict[str, float]:
        """Every test by name."""
        rounded = {s: (g > self.threshold).to(g) for s, g in self.g.items()}
        off = {s: torch.zeros_like(g) for s, g in self.g.items()}
        target, everything_off = self.cross_entropy(None), self.cross_entropy(off)
        lost = {
            "ci_masks": self.cross_entropy(self.g) - target,
            "rounded_ci": self.cross_entropy(rounded) - target,
        }
        figures = {f"ce_change_{name}": value for name, value in lost.items()}
        if everything_off > target:
            figures |= {
                f"ce_unrecovered_{name}": value / (everything_off - target) for name, value in lost.items()
            }
        positions = self.valid.sum()
        figures["l0_above_zero"] = float(sum((g[self.valid] > 0).sum() for g in self.g.values()) / positions)
        figures |= {f"kl_aggregated_{n}": self.aggregated(n) for n in FOREIGN}
        figures["kl_without_never_needed"] = self.without_never_needed(needed)
        figures["kl_start_as_many"] = self.start_with_as_many()
        figures["kl_random_as_many"] = self.random_with_as_many()
        attacked = self._first(ATTACKED)
        shared = attacked.adversarial(budgets)
        figures |= {f"kl_adversarial_shared_{n}": value for n, value in shared.items()}
        few = [n for n in budgets if n <= 160] or [min(budgets)]
        own = attacked.adversarial(few, each_position=True)
        return figures | {f"kl_adversarial_position_{n}": value for n, value in own.items()}


@torch.no_grad()
def ever_needed(
    decomposition: Decomposition, batches: Sequence[Batch], threshold: float
) -> dict[str, Bool[Tensor, " _C"]]:
    """Which components are above the threshold at any masked position of these batches."""
    result: dict[str, Bool[Tensor, " _C"]] = {}
    for batch in batches:
        g = decomposition.importances(batch.inputs, batch.valid).g
        valid = batch.masked(decomposition.first_unmasked)
        for site, value in g.items():
            here = (value[valid] > threshold).any(0)
            result[site] = result[site] | here if site in result else here
    return result
