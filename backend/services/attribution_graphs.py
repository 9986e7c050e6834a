"""A circuit as an attribution graph.

Components are its features. What no node writes is there too, as in graphs of transcoders: an embedding and an error
node at every position, so that the inputs of each node still add up to what it reads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime

from backend.schemas.attribution_graphs import (
    AttributionGraph,
    GraphGenerator,
    GraphInfo,
    GraphLink,
    GraphMetadata,
    GraphNode,
    GraphRequest,
    GraphState,
    NodeKind,
)
from backend.schemas.circuits import Circuit, CircuitInputs
from backend.services.entries import Entry
from backend.settings import app_version
from workers.spd.keys import ComponentKey, layer_of, short_name

OUTPUT = "output"
STEERING = ("gate", "query", "key")


def attribution_graph(
    entry: Entry, request: GraphRequest, circuit: Circuit, label: Callable[[ComponentKey], str]
) -> AttributionGraph:
    """`label`: what a component is called."""
    columns, output = circuit.nodes, circuit.output
    keys = [
        ComponentKey(circuit.sites[site], component)
        for site, component in zip(columns.site, columns.component, strict=True)
    ]
    ids = [f"{key}@{position}" for key, position in zip(keys, columns.position, strict=True)]
    numbers = _numbers(entry)
    features = [
        GraphNode(
            node_id=id, jsNodeId=id, feature=numbers[key.site] + key.index, layer=str(layer_of(key.site) or 0),
            ctx_idx=position, feature_type="rank-1 component",
            clerp=f"{short_name(key.site)}:{key.index} {label(key)}", influence=effect, activation=inner,
        )
        for id, key, position, effect, inner in zip(
            ids, keys, columns.position, columns.effect, columns.inner_activation, strict=True
        )
    ]  # fmt: skip
    links = _edges(circuit, ids)
    rest = _rest(circuit, ids)
    used = {link.source for link in rest}
    known = set(ids)
    return AttributionGraph(
        metadata=_metadata(entry, circuit),
        qParams=GraphState(
            pinnedIds=[id for id in request.pinned if id in known],
            supernodes=[
                [one.name, *members]
                for one in request.supernodes
                if (members := [id for id in one.nodes if id in known])
            ],
        ),
        nodes=[*_origins(circuit, used), *features, _output(circuit, output.position)],
        links=[*links, *rest],
    )


def _numbers(entry: Entry) -> dict[str, int]:
    """The number of each site's first component, counted as trained."""
    numbers: dict[str, int] = {}
    total = 0
    for site in entry.site_names:
        numbers[site] = total
        total += entry.trained[site]
    return numbers


def _output(circuit: Circuit, position: int) -> GraphNode:
    output = circuit.output
    against = "" if output.against is None else f" against “{output.against.piece}”"
    return GraphNode(
        node_id=OUTPUT, jsNodeId=OUTPUT, feature=output.token.id,
        layer=str(max((layer_of(site) or 0 for site in circuit.sites), default=0) + 1), ctx_idx=position,
        feature_type="logit", clerp=f'Output "{output.token.piece}"{against} (p={output.probability:.3f})',
        influence=output.value,
    )  # fmt: skip


def _edges(circuit: Circuit, ids: list[str]) -> list[GraphLink]:
    """A link for two nodes, whatever the path between them. What steers a node is no part of it, and left out."""
    edges = circuit.edges
    weights: dict[tuple[str, str], float] = defaultdict(float)
    for source, target, via, weight in zip(edges.source, edges.target, edges.via, edges.weight, strict=True):
        if circuit.vias[via] not in STEERING:
            weights[ids[source], OUTPUT if target == -1 else ids[target]] += weight
    return [
        GraphLink(source=source, target=target, weight=weight) for (source, target), weight in weights.items()
    ]


def _rest(circuit: Circuit, ids: list[str]) -> list[GraphLink]:
    """What embeddings and everything that is no node add to each node, and to the output."""
    links: list[GraphLink] = []

    def add(inputs: CircuitInputs, row: int, target: str, position: int) -> None:
        others = sum((inputs.rest[row], inputs.attention[row], inputs.other[row], inputs.constant[row]))
        for source, weight in ((f"E_{position}", inputs.embedding[row]), (f"error_{position}", others)):
            if weight:
                links.append(GraphLink(source=source, target=target, weight=weight))

    for row, (target, position) in enumerate(zip(ids, circuit.nodes.position, strict=True)):
        add(circuit.nodes.inputs, row, target, position)
    add(circuit.output.inputs, 0, OUTPUT, circuit.output.position)
    return links


def _origins(circuit: Circuit, used: set[str]) -> list[GraphNode]:
    nodes: list[GraphNode] = []

    def add(id: str, layer: str, kind: NodeKind, position: int, feature: int | None, words: str) -> None:
        if id in used:
            nodes.append(
                GraphNode(
                    node_id=id, jsNodeId=id, feature=feature, layer=layer, ctx_idx=position, feature_type=kind,
                    clerp=words,
                )
            )  # fmt: skip

    for position, token in enumerate(circuit.tokens):
        add(f"E_{position}", "E", "embedding", position, token.id, f"“{token.piece}”")
        words = f"what no node writes at “{token.piece}”"
        add(f"error_{position}", "0", "mlp reconstruction error", position, None, words)
    return nodes


def _metadata(entry: Entry, circuit: Circuit) -> GraphMetadata:
    output, source = circuit.output, circuit.provenance
    written = output.inputs.here[0] + output.inputs.attended[0]
    pieces = [token.piece for token in circuit.tokens]
    share = written / output.value if output.value else 0.0
    return GraphMetadata(
        slug=f"{entry.slug}-circuit",
        scan=source.model,
        prompt_tokens=pieces,
        prompt="".join(pieces),
        info=GraphInfo(
            description=f"Circuit of “{entry.slug}”. Its nodes write {share:.0%} of the output.",
            generator=GraphGenerator(name="Unweave", version=app_version()),
            create_time_ms=int(datetime.now(UTC).timestamp() * 1000),
        ),
        generation_settings={
            "decomposition": source.decomposition, "artifact_hash": source.artifact_hash,
            "weights_hash": source.weights_hash, "threshold": circuit.threshold, "explained_share": share,
            "edges_shown": circuit.edges_shown, "edges_total": circuit.edges_total,
        },
    )  # fmt: skip
