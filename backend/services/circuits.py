"""The circuit of a prompt: checked here, computed by the engine as a piece of long work."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, get_args

from backend.errors import ApiError
from backend.schemas.circuits import (
    Circuit,
    CircuitEdges,
    CircuitInputs,
    CircuitNodes,
    CircuitRequest,
    CircuitValue,
    StoredCircuit,
    Via,
)
from backend.services.ablation.ablations import check_positions, finite_numbers, provenance_of, since
from backend.services.ablation.compute import ComputePool
from backend.services.ablation.engines import Engines
from backend.services.entries import Entry
from backend.services.prompts import Prompts, tokens
from workers.spd.queries import CircuitQuery

if TYPE_CHECKING:
    from workers.spd.circuits.circuit import CircuitGraph

DIGITS = 6


def stored_circuit(entry: Entry) -> StoredCircuit:
    """What a run of the induction model stored. Raises ApiError 404 where it is no such run."""
    path = entry.artifact.path / "harvest" / "circuit.json"
    try:
        return StoredCircuit.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise ApiError(
            404, "no_stored_circuit", f"“{entry.slug}” stored no circuit; ask for that of a prompt."
        ) from None
    except ValueError as error:
        raise ApiError(
            500, "broken_circuit", f"The stored circuit of “{entry.slug}” is not whole."
        ) from error


class Circuits:
    """Circuits of prompts."""

    def __init__(self, engines: Engines, prompts: Prompts, pool: ComputePool) -> None:
        self.engines, self.prompts, self.pool = engines, prompts, pool

    async def circuit(self, entry: Entry, request: CircuitRequest, client: str = "") -> Circuit:
        """Raises ApiError 422 for what cannot be drawn, 503 while there are no weights."""
        started = time.perf_counter()
        ids = self.prompts.resolve(entry, request)
        output = request.output
        position = len(ids) - 1 if output.position is None else output.position
        check_positions([position], len(ids), "explain")
        token, against = (
            None if one is None else self.prompts.watched(entry, [one])[0]
            for one in (output.token, output.against)
        )
        threshold = request.threshold
        if threshold is None:
            threshold = entry.artifact.manifest.config.threshold
        query = CircuitQuery(tuple(ids), position, token, against, threshold, request.nodes)
        engine = self.engines.get(entry)
        graph = await self.pool.run(lambda: engine.circuit(query), client=client, long=True)
        with finite_numbers():
            edges = _edges(graph, request.top_edges)
            return Circuit(
                tokens=tokens(entry, ids),
                sites=entry.site_names,
                vias=list(get_args(Via)),
                nodes=_nodes(graph),
                edges=edges,
                edges_shown=len(edges.source),
                edges_total=graph.edges_total,
                output=CircuitValue(
                    position=position,
                    token=entry.token(graph.token),
                    against=None if against is None else entry.token(against),
                    value=graph.value,
                    probability=graph.probability,
                    inputs=_inputs(graph.output_inputs[:, None]),
                ),
                threshold=threshold,
                in_use=graph.in_use,
                kept_effect=graph.kept_effect,
                completeness=graph.completeness,
                cached=graph.cached,
                elapsed_ms=since(started),
                provenance=provenance_of(entry, engine),
            )


def _nodes(graph: CircuitGraph) -> CircuitNodes:
    nodes = graph.nodes
    return CircuitNodes(
        site=nodes.site.tolist(),
        component=nodes.component.tolist(),
        position=nodes.position.tolist(),
        ci=_rounded(nodes.ci),
        inner_activation=_rounded(nodes.inner),
        effect=_rounded(nodes.effect),
        inputs=_inputs(nodes.inputs),
    )


def _edges(graph: CircuitGraph, most: int) -> CircuitEdges:
    edges, count = graph.edges, len(graph.nodes.site)
    return CircuitEdges(
        source=edges.source[:most].tolist(),
        target=[-1 if target == count else target for target in edges.target[:most].tolist()],
        via=edges.via[:most].tolist(),
        weight=_rounded(edges.weight[:most]),
        effect=_rounded(edges.effect[:most]),
    )


def _inputs(columns: Any) -> CircuitInputs:
    names = CircuitInputs.model_fields
    return CircuitInputs(**{name: _rounded(column) for name, column in zip(names, columns, strict=True)})


def _rounded(column: Any) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in column.tolist()]
