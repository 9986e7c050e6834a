"""The induction table: where components act, what the target needs, and what counts as agreement."""

import copy

import pytest
import torch

from tests.spd import tiny
from workers.spd.config import InductionSource
from workers.spd.evaluation import induction_table as circuit
from workers.spd.evaluation.induction_table import (
    MARKS,
    PAPER,
    SITES,
    behaviour,
    paper_table,
    silenced,
    site_use,
    without_site,
)
from workers.spd.method.decomposition import Decomposition, Importances
from workers.spd.method.losses import kl_divergence
from workers.spd.prompts.batches import clean_batch, induction_prompts
from workers.spd.targets.induction import induction_tokenizer
from workers.spd.targets.tokenizer import PromptTokenizer

SOURCE = InductionSource(vocabulary=tiny.VOCABULARY - 2, length=tiny.CONTEXT, d_model=8)
C = 3


@pytest.fixture(scope="module")
def prompts():
    tokenizer = PromptTokenizer(induction_tokenizer(SOURCE), bos_token_id=None, context_length=tiny.CONTEXT)
    return induction_prompts(SOURCE, tokenizer, 20, "held_out", torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def target():
    target = tiny.target_of(tiny.induction_model(steps=60))
    target.attach(list(SITES.values()))
    return target


class Given(Decomposition):
    """A decomposition whose importances are given."""

    def __init__(self, target, g: dict[str, torch.Tensor]) -> None:
        made = tiny.decomposition_of(target, tuple(g), C)
        super().__init__(target, made.components, made.ci, first_unmasked=False)
        self.given = g

    def importances(self, inputs, valid=None) -> Importances:
        return Importances({}, {}, self.given)


def acting(target, prompts, places: dict[str, dict[str, list[float]]], elsewhere: float = 0.0):
    """Importances {row: {mark: one value per component}}, and one component at `elsewhere` everywhere else."""
    g = {site: torch.zeros(len(prompts), tiny.CONTEXT, C) for site in SITES.values()}
    for value in g.values():
        value[..., 0] = elsewhere
    for name, marks in places.items():
        for mark, values in marks.items():
            for row, prompt in enumerate(prompts):
                at = 0 if mark == "BOS" else prompt.marks[mark]
                g[SITES[name]][row, at] = torch.tensor(values)
    return Given(target, g)


def test_use_is_summed_over_components_and_averaged_over_sequences(target, prompts):
    made = acting(target, prompts, {"K0": {"s1": [0.9, 0.05, 0.2], "m": [0.05, 0.0, 0.0]}}, elsewhere=0.01)
    use = site_use(made, prompts, 0.1)["K0"]
    assert use.marks["s1"] == pytest.approx(1.15)
    assert use.marks["m"] == pytest.approx(0.05)
    assert use.components == {"BOS": 0, "s1": 2, "m": 0, "s2": 0}
    assert use.elsewhere == pytest.approx(0.01)
    assert use.position == "s1"


def test_a_component_counts_where_it_passes_the_threshold_in_enough_sequences(target, prompts):
    made = acting(target, prompts, {})
    made.given[SITES["V1"]][0, prompts[0].marks["m"], 1] = 0.9  # one of twenty
    assert site_use(made, prompts, 0.1)["V1"].components["m"] == 1
    assert 1 / len(prompts) >= circuit.RARE


@pytest.mark.parametrize("mark", [None, *MARKS])
@pytest.mark.parametrize("name", SITES)
def test_what_a_site_is_needed_for_is_measured_on_the_target_with_its_output_zero_there(
    target, prompts, name, mark
):
    made = acting(target, prompts, {})
    found = without_site(made, prompts, SITES[name], mark)
    batch = clean_batch(target, [prompt.ids for prompt in prompts], "answer")
    if mark is None:  # the same as a weight of zeros
        model = copy.deepcopy(target.model)
        with torch.no_grad():
            model.get_submodule(SITES[name]).weight.zero_()
            logits = model(batch.tokens)[:, -1]
        expected = kl_divergence(batch.log_probs[:, 0], logits).mean()
        assert found.kl == pytest.approx(float(expected), rel=1e-4, abs=1e-6)
    assert found.kl >= 0
    if name == "Q1" and mark != "s2" and mark is not None:  # only the last position's query can matter
        assert found.kl == 0
    assert behaviour(made, prompts).kl == 0


def test_silence_falls_on_the_named_positions_alone_and_ends(target, prompts):
    made = acting(target, prompts, {})
    module = target.model.get_submodule(SITES["V0"])
    x = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    where = torch.tensor([[False, True, False, False], [False, False, False, True]])
    with silenced(made, SITES["V0"], where):
        inside = module(x)
    assert not inside[where].any()
    assert torch.equal(inside[~where], module(x)[~where])
    assert module(x)[where].all()


def whole(**changes) -> dict:
    """The paper's circuit, one component per site and five for V1, with some rows changed."""
    places = {name: {position: [1.0, 0.0, 0.0]} for name, (_, position, _) in PAPER.items()}
    return {**places, "V1": {"m": [1.0, 1.0, 1.0]}, **changes}


def agreement(target, prompts, places, elsewhere=0.0) -> dict:
    table = paper_table(acting(target, prompts, places, elsewhere), prompts, 0.1)
    return {row.name: row.agrees for row in table.rows}


def test_the_papers_circuit_agrees_with_the_paper(target, prompts):
    assert agreement(target, prompts, whole()) == dict.fromkeys(PAPER, True)


@pytest.mark.parametrize(
    ("row", "marks"),
    [
        ("K0", {"s1": [0.9, 0.0, 0.0]}),  # not important enough
        ("K1", {}),  # nothing, though the target needs it
        ("Q1", {"s2": [1.0, 0.0, 0.0], "s1": [0.5, 0.0, 0.0]}),  # where the target does not need it
    ],
)
def test_a_row_differs_and_the_others_do_not_mind(target, prompts, row, marks, monkeypatch):
    monkeypatch.setattr(circuit, "NEEDED", 1e-7)  # sixty steps do not make much of a need
    found = agreement(target, prompts, whole(**{row: marks}))
    assert found.pop(row) is False
    assert set(found.values()) == {True}


def test_another_number_at_the_papers_place_is_more_or_fewer(target, prompts):
    table = paper_table(acting(target, prompts, whole(K0={"s1": [1.0, 1.0, 1.0]})), prompts, 0.1)
    found = {row.name: row.verdict for row in table.rows}
    assert (found["K0"], found["V1"], found["K1"]) == ("more", "fewer", "agrees")


def test_importance_away_from_the_marks_is_noise_up_to_a_stated_limit(target, prompts):
    assert agreement(target, prompts, whole(), elsewhere=0.015)["K0"] is True
    assert agreement(target, prompts, whole(), elsewhere=0.03)["K0"] is False


def test_where_the_target_does_without_a_site_there_is_nothing_to_agree_about(target, prompts, monkeypatch):
    monkeypatch.setattr(circuit, "NEEDED", 1e6)
    found = agreement(target, prompts, whole(Q0={}))
    assert found.pop("Q0") is None
    assert set(found.values()) == {True}
    table = paper_table(acting(target, prompts, whole(Q0={})), prompts, 0.1)
    row = next(row for row in table.rows if row.name == "Q0")
    assert "With its output 0 at m alone the target copies M in" in (row.note or "")


def test_one_sequence_for_the_page_has_both_layers_attention_and_what_acts(target, prompts):
    made = acting(target, prompts[:1], {"K1": {"m": [0.0, 0.75, 0.05]}})
    found = circuit.circuit(made, prompts[0], ["x"] * tiny.CONTEXT, 0.1)
    assert found["acting"] == [
        {"site": SITES["K1"], "component": 1, "position": prompts[0].marks["m"], "ci": 0.75}
    ]
    assert [len(layer) for layer in found["attention"]] == [tiny.CONTEXT] * 2
    for query, row in enumerate(found["attention"][1]):
        assert len(row) == query + 1
        assert sum(row) == pytest.approx(1, abs=0.01)
