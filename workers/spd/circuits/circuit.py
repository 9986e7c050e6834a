"""The circuit of a prompt: which component in use feeds which, and the output (docs/circuit.md).

A node is a component at a position where its CI passes the threshold. An edge is what the source's write there adds to
the target's inner activation, along paths that no other matrix lies on but an attention's own undecomposed value and
output projections, with norms, activation slopes and attention probabilities as they were. Its effect is that times the
target's own effect on the output, so all edges share one unit: logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workers.spd.ablation.attribution import place_effects
from workers.spd.ablation.engine import AblationEngine
from workers.spd.circuits.flow import Flow
from workers.spd.circuits.frozen import frozen_pass
from workers.spd.circuits.influence import Influence
from workers.spd.circuits.nodes import (
    MOST_NODES,
    Alive,
    Edges,
    GraphError,
    Nodes,
    alive_nodes,
    choose_nodes,
)
from workers.spd.circuits.records import FreezeError, Linear
from workers.spd.method.decomposition import Decomposition, Importances
from workers.spd.queries import CircuitQuery
from workers.spd.targets.target import Target

MOST_EDGES = 20_000
AGREES = (
    1e-3  # what a target reads must be the sum of what feeds it, to this share of the absolute contributions
)


@dataclass(frozen=True)
class CircuitGraph:
    """token: whose logit is explained; edges_total: edges that are not 0, listed or not; value: of the output, logits;
    output_inputs: its origins; completeness: the largest |sum of origins − what the target reads|, as a share of the
    absolute contributions, or of what a random direction reads, where that is more; in_use: components that pass the
    threshold, nodes or not; kept_effect: the nodes' share of their absolute first-order effects, 0–1; probability: of
    the token; cached: computed for an earlier question."""

    token: int
    nodes: Nodes
    edges: Edges
    edges_total: int
    value: float
    output_inputs: Float[Tensor, " origins"]
    completeness: float
    in_use: int
    kept_effect: float
    probability: float = 0.0
    cached: bool = False

    def nbytes(self) -> int:
        """Bytes held."""
        columns = [*vars(self.nodes).values(), *vars(self.edges).values()]
        return sum(column.nbytes for column in columns)


def circuit_graph(
    decomposition: Decomposition,
    importances: Importances,
    query: CircuitQuery,
    *,
    most_edges: int = MOST_EDGES,
) -> CircuitGraph:
    """The circuit behind the logit of a token, which the query must name. `importances`: of the prompt's clean pass.

    Raises GraphError: nothing is in use, or this architecture cannot be taken apart.
    """
    target, components = decomposition.target, decomposition.components
    token = query.token
    assert token is not None
    assert 0 <= query.position < len(query.token_ids), query
    chosen = choose_nodes(
        importances,
        query.threshold,
        min(query.nodes or MOST_NODES, MOST_NODES),
        lambda: place_effects(
            decomposition, query.token_ids[: query.position + 1], lambda logits: _explained(logits, query)
        ),
    )
    alive, nodes = alive_nodes(decomposition, importances, chosen)
    tokens = torch.tensor([query.token_ids], device=target.device)
    try:
        frozen, head = frozen_pass(target, tokens, query.position)
        live, live_head = frozen_pass(target, tokens, query.position, frozen)
    except FreezeError as error:
        raise GraphError(str(error)) from None
    missing = [site for site in alive if site not in frozen.linears]
    if missing:
        raise GraphError(
            f"“{missing[0]}” does not run as a matrix of its own, so nothing can be shown to feed it."
        )
    direction = head.weight[token].detach().clone()
    if query.against is not None:
        direction = direction - head.weight[query.against]
    scale = _logit_scale(target, head, tokens[:, :2])
    direction = scale * direction
    written = {
        site: components.U[site].detach()[at.place] * at.inner[..., None] for site, at in alive.items()
    }
    influence = Influence(live, live_head, direction, components, alive, written)
    gradient, effect = _effects(influence, alive, len(nodes.site))
    flow = Flow(decomposition, frozen, alive, written, gradient, nodes.position, query.position, most_edges)
    flow.run(head, direction, scale * _explained(_bias(target, head), query))
    edges, total = flow.edges()
    return CircuitGraph(
        token=token,
        nodes=replace(nodes, effect=effect, inputs=flow.inputs[:, :-1]),
        edges=edges,
        edges_total=total,
        value=flow.value,
        output_inputs=flow.inputs[:, -1],
        completeness=_completeness(flow),
        in_use=chosen.in_use,
        kept_effect=chosen.kept_effect,
    )


def _explained(logits: Float[Tensor, " vocab"], query: CircuitQuery) -> Float[Tensor, ""]:
    """What the circuit is about."""
    value = logits[query.token]
    return value if query.against is None else value - logits[query.against]


def _bias(target: Target, head: Linear) -> Float[Tensor, " vocab"]:
    """What the unembedding adds to every logit."""
    bias = getattr(target.model.get_submodule(head.name), "bias", None)
    return head.weight.new_zeros(head.weight.shape[0]) if bias is None else bias.detach()


@torch.no_grad()
def _logit_scale(target: Target, head: Linear, tokens: Int[Tensor, "1 seq"]) -> float:
    """What the model multiplies its unembedding's output by to get logits (Cohere, Granite); 1 where it does something
    else to it (a cap)."""
    written: list[Float[Tensor, "1 kept vocab"]] = []

    def note(module: object, args: object, y: Float[Tensor, "1 kept vocab"]) -> None:
        written.append(y)

    hook = target.model.get_submodule(head.name).register_forward_hook(note)
    try:
        logits = target.logits(tokens, torch.tensor([tokens.shape[1] - 1], device=tokens.device))
    finally:
        hook.remove()
    y, z = written[0].flatten(0, -2)[-1].double(), logits.flatten(0, -2)[-1].double()
    scale = float(y @ z / (y @ y).clamp_min(1e-12))
    return scale if torch.allclose(z, scale * y, rtol=1e-3, atol=1e-4 * float(z.abs().max())) else 1.0


def _effects(
    influence: Influence, alive: Mapping[str, Alive], count: int
) -> tuple[Float[Tensor, " targets"], Float[Tensor, " nodes"]]:
    """The output's gradient by each node's inner activation (and 1 for itself), and each node's effect on it."""
    gradient, effect = torch.zeros(count + 1), torch.zeros(count)
    gradient[count] = 1.0
    for site, here in alive.items():
        slope, node = influence.slopes(site), here.node[here.used].cpu()
        gradient[node] = slope[here.used].cpu()
        effect[node] = (slope * here.inner)[here.used].cpu()
    return gradient, effect


