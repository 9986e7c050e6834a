"""A run beside its paper (arXiv 2511.08854): how its table compares, and which parts of the method it uses."""

from __future__ import annotations

from typing import TypeVar

from backend.schemas.decompositions import MethodPart, PaperTable, TableRow
from workers.spd.artifact import PaperComparison, Verdict
from workers.spd.config import (
    AdversarialReconstruction,
    AttentionCI,
    DecomposeConfig,
    Faithfulness,
    ImportanceMinimality,
    Loss,
    PartialReconstruction,
    StochasticReconstruction,
)

L = TypeVar("L", bound=Loss)


def paper_table(paper: PaperComparison) -> PaperTable:
    """The table as the overview shows it."""
    rows = [
        TableRow(**row.model_dump(exclude={"agrees"}), agrees=agrees(row.verdict), verdict=row.verdict)
        for row in paper.rows
    ]
    return PaperTable(title=paper.title, source=paper.source, rows=rows, notes=paper.notes)


def agrees(verdict: Verdict) -> bool | None:
    """The verdict as yes or no; None where there is nothing to compare."""
    return None if verdict == "not comparable" else verdict == "agrees"


CI_WORDS = {
    "shared_mlp": "one MLP per site, without attention",
    "mlp": "an MLP per component of its own inner activation, without attention",
    "vector_mlp": "an MLP per component of the site's input, without attention",
    "transformer": "one small transformer over all sites",
}
STARTS = {
    "random": "random",
    "svd": "singular directions of the weights",
    "data": "dual basis of the token inputs",
}


def method_parts(config: DecomposeConfig) -> list[MethodPart]:
    """Each part of the paper's method and what this run does, read off its config."""
    ci = config.ci
    if isinstance(ci, AttentionCI):
        shared = "one network per component" if ci.scope == "component" else "one network per site, shared"
        heads = "one head" if ci.heads == 1 else f"{ci.heads} heads"
        causal = MethodPart(
            name="Causal importance",
            paper="attention, one head, one network per component",
            here=f"attention, {heads}, {shared}",
            use="as in the paper" if ci.scope == "component" and ci.heads == 1 else "changed",
        )
    else:
        causal = MethodPart(
            name="Causal importance",
            paper="attention, one head, one network per component",
            here=CI_WORDS[ci.kind],
            use="changed",
        )
    faithfulness = _loss(config, Faithfulness)
    stochastic = _loss(config, StochasticReconstruction)
    partial = _loss(config, PartialReconstruction)
    minimality = _loss(config, ImportanceMinimality)
    adversarial = _loss(config, AdversarialReconstruction)
    sources = "uniform" if stochastic is not None and not stochastic.level else "uniform and by level"
    return [
        causal,
        MethodPart(
            name="Stochastic reconstruction",
            paper="uniform masks, all sites",
            here="off" if stochastic is None else f"{sources} masks, all sites",
            use="not used"
            if stochastic is None
            else "as in the paper"
            if not stochastic.level
            else "changed",
        ),
        MethodPart(
            name="Partial reconstruction",
            paper="a random subset of sites or layers",
            here="off" if partial is None else f"a random subset of {partial.route}s",
            use="not used"
            if partial is None
            else "changed"
            if partial.route == "position"
            else "as in the paper",
        ),
        MethodPart(
            name="Importance minimality",
            paper="|g|ᵖ, p annealed downward",
            here="off"
            if minimality is None
            else f"|g|ᵖ, p from {minimality.p_start:g} to {minimality.p_end:g}",
            use="not used" if minimality is None else "as in the paper",
        ),
        MethodPart(
            name="Faithfulness",
            paper="components sum to the weights",
            here="off: what they leave out is the remainder" if faithfulness is None else "trained",
            use="not used" if faithfulness is None else "as in the paper",
        ),
        MethodPart(
            name="Adversarial reconstruction",
            paper="not part of it",
            here="not trained against"
            if adversarial is None
            else "trained against masks moved by sign ascent",
            use="as in the paper" if adversarial is None else "added",
        ),
        MethodPart(
            name="Start of the components",
            paper="random",
            here=STARTS[config.start.kind],
            use="as in the paper" if config.start.kind == "random" else "changed",
        ),
    ]


def _loss(config: DecomposeConfig, kind: type[L]) -> L | None:
    """The loss of this kind that trains anything, or None."""
    return next((loss for loss in config.losses if isinstance(loss, kind) and loss.coefficient > 0), None)
