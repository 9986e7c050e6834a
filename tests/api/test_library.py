"""`import unweave`: the same numbers in this process, over HTTP and from the API, tables, masks in somebody's model."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import uvicorn
from fastapi.testclient import TestClient
from transformers import AutoModelForCausalLM

import unweave as uw
from tests.factories import WOODS, settings
from unweave import servers

PATH = "/api/decompositions/tiny"


@pytest.fixture(scope="module")
def local(real_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[uw.Server]:
    database = tmp_path_factory.mktemp("library") / "unweave.db"  # the home is not ours to change
    with servers.inside(settings(real_home, database_url=f"sqlite:///{database}")) as server:
        yield server


@pytest.fixture(scope="module")
def url(real_client: TestClient) -> Iterator[str]:
    """The API of `real_client` on a port of its own."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(real_client.app, lifespan="off", log_level="error"))  # type: ignore[arg-type]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def busiest(d: uw.Decomposition) -> str:
    return d.component_rows[max(range(len(d.component_rows)), key=lambda i: d.component_rows[i].mean_ci)].key


def numbers(answer: Any) -> dict[str, Any]:
    """An answer without what tells one call from another."""
    return answer.model_dump(exclude={"elapsed_ms", "cached"})


def test_library_client_and_api_give_the_same_numbers(
    local: uw.Server, url: str, real_client: TestClient
) -> None:
    here = local.open("tiny")
    key = busiest(here)
    body = {"text": WOODS, "components": [{"key": key}], "watch": [" golf"]}
    raw = real_client.post(f"{PATH}/ablations", json=body).json()

    async def awaited() -> uw.Ablation:
        async with uw.connect_async(url) as server:
            return await (await server.open("tiny")).ablate(WOODS, [key], watch=[" golf"])

    with uw.connect(url) as server:
        there = server.open("tiny")
        ablations = [d.ablate(WOODS, [key], watch=[" golf"]) for d in (here, there)] + [
            asyncio.run(awaited())
        ]
        assert there.hash == here.hash
        assert numbers(there.importances(WOODS).data) == numbers(here.importances(WOODS).data)
        assert numbers(there.circuit(WOODS).data) == numbers(here.circuit(WOODS).data)
        assert numbers(there.trust(WOODS).data) == numbers(here.trust(WOODS).data)
    kl = [place["kl"] for place in raw["positions"]]
    golf = next(row for row in raw["positions"][-1]["watched"] if row["token"] == " golf")
    assert max(kl) > 1e-6
    for ablation in ablations:
        assert [place.kl for place in ablation.data.positions] == kl
        assert ablation.probability("␣golf") == (
            golf["baseline"]["probability"],
            golf["ablated"]["probability"],
        )


def test_answers_are_tables_and_show_themselves(local: uw.Server) -> None:
    d = local.open("tiny")
    key = busiest(d)
    importances, ablation = d.importances(WOODS), d.ablate(WOODS, {key: 0.5}, positions=[2])
    frame = importances.to_frame()
    assert frame.ci.sum() == pytest.approx(sum(importances.data.ci))
    assert set(frame.key) <= set(d.components.index)
    assert ablation.request.components[0].strength == 0.5
    assert set(ablation.to_frame().position) == {2}
    edges = d.circuit(WOODS).to_frame()
    assert edges.target.str.startswith("output").any()
    assert d.trust(WOODS).to_frame().token.tolist() == ablation.tokens
    for shown in (d, importances, ablation, d.trust(WOODS), d.circuit(WOODS), d.component_rows):
        html = shown._repr_html_()
        assert "<table" in html or "<p" in html
    assert "<b>" not in d.ablate("<b>")._repr_html_()
    assert importances.figure().to_dict()["data"][0]["type"] == "heatmap"
    assert d.figure("curves").data


def test_a_finding_that_is_published_is_the_one_that_is_opened(local: uw.Server) -> None:
    d = local.open("tiny")
    made = d.publish("From a notebook", d.ablate(WOODS, [busiest(d)]))
    again = local.finding(made.slug)
    assert again.data == made.data
    assert [item.slug for item in local.findings("notebook")] == [made.slug]
    assert local.replay(made.slug).verdict == "same"
    assert len(made.to_frame()) == sum(1 for _ in made.ablations[0].to_frame().index)


