"""One training step of SPD, and the state a run carries from step to step."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping

import torch
from jaxtyping import Float
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
from workers.spd.method.adversary import Adversary
from workers.spd.method.ci import CIFunctions, upper
from workers.spd.method.components import Components
from workers.spd.method.decomposition import Decomposition, Importances
from workers.spd.method.elimination import Elimination, eliminate
from workers.spd.method.optimizer import adam, clip_gradients, learning_rate, trained_parameters
from workers.spd.method.processes import World
from workers.spd.method.quiet_writes import quiet_writes
from workers.spd.method.reconstruction import Pass, attack, divided_reconstruction, passes_of, reconstruction
from workers.spd.method.resizing import Moments
from workers.spd.method.rest import rest_loss as second_stream
from workers.spd.method.start import initial_components
from workers.spd.prompts.batches import Batch
from workers.spd.targets import onednn
from workers.spd.targets.masks import inner_activation
from workers.spd.targets.target import Target


class DivergedError(ArithmeticError):
    """A training that left the range of numbers; the message is a plain sentence with a way out."""

    def __init__(self, config: DecomposeConfig, step: int, what: str) -> None:
        rates = config.optimizer
        super().__init__(
            f"The training diverged at step {step} of {config.steps}: {what} not a finite number any more. Lower "
            f"“optimizer.component_learning_rate” ({rates.component_learning_rate:g}), “optimizer.ci_learning_rate” "
            f"({rates.ci_learning_rate:g}) or the coefficients in “losses”, or set “optimizer.grad_clip”."
        )


class Trainer:
    """The state of a run. All randomness comes from `generator`, on the CPU, so a checkpoint resumes exactly."""

    def __init__(
        self,
        config: DecomposeConfig,
        target: Target,
        sites: list[str],
        batch: Batch,
        moments: Mapping[str, Float[Tensor, "d_in d_in"]] | None = None,
    ) -> None:
        """`batch`: what start values are of; `moments`: of the text that a start with a background is quiet on."""
        self.config, self.target, self.sites = config, target, sites
        if config.precision == "float32":
            onednn.adopt(target.model)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.step = 0
        self.world = World.current()
        self.adversary: Adversary | None = None
        components = initial_components(config, target, sites, batch, self.generator, moments)
        self.start = copy.deepcopy(components) if config.rest is not None else None
        self.scales = [
            float(p.detach().pow(2).mean().sqrt()) for p in [*components.V_list, *components.U_list]
        ]
        shapes = {site: (V.shape[0], V.shape[1]) for site, V in components.V.items()}
        ci = CIFunctions(shapes, config.ci, self.generator)
        self.adopt(components.to(target.device), ci.to(target.device))
        inner = {site: inner_activation(batch.inputs[site], V) for site, V in components.V.items()}
        ci.set_scale(inner, batch.inputs, batch.valid)
        self.weights = {site: target.weight(site) for site in sites}
        self.squares = {site: weight.float().pow(2).sum() for site, weight in self.weights.items()}
        self.trained = {site: V.shape[1] for site, V in components.V.items()}
        self.adaptations: list[Adaptation] = []

    def adopt(self, components: Components, ci: CIFunctions, moments: Moments | None = None) -> None:
        """Train these from here on, with Adam's `moments` where there are any."""
        where = self.config.reconstruction
        self.decomposition = Decomposition(
            self.target, components, ci,
            first_unmasked=where.first_position == "unmasked", names=() if where.remainder == "subject" else None,
        )  # fmt: skip
        self.optimizer = adam(components, ci, self.config.optimizer, self.scales, moments)

    @property
    def components(self) -> Components:
        return self.decomposition.components

    @property
    def ci(self) -> CIFunctions:
        return self.decomposition.ci

    def learning_rate(self, peak: float) -> float:
        """A learning rate at this step."""
        return learning_rate(peak, self.step / self.config.steps, self.config.optimizer.warmup)

    def warm_up_faithfulness(self, steps: int, check_stop: Callable[[], None] = lambda: None) -> float:
        """Steps on faithfulness alone (L-BFGS), before the run; returns where it ended. `check_stop` may raise."""
        if steps:
            parameters = list(self.components.parameters())
            solver = torch.optim.LBFGS(parameters, max_iter=steps, line_search_fn="strong_wolfe")

            def closure() -> Float[Tensor, ""]:
                check_stop()
                solver.zero_grad()
                loss = losses.faithfulness(self.weights, self.components.V, self.components.U) * 1e6
                loss.backward()
                return loss

            solver.step(closure)
        with torch.no_grad():
            return float(losses.faithfulness(self.weights, self.components.V, self.components.U))

    def quiet_writes(
        self, batch: Batch, rest: Iterable[Batch], check_stop: Callable[[], None] = lambda: None
    ) -> None:
        """A step on the writes alone, before the run (SPEC 27); the same in every process."""
        settings = self.config.rest and self.config.rest.quiet_writes
        assert settings is not None
        generator = torch.Generator().manual_seed(self.config.seed + 6)
        writes = quiet_writes(self.decomposition, batch, rest, settings, generator, check_stop)
        with torch.no_grad():
            for site, U in self.components.U.items():
                U.copy_(writes[site])

    # --- one step ---------------------------------------------------------------------------------------------------

    def train_step(self, batch: Batch, rest: Batch | None = None) -> dict[str, float]:
        """One step; returns what it measured before the update. `batch` holds the prompts of all processes, `rest`
        their windows of rest text, where the run has such text."""
        total, figures = self.losses(batch)
        if rest is not None:
            value, more = self.rest_loss(rest)
            total, figures = total + value, figures | more
        figures["loss"] = float(self.world.summed(total.detach()))
        if not math.isfinite(figures["loss"]):
            raise DivergedError(self.config, self.step, "the loss is")
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.world.add_up(parameter.grad for parameter in trained_parameters(self.components, self.ci))
        clip_gradients(self.components, self.ci, self.config.optimizer)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(group["peak"])
        self.optimizer.step()
        if self.adversary is not None and not self.adversary.fresh:
            self.adversary.ascend(self.world)
        self.step += 1
        return figures

    def losses(self, batch: Batch) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """The weighted sum of this process's losses, and every loss by name over all processes."""
        config, world = self.config, self.world
        if world.size > len(batch.tokens):
            raise ConfigError(
                f"data: {len(batch.tokens)} prompts a step cannot be shared by {world.size} processes; start fewer."
            )
        own = batch if world.size == 1 else batch.rows(world.rows(len(batch.tokens)).to(batch.tokens.device))
        importances = self.decomposition.importances(own.inputs, own.valid)
        total, figures = self.reconstruction(batch, importances.g)
        for loss in config.losses:
            if isinstance(loss, Faithfulness):
                value = losses.faithfulness(self.weights, self.components.V, self.components.U, self.squares)
                total = total + loss.coefficient * value / world.size
                figures["faithfulness"] = float(value.detach())
            elif isinstance(loss, ImportanceMinimality):
                value = self._minimality(loss, batch, own, importances, figures)
                warm = losses.warmed(self.step, config.steps, loss.warmup, loss.end, loss.hold)
                total = total + loss.coefficient * warm * value
        return total, figures

    def _minimality(
        self,
        loss: ImportanceMinimality,
        batch: Batch,
        own: Batch,
        importances: Importances,
        figures: dict[str, float],
    ) -> Float[Tensor, ""]:
        """This process's share of the importance minimality; its figure and L0 go into `figures`."""
        first_unmasked = self.decomposition.first_unmasked
        p = losses.exponent(self.step, self.config.steps, loss.p_start, loss.p_end)
        valid = own.masked(first_unmasked)
        positions = batch.masked(first_unmasked).sum().clamp_min(1)
        importance = {site: upper(value, loss.slope_above) for site, value in importances.gamma.items()}
        value = losses.importance_minimality(importance, valid, p, loss.past_one)
        share = valid.sum() / positions
        figure = losses.minimality_figure(value.detach(), importance, valid, p) * share
        value = value * share
        used = torch.stack([(g[valid] > self.config.threshold).sum() for g in importances.g.values()]).sum()
        figures["importance_minimality"] = float(self.world.summed(figure))
        figures["l0"] = float(self.world.summed(used)) / float(positions)
        return value

    def rest_loss(self, rest: Batch) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """The losses of the second stream."""
        config = self.config
        assert config.rest is not None
        return second_stream(
            self.decomposition, rest, config.rest, self.generator, step=self.step, steps=config.steps,
            threshold=config.threshold, distance=config.reconstruction.distance, world=self.world,
            precision=config.precision,
        )  # fmt: skip

    def reconstruction(
        self, batch: Batch, g: dict[str, Float[Tensor, "rows seq C"]]
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """The reconstruction losses of this step, weighted and summed, and each by name."""
        passes = passes_of(self.config.losses, self.step / self.config.steps)
        for item in passes:
            if isinstance(item.loss, AdversarialReconstruction):
                self._meet_adversary(item.loss, item, batch, g)
        divided = self.config.reconstruction.passes == "divided"
        return (divided_reconstruction if divided else reconstruction)(
            self.decomposition, batch, g, passes, self.generator,
            distance=self.config.reconstruction.distance, adversary=self.adversary, world=self.world,
            precision=self.config.precision,
        )  # fmt: skip

    def _meet_adversary(
        self,
        options: AdversarialReconstruction,
        item: Pass,
        batch: Batch,
        g: dict[str, Float[Tensor, "rows seq C"]],
    ) -> None:
        """Have the adversary ready for this step: drawn where it is due, and moved by the steps it takes beforehand."""
        over = options.restart is not None and self.step % options.restart == 0
        if self.adversary is None or over:
            everyone = {site: v[:1].expand(len(batch.tokens), -1, -1) for site, v in g.items()}
            self.adversary = Adversary.drawn(everyone, self.generator, options)
        attack(
            self.adversary, options.steps - (not options.fresh), self.decomposition, batch, g, item,
            distance=self.config.reconstruction.distance, world=self.world, precision=self.config.precision,
        )  # fmt: skip

    def check_finite(self) -> None:
        """Raise DivergedError where a parameter is not a finite number, so that no checkpoint or result holds one."""
        parameters = [*self.components.parameters(), *self.ci.parameters()]
        if not all(bool(parameter.isfinite().all()) for parameter in parameters):
            raise DivergedError(self.config, self.step, "the components or importance functions are")

    # --- the number of components -----------------------------------------------------------------------------------

    def eliminate(self, batch: Batch, check_stop: Callable[[], None] = lambda: None) -> Elimination:
        """Close the components that this batch's output does not need (see `elimination`)."""
        assert self.config.eliminate is not None
        settings = self.config.eliminate
        done = eliminate(
            self.decomposition, batch, budget=settings.budget, rounds=settings.rounds, check_stop=check_stop
        )
        for site, place in done.dropped:
            self.ci.close(site, place)
        return done

    @torch.no_grad()
    def prune(self, batch: Batch, below: float, positions: int = 1) -> int:
        """Drop components whose importance reaches `below` at fewer than `positions` positions of this batch; returns
        how many were dropped."""
        g = self.decomposition.importances(batch.inputs, batch.valid).g
        valid = batch.masked(self.decomposition.first_unmasked)
        reached = {site: (g[site][valid] >= below).sum(0) for site in self.sites}
        keep = {site: (count >= positions).nonzero().flatten().tolist() for site, count in reached.items()}
        before, moments = self.components.count(), Moments(self.optimizer.state)
        self.components.keep(keep, moments)
        self.ci.keep(keep, moments)
        self.adopt(self.components, self.ci, moments)
        self.adversary = self.adversary and self.adversary.kept(keep)
        return before - self.components.count()

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
            reads, writes = remainder_directions(
                self.weights[site].float(), *own, batch.inputs[site], valid, count
            )
            if reads.shape[1]:
                V[site], U[site] = reads, writes
        added = {site: v.shape[1] for site, v in V.items()}
        if not added:
            return added
        scales = {
            site: self.ci.units(inner_activation(batch.inputs[site][batch.valid], v)) for site, v in V.items()
        }
        index = {site: [*range(self.trained[site], self.trained[site] + n)] for site, n in added.items()}
        moments = Moments(self.optimizer.state)
        self.components.grow(V, U, index, moments)
        self.ci.grow(added, scales, self.generator, moments)
        self.adopt(self.components, self.ci, moments)
        self.adversary = self.adversary and self.adversary.grown(added, self.generator)
        self.trained |= {site: self.trained[site] + n for site, n in added.items()}
        return added
