"""Mask regimes of one prompt beside plain suppression (SPEC 11 to 13, docs/ablation.md).

ci            m = g, remainder off
rounded       m = 1 where g > threshold, else 0; remainder off
stochastic    m = ℓ + (1 − ℓ) r, m_Δ = r_Δ, r uniform in [0, 1]: n seeded samples
adversarial   the same masks, r climbed by sign steps to the largest KL, from a seeded start

ℓ is what must stay: the causal importances, or where a selection is given, its strengths. Only what is not selected
is drawn or attacked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from workers.spd.ablation.edits import Condition, Edit
from workers.spd.ablation.engine import AblationEngine, CleanPass
from workers.spd.ablation.outputs import PositionResult, Rows, kl_rows, shifts
from workers.spd.method.losses import kl_divergence
from workers.spd.targets.masks import SiteMask, masked

Regime = Literal["ci", "rounded", "stochastic", "adversarial"]
PGD_STEPS = 20
PGD_STEP_SIZE = 0.1
BAND = (0.05, 0.95)


@dataclass(frozen=True)
class RegimeSpec:
    """kind; seed and samples for `stochastic`, seed and steps for `adversarial`; selection: None means the causal
    importances say what stays."""

    kind: Regime
    selection: tuple[Edit, ...] | None = None
    threshold: float = 0.0
    samples: int = 16
    seed: int = 0
    steps: int = PGD_STEPS


@dataclass(frozen=True)
class RegimeResult:
    """KL a position, nats: mean over the samples, and the 5 % and 95 % quantiles (equal where there is one sample).

    `positions` of a stochastic regime compare the target with the mean of the samples' probabilities, whose
    logarithm stands for the logit.
    """

    kind: Regime
    kl: list[float]
    low: list[float]
    high: list[float]
    samples: int
    positions: list[PositionResult]


Sources = dict[str, Tensor]  # [seq, C + 1]: of the components, and last of the remainder


class RegimeRun:
    """One regime on one prompt, a step at a time: every step is about a pass or a few."""

    def __init__(self, engine: AblationEngine, token_ids: Sequence[int], spec: RegimeSpec) -> None:
        self.engine, self.spec = engine, spec
        self.clean: CleanPass = engine.clean(token_ids)
        self.tokens = torch.tensor([list(token_ids)], device=engine.target.device)
        self.seq = len(token_ids)
        self.floor = self._floor()

    def _floor(self) -> dict[str, Tensor]:
        """ℓ [seq, C] of each site."""
        if self.spec.selection is None:
            found = self.engine.site_importances(self.clean).g
            return {site: g[0].clone() for site, g in found.items()}
        edits = self.engine.editor.site_edits(
            Condition(self.spec.selection, "keep_only", "on"), 0, self.seq
        )  # coefficient = m − 1
        return {site: (edit.coefficient + 1).clamp(0, 1) for site, edit in edits.items()}

    def masks(self, sources: Sequence[Sources] | None) -> dict[str, SiteMask]:
        """Masks of a pass, a row a set of sources; None: the floor itself (or rounded), remainder off."""
        mask: dict[str, Tensor] = {}
        delta: dict[str, Tensor] = {}
        for site, floor in self.floor.items():
            if sources is None:
                rounded = self.spec.kind == "rounded"
                mask[site] = (floor > self.spec.threshold).to(floor)[None] if rounded else floor[None]
                delta[site] = floor.new_zeros(1, self.seq, 1)
            else:
                r = torch.stack([source[site] for source in sources])
                mask[site] = floor + (1 - floor) * r[..., :-1]
                delta[site] = r[..., -1:]
        return self.engine.decomposition.site_masks(mask, delta)

    def draw(self, generator: torch.Generator) -> Sources:
        """Uniform sources, drawn on the CPU so that a seed means the same everywhere."""
        return {
            site: torch.rand(self.seq, floor.shape[1] + 1, generator=generator).to(floor)
            for site, floor in self.floor.items()
        }

    @torch.no_grad()
    def logits(self, sources: Sequence[Sources] | None) -> Tensor:
        rows = 1 if sources is None else len(sources)
        with masked(self.masks(sources)):
            return self.engine.target.logits(self.tokens.repeat(rows, 1))

    def steps(self) -> Iterator[list[Tensor] | None]:
        """None while there is more to do, then the logits of each sample, [seq, vocab]."""
        generator = torch.Generator().manual_seed(self.spec.seed)
        if self.spec.kind in ("ci", "rounded"):
            yield [self.logits(None)[0]]
        elif self.spec.kind == "stochastic":
            rows: list[Tensor] = []
            for _ in range(self.spec.samples):
                rows += [self.logits([self.draw(generator)])[0]]
                yield None
            yield rows
        else:
            yield from self._climb(self.draw(generator))

    def _climb(self, sources: Sources) -> Iterator[list[Tensor] | None]:
        """Sign steps up the mean KL over the positions; the worst pass met is the answer."""
        log_probs = torch.log_softmax(self.clean.logits.clone().float(), -1)
        worst, found = -1.0, self.clean.logits
        for step in range(self.spec.steps + 1):
            with torch.enable_grad():
                for source in sources.values():
                    source.requires_grad_()
                with masked(self.masks([sources])):
                    logits = self.engine.target.logits(self.tokens)[0]
                kl = kl_divergence(log_probs, logits).mean()
                if float(kl) > worst:
                    worst, found = float(kl), logits.detach()
                if step == self.spec.steps:
                    break
                grads = torch.autograd.grad(kl, list(sources.values()))
            moved = zip(sources.items(), grads, strict=True)
            sources = {s: (r.detach() + PGD_STEP_SIZE * g.sign()).clamp(0, 1) for (s, r), g in moved}
            yield None
        yield [found]

    @torch.inference_mode()
    def result(
        self, samples: list[Tensor], top_k: int, watch: Sequence[int], positions: Sequence[int] | None
    ) -> RegimeResult:
        """The samples against the target."""
        before, top = self.engine.baseline(self.clean)
        rows = [Rows.of(logits) for logits in samples]
        nats = torch.stack([kl_rows(before, after) for after in rows])
        quantiles = torch.quantile(nats, torch.tensor(BAND, dtype=nats.dtype, device=nats.device), dim=0)
        after = rows[0]
        if len(rows) > 1:
            mean = torch.stack([logits.float().softmax(-1) for logits in samples]).mean(0)
            after = Rows.of(mean.clamp_min(torch.finfo(mean.dtype).tiny).log())
        at = torch.tensor(list(range(self.seq) if positions is None else positions), device=nats.device)
        kl = nats.mean(0)
        found = shifts(at.tolist(), before.pick(at), after.pick(at), kl[at], top_k, watch, before_top=top[at])
        return RegimeResult(
            self.spec.kind, kl.tolist(), quantiles[0].tolist(), quantiles[1].tolist(), len(rows), found
        )
