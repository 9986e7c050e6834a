"""One training step of SPD, and the state a run carries from step to step."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from itertools import repeat
from pathlib import Path

import torch
from torch import Tensor

from workers.spd.config import (
    AdversarialReconstruction,
    ConfigError,
    DecomposeConfig,
    Faithfulness,
    ImportanceMinimality,
)
from workers.spd.method import losses
from workers.spd.method.adaptation import Adaptation, Growth, remainder_directions, remainder_kl
from workers.spd.method.ci import CIFunctions, upper
from workers.spd.method.components import (
    Components,
    contrasts,
    data_start,
    embedding_start,
    random_start,
    svd_start,
    token_means,
)
from workers.spd.method.decomposition import Decomposition
from workers.spd.method.elimination import Elimination, eliminate
from workers.spd.method.processes import World
from workers.spd.method.reconstruction import (
    Adversary,
    divided_reconstruction,
    passes_of,
    reconstruction,
)
from workers.spd.prompts.batches import Batch, clean_batch
from workers.spd.targets import onednn
from workers.spd.targets.masks import inner_activation
from workers.spd.targets.target import Target
from workers.spd.targets.tokenizer import PromptTokenizer


class DivergedError(ArithmeticError):
    """A training that left the range of numbers; the message is a plain sentence with a way out."""

    def __init__(self, config: DecomposeConfig, step: int, what: str) -> None:
        rates = config.optimizer
        super().__init__(
            f"The training diverged at step {step} of {config.steps}: {what} not a finite number any more. Lower "
            f"“optimizer.component_learning_rate” ({rates.component_learning_rate:g}), “optimizer.ci_learning_rate” "
            f"({rates.ci_learning_rate:g}) or the coefficients in “losses”, or set “optimizer.grad_clip”."
        )


def initial_components(
    config: DecomposeConfig,
    target: Target,
    sites: list[str],
    batch: Batch,
    tokenizer: PromptTokenizer,
    generator: torch.Generator,
) -> Components:
    """V and U at step 0. `C: auto` takes one component a token input of the data (start `data`), else full rank."""
    V: dict[str, Tensor] = {}
    U: dict[str, Tensor] = {}
    valid = batch.masked(config.reconstruction.first_position == "unmasked")
    background = background_inputs(config, target, tokenizer) if config.start.background else {}
    for site in sites:
        W = target.weight(site).float()
        x = batch.inputs[site]
        if not x.is_floating_point() and config.ci.reads == "input":
            raise ConfigError(
                f"ci.reads “input” cannot read {site}, whose input are token ids; take “inner”."
            )
        X = x[valid].float()
        if config.start.kind == "data" and not x.is_floating_point():
            V[site], U[site] = embedding_start(W, x[valid], None if config.C == "auto" else config.C)
        elif config.start.kind == "data":
            if config.start.contexts is None:
                X = contrasts(X, batch.tokens[valid])
            else:
                X = token_means(X, batch.tokens[valid], config.start.contexts)
            if config.C != "auto":
                X = X[: config.C]
            quiet = (
                config.start.background_layers is None or target.layer(site) < config.start.background_layers
            )
            V[site], U[site] = data_start(W, X, background.get(site) if quiet else None, config.start.ridge)
        else:
            C = min(W.shape) if config.C == "auto" else config.C
            V[site], U[site] = (svd_start if config.start.kind == "svd" else random_start)(W, C, generator)
    return Components(V, U, {site: list(range(v.shape[1])) for site, v in V.items()})


def background_inputs(
    config: DecomposeConfig, target: Target, tokenizer: PromptTokenizer
) -> dict[str, Tensor]:
    """What each site reads on the background sentences, first positions left out: {site: [tokens, d_in]}."""
    path = Path(__file__).parents[1] / "texts" / f"{config.start.background}.txt"
    lines = [
        tokenizer.encode(line, bos=False) for line in path.read_text(encoding="utf-8").splitlines() if line
    ]
    read: dict[str, list[Tensor]] = {}
    for first in range(0, len(lines), 16):
        batch = clean_batch(target, lines[first : first + 16], "answer")
        for site, x in batch.inputs.items():
            read.setdefault(site, []).append(x[batch.masked(True)].float())
    return {site: torch.cat(parts) for site, parts in read.items()}


class Trainer:
    """A run in progress. All randomness comes from `generator`, on the CPU, so a checkpoint resumes exactly."""

    def __init__(
        self,
        config: DecomposeConfig,
        target: Target,
        sites: list[str],
        batch: Batch,
        tokenizer: PromptTokenizer,
    ) -> None:
        self.config, self.target, self.sites = config, target, sites
        if config.precision == "float32":
            onednn.adopt(target.model)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.step = 0
        self.world = World.current()
        self.adversary: Adversary | None = None
        components = initial_components(config, target, sites, batch, tokenizer, self.generator)
        self.scales = [
            float(p.detach().pow(2).mean().sqrt()) for p in [*components.V_list, *components.U_list]
        ]
        shapes = {site: (V.shape[0], V.shape[1]) for site, V in components.V.items()}
        ci = CIFunctions(shapes, config.ci, self.generator)
        self.adopt(components.to(target.device), ci.to(target.device))
        inner = {site: inner_activation(batch.inputs[site], V) for site, V in components.V.items()}
        ci.set_scale(inner, batch.inputs, batch.valid)
        self.weights = {site: target.weight(site).float() for site in sites}
        self.squares = {site: weight.pow(2).sum() for site, weight in self.weights.items()}
        self.trained = {site: V.shape[1] for site, V in components.V.items()}
        self.adaptations: list[Adaptation] = []

    def adopt(self, components: Components, ci: CIFunctions) -> None:
        """Train these from here on."""
        first_unmasked = self.config.reconstruction.first_position == "unmasked"
        self.decomposition = Decomposition(self.target, components, ci, first_unmasked=first_unmasked)
        optimizer = self.config.optimizer
        reads = optimizer.read_learning_rate
        if reads is None:
            reads = optimizer.component_learning_rate
        components.V_list.requires_grad_(reads > 0)
        own = [
            *zip(components.V_list, repeat(reads)),
            *zip(components.U_list, repeat(optimizer.component_learning_rate)),
        ]
        if optimizer.component_steps == "relative":
            own = [(p, peak * scale) for (p, peak), scale in zip(own, self.scales, strict=True)]
        rates = [*own, *zip(ci.parameters(), repeat(optimizer.ci_learning_rate))]
        groups: dict[float, list[torch.nn.Parameter]] = {}
        for parameter, peak in rates:
            if parameter.requires_grad:
                groups.setdefault(peak, []).append(parameter)
        self.optimizer = torch.optim.Adam(
            [{"params": params, "peak": peak} for peak, params in groups.items()],
            lr=0.0,
            betas=(optimizer.beta1, optimizer.beta2),
            eps=optimizer.epsilon,
        )

    @property
    def components(self) -> Components:
        return self.decomposition.components

    @property
    def ci(self) -> CIFunctions:
        return self.decomposition.ci

    def warm_up_faithfulness(self, steps: int, check_stop: Callable[[], None] = lambda: None) -> float:
        """Steps on faithfulness alone (L-BFGS), before the run; returns where it ended. `check_stop` may raise."""
        if steps:
            parameters = list(self.components.parameters())
            solver = torch.optim.LBFGS(parameters, max_iter=steps, line_search_fn="strong_wolfe")

            def closure() -> Tensor:
                check_stop()
                solver.zero_grad()
                loss = losses.faithfulness(self.weights, self.components.V, self.components.U) * 1e6
                loss.backward()
                return loss

            solver.step(closure)
        with torch.no_grad():
            return float(losses.faithfulness(self.weights, self.components.V, self.components.U))

    def learning_rate(self, peak: float) -> float:
        """Linear warm-up, then a cosine to zero (SPEC 15)."""
        done = self.step / self.config.steps
        warm = self.config.optimizer.warmup
        if done < warm:
            return peak * done / warm
        return peak * 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm)))

    def reconstruction(self, batch: Batch, g: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The reconstruction losses of this step, weighted and summed, and each by name."""
        passes = passes_of(self.config.losses, self.step / self.config.steps)
        for item in passes:
            if isinstance(item.loss, AdversarialReconstruction):
                over = item.loss.restart is not None and self.step % item.loss.restart == 0
                if self.adversary is None or over:
                    self.adversary = Adversary.drawn(g, self.generator, item.loss.shared)
        divided = self.config.reconstruction.passes == "divided"
        return (divided_reconstruction if divided else reconstruction)(
            self.decomposition, batch, g, passes, self.generator,
            distance=self.config.reconstruction.distance, adversary=self.adversary, world=self.world,
            precision=self.config.precision,
        )  # fmt: skip

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One step; returns what it measured before the update. `batch` holds the prompts of all processes."""
        config, world = self.config, self.world
        if world.size > len(batch.tokens):
            raise ConfigError(
                f"data: {len(batch.tokens)} prompts a step cannot be shared by {world.size} processes; start fewer."
            )
        own = batch if world.size == 1 else batch.rows(world.rows(len(batch.tokens)).to(batch.tokens.device))
        found = self.decomposition.importances(own.inputs)
        total, figures = self.reconstruction(batch, found.g)
        for loss in config.losses:
            if isinstance(loss, Faithfulness):
                value = losses.faithfulness(self.weights, self.components.V, self.components.U, self.squares)
                total = total + loss.coefficient * value / world.size
                figures["faithfulness"] = float(value.detach())
            elif isinstance(loss, ImportanceMinimality):
                p = losses.exponent(self.step, config.steps, loss.p_start, loss.p_end)
                valid = own.masked(self.decomposition.first_unmasked)
                positions = batch.masked(self.decomposition.first_unmasked).sum().clamp_min(1)
                importance = {site: upper(value, loss.slope_above) for site, value in found.gamma.items()}
                value = losses.importance_minimality(importance, valid, p, loss.past_one)
                value = value * (valid.sum() / positions)
                warm = losses.warmed(self.step, config.steps, loss.warmup, loss.end, loss.hold)
                total = total + loss.coefficient * warm * value
                figures["importance_minimality"] = float(world.summed(value.detach()))
                used = torch.stack([(v[valid] > config.threshold).sum() for v in found.g.values()]).sum()
                figures["l0"] = float(world.summed(used)) / float(positions)
        figures["loss"] = float(world.summed(total.detach()))
        if not math.isfinite(figures["loss"]):
            raise DivergedError(config, self.step, "the loss is")
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        world.add_up(parameter.grad for parameter in self._optimized())
        if config.optimizer.grad_clip is not None:
            for part in self._clipped_together():
                torch.nn.utils.clip_grad_norm_(part, config.optimizer.grad_clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(group["peak"])
        self.optimizer.step()
        for loss in config.losses:
            if isinstance(loss, AdversarialReconstruction) and self.adversary is not None:
                self.adversary.ascend(loss.step_size, world)
        self.step += 1
        return figures

    def check_finite(self) -> None:
        """Raise DivergedError where a parameter is not a finite number, so that no checkpoint or result holds one."""
        parameters = [*self.components.parameters(), *self.ci.parameters()]
        if not all(bool(parameter.isfinite().all()) for parameter in parameters):
            raise DivergedError(self.config, self.step, "the components or importance functions are")

    def eliminate(self, batch: Batch, check_stop: Callable[[], None] = lambda: None) -> Elimination:
        """Close the components that this batch's output does not need (see `elimination`)."""
        assert self.config.eliminate is not None
        settings = self.config.eliminate
        found = eliminate(
            self.decomposition, batch, budget=settings.budget, rounds=settings.rounds, check_stop=check_stop
        )
        for site, place in found.dropped:
            self.ci.close(site, place)
        return found

    @torch.no_grad()
    def prune(self, batch: Batch, below: float, positions: int = 1) -> int:
        """Drop components whose importance reaches `below` at fewer than `positions` positions of this batch; returns
        how many went."""
        g = self.decomposition.importances(batch.inputs).g
        valid = batch.masked(self.decomposition.first_unmasked)
        reached = {site: (g[site][valid] >= below).sum(0) for site in self.sites}
        keep = {site: (count >= positions).nonzero().flatten().tolist() for site, count in reached.items()}
        before = self.components.count()
        moments = self._moments(keep=keep)
        components = self.components.pruned(keep)
        self.ci.keep(keep)
        self._adopt_with(components, moments)
        self.adversary = self.adversary and self.adversary.kept(keep)
        return before - components.count()

    @torch.no_grad()
    def adapt(self, batch: Batch, check_stop: Callable[[], None] = lambda: None) -> Adaptation:
        """Drop what is dead on this batch, and grow where a remainder alone carries more than the config allows."""
        assert self.config.adapt is not None
        settings, had = self.config.adapt, {site: len(own) for site, own in self.components.index.items()}
        self.prune(batch, settings.prune_below, settings.positions)
        kept = {site: len(own) for site, own in self.components.index.items()}
        before = remainder_kl(self.decomposition, batch, self.sites, check_stop)
        added = self._grow([s for s in self.sites if before[s] > settings.grow_above], batch, settings.grow)
        after = remainder_kl(self.decomposition, batch, list(added), check_stop)
        grown = [Growth(s, n, kept[s] + n, before[s], after[s]) for s, n in added.items()]
        dropped = {site: had[site] - kept[site] for site in self.sites if had[site] > kept[site]}
        self.adaptations.append(Adaptation(self.step, dropped, grown))
        return self.adaptations[-1]

    def _grow(self, sites: list[str], batch: Batch, count: int) -> dict[str, int]:
        """Up to `count` components more at these sites; returns how many each got. Indices are never used twice."""
        valid = batch.masked(self.decomposition.first_unmasked)
        V: dict[str, Tensor] = {}
        U: dict[str, Tensor] = {}
        for site in sites:
            own = self.components.V[site], self.components.U[site]
            made = remainder_directions(self.weights[site], *own, batch.inputs[site], valid, count)
            if made[0].shape[1]:
                V[site], U[site] = made
        added = {site: v.shape[1] for site, v in V.items()}
        if not added:
            return added
        scales = {
            site: self.ci.units(inner_activation(batch.inputs[site][batch.valid], v)) for site, v in V.items()
        }
        index = {site: [*range(self.trained[site], self.trained[site] + n)] for site, n in added.items()}
        moments = self._moments(added=added)
        components = self.components.grown(V, U, index)
        self.ci.grow(added, scales, self.generator)
        self._adopt_with(components, moments)
        self.adversary = self.adversary and self.adversary.grown(added, self.generator)
        self.trained |= {site: self.trained[site] + n for site, n in added.items()}
        return added

    def _adopt_with(self, components: Components, moments: dict[str, list[Tensor]]) -> None:
        """Train these from here on, under the moments that Adam has reached."""
        steps = [self.optimizer.state[p]["step"] for p in self._optimized() if p in self.optimizer.state]
        self.adopt(components, self.ci)
        for place, parameter in enumerate(self._optimized() if steps else []):
            state = {name: moment[place].clone() for name, moment in moments.items()}
            self.optimizer.state[parameter] = {"step": steps[0].clone(), **state}

    def _optimized(self) -> list[torch.nn.Parameter]:
        trained = [*self.components.V_list, *self.components.U_list, *self.ci.parameters()]
        return [parameter for parameter in trained if parameter.requires_grad]

    def _clipped_together(self) -> list[list[torch.nn.Parameter]]:
        """The parameters that share one gradient norm."""
        if self.config.optimizer.grad_clip_by == "all":
            return [self._optimized()]
        parts = [[p] for p in [*self.components.V_list, *self.components.U_list]]
        return [*parts, *(list(gamma.parameters()) for gamma in self.ci.gammas)]

    def _moments(
        self, *, keep: dict[str, list[int]] | None = None, added: dict[str, int] | None = None
    ) -> dict[str, list[Tensor]]:
        """Adam's moments as they stand after pruning or growing: treated as if they were the parameters
        themselves; those of what is added are 0."""
        return {name: self._moment(name, keep, added or {}) for name in ("exp_avg", "exp_avg_sq")}

    def _moment(self, name: str, keep: dict[str, list[int]] | None, added: dict[str, int]) -> list[Tensor]:
        components, ci = copy.deepcopy(self.components), copy.deepcopy(self.ci)
        shadows = [p for p in [*components.parameters(), *ci.parameters()] if p.requires_grad]
        for shadow, parameter in zip(shadows, self._optimized(), strict=True):
            shadow.copy_(
                self.optimizer.state[parameter][name] if parameter in self.optimizer.state else shadow * 0
            )
        reads = components.V_list[0].requires_grad
        if keep is not None:
            components = components.pruned(keep)
            ci.keep(keep)
        V = {
            site: self.components.V[site].new_zeros(len(self.components.V[site]), n)
            for site, n in added.items()
        }
        U = {
            site: self.components.U[site].new_zeros(n, self.components.U[site].shape[1])
            for site, n in added.items()
        }
        components = components.grown(V, U, {})
        ones = {site: torch.ones(n) for site, n in added.items()}
        ci.grow(added, ones, torch.Generator().manual_seed(0), blank=True)
        components.V_list.requires_grad_(reads)
        return [p.detach() for p in [*components.parameters(), *ci.parameters()] if p.requires_grad]
