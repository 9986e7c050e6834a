"""SPEC 22: facts that the target knows, the components each has to itself, and what suppressing them does."""

import copy

import pytest
import torch

from tests.spd import tiny
from workers.spd.config import ConfigError, FactsData, parse_config
from workers.spd.evaluation.facts import fact_groups, fact_table
from workers.spd.keys import ComponentKey
from workers.spd.method.decomposition import Importances
from workers.spd.method.start import data_start, token_means
from workers.spd.prompts.facts import Candidate, answers_of, known_facts
from workers.spd.prompts.kinds import training_data
from workers.spd.run.decompose import decompose
from workers.spd.targets.tokenizer import PromptTokenizer

TOKENIZER = PromptTokenizer(tiny.word_tokenizer(), bos_token_id=0, context_length=tiny.CONTEXT)
SUBJECTS = ["w3", "w4", "w5", "w6"]
TEMPLATE, SECOND, HELD_OUT = "w1 {} w2", "w1 {} w2 w7", "w8 {} w2"
SITE = "model.layers.0.mlp.down_proj"


@pytest.fixture(scope="module")
def target():
    return tiny.tiny_target("llama")


def answer(target, subject: str) -> str:
    ids = torch.tensor([TOKENIZER.encode(TEMPLATE.replace("{}", subject), bos=False)])
    return f"w{int(target.logits(ids, torch.tensor([2]))[0, 0].argmax())}"


def relations(target, **changes) -> dict:
    known = {subject: answer(target, subject) for subject in SUBJECTS[:3]}
    wrong = {"w6": "w1" if answer(target, "w6") != "w1" else "w2"}
    return {
        "kind": "facts",
        "relations": [
            {
                "name": "next",
                "templates": [TEMPLATE, SECOND],
                "held_out": [HELD_OUT],
                "facts": known | wrong,
            }
        ],
        **changes,
    }


def test_only_facts_whose_answer_the_target_has_are_kept(target):
    prompts, candidates = known_facts(FactsData(**relations(target)), target, TOKENIZER)
    assert [one.subject for one in candidates if one.kept] == SUBJECTS[:3]
    assert [one.rank for one in candidates[:3]] == [1, 1, 1]
    assert candidates[3].rank > 1
    assert not candidates[3].kept
    texts = [prompt.data.text for prompt in prompts]
    assert texts[:3] == ["w1 w3 w2", "w1 w4 w2", "w1 w5 w2"]  # every fact once before the second template
    assert [prompt.data.split for prompt in prompts] == ["train"] * 6 + ["held_out"] * 3
    assert all(prompt.data.fact != "w6" for prompt in prompts)


def test_ranks_and_probabilities_are_the_targets(target):
    prompts, _ = known_facts(FactsData(**relations(target)), target, TOKENIZER)
    ranks, probabilities = answers_of(target, prompts)
    for prompt, rank, probability in zip(prompts, ranks, probabilities, strict=True):
        last = len(prompt.ids) - 1
        logits = target.logits(torch.tensor([prompt.ids]), torch.tensor([last]))[0, 0]
        order = logits.argsort(descending=True).tolist()
        assert rank == order.index(prompt.answer) + 1
        assert probability == pytest.approx(float(logits.softmax(-1)[prompt.answer]), rel=1e-4)


def test_an_answer_of_several_tokens_is_left_out_and_said(target):
    data = relations(target)
    data["relations"][0]["facts"]["w9"] = "w1 w2"
    _, candidates = known_facts(FactsData(**data), target, TOKENIZER)
    assert candidates[-1] == Candidate("w9", "next", "w1 w2", None, None, False)


def test_facts_that_cannot_be_used_are_refused_by_name(target):
    data = relations(target)
    unknown = copy.deepcopy(data)
    unknown["relations"][0]["facts"] = {"w6": data["relations"][0]["facts"]["w6"]}
    with pytest.raises(ConfigError, match="none of these answers at rank 1"):
        known_facts(FactsData(**unknown), target, TOKENIZER)
    twice = {**data, "relations": [data["relations"][0], {**data["relations"][0], "name": "other"}]}
    with pytest.raises(ConfigError, match="“w3” stands in two relations"):
        known_facts(FactsData(**twice), target, TOKENIZER)
    with pytest.raises(ConfigError, match=r"must hold \{\} once"):
        parse_config(
            {**tiny.run_config().model_dump(mode="json"), "data": {**data, "relations": [
                {"name": "x", "templates": ["no place"], "facts": {"a": "b"}}]}}
        )  # fmt: skip


def with_facts(target, C: int = 8):
    decomposition = tiny.decomposition_of(target, (SITE,), C=C)
    prompts, candidates = known_facts(FactsData(**relations(target)), target, TOKENIZER)
    return decomposition, prompts, candidates


