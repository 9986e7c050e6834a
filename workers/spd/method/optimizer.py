"""Adam over components and causal importance functions, with the learning rate of each (SPEC 15)."""

from __future__ import annotations

import math
from itertools import repeat

import torch
from torch import nn

from workers.spd.config import OptimizerConfig
from workers.spd.method.ci import CIFunctions
from workers.spd.method.components import Components
from workers.spd.method.resizing import Moments


def trained_parameters(components: Components, ci: CIFunctions) -> list[nn.Parameter]:
    """What the optimizer moves: every V, every U, then the importance functions'."""
    parameters = [*components.V_list, *components.U_list, *ci.parameters()]
    return [parameter for parameter in parameters if parameter.requires_grad]


def adam(
    components: Components,
    ci: CIFunctions,
    config: OptimizerConfig,
    scales: list[float],
    moments: Moments | None = None,
) -> torch.optim.Adam:
    """Adam whose groups hold their peak learning rate as `peak`. A read learning rate of 0 freezes V.

    scales: the RMS of the start values of every V, then of every U, by which `component_steps: relative` multiplies.
    moments: what an Adam before this one has reached.
    """
    reads = config.component_learning_rate if config.read_learning_rate is None else config.read_learning_rate
    components.V_list.requires_grad_(reads > 0)
    own = [
        *zip(components.V_list, repeat(reads)),
        *zip(components.U_list, repeat(config.component_learning_rate)),
    ]
    if config.component_steps == "relative":
        own = [(parameter, peak * scale) for (parameter, peak), scale in zip(own, scales, strict=True)]
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter, peak in [*own, *zip(ci.parameters(), repeat(config.ci_learning_rate))]:
        if parameter.requires_grad:
            groups.setdefault(peak, []).append(parameter)
    optimizer = torch.optim.Adam(
        [{"params": params, "peak": peak} for peak, params in groups.items()],
        lr=0.0,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
    )
    if moments is not None and moments.step is not None:
        for parameter in trained_parameters(components, ci):
            optimizer.state[parameter] = moments.of(parameter)
    return optimizer


def clip_gradients(components: Components, ci: CIFunctions, config: OptimizerConfig) -> None:
    """Scale gradients down to the largest norm allowed, all together or part by part."""
    if config.grad_clip is None:
        return
    parts = [trained_parameters(components, ci)]
    if config.grad_clip_by == "part":
        parts = [[parameter] for parameter in [*components.V_list, *components.U_list]]
        parts += [list(gamma.parameters()) for gamma in ci.gammas]
    for part in parts:
        nn.utils.clip_grad_norm_(part, config.grad_clip)


def learning_rate(peak: float, done: float, warmup: float) -> float:
    """Linear warm-up over the share `warmup` of the steps, then a cosine to zero; `done`: share of the steps, 0–1."""
    if done < warmup:
        return peak * done / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))
