"""The circuit of a prompt over HTTP."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from fastapi.testclient import TestClient

from backend.schemas.circuits import StoredCircuit
from backend.settings import SHIPPED
from tests.factories import WOODS

TINY = "/api/decompositions/tiny/circuits"


def ask(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post(TINY, json={"text": WOODS, "threshold": 0.05, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post(TINY, json={"text": WOODS, **body})
    assert answer.status_code == 422, answer.text
    return answer.json()


def test_nodes_are_what_is_in_use_and_edges_join_them(real_client: TestClient) -> None:
    found = ask(real_client, output={"token": " golf", "against": " player"}, nodes=2_000)
    nodes, edges = found["nodes"], found["edges"]
    known = real_client.post(
        "/api/decompositions/tiny/importances", json={"text": WOODS, "threshold": 0.05}
    ).json()
    for name in ("site", "position", "component"):
        assert nodes[name] == known[name]
    assert nodes["ci"] == pytest.approx(known["ci"], abs=1e-5)
    count = len(nodes["ci"])
    assert all(0 <= source < count for source in edges["source"])
    assert all(-1 <= target < count for target in edges["target"])
    assert -1 in edges["target"]
    assert found["edges_shown"] == len(edges["weight"]) <= found["edges_total"]
    assert [abs(e) for e in edges["effect"]] == sorted((abs(e) for e in edges["effect"]), reverse=True)
    made_of = [sum(column[row] for column in nodes["inputs"].values()) for row in range(count)]
    assert made_of == pytest.approx(nodes["inner_activation"], rel=1e-3, abs=1e-4)
    ablation = real_client.post(
        "/api/decompositions/tiny/ablations", json={"text": WOODS, "watch": [" golf", " player"]}
    ).json()
    golf, player = ablation["positions"][-1]["watched"]
    wanted = golf["baseline"]["logit"] - player["baseline"]["logit"]
    assert found["output"]["value"] == pytest.approx(wanted, abs=1e-3)
    assert found["output"]["token"]["piece"] == " golf"


def test_the_usual_output_is_the_likeliest_token_at_the_end(real_client: TestClient) -> None:
    found = ask(real_client)
    ablation = real_client.post("/api/decompositions/tiny/ablations", json={"text": WOODS, "top_k": 1}).json()
    assert found["output"]["token"]["id"] == ablation["positions"][-1]["top"][0]["token_id"]
    assert found["output"]["position"] == len(found["tokens"]) - 1


def test_fewer_edges_come_from_the_same_circuit(real_client: TestClient) -> None:
    every, few = ask(real_client, top_edges=20_000), ask(real_client, top_edges=3)
    assert few["cached"]
    assert few["edges"]["effect"] == every["edges"]["effect"][:3]
    assert few["edges_total"] == every["edges_total"]


def test_of_many_components_in_use_those_asked_for_are_nodes(real_client: TestClient) -> None:
    every, few = ask(real_client, nodes=8_192), ask(real_client, nodes=4)
    assert every["in_use"] == few["in_use"] == len(every["nodes"]["ci"])
    assert (len(few["nodes"]["ci"]), every["kept_effect"]) == (4, 1)
    assert 0 < few["kept_effect"] < 1


def test_what_cannot_be_drawn_is_said(real_client: TestClient) -> None:
    assert "No component passes" in refused(real_client, threshold=1.0)["message"]
    assert refused(real_client, threshold=1.0)["code"] == "no_circuit"
    same = refused(real_client, output={"token": " golf", "against": " golf"})
    assert "are the same" in same["message"]
    assert refused(real_client, output={"position": 99})["code"] == "position_out_of_range"
    assert refused(real_client, output={"token": "two words"})["code"] == "watch_not_one_token"
    assert refused(real_client, top_edges=10**6)["code"] == "invalid_request"


def test_the_induction_run_stored_its_circuit(real_client: TestClient) -> None:
    answer = real_client.get("/api/decompositions/tiny/circuit")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_stored_circuit")


def test_the_shipped_circuit_reads() -> None:
    path = SHIPPED / "induction" / "harvest" / "circuit.json"
    found = StoredCircuit.model_validate_json(path.read_bytes())
    assert [len(layer) for layer in found.attention] == [len(found.pieces)] * 2
    assert all(abs(sum(row) - 1) < 0.05 for layer in found.attention for row in layer)
    assert found.acting
    assert all(place.position < len(found.pieces) for place in found.acting)


def test_a_circuit_is_a_graph_that_neuronpedia_reads(real_client: TestClient) -> None:
    found = ask(real_client)
    nodes = found["nodes"]
    names = [
        f"{found['sites'][site]}:{component}@{position}"
        for site, component, position in zip(
            nodes["site"], nodes["component"], nodes["position"], strict=True
        )
    ]
    body = {
        "text": WOODS, "threshold": 0.05, "top_edges": 20_000, "pinned": [names[0], "nobody:1@0"],
        "supernodes": [{"name": "first two", "nodes": names[:2]}, {"name": "nobody", "nodes": ["nobody:1@0"]}],
    }  # fmt: skip
    answer = real_client.post(TINY + "/graph", json=body)
    assert answer.status_code == 200, answer.text
    graph = answer.json()
    schema = json.loads(
        (Path(__file__).parents[1] / "fixtures/neuronpedia-graph.schema.json").read_text(encoding="utf-8")
    )
    jsonschema.validate(graph, schema)
    assert graph["qParams"]["pinnedIds"] == [names[0]]
    assert graph["qParams"]["supernodes"] == [["first two", *names[:2]]]
    ids = {node["node_id"] for node in graph["nodes"]}
    assert ids >= {*names, "output"}
    assert {end for link in graph["links"] for end in (link["source"], link["target"])} <= ids
    features = [node["feature"] for node in graph["nodes"] if node["feature_type"] == "rank-1 component"]
    assert len(set(features)) == len({(s, c) for s, c in zip(nodes["site"], nodes["component"], strict=True)})
    # What comes in at the output adds up to it: what steers is left out, what no node writes is there.
    into: dict[str, float] = defaultdict(float)
    for link in graph["links"]:
        into[link["target"]] += link["weight"]
    assert into["output"] == pytest.approx(found["output"]["value"], rel=1e-3)
    (logit,) = (node for node in graph["nodes"] if node["feature_type"] == "logit")
    assert f"(p={found['output']['probability']:.3f})" in logit["clerp"]