@pytest.mark.parametrize(
    ("suppress", "said"),
    [
        (["␣Wods"], "neither a group of tiny nor a component's key"),
        (["model.layers.0.mlp.down_proj:999"], "999"),
        ({"model.layers.0.mlp.down_proj:0": 9.0}, "strength"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(local: uw.Server, suppress: Any, said: str) -> None:
    with pytest.raises(uw.UnweaveError, match=said):
        local.open("tiny").ablate(WOODS, suppress)


def test_a_mask_in_somebodys_own_model_does_what_an_ablation_does(local: uw.Server, real_home: Path) -> None:
    d = local.open("tiny")
    key = busiest(d)
    model: Any = AutoModelForCausalLM.from_pretrained(real_home / "llama")
    expected = d.ablate(WOODS, [key], top_k=50)
    ids = torch.tensor([[token.id for token in expected.data.tokens]] * 2)
    with torch.no_grad():
        clean = model(ids).logits
        with d.masked(model, [key]):
            whole = model(ids).logits
            cached = model(ids[:, :3], use_cache=True)
            rest = model(ids[:, 3:], past_key_values=cached.past_key_values).logits
        with d.hooks(model, keep=[key]):
            kept = model(ids).logits
        assert torch.equal(model(ids).logits, clean), "nothing stays behind"
    torch.testing.assert_close(torch.cat([cached.logits, rest], dim=1), whole)
    for logits, answer in ((whole, expected), (kept, d.ablate(WOODS, keep=[key], top_k=50))):
        probabilities = logits.log_softmax(-1).exp()[1]
        for place in answer.data.positions:
            for row in place.top:
                assert float(probabilities[place.position, row.token_id]) == pytest.approx(
                    row.ablated.probability, abs=1e-5
                )
    with torch.no_grad():
        model.get_submodule(key.split(":")[0]).weight += 0.1
    with pytest.raises(uw.UnweaveError, match="other weights"), d.masked(model, [key]):
        pass


def test_a_model_in_memory_is_decomposed_and_opened(real_home: Path, home: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    model: Any = AutoModelForCausalLM.from_pretrained(real_home / "llama")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(real_home / "llama")
    d = uw.decompose(
        model, tokenizer, name="mine", prompts=[(WOODS, " golf")], sites=["*.0.mlp.down_proj"], home=home,
        size="quick", C=4, steps=3, start={"kind": "svd"}, rest=None, ci={"kind": "shared_mlp", "hidden": 4},
        losses=[{"kind": "faithfulness"}, {"kind": "stochastic_reconstruction"}],
    )  # fmt: skip
    assert d.id == "mine"
    assert d.ablate(WOODS).data.max_kl == 0
    with pytest.raises(uw.UnweaveError, match="already"):
        uw.decompose(model, tokenizer, name="mine", prompts=[WOODS], home=home)


# --- a server that is busy ---------------------------------------------------------------------------------------


@contextmanager
def answering(
    *answers: tuple[int, dict[str, str], Any],
) -> Iterator[tuple[str, list[tuple[str, str | None, float]]]]:
    """A server that gives these answers in turn, and what it was asked: address, authorisation, time."""
    asked: list[tuple[str, str | None, float]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization"), time.monotonic()))
            status, headers, body = answers[min(len(asked), len(answers)) - 1]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


LISTED = {"items": [], "total": 0, "story": None, "warnings": []}


def test_a_busy_server_is_asked_again_when_it_says_so() -> None:
    busy = {"code": "busy", "message": "Try again.", "details": None}
    with answering(
        (429, {"Retry-After": "1"}, busy), (503, {"Retry-After": "0"}, busy), (200, {}, LISTED)
    ) as (url, asked):
        with uw.connect(url, token="secret") as server:
            assert server.decompositions() == []
        assert [authorisation for _, authorisation, _ in asked] == ["Bearer secret"] * 3
        assert asked[1][2] - asked[0][2] >= 1.0, "it waits as long as it is told"


@pytest.mark.parametrize(("status", "code"), [(404, "unknown"), (503, "weights_failed")])
def test_what_will_not_change_is_not_asked_again(status: int, code: str) -> None:
    with answering((status, {}, {"code": code, "message": "It is not here.", "details": None})) as (
        url,
        asked,
    ):
        with uw.connect(url) as server, pytest.raises(uw.UnweaveError, match="not here") as raised:
            server.decompositions()
        assert (raised.value.status, raised.value.code, len(asked)) == (status, code, 1)
