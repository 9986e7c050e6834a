"""What each component contributes to one token of a prompt: to first order for all of them, exactly for the largest.

An effect is what suppressing the component adds to log p of the token, in nats: below 0, the component speaks for it.
To first order it is −∂ log p / ∂c at c = 0, where c scales what the component adds at a position, so one pass and its
gradient give the effect of every component at every position. An exact effect is a row of a sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workers.spd.ablation.engine import AblationEngine
from workers.spd.ablation.importances import significant
from workers.spd.ablation.sweeps import sweep
from workers.spd.answers import (
    Attribution,
    ComponentEffects,
    ExactEffect,
    GroupEffect,
    PlaceEffects,
    check_finite,
)
from workers.spd.keys import ComponentKey
from workers.spd.method.decomposition import Decomposition
from workers.spd.queries import AttributionQuery, Condition, Edit, SweepQuery, SweepStep
from workers.spd.targets.masks import SiteMask, masked

LEAST = 1e-4  # nats: smaller effects at one position are not listed
DIGITS = 4


@dataclass(frozen=True)
class FirstOrder:
    """token: the one explained; log_probability: its own, nats; effects: {site: [seq, C]}, nats."""

    token: int
    log_probability: float
    effects: Mapping[str, Float[Tensor, "seq C"]]


def place_effects(
    decomposition: Decomposition,
    ids: Sequence[int],
    score: Callable[[Float[Tensor, " vocab"]], Float[Tensor, ""]],
) -> dict[str, Float[Tensor, "seq C"]]:
    """What suppressing each component at each position would add to a score of the last position's logits, to first
    order. Where the first position is left to the target, effects there are 0."""
    target, V, U = decomposition.target, decomposition.components.V, decomposition.components.U
    tokens = torch.tensor([list(ids)], device=target.device)
    with torch.enable_grad():
        scales = {
            site: torch.zeros(1, len(ids), v.shape[1], dtype=v.dtype, device=v.device, requires_grad=True)
            for site, v in V.items()
        }
        with masked({site: SiteMask(V[site], U[site], scale) for site, scale in scales.items()}):
            logits = target.logits(tokens, torch.tensor([len(ids) - 1], device=target.device))[0, 0]
        gradients = torch.autograd.grad(score(logits.float()), list(scales.values()))
    effects = {site: -gradient[0].float() for site, gradient in zip(scales, gradients, strict=True)}
    if decomposition.first_unmasked:
        for effect in effects.values():
            effect[0] = 0
    return effects


def first_order(engine: AblationEngine, query: AttributionQuery) -> FirstOrder:
    """The effect of every component at every position up to the one explained."""
    token, log_probability = query.token or 0, 0.0

    def score(logits: Float[Tensor, " vocab"]) -> Float[Tensor, ""]:
        nonlocal token, log_probability
        token = int(logits.argmax()) if query.token is None else query.token
        value = torch.log_softmax(logits, -1)[token]
        log_probability = float(value.detach())
        return value

    effects = place_effects(engine.decomposition, query.token_ids[: query.position + 1], score)
    return FirstOrder(token, log_probability, effects)


def attribution_steps(engine: AblationEngine, query: AttributionQuery) -> Iterator[Attribution | None]:
    """None while there is more to do, then the answer. Raises NotFiniteError."""
    found = first_order(engine, query)
    check_finite([found.log_probability, *(float(effect.sum()) for effect in found.effects.values())])
    steps = _steps(engine, query, found)
    exact: list[ExactEffect] = []
    if steps:
        yield None
        ids = query.token_ids[: query.position + 1]
        sweeps = SweepQuery(
            ids, tuple(step for _, _, step in steps), watch=(found.token,), answer=found.token
        )
        for batch in sweep(engine, sweeps):
            for item in batch.items:
                kind, name, _ = steps[item.number]
                exact.append(ExactEffect(kind, name, -(item.ce or 0.0), item.watched[0].probability, item.kl))
            yield None
    exact.sort(key=lambda one: -abs(one.effect))
    yield Attribution(
        token=found.token,
        log_probability=found.log_probability,
        components=_components(engine, found),
        places=_places(engine, found),
        least=LEAST,
        groups=[GroupEffect(name, effect) for name, effect in _groups(engine, query, found, None)],
        exact=exact,
    )


Kind = Literal["component", "group"]
Step = tuple[Kind, str, SweepStep]  # what is suppressed, its name, the row of the sweep


def _steps(engine: AblationEngine, query: AttributionQuery, found: FirstOrder) -> list[Step]:
    """The suppressions to run: of the groups and components with the largest first-order effects where they act."""
    steps: list[Step] = []

    def add(kind: Kind, name: str, members: tuple[ComponentKey, ...]) -> None:
        edits = tuple(Edit(key.site, key.index, 1.0, query.positions) for key in members)
        steps.append((kind, name, SweepStep(Condition(edits), None, 1.0)))

    members = dict(query.groups)
    for name, _ in _groups(engine, query, found, query.positions)[: query.exact_groups]:
        add("group", name, members[name])
    ranked = [
        (float(value), site, column)
        for site, effects in found.effects.items()
        if query.sites is None or site in query.sites
        for column, value in enumerate(_at(effects, query.positions))
    ]
    ranked.sort(key=lambda row: -abs(row[0]))
    for _, site, column in ranked[: query.exact]:
        key = ComponentKey(site, engine.decomposition.components.index[site][column])
        add("component", str(key), (key,))
    return steps


def _at(effects: Float[Tensor, "seq C"], positions: tuple[int, ...] | None) -> Float[Tensor, " C"]:
    """Summed over the positions where an ablation acts."""
    if positions is None:
        return effects.sum(0)
    return effects[[position for position in positions if position < len(effects)]].sum(0)


def _groups(
    engine: AblationEngine, query: AttributionQuery, found: FirstOrder, positions: tuple[int, ...] | None
) -> list[tuple[str, float]]:
    """First-order effects of the groups, the largest first."""
    totals = {site: _at(effects, positions).tolist() for site, effects in found.effects.items()}
    column = engine.editor.column
    sums = [
        (name, sum(totals[key.site][column[key.site, key.index]] for key in members))
        for name, members in query.groups
    ]
    return sorted(sums, key=lambda group: -abs(group[1]))


def _components(engine: AblationEngine, found: FirstOrder) -> ComponentEffects:
    sites, index = engine.decomposition.sites, engine.decomposition.components.index
    rows = [
        (number, index[site][column], value)
        for number, site in enumerate(sites)
        for column, value in enumerate(_listed(found.effects[site].sum(0)))
    ]
    rows.sort(key=lambda row: -abs(row[2]))
    site, component, effect = (list(column) for column in zip(*rows, strict=True))
    return ComponentEffects(site, component, effect)


def _places(engine: AblationEngine, found: FirstOrder) -> PlaceEffects:
    columns = PlaceEffects([], [], [], [])
    for number, site in enumerate(engine.decomposition.sites):
        effects, index = found.effects[site], engine.decomposition.components.index[site]
        at, column = (effects.abs() >= LEAST).nonzero(as_tuple=True)
        columns.site.extend([number] * len(at))
        columns.position.extend(at.tolist())
        columns.component.extend(index[place] for place in column.tolist())
        columns.effect.extend(_listed(effects[at, column]))
    return columns


def _listed(values: Float[Tensor, " n"]) -> list[float]:
    return significant(values.double().cpu().numpy(), DIGITS).tolist()
