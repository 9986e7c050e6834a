"""The circuit of a prompt: nodes and edges as columns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from backend.schemas.common import Body, Provenance, Token, Wire
from backend.schemas.experiments import Place, TokenRef
from backend.schemas.workbench import Prompt, Unit

MAX_EDGES = 20_000
MAX_NODES = 8_192
NODES = 300

Via = Literal["residual", "neurons", "attention", "gate", "query", "key"]


class SiteUse(Wire):
    """One site over many sequences: the CI summed over components at each mark, how many components pass the threshold
    there in at least 1 % of the sequences, and the summed CI at a position that is no mark."""

    marks: dict[str, float]
    components: dict[str, int]
    elsewhere: float


class Acting(Wire):
    """A component at a position where its CI passes the threshold."""

    site: str
    component: int
    position: int
    ci: float


class StoredCircuit(Wire):
    """One sequence of the induction model, as the run stored it. attention: a layer's rows, query by query, each as
    long as the keys it may see; masked_attention: the same with causal importances as masks, remainder off."""

    pieces: list[str]
    marks: dict[str, int] | None = Field(description="positions of s1, m and s2")
    attention: list[list[list[float]]]
    masked_attention: list[list[list[float]]] | None = None
    acting: list[Acting]
    use: dict[str, SiteUse] = Field(default={}, description="by site, mean over many sequences")


class CircuitOutput(Body):
    """What the circuit explains: the logit of `token` (null: the likeliest) at `position` (null: the last), less that
    of `against`."""

    position: Place | None = None
    token: TokenRef | None = None
    against: TokenRef | None = None


class CircuitRequest(Prompt):
    output: CircuitOutput = CircuitOutput()
    threshold: Unit | None = Field(
        default=None, description="CI above which a component is a node; null: the run's own"
    )
    nodes: Annotated[int, Field(ge=1, le=MAX_NODES)] = Field(
        default=NODES, description="of more components in use, those with the largest effects are nodes"
    )
    top_edges: Annotated[int, Field(ge=1, le=MAX_EDGES)] = 400


class CircuitInputs(Wire):
    """What a node's inner activation is made of, each a column; their sum is the inner activation. here: nodes at its
    position · attended: nodes through one attention · embedding: the embeddings at its position · rest: of decomposed
    sites, what no node is · attention: whatever else attentions carry · other: matrices that are not decomposed ·
    constant: biases of norms."""

    here: list[float]
    attended: list[float]
    embedding: list[float]
    rest: list[float]
    attention: list[float]
    other: list[float]
    constant: list[float]


class CircuitNodes(Wire):
    """Components in use, as columns of equal length, in site order, then position, then component."""

    site: list[int] = Field(description="index into `sites`")
    component: list[int] = Field(description="index as trained")
    position: list[int]
    ci: list[float]
    inner_activation: list[float]
    effect: list[float] = Field(
        description="what the output would lose without the node there: to first order, in logits; queries and keys by "
        "what their removal does to their attention"
    )
    inputs: CircuitInputs


class CircuitEdges(Wire):
    """As columns, the largest absolute effect first."""

    source: list[int] = Field(description="index of a node")
    target: list[int] = Field(description="index of a node, or −1: the output")
    via: list[int] = Field(
        description="index into `vias`; gate, query and key steer and are no part of `inputs`"
    )
    weight: list[float] = Field(description="what the source adds to the target's inner activation")
    effect: list[float] = Field(description="weight times ∂output/∂(that activation), logits")


class CircuitValue(Wire):
    """The output: logit (or difference), and what it is made of."""

    position: int
    token: Token
    against: Token | None
    value: float
    probability: float = Field(description="of `token` at `position`")
    inputs: CircuitInputs = Field(description="each column holds one number")


class Circuit(Wire):
    tokens: list[Token]
    sites: list[str] = Field(description="all sites of the decomposition, in model order")
    vias: list[Via]
    nodes: CircuitNodes
    edges: CircuitEdges
    edges_shown: int
    edges_total: int = Field(description="pairs that are connected at all")
    output: CircuitValue
    threshold: float
    in_use: int = Field(description="components that pass the threshold; `nodes` holds the largest")
    kept_effect: float = Field(
        description="the nodes' share of the absolute first-order effects of all in use, 0–1"
    )
    completeness: float = Field(
        description="largest |sum of `inputs` − what a node reads|, as a share of the sum of their absolute values"
    )
    cached: bool
    elapsed_ms: float
    provenance: Provenance
