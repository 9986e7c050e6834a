"""The circuit of a prompt: checked here, computed behind the door as a piece of long work."""

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
from backend.services.ablation.ablations import check_positions, not_finite, provenance_of, since
from backend.services.ablation.compute import ComputePool
from backend.services.ablation.engines import Engines
from backend.services.entries import Entry
from backend.services.prompts import Prompts, tokens

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
        asked = request.output
        position = len(ids) - 1 if asked.position is None else asked.position
        check_positions([position], len(ids), "explain")
        token, against = (
            None if one is None else self.prompts.watched(entry, [one])[0]
            for one in (asked.token, asked.against)
        )
        threshold = request.threshold
        if threshold is None:
            threshold = entry.artifact.manifest.config.threshold
        engine = self.engines.get(entry)
        found = await self.pool.run(
            lambda: engine.circuit(ids, position, token, against, threshold), client=client, long=True
        )
        graph, chosen, cached = found
        try:
            edges = _edges(graph, request.top_edges)
            return Circuit(
                tokens=tokens(entry, ids),
                sites=entry.site_names,
                vias=list(get_args(Via)),
                nodes=CircuitNodes(
                    site=graph.nodes.site.tolist(),
                    component=graph.nodes.component.tolist(),
                    position=graph.nodes.position.tolist(),
                    ci=_rounded(graph.nodes.ci),
                    inner_activation=_rounded(graph.nodes.inner),
                    effect=_rounded(graph.nodes.effect),
                    inputs=_inputs(graph.nodes.inputs),
                ),
                edges=edges,
                edges_shown=len(edges.source),
                edges_total=graph.edges_total,
                output=CircuitValue(
                    position=position,
                    token=entry.token(chosen),
                    against=None if against is None else entry.token(against),
                    value=graph.value,
                    inputs=_inputs(graph.output_inputs[:, None]),
                ),
                threshold=threshold,
                completeness=graph.completeness,
                cached=cached,
                elapsed_ms=since(started),
                provenance=provenance_of(entry, engine),
            )
        except ValueError as error:
            raise not_finite() from error


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
