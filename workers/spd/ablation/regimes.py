"""Mask regimes of one prompt beside plain suppression (SPEC 11 to 13, docs/ablation.md).

ci            m = g, remainder off
rounded       m = 1 where g > threshold, else 0; remainder off
stochastic    m = ℓ + (1 − ℓ) r, m_Δ = r_Δ, r uniform in [0, 1]: n seeded samples
adversarial   the same masks, r moved by sign steps to the largest KL, from a seeded start

ℓ is the lower bound of the masks: the causal importances, or the strengths of a selection. Only what is not selected
is drawn or attacked. Of a run by subject (SPEC 27) the remainder stays on outside the names it is about.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from workers.spd.ablation.engine import AblationEngine
from workers.spd.ablation.outputs import Rows, kl_rows, shifts
from workers.spd.answers import RegimeOutcome, check_finite
from workers.spd.config import AdversaryOptions
from workers.spd.method.adversary import Adversary
from workers.spd.method.losses import kl_divergence
from workers.spd.method.mask_sources import Sources, random_sources, stochastic_masks
from workers.spd.queries import AblationQuery, Condition, RegimeSpec
from workers.spd.targets.masks import SiteMask, masked

BAND = (0.05, 0.95)

Logits = Float[Tensor, "seq vocab"]


class RegimeRun:
    """One regime on the prompt of a query, a step at a time: every step is about a pass or a few."""

    def __init__(self, engine: AblationEngine, query: AblationQuery, spec: RegimeSpec) -> None:
        self.engine, self.query, self.spec = engine, query, spec
        self.clean = engine.clean(query.token_ids)
        self.tokens = torch.tensor([query.token_ids], device=engine.target.device)
        self.seq = len(query.token_ids)
        self.floor = self._floor()
        self.remainder = engine.decomposition.remainder_mask(query.token_ids)  # 0 where it may be masked

    def _floor(self) -> dict[str, Float[Tensor, "seq C"]]:
        """ℓ of each site."""
        if self.spec.selection is None:
            importances = self.engine.site_importances(self.clean).g
            return {site: g[0].clone() for site, g in importances.items()}
        selected = Condition(self.spec.selection, "keep_only", "on")
        masks = self.engine.editor.masks([selected], 0, self.seq)  # coefficient = m − 1
        return {site: (mask.coefficient[0] + 1).clamp(0, 1) for site, mask in masks.items()}

    def masks(self, sources: Sequence[Sources] | None) -> dict[str, SiteMask]:
        """Masks of a pass, a row for each set of sources; None: the floor itself (or rounded), remainder off."""
        if sources is None:
            rounded = self.spec.kind == "rounded"
            mask = {
                site: (floor > self.spec.threshold).to(floor)[None] if rounded else floor[None]
                for site, floor in self.floor.items()
            }
            delta = dict.fromkeys(self.floor, self.remainder[None])
        else:
            stacked = {site: torch.stack([source[site] for source in sources]) for site in self.floor}
            mask, drawn = stochastic_masks(self.floor, stacked)
            delta = {site: torch.maximum(value, self.remainder) for site, value in drawn.items()}
        return self.engine.decomposition.site_masks(mask, delta)

    @torch.no_grad()
    def logits(self, sources: Sequence[Sources] | None) -> Float[Tensor, "rows seq vocab"]:
        """Logits of a pass under `masks(sources)`."""
        rows = 1 if sources is None else len(sources)
        with masked(self.masks(sources)):
            return self.engine.target.logits(self.tokens.repeat(rows, 1))

    def steps(self) -> Iterator[list[Logits] | None]:
        """None while there is more to do, then the logits of each sample."""
        generator = torch.Generator().manual_seed(self.spec.seed)
        prompt = {site: floor[None] for site, floor in self.floor.items()}
        if self.spec.kind in ("ci", "rounded"):
            yield [self.logits(None)[0]]
        elif self.spec.kind == "stochastic":
            samples: list[Tensor] = []
            for _ in range(self.spec.samples):
                samples.append(self.logits([random_sources(prompt, generator, "batch")])[0])
                yield None
            yield samples
        else:
            options = AdversaryOptions(steps=self.spec.steps)
            yield from self._ascent(Adversary.drawn(prompt, generator, options))

    def _ascent(self, adversary: Adversary) -> Iterator[list[Logits] | None]:
        """Sign steps up the mean KL over the positions; yields the worst pass seen."""
        log_probs = torch.log_softmax(self.clean.logits.clone().float(), -1)
        worst, worst_logits = -1.0, self.clean.logits

        def cost(sources: Sources) -> Float[Tensor, ""]:
            nonlocal worst, worst_logits
            with masked(self.masks([sources])):
                logits = self.engine.target.logits(self.tokens)[0]
            kl = kl_divergence(log_probs, logits).mean()
            if float(kl.detach()) > worst:
                worst, worst_logits = float(kl.detach()), logits.detach()
            return kl

        for _ in adversary.climb(cost, adversary.options.steps):
            yield None
        with torch.no_grad():
            cost(adversary.sources)
        yield [worst_logits]

    @torch.inference_mode()
    def outcome(self, samples: list[Logits]) -> RegimeOutcome:
        """The samples against the target. `positions` of several samples compare it with the mean of their
        probabilities, whose logarithm stands for the logit. Raises NotFiniteError."""
        baseline = self.engine.baseline(self.clean)
        rows = [Rows.of(logits) for logits in samples]
        nats = torch.stack([kl_rows(baseline.rows, after) for after in rows])
        quantiles = torch.quantile(nats, torch.tensor(BAND, dtype=nats.dtype, device=nats.device), dim=0)
        after = rows[0]
        if len(rows) > 1:
            mean = torch.stack([logits.float().softmax(-1) for logits in samples]).mean(0)
            after = Rows.of(mean.clamp_min(torch.finfo(mean.dtype).tiny).log())
        kl = nats.mean(0)
        check_finite(kl.tolist())
        return RegimeOutcome(
            kind=self.spec.kind,
            kl=kl.tolist(),
            low=quantiles[0].tolist(),
            high=quantiles[1].tolist(),
            samples=len(rows),
            positions=shifts(baseline, after, kl, self.query, self.engine.piece),
        )


def regime_steps(
    engine: AblationEngine, query: AblationQuery, spec: RegimeSpec
) -> Iterator[RegimeOutcome | None]:
    """None while there is more to do, then the outcome."""
    run = RegimeRun(engine, query, spec)
    for samples in run.steps():
        yield None if samples is None else run.outcome(samples)
