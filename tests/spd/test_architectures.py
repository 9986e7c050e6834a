"""What is said to be supported, architecture by architecture, against a float64 copy of the original model whose
weights were really edited (docs/architectures.md)."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from tests.spd import architectures as table
from tests.spd import naive, tiny
from workers.spd.ablation.attention import PatternsError, patterns
from workers.spd.ablation.engine import AblationEngine
from workers.spd.answers import HeadPatterns
from workers.spd.artifact import Artifact
from workers.spd.circuits.circuit import GraphError, circuit_of
from workers.spd.circuits.nodes import Via
from workers.spd.method.ci import lower
from workers.spd.queries import AblationQuery, CircuitQuery, Condition, Edit
from workers.spd.run.decompose import decompose
from workers.spd.statistics.config import HarvestConfig
from workers.spd.statistics.corpus_statistics import harvest_corpus
from workers.spd.statistics.store import HarvestStore
from workers.spd.targets.sites import check_sites
from workers.spd.targets.target import Target, TargetError, ensure_target, load_target

IDS = (3, 1, 4, 1, 5, 9, 2, 6, 5, 3)
OUTPUT = CircuitQuery(IDS, 9, 5, 2)
HARVEST = HarvestConfig(
    text=" ".join(f"w{i}" for i in IDS), own_prompts=False, window=8, examples=1, context=2, ablate_windows=1,
    ablate_own=0, ablate_components=4,
)  # fmt: skip
CASES = {architecture.title: architecture for architecture in table.ARCHITECTURES}


@dataclass
class Case:
    """One architecture: the folder of the original, and a decomposition of it made by a whole run."""

    architecture: table.Architecture
    home: Path

    @cached_property
    def folder(self) -> Path:
        return table.saved(self.architecture, self.home / "model")

    def original(self, attention: str | None = None) -> PreTrainedModel:
        """The model as its authors wrote it, in float64; nothing of Unweave has touched it."""
        options = {} if attention is None else {"attn_implementation": attention}
        if hasattr(self.architecture.model().config, "num_experts_per_tok"):
            options["experts_implementation"] = "eager"  # the fast one knows no float64
        dtype = torch.float64 if self.architecture.float64 else torch.float32
        return AutoModelForCausalLM.from_pretrained(self.folder, dtype=dtype, **options).eval()

    @cached_property
    def sites(self) -> list[str]:
        found = table.matrices(self.original())
        assert set(self.architecture.left_out) <= set(found)
        return [
            name for path, names in found.items() if path not in self.architecture.left_out for name in names
        ]

    @cached_property
    def artifact(self) -> Artifact:
        config = tiny.run_config(self.folder, sites=self.sites, steps=1, C=4)
        return decompose(config, self.home / "artifact", home=self.home)

    @cached_property
    def engine(self) -> AblationEngine:
        return AblationEngine.load(self.artifact, self.home)

    @cached_property
    def edits(self) -> list[Edit]:
        """One component per site, suppressed by a strength of its own."""
        sites = self.engine.decomposition.sites
        return [Edit(site, 1 + n % 3, (1.0, 0.5, 0.25)[n % 3]) for n, site in enumerate(sites)]

    def edited(self, edits: list[Edit], model: PreTrainedModel) -> PreTrainedModel:
        """The original with W − Σ strength · (V_c U_c)ᵀ in place of the weights that are edited."""
        components = self.engine.decomposition.components
        for edit in edits:
            module = model.get_submodule(edit.site)
            place = components.index[edit.site].index(edit.index)
            V, U = components.V[edit.site][:, place].double(), components.U[edit.site][place].double()
            tiny.edited_weight(module, (-edit.strength * torch.outer(U, V)).to(model.dtype))
        return model


@pytest.fixture(scope="module", params=list(CASES))
def case(request, tmp_path_factory) -> Case:
    return Case(CASES[request.param], tmp_path_factory.mktemp("architecture"))


def run(model: PreTrainedModel, ids: tuple[int, ...]) -> Tensor:
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].double()


def reads(case: Case, model: PreTrainedModel) -> dict[str, Tensor]:
    """What each site of the original reads on IDS."""
    read: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for site in case.engine.decomposition.sites:

            def note(module: Any, args: Any, output: Any, site: str = site) -> None:
                x = args[0]
                read[site] = x.double().reshape(1, len(IDS), -1) if x.is_floating_point() else x

            stack.callback(model.get_submodule(site).register_forward_hook(note).remove)
        run(model, IDS)
    return read


def attached(target: Target, site: str) -> None:
    target.attach(target.sites((site,)))
    check_sites(target, [site])


def test_a_matrix_that_is_left_out_is_refused_in_a_sentence(case):
    target = load_target(ensure_target(tiny.run_config(case.folder).target, case.home))
    found = table.matrices(target.model)
    for path, words in case.architecture.left_out.items():
        with pytest.raises(TargetError, match=words):
            attached(target, found[path][0])


def test_an_ablation_is_the_original_with_edited_weights(case):
    engine = case.engine
    original = case.original()
    plain = run(original, IDS)
    naive.close(engine.clean(IDS).logits.double(), plain)
    for edits in [case.edits, *([edit] for edit in case.edits if ".1." not in edit.site)]:
        weights = [original.get_submodule(edit.site).weight for edit in edits]
        wanted = run(case.edited(edits, original), IDS)
        for edit, weight in zip(edits, weights, strict=True):
            original.get_submodule(edit.site).weight = weight
        first, logits = engine.logits(engine.clean(IDS), [Condition(tuple(edits))])
        naive.close(torch.cat([engine.clean(IDS).logits[:first], logits[0]]).double(), wanted)
        kl = engine.ablate(AblationQuery(IDS, (Condition(tuple(edits)),)))[0].kl
        before, after = plain.log_softmax(-1), wanted.log_softmax(-1)
        real = (before.exp() * (before - after)).sum(-1)
        assert kl == pytest.approx(real.tolist(), rel=1e-3, abs=1e-6)


def test_importances_are_those_of_what_the_original_reads(case):
    engine = case.engine
    read = reads(case, case.original())
    components = engine.decomposition.components
    inner = {
        site: x @ V.double() if x.is_floating_point() else V.double()[x]
        for (site, x), V in zip(((s, read[s]) for s in components.sites), components.V.values(), strict=True)
    }
    found = engine.site_importances(engine.clean(IDS))
    gamma = engine.decomposition.ci.double()({s: v for s, v in inner.items()}, read)
    engine.decomposition.ci.float()
    for site in components.sites:
        torch.testing.assert_close(found.inner[site].double(), inner[site], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.g[site].double(), lower(gamma[site]), rtol=1e-4, atol=1e-5)


def test_a_circuit_is_whole_or_refused_in_a_sentence(case):
    words = case.architecture.circuit
    if words is not None:
        with pytest.raises(GraphError, match=words):
            circuit_of(case.engine, OUTPUT)
        return
    found, model = circuit_of(case.engine, OUTPUT), case.original()
    nodes, edges, components = found.nodes, found.edges, case.engine.decomposition.components
    read = reads(case, model)
    sums = nodes.inputs.double().sum(0)
    for number, site in enumerate(components.sites):
        at = nodes.site == number
        V = components.V[site].double()
        x = read[site] if read[site].is_floating_point() else read[site].expand(1, -1)
        inner = (x @ V if x.is_floating_point() else V[x])[0]
        place = torch.tensor([components.index[site].index(int(c)) for c in nodes.component[at]]).long()
        torch.testing.assert_close(sums[at], inner[nodes.position[at], place], rtol=1e-3, atol=1e-4)
    logits = run(model, IDS)[9]
    margin = float(logits[5] - logits[2])
    if getattr(model.config, "final_logit_softcapping", None) is None:
        assert float(found.output_inputs.sum()) == pytest.approx(margin, rel=1e-3, abs=1e-4)
    made_of = (edges.via <= Via.ATTENTION) & (edges.target < len(nodes.site))
    fed = torch.zeros(len(nodes.site)).index_add_(0, edges.target[made_of], edges.weight[made_of])
    shown = torch.zeros(len(nodes.site), dtype=torch.bool)
    shown[edges.target[made_of]] = True
    torch.testing.assert_close(fed[shown], nodes.inputs[:2].sum(0)[shown], rtol=1e-3, atol=1e-4)
    assert found.completeness < 1e-3
    assert {int(via) for via in edges.via} >= {Via.RESIDUAL, Via.NEURONS, Via.ATTENTION, Via.QUERY, Via.KEY}


def mixes_its_values(case: Case, found: list[HeadPatterns]) -> None:
    """What Falcon's attention gives is its values (the third part of each head of its fused matrix) mixed so."""
    model, seen = case.original(), {}
    fused, dense = (
        model.get_submodule(f"transformer.h.0.self_attention.{part}") for part in ("query_key_value", "dense")
    )
    fused.register_forward_hook(lambda m, x, y: seen.update(v=y[0].unflatten(-1, (4, 3, 4))))
    dense.register_forward_pre_hook(lambda m, x: seen.update(z=x[0][0].unflatten(-1, (4, 4))))
    run(model, IDS)
    for head in (head for head in found if head.layer == 0):
        pattern = torch.tensor([row + [0.0] * (len(IDS) - len(row)) for row in head.baseline]).double()
        torch.testing.assert_close(
            pattern @ seen["v"][:, head.head, 2], seen["z"][:, head.head], rtol=1e-4, atol=1e-5
        )


