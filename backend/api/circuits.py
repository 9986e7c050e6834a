"""The circuit of a prompt."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool

from backend.api.decompositions import Id
from backend.api.deps import CatalogueDep, CircuitsDep, ClientDep, ComponentsDep, WaitingDep
from backend.api.roles import READ
from backend.schemas.attribution_graphs import AttributionGraph, GraphRequest
from backend.schemas.circuits import Circuit, CircuitRequest, StoredCircuit
from backend.services.attribution_graphs import attribution_graph
from backend.services.circuits import stored_circuit

router = APIRouter(prefix="/api/decompositions", tags=["workbench"], dependencies=[READ])


@router.post("/{id}/circuits")
async def circuit(
    id: Id, request: CircuitRequest, catalogue: CatalogueDep, circuits: CircuitsDep, client: ClientDep, wait: WaitingDep
) -> Circuit:  # fmt: skip
    """Which components in use on a prompt feed which, and the output: nodes and the strongest edges."""
    return await wait(circuits.circuit(await catalogue.aget(id), request, client))


@router.post("/{id}/circuits/graph")
async def circuit_graph(
    id: Id, request: GraphRequest, catalogue: CatalogueDep, circuits: CircuitsDep, components: ComponentsDep,
    client: ClientDep, wait: WaitingDep,
) -> AttributionGraph:  # fmt: skip
    """The same circuit as Neuronpedia's graph JSON, with pinned nodes and supernodes."""
    entry = await catalogue.aget(id)
    found = await wait(circuits.circuit(entry, request, client))
    labels = await run_in_threadpool(components.labels, entry)
    return attribution_graph(entry, request, found, lambda key: labels.get(str(key), ""))


@router.get("/{id}/circuit")
def get_stored_circuit(id: Id, catalogue: CatalogueDep) -> StoredCircuit:
    """The circuit that a run of the induction model stored: attention of both layers, and what acts where."""
    return stored_circuit(catalogue.get(id))