def test_a_facts_group_holds_what_no_other_fact_uses(target, monkeypatch):
    """By hand: component c is on wherever w{3+c} stands, the fourth at w3 and a little at w4, the last everywhere."""
    decomposition, prompts, _ = with_facts(target)
    train = [prompt for prompt in prompts if prompt.data.split == "train"]
    tokens = torch.zeros(len(train), 4, dtype=torch.long)
    for row, prompt in enumerate(train):
        tokens[row, : len(prompt.ids)] = torch.tensor(prompt.ids)
    g = torch.zeros(*tokens.shape, 8)
    for component in range(3):
        g[..., component] = (tokens == 3 + component).float()
    g[..., 3] = (tokens == 3).float() + (tokens == 4).float() * 0.2
    g[..., -1] = 1
    monkeypatch.setattr(
        type(decomposition), "importances", lambda self, inputs, valid: Importances({}, {}, {SITE: g})
    )
    assert fact_groups(decomposition, prompts, 0.1) == {
        subject: [ComponentKey(SITE, place)] for place, subject in enumerate(SUBJECTS[:3])
    }


def test_the_table_is_that_of_editing_the_weights(target):
    decomposition, prompts, candidates = with_facts(target)
    groups = {"w3": [ComponentKey(SITE, 1), ComponentKey(SITE, 4)], "w4": [], "w5": []}
    table = fact_table(decomposition, prompts, candidates, groups, rank=24)
    V, U = decomposition.components.V[SITE][:, [1, 4]], decomposition.components.U[SITE][[1, 4]]
    model = copy.deepcopy(target.model)
    tiny.edited_weight(model.get_submodule(SITE), -(V @ U).T.detach())

    def ratio(prompt) -> float:
        ids = torch.tensor([prompt.ids])
        with torch.no_grad():
            before = target.model(ids).logits[0, -1].softmax(-1)[prompt.answer]
            after = model(ids).logits[0, -1].softmax(-1)[prompt.answer]
        return float(after / before)

    held = {prompt.data.fact: ratio(prompt) for prompt in prompts if prompt.data.split == "held_out"}
    row = table.rows[0]
    assert row.components == 2
    assert row.held_out_drop == pytest.approx(1 - held["w3"], rel=1e-3, abs=1e-5)
    moved = sorted(abs(held[subject] - 1) for subject in ("w4", "w5"))
    assert row.others_change == pytest.approx(sum(moved) / 2, rel=1e-3, abs=1e-5)
    assert row.others_worst == pytest.approx(moved[-1], rel=1e-3, abs=1e-5)
    assert table.held_out_drop == row.held_out_drop
    assert [other.held_out_drop for other in table.rows[1:]] == [None, None, None]


def test_token_means_are_one_row_a_token_and_what_contexts_add():
    generator = torch.Generator().manual_seed(0)
    ids = torch.tensor([4, 7, 4, 4, 7, 9])
    X = torch.randn(6, 8, generator=generator)
    rows = token_means(X, ids, contexts=2)
    assert rows.shape == (5, 8)
    torch.testing.assert_close(rows[0], X[ids == 4].mean(0))
    torch.testing.assert_close(rows[2], X[5])
    # Three deviations span all contexts here: with them the data start is exact on every input.
    W = torch.randn(3, 8, generator=generator)
    V, U = data_start(W, token_means(X, ids, contexts=8))
    torch.testing.assert_close(X @ V @ U, X @ W.T, rtol=1e-3, atol=1e-4)
    V, U = data_start(W, token_means(X, ids, contexts=0))
    torch.testing.assert_close(rows[:3] @ V @ U, rows[:3] @ W.T, rtol=1e-3, atol=1e-4)


def test_a_drawn_batch_has_no_padding_that_all_rows_share(target):
    config = tiny.run_config(data=relations(target, batch_size=2), reconstruction={"positions": "answer"})
    data = training_data(config, target, TOKENIZER)
    for seed in range(8):
        batch = data.next(torch.Generator().manual_seed(seed))
        assert batch.tokens.shape[1] == int(batch.valid.sum(1).max())
        assert batch.counted.sum() == 2
        assert batch.log_probs.shape[1] == batch.keep.numel()


def test_a_run_over_facts_stores_their_table_and_groups(tmp_path, target):
    folder = tiny.saved(tiny.llama_model(), tmp_path / "model")
    changes = {"steps": 4, "start": {"kind": "data", "contexts": 1}, "C": "auto", "threshold": 0.01,
               "ci": {"kind": "mlp", "scale": "peak"}}  # fmt: skip
    config = tiny.run_config(folder, data=relations(target), **changes)
    artifact = decompose(config, tmp_path / "out", home=tmp_path)
    table = artifact.manifest.facts
    assert [row.kept for row in table.rows] == [True, True, True, False]
    assert table.train_prompts >= 3
    named = {group.name: group.components for group in artifact.groups}
    for row in table.rows[:3]:
        assert row.components == (len(named[row.subject]) if row.components else 0)
    assert table.held_out_drop is None or -10 < table.held_out_drop <= 1
    assert {prompt.fact for prompt in artifact.prompts} == set(SUBJECTS[:3])
