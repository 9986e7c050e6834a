"""SPEC 17: an ablation is the model with really edited weights."""

import copy

import pytest
import torch
from torch import nn

from tests.spd import tiny
from workers.spd.ablation.engine import AblationEngine
from workers.spd.ablation.selfcheck import EditError
from workers.spd.artifact import Artifact, ArtifactError
from workers.spd.queries import Condition, Edit, Mode
from workers.spd.run.decompose import decompose

TEXTS = {"llama": "model.layers.*.mlp.*_proj", "gpt2": "transformer.h.*.mlp.*"}
SITES = {
    "llama": ["model.layers.*.mlp.*_proj", "model.layers.*.self_attn.k_proj"],
    "gpt2": ["transformer.h.*.mlp.c_*", "transformer.h.*.attn.c_attn"],
}
PROMPT = [1, 2, 3, 4, 10, 11]


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def artifact(request, tmp_path_factory) -> Artifact:
    home = tmp_path_factory.mktemp(request.param)
    folder = tiny.saved(tiny.MODELS[request.param](), home / "model")
    config = tiny.run_config(folder, sites=SITES[request.param], steps=3)
    return decompose(config, home / "out", home=home)


@pytest.fixture(scope="module")
def engine(artifact, tmp_path_factory) -> AblationEngine:
    return AblationEngine.load(artifact, artifact.path.parent)


def components(engine: AblationEngine) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    made = engine.decomposition.components
    return {site: (made.V[site], made.U[site]) for site in made.sites}


def edited(engine: AblationEngine, edits: list[Edit], keep_only: bool) -> torch.Tensor:
    """Logits of a deep copy of the model whose weights were really changed."""
    model = copy.deepcopy(engine.target.model)
    for site in engine.decomposition.sites:
        V, U = components(engine)[site]
        module = model.get_submodule(site)
        change = torch.zeros_like(engine.target.weight(site))
        for edit in [edit for edit in edits if edit.site == site]:
            change += edit.strength * (V[:, [edit.index]] @ U[[edit.index]]).T
        tiny.edited_weight(module, change - engine.target.weight(site) if keep_only else -change)
    with torch.no_grad():
        return model(torch.tensor([PROMPT])).logits[0]


def logits(engine: AblationEngine, edits: list[Edit], mode: Mode) -> torch.Tensor:
    clean = engine.clean(PROMPT)
    first, changed = engine.logits(clean, [Condition(tuple(edits), mode)])
    return torch.cat([clean.logits[:first], changed[0]])


def some_edits(engine: AblationEngine) -> list[Edit]:
    first, *_, last = engine.decomposition.sites
    return [Edit(first, 0), Edit(first, 3, 0.4), Edit(last, 2, 0.75), Edit(last, 1)]


def test_suppressing_equals_a_model_with_those_components_taken_out_of_its_weights(engine):
    edits = some_edits(engine)
    expected = edited(engine, edits, keep_only=False)
    torch.testing.assert_close(logits(engine, edits, "suppress"), expected, rtol=1e-3, atol=1e-4)
    assert (expected - engine.clean(PROMPT).logits).abs().max() > 1e-3


def test_keeping_only_equals_a_model_whose_weights_are_those_components(engine):
    edits = some_edits(engine)
    expected = edited(engine, edits, keep_only=True)
    torch.testing.assert_close(logits(engine, edits, "keep_only"), expected, rtol=1e-3, atol=1e-4)


def test_an_edit_at_named_positions_leaves_those_before_them_alone(engine):
    site = engine.decomposition.sites[0]
    whole = logits(engine, [Edit(site, 0)], "suppress")
    late = logits(engine, [Edit(site, 0, positions=(4,))], "suppress")
    clean = engine.clean(PROMPT).logits
    torch.testing.assert_close(late[:4], clean[:4], rtol=1e-5, atol=1e-5)
    assert (late[4:] - clean[4:]).abs().max() > 1e-4
    assert (whole[:4] - clean[:4]).abs().max() > 1e-4
    every = logits(engine, [Edit(site, 0, positions=tuple(range(len(PROMPT))))], "suppress")
    torch.testing.assert_close(every, whole)


@pytest.mark.parametrize("edits", [[], "strength 0"])
def test_nothing_suppressed_is_the_target(engine, edits):
    chosen = [Edit(engine.decomposition.sites[0], 0, 0.0)] if edits else []
    result = tiny.ablate(engine, PROMPT, chosen, top_k=3)
    assert result.max_kl == 0
    assert all(row.baseline == row.ablated for position in result.positions for row in position.top)
    assert result.self_check.max_kl < 1e-6


def test_an_answer_holds_kl_ranks_and_probabilities_that_fit_together(engine):
    edits = some_edits(engine)
    result = tiny.ablate(engine, PROMPT, edits, top_k=5, watch=[7])
    before = torch.log_softmax(engine.clean(PROMPT).logits.double(), -1)
    after = torch.log_softmax(edited(engine, edits, keep_only=False).double(), -1)
    kl = (before.exp() * (before - after)).sum(-1)
    assert [p.kl for p in result.positions] == pytest.approx(kl.tolist(), rel=1e-2, abs=1e-6)
    assert result.max_kl == pytest.approx(float(kl.max()), rel=1e-2)
    for place, position in enumerate(result.positions):
        watched = position.watched[0]
        assert watched.token_id == 7
        assert watched.baseline.probability == pytest.approx(float(before[place, 7].exp()), rel=1e-4)
        assert watched.ablated.rank == 1 + int((after[place] > after[place, 7]).sum())
        best = {row.token_id for row in position.top}
        assert best >= set(before[place].topk(5).indices.tolist()) | set(
            after[place].topk(5).indices.tolist()
        )


def test_only_the_positions_asked_for_are_reported(engine):
    result = tiny.ablate(engine, PROMPT, some_edits(engine), positions=[5])
    assert [position.position for position in result.positions] == [5]


def test_importances_are_sparse_columns_in_site_order_above_the_threshold(engine):
    everything = engine.importances(PROMPT, 0.0)
    some = engine.importances(PROMPT, 0.5)
    assert everything.below_threshold == 0
    assert len(some.ci) + some.below_threshold == len(everything.ci)
    assert min(some.ci, default=1) > 0.5
    rows = list(zip(everything.site, everything.position, everything.component, strict=True))
    assert rows == sorted(rows)


def test_an_engine_refuses_weights_the_artefact_was_not_made_from(artifact):
    other = tiny.target_of(tiny.llama_model(seed=9))
    with pytest.raises(ArtifactError, match="was made from other weights"):
        AblationEngine.from_artifact(artifact, other)


# --- the check at load --------------------------------------------------------------------------------------------


def test_an_engine_refuses_a_site_whose_masks_are_not_an_edit_of_its_weight():
    """A scale that nobody measured: everything on is still the target exactly, so only an edit shows it."""

    class Scaled(nn.Embedding):
        def forward(self, input):
            return super().forward(input) * 4.0

    model = tiny.llama_model()
    model.model.embed_tokens.__class__ = Scaled
    decomposition = tiny.decomposition_of(tiny.target_of(model), ("model.embed_tokens",))
    AblationEngine(decomposition)
    vars(model.model.embed_tokens)["_unweave_scale"] = 1.0
    with pytest.raises(EditError, match=r"“model\.embed_tokens” is not what the model computes"):
        AblationEngine(decomposition)
