"""The circuit of a prompt: what it says feeds a component, against really taking it away."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from itertools import chain
from typing import Any

import pytest
import torch

from tests.spd import tiny
from workers.spd.ablation.attribution import place_effects
from workers.spd.ablation.engine import AblationEngine
from workers.spd.circuits.circuit import CircuitGraph, circuit_graph
from workers.spd.circuits.influence import Steering, without_key, without_query
from workers.spd.circuits.nodes import ORIGINS, GraphError, Via
from workers.spd.circuits.records import Attended, FreezeError
from workers.spd.queries import CircuitQuery, Condition, Edit

IDS = [3, 1, 4, 1, 5, 9, 2, 6]
QUERY = CircuitQuery(tuple(IDS), 7, token=5, against=2, threshold=0.1)
LLAMA_MLP = tuple(f"model.layers.{n}.mlp.{part}_proj" for n in (0, 1) for part in ("gate", "up", "down"))
GPT2_MLP = tuple(f"transformer.h.{n}.mlp.{part}" for n in (0, 1) for part in ("c_fc", "c_proj"))
GPT2_ALL = tuple(f"transformer.h.{n}.attn.{part}" for n in (0, 1) for part in ("c_attn", "c_proj")) + GPT2_MLP
INDUCTION = tuple(f"layers.{n}.attn.{part}" for n in (0, 1) for part in "qkv")
CASES = {
    "llama mlp": ("llama", LLAMA_MLP), "llama mixed": ("llama", tiny.LLAMA_SITES[1:]), "gpt2 mlp": ("gpt2", GPT2_MLP),
    "gpt2 all": ("gpt2", GPT2_ALL), "gpt2 mixed": ("gpt2", tiny.GPT2_SITES[1:]), "induction": ("induction", INDUCTION),
    "induction mixed": ("induction", tiny.INDUCTION_SITES), "llama embeddings": ("llama", tiny.LLAMA_SITES),
    "gpt2 embeddings": ("gpt2", tiny.GPT2_SITES),
}  # fmt: skip
# A random component of an embedding is larger than the embedding: without it nothing stays as it was.
GENTLE = [case for case in CASES if "embeddings" not in case]


@cache
def engine(case: str, first_unmasked: bool = False) -> AblationEngine:
    kind, sites = CASES[case]
    return AblationEngine(tiny.decomposition_of(tiny.tiny_target(kind), sites, first_unmasked=first_unmasked))


@cache
def drawn(case: str, query: CircuitQuery = QUERY) -> CircuitGraph:
    made = engine(case)
    return circuit_graph(made.decomposition, made.site_importances(made.clean(IDS)), query, most_edges=10**6)


def change(case: str, site: str, index: int, position: int, target: str) -> torch.Tensor:
    """What `target` reads, [seq, d_in], less what it reads with one component gone at one position and every other
    matrix of the decomposition still writing what it wrote: the direct effect alone, with nothing made linear."""
    made = engine(case)
    model, components = made.target.model, made.decomposition.components
    tokens, wrote = torch.tensor([IDS]), wrote_of(case)
    inner = made.site_importances(made.clean(IDS)).inner[site][0, position, index]

    def run(gone: bool) -> torch.Tensor:
        read: list[torch.Tensor] = []
        with ExitStack() as stack, torch.no_grad():
            for name in made.decomposition.sites:
                hook = model.get_submodule(name).register_forward_hook(held(name, gone))
                stack.callback(hook.remove)
            hook = model.get_submodule(target).register_forward_pre_hook(lambda m, args: read.append(args[0]))
            stack.callback(hook.remove)
            made.target.logits(tokens)
        return read[-1].reshape(len(IDS), -1)

    def held(name: str, gone: bool):
        def replace(module, args, output):
            kept = wrote[name].clone().reshape(output.shape)
            if gone and name == site:
                kept.view(-1, kept.shape[-1])[position] -= inner * components.U[site][index].detach()
            return kept

        return replace

    return run(False) - run(True)


@cache
def wrote_of(case: str) -> dict[str, torch.Tensor]:
    made = engine(case)
    found: dict[str, torch.Tensor] = {}
    with ExitStack() as stack, torch.no_grad():
        for name in made.decomposition.sites:

            def note(module: Any, args: Any, output: Any, name: str = name) -> None:
                found[name] = output.clone()

            hook = made.target.model.get_submodule(name).register_forward_hook(note)
            stack.callback(hook.remove)
        made.target.logits(torch.tensor([IDS]))
    return found


def correlation(a: list[float], b: list[float]) -> float:
    return float(torch.corrcoef(torch.tensor([a, b]))[0, 1])


@pytest.mark.parametrize("case", CASES)
def test_what_a_node_reads_is_the_sum_of_what_feeds_it(case):
    found = drawn(case)
    nodes, edges = found.nodes, found.edges
    torch.testing.assert_close(nodes.inputs.sum(0), nodes.inner, rtol=1e-3, atol=1e-4)
    clean = engine(case).clean(IDS).logits[7]
    assert found.value == pytest.approx(float(clean[5] - clean[2]), abs=1e-4)
    assert float(found.output_inputs.sum()) == pytest.approx(found.value, abs=1e-4)
    # The origins that are nodes are the edges that are not steering, one by one.
    made_of = edges.via <= Via.ATTENTION
    sums = torch.zeros(len(nodes.site) + 1).index_add_(0, edges.target[made_of], edges.weight[made_of])
    live = torch.zeros(len(nodes.site) + 1, dtype=torch.bool)
    live[edges.target] = True  # a node that does not reach the output has no edges to be shown
    expected = torch.cat([nodes.inputs[:2].sum(0), found.output_inputs[:2].sum()[None]])
    torch.testing.assert_close(sums[live], expected[live], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("case", GENTLE)
def test_an_edge_is_what_the_target_loses_directly_when_the_source_is_gone(case):
    made, found = engine(case), drawn(case)
    V, sites = made.decomposition.components.V, made.decomposition.sites
    nodes, edges = found.nodes, found.edges
    inside = (edges.target < len(nodes.site)).nonzero()[:, 0]
    said: dict[int, list[float]] = {}
    real: dict[int, list[float]] = {}
    for via in Via:
        of_kind = inside[edges.via[inside] == via]
        for edge in of_kind[:: max(1, len(of_kind) // 16)].tolist():
            s, t = int(edges.source[edge]), int(edges.target[edge])
            target = sites[nodes.site[t]]
            moved = change(
                case, sites[nodes.site[s]], int(nodes.component[s]), int(nodes.position[s]), target
            )
            read = float(moved[nodes.position[t]] @ V[target][:, nodes.component[t]].detach())
            # A matrix that fuses queries, keys and values steers and is moved at once: its edges add up.
            same = (edges.source == s) & (edges.target == t)
            said.setdefault(via, []).append(float(edges.weight[same].sum()))
            real.setdefault(via, []).append(read)
    assert said
    # What no piece of the graph holds, the model does: patterns and norms move too, in models as small as these a lot.
    assert correlation(list(chain(*said.values())), list(chain(*real.values()))) > 0.8
    for via, values in said.items():
        if len(values) >= 8:
            assert correlation(values, real[via]) > 0.6, (Via(via).name, correlation(values, real[via]))
        if via == Via.NEURONS and "llama" in case:
            torch.testing.assert_close(torch.tensor(values), torch.tensor(real[via]), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("case", GENTLE)
def test_a_nodes_effect_goes_with_what_its_suppression_does(case):
    made, found = engine(case), drawn(case)
    nodes = found.nodes
    clean = made.clean(IDS)
    said, real = [], []
    for node in range(0, len(nodes.site), max(1, len(nodes.site) // 30)):
        site = made.decomposition.sites[nodes.site[node]]
        edit = Edit(site, int(nodes.component[node]), 1.0, (int(nodes.position[node]),))
        _, logits = made.logits(clean, [Condition((edit,))], last=1)
        real.append(float(clean.logits[7, 5] - clean.logits[7, 2] - (logits[0, -1, 5] - logits[0, -1, 2])))
        said.append(float(nodes.effect[node]))
    assert correlation(said, real) > 0.65, correlation(said, real)


def test_the_last_of_a_path_counts_with_what_it_does_to_the_output():
    """Edges into the output weigh what they are worth, and come in order of that."""
    found = drawn("llama mlp")
    into = found.edges.target == len(found.nodes.site)
    assert into.any()
    torch.testing.assert_close(found.edges.weight[into], found.edges.effect[into])
    size = found.edges.effect.abs()
    assert (size[:-1] >= size[1:]).all()


def test_fewer_edges_are_the_strongest_of_all():
    made, every = engine("gpt2 mlp"), drawn("gpt2 mlp")
    few = circuit_graph(made.decomposition, made.site_importances(made.clean(IDS)), QUERY, most_edges=20)
    assert few.edges_total == every.edges_total > 20
    assert len(few.edges.weight) == 20
    torch.testing.assert_close(few.edges.effect, every.edges.effect[:20])


def test_no_edge_runs_back_in_time_or_in_depth():
    for case in CASES:
        found = drawn(case)
        nodes, edges = found.nodes, found.edges
        inside = edges.target < len(nodes.site)
        source, target = edges.source[inside], edges.target[inside]
        assert (nodes.position[source] <= nodes.position[target]).all()
        moved = edges.via[inside]
        same = (moved != Via.ATTENTION) & (moved != Via.KEY)
        assert (nodes.position[source] == nodes.position[target])[same].all()


def test_an_output_earlier_in_the_prompt_sees_nothing_later():
    found = drawn("llama mlp", replace(QUERY, position=3, against=None))
    clean = engine("llama mlp").clean(IDS).logits
    assert found.value == pytest.approx(float(clean[3, 5]), abs=1e-4)
    assert (found.nodes.effect[found.nodes.position > 3] == 0).all()
    assert (found.nodes.position[found.edges.source] <= 3).all()


def test_a_position_left_to_the_target_has_no_nodes():
    made = engine("llama mlp", first_unmasked=True)
    found = circuit_graph(
        made.decomposition, made.site_importances(made.clean(IDS)), replace(QUERY, threshold=0.0)
    )
    assert int(found.nodes.position.min()) == 1


def test_what_cannot_be_drawn_is_said_in_a_sentence():
    made = engine("llama mlp")
    known = made.site_importances(made.clean(IDS))
    with pytest.raises(GraphError, match=r"No component passes .* Lower it\."):
        circuit_graph(made.decomposition, known, replace(QUERY, threshold=1.0))


@pytest.mark.parametrize("case", ["llama mlp", "gpt2 mixed", "induction"])
def test_of_too_many_components_those_with_the_largest_effects_are_nodes(case):
    """The nodes left out are in `rest`, so the sums still hold; a node's own effect does not change."""
    every, few = drawn(case), drawn(case, replace(QUERY, nodes=6))
    assert (few.in_use, len(few.nodes.site)) == (len(every.nodes.site), 6)
    assert every.kept_effect == 1
    assert 0 < few.kept_effect < 1
    assert few.completeness < 1e-3
    assert few.value == pytest.approx(every.value)

    def effects(graph: CircuitGraph) -> dict[tuple[int, ...], float]:
        rows = zip(graph.nodes.site, graph.nodes.component, graph.nodes.position, strict=True)
        return {tuple(map(int, row)): float(e) for row, e in zip(rows, graph.nodes.effect, strict=True)}

    gradient = place_effects(
        engine(case).decomposition, IDS, lambda logits: logits[QUERY.token] - logits[QUERY.against]
    )
    size = {key: abs(float(gradient[_site(case, key)][key[2], key[1]])) for key in effects(every)}
    assert set(effects(few)) == set(sorted(size, key=size.__getitem__)[-6:])
    kept = sum(size[key] for key in effects(few))
    assert few.kept_effect == pytest.approx(kept / sum(size.values()), rel=1e-4)