def _completeness(flow: Flow) -> float:
    """See `CircuitGraph`. Raises GraphError where origins are missing."""
    inputs = flow.inputs
    scale = torch.maximum(inputs.abs().sum(0), flow.typical).clamp_min(1e-6)
    off = float(((inputs.sum(0) - flow.reads).abs() / scale).max())
    if off > AGREES:
        raise GraphError(
            "This architecture computes something between its matrices that cannot be held fixed, so what feeds a "
            f"component cannot be shown ({off:.1%} would be missing)."
        )
    return off


def circuit_of(engine: AblationEngine, query: CircuitQuery) -> CircuitGraph:
    """The circuit of a prompt, cached for the next question about it. Raises GraphError."""
    clean = engine.clean(query.token_ids)
    token = query.token
    if token is None:
        token = int(clean.logits[query.position].argmax())
    if token == query.against:
        raise GraphError(
            "The token and the one it is set against are the same, so there is nothing to explain."
        )
    query = replace(query, token=token)
    cached: CircuitGraph | None = engine.circuits.get(query)
    if cached is not None:
        return cached
    probability = float(clean.logits[query.position].float().softmax(-1)[token])
    graph = circuit_graph(engine.decomposition, engine.site_importances(clean), query)
    graph = replace(graph, probability=probability)
    engine.circuits.put(query, replace(graph, cached=True), graph.nbytes())
    return graph