def test_attention_is_that_of_the_original_or_refused_in_a_sentence(case):
    words = case.architecture.attention
    asked = [(0, None), (1, None)]
    if words is not None:
        with pytest.raises(PatternsError, match=words):
            patterns(case.engine, IDS, Condition(tuple(case.edits)), asked)
        return
    found = patterns(case.engine, IDS, Condition(tuple(case.edits)), asked)
    if not case.architecture.eager:
        mixes_its_values(case, found)
        return
    for model, name in (
        (case.original("eager"), "baseline"),
        (case.edited(case.edits, case.original("eager")), "ablated"),
    ):
        with torch.no_grad():
            wanted = model(torch.tensor([IDS]), use_cache=False, output_attentions=True).attentions
        for head in found:
            for query, row in enumerate(getattr(head, name)):
                expected = wanted[head.layer][0, head.head, query, : query + 1].tolist()
                assert row == pytest.approx(expected, rel=1e-4, abs=2e-6)


def test_a_harvest_over_a_corpus_finds_what_the_engine_answers(case, tmp_path):
    folder = harvest_corpus(case.artifact, HARVEST, tmp_path, home=case.home)
    store, components = HarvestStore(folder), case.engine.decomposition.components
    keys = [(site, index) for site in components.sites for index in components.index[site]]
    assert store.info.components == len(keys)
    rows = [store.row(ordinal) for ordinal in range(len(keys))]
    best = max(range(len(keys)), key=lambda n: rows[n]["effect_max"] or 0)
    window = rows[best]["affected"][0]
    query = AblationQuery(tuple(window["tokens"]), (Condition((Edit(*keys[best]),)),))
    live = case.engine.ablate(query)[0]
    assert window["kl"] == pytest.approx(live.kl, rel=1e-4, abs=1e-6)
    assert rows[best]["effect_max"] == pytest.approx(max(live.kl), rel=1e-3)


def test_the_docs_list_exactly_these():
    text = (Path(__file__).parents[2] / "docs/architectures.md").read_text(encoding="utf-8")
    rows = [row for row in text.splitlines() if row.startswith("| `")]
    assert rows == [table.line(architecture) for architecture in table.ARCHITECTURES]