def _site(case: str, key: tuple[int, ...]) -> str:
    return engine(case).decomposition.sites[key[0]]


def test_an_architecture_that_cannot_be_held_is_refused():
    target = tiny.tiny_target("llama")
    made = AblationEngine(tiny.decomposition_of(target, LLAMA_MLP))
    known = made.site_importances(made.clean(IDS))
    layer = target.model.get_submodule("model.layers.1.mlp")
    plain = layer.forward
    layer.forward = lambda x: plain(x) + plain(x)
    with pytest.raises(GraphError, match="runs more than once"):
        circuit_graph(made.decomposition, known, QUERY)
    layer.forward = lambda x: plain(x**2 / (1 + x**2))
    with pytest.raises(GraphError, match="cannot be held fixed"):
        circuit_graph(made.decomposition, known, QUERY)
    assert issubclass(FreezeError, Exception)


@pytest.mark.parametrize("cap", [None, 2.0])
def test_without_a_key_or_query_an_attention_gives_what_is_computed_again(cap):
    """Scores, or with a cap those under a tanh as in Gemma 2, of one head that a node's part is taken out of."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 1, 4, 3, dtype=torch.float64) * 2 for _ in range(3))
    rows = torch.randn(1, 1, 3, dtype=torch.float64)

    def given(q: torch.Tensor, k: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = q[0] @ k[0].transpose(-1, -2) * 0.7
        scores = scores if cap is None else cap * torch.tanh(scores / cap)
        pattern = (scores + torch.full((4, 4), float("-inf")).triu(1)).softmax(-1)
        return pattern, pattern @ v[0]

    pattern, z = given(q, k)
    here = Attended(q, k, v, pattern, 0.7, z[None], cap)
    node = Steering("", torch.tensor([0]), torch.tensor([1]), rows)
    other_k, other_q = k.clone(), q.clone()
    other_k[0, 0, 1] -= rows[0, 0]
    other_q[0, 0, 1] -= rows[0, 0]
    share = without_key(here, node)[0, :, 0]
    torch.testing.assert_close(share[:, None] * (v[0, 0, 1] - z[0]), (z - given(q, other_k)[1])[0])
    torch.testing.assert_close(without_query(here, node)[0, 0], (z - given(other_q, k)[1])[0, 1])


def test_origins_have_names():
    assert len(ORIGINS) == drawn("gpt2 all").nodes.inputs.shape[0]
