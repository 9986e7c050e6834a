"""A circuit as an attribution graph: the JSON that Neuronpedia and the tools around it read (docs/circuit.md)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from backend.schemas.circuits import CircuitRequest
from backend.schemas.common import Body, Wire

MAX_SUPERNODES, MAX_MEMBERS = 100, 1_000
NodeName = Annotated[str, Field(max_length=400, description="`<component key>@<position>`")]


NodeKind = Literal["rank-1 component", "embedding", "mlp reconstruction error", "logit"]


class Supernode(Body):
    """Nodes that are shown as one."""

    name: str = Field(min_length=1, max_length=100)
    nodes: list[NodeName] = Field(max_length=MAX_MEMBERS)


class GraphRequest(CircuitRequest):
    """A circuit, and what somebody made of it. Nodes that it lacks are left out."""

    pinned: list[NodeName] = Field(default=[], max_length=MAX_MEMBERS)
    supernodes: list[Supernode] = Field(default=[], max_length=MAX_SUPERNODES)


class GraphGenerator(Wire):
    name: str
    version: str


class GraphInfo(Wire):
    description: str
    generator: GraphGenerator
    create_time_ms: int


class GraphMetadata(Wire):
    """scan: the model."""

    slug: str
    scan: str
    prompt_tokens: list[str]
    prompt: str
    info: GraphInfo
    generation_settings: dict[str, str | int | float] = Field(
        description="the decomposition, its hashes, the threshold, and what share of the output the nodes write"
    )


class GraphState(Wire):
    """What is selected. A supernode is its name, then the ids of its nodes."""

    pinnedIds: list[str]
    supernodes: list[list[str]]
    linkType: Literal["both"] = "both"


class GraphNode(Wire):
    """layer: "E" for embeddings; feature: the component, counted through all sites of the decomposition, or the id
    of a token; clerp: what it is called; influence: its effect on the output, logits; activation: its inner activation.
    """

    node_id: str
    jsNodeId: str
    feature: int | None
    layer: str
    ctx_idx: int
    feature_type: NodeKind
    clerp: str
    influence: float | None = None
    activation: float | None = None


class GraphLink(Wire):
    """weight: what the source adds to the target's inner activation, or to the output."""

    source: str
    target: str
    weight: float


class AttributionGraph(Wire):
    metadata: GraphMetadata
    qParams: GraphState
    nodes: list[GraphNode]
    links: list[GraphLink]
