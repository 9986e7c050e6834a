"""The circuit of a prompt: which component in use feeds which, and the output (docs/circuit.md).

A node is a component at a position where its CI passes the threshold. An edge is what the source's write there adds to
the target's inner activation, along paths that no other matrix lies on but an attention's own undecomposed value and
output projections, with norms, activation slopes and attention probabilities as they were. Its effect is that times the
target's own effect on the output, so all edges share one unit: logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workers.spd.ablation.engine import AblationEngine
from workers.spd.circuits.flow import Flow
from workers.spd.circuits.frozen import FreezeError, frozen_pass
from workers.spd.circuits.influence import Influence
from workers.spd.circuits.nodes import MOST_NODES, ORIGINS, Alive, Edges, GraphError, Nodes, Via, alive_nodes
from workers.spd.method.decomposition import Decomposition, Importances

MOST_EDGES = 20_000
AGREES = (
    1e-3  # what a target reads must be the sum of what feeds it, to this share of the absolute contributions
)


@dataclass(frozen=True)
class Output:
    """What the circuit is to explain: the logit of `token` at `position`, less that of `against`."""

    position: int
    token: int
    against: int | None = None


@dataclass(frozen=True)
class CircuitGraph:
    """value: of the output; output_inputs: its origins; edges_total: edges that are not 0, kept or not; completeness:
    the largest |sum of origins − what the target reads|, as a share of the absolute contributions,
    or of what a random direction reads, where that is more."""

    nodes: Nodes
    edges: Edges
    edges_total: int
    value: float
    output_inputs: Float[Tensor, " origins"]
    completeness: float

    def nbytes(self) -> int:
        """Bytes held."""
        held = [*vars(self.nodes).values(), *vars(self.edges).values()]
        return sum(one.numel() * one.element_size() for one in held)


def circuit_graph(
    decomposition: Decomposition,
    importances: Importances,
    token_ids: Sequence[int],
    output: Output,
    threshold: float,
    *,
    most_edges: int = MOST_EDGES,
) -> CircuitGraph:
    """The circuit of one prompt whose importances (of the clean pass) are known.

    Raises GraphError: nothing or too much is in use, or this architecture cannot be taken apart.
    """
    target = decomposition.target
    assert 0 <= output.position < len(token_ids), output
    alive, nodes = alive_nodes(decomposition, importances, threshold)
    tokens = torch.tensor([list(token_ids)], device=target.device)
    try:
        found, head = frozen_pass(target, tokens, output.position)
        live, live_head = frozen_pass(target, tokens, output.position, found)
    except FreezeError as error:
        raise GraphError(str(error)) from None
    missing = [site for site in alive if site not in found.linears]
    if missing:
        raise GraphError(
            f"“{missing[0]}” does not run as a matrix of its own, so nothing can be said to feed it."
        )
    direction = head.weight[output.token].detach().clone()
    if output.against is not None:
        direction = direction - head.weight[output.against]
    components = decomposition.components
    written = {  # what each node writes: [slots, seq, d_out]
        site: components.U[site].detach()[here.place] * here.inner[..., None] for site, here in alive.items()
    }
    influence = Influence(live, live_head, direction, components, alive, written)
    count = len(nodes.site)
    gradient = torch.zeros(count + 1)
    gradient[count] = 1.0
    effect = torch.zeros(count)
    for site, here in alive.items():
        slope, used = influence.slopes(site), here.used
        at = here.node[used].cpu()
        gradient[at], effect[at] = slope[used].cpu(), (slope * here.inner)[used].cpu()
    flow = Flow(decomposition, found, alive, written, gradient, nodes.position, output.position, most_edges)
    flow.run(head, direction)
    edges, total = flow.edges()
    inputs, value = flow.inputs, flow.value
    scale = torch.maximum(inputs.abs().sum(0), flow.typical).clamp_min(1e-6)
    off = float(((inputs.sum(0) - flow.reads).abs() / scale).max())
    if off > AGREES:
        raise GraphError(
            "This architecture computes something between its matrices that cannot be held fixed, so what feeds a "
            f"component cannot be told ({off:.1%} would be missing)."
        )
    kept = Nodes(
        nodes.site, nodes.component, nodes.position, nodes.ci, nodes.inner, effect, inputs[:, :count]
    )
    return CircuitGraph(kept, edges, total, float(value), inputs[:, count], off)


def circuit_of(
    engine: AblationEngine,
    token_ids: Sequence[int],
    position: int,
    token: int | None,
    against: int | None,
    threshold: float,
) -> tuple[CircuitGraph, int, bool]:
    """The circuit of a prompt, kept for the next question about it; the token it explains (where None: the likeliest at
    that position); and whether it was kept. Raises GraphError."""
    clean = engine.clean(token_ids)
    chosen = int(clean.logits[position].argmax()) if token is None else token
    if chosen == against:
        raise GraphError(
            "The token and the one it is set against are the same, so there is nothing to explain."
        )
    key = (tuple(token_ids), position, chosen, against, threshold)
    found = engine.circuits.get(key)
    if found is not None:
        return found, chosen, True
    output = Output(position, chosen, against)
    made = circuit_graph(engine.decomposition, engine.site_importances(clean), token_ids, output, threshold)
    engine.circuits.put(key, made, made.nbytes())
    return made, chosen, False


__all__ = [
    "MOST_EDGES", "MOST_NODES", "ORIGINS", "Alive", "CircuitGraph", "Edges", "GraphError", "Nodes", "Output",
    "Via", "alive_nodes", "circuit_graph", "circuit_of",
]  # fmt: skip
