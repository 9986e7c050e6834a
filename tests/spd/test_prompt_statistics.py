"""SPEC 18: what a component is said to fire on, by hand on a tiny case."""

import pytest
import torch

from tests.spd import tiny
from workers.spd.artifact import HarvestColumns
from workers.spd.config import PromptData
from workers.spd.method.ci import CIFunctions
from workers.spd.method.components import Components
from workers.spd.method.decomposition import Decomposition
from workers.spd.prompts.batches import Prompt
from workers.spd.statistics.prompt_statistics import PromptStatistics, groups_of, prompt_statistics, visible
from workers.spd.targets.tokenizer import PromptTokenizer

SITE = "model.embed_tokens"
TOKENIZER = PromptTokenizer(tiny.word_tokenizer(), bos_token_id=0, context_length=tiny.CONTEXT)


class ReadsTokens(CIFunctions):
    """γ is the inner activation itself: with the embedding as the site, a table of importances by token."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def forward(self, inner, inputs=None, valid=None):
        return inner


def gathered(table: dict[int, list[float]], texts: list[tuple[str, str]], **options) -> PromptStatistics:
    V = torch.zeros(tiny.VOCABULARY, 3)
    for token, row in table.items():
        V[token] = torch.tensor(row)
    target = tiny.tiny_target("llama")
    components = Components({SITE: V}, {SITE: torch.randn(3, 16)}, {SITE: [0, 4, 7]})
    first_unmasked = options.pop("first_unmasked", False)
    made = Decomposition(target, components, ReadsTokens(), first_unmasked=first_unmasked)
    prompts = [
        Prompt(PromptData(text=text, answer="w5", split=split), TOKENIZER.encode(text, bos=False), 5)  # type: ignore[arg-type]
        for text, split in texts
    ]
    return prompt_statistics(made, prompts, TOKENIZER, threshold=0.1, bos=False, **options)


TABLE = {1: [1.0, 0.0, 0.05], 2: [0.5, 0.2, 0.0], 3: [0.0, 0.9, 0.0], 9: [0.0, 0.0, 1.0]}
TEXTS = [("w1 w2", "train"), ("w1 w3 w2", "train"), ("w9 w1", "held_out")]


@pytest.fixture(scope="module")
def found() -> PromptStatistics:
    return gathered(TABLE, TEXTS)


def test_means_peaks_and_densities_are_over_the_training_positions(found):
    columns = found.columns
    assert columns.index == [0, 4, 7]
    assert columns.mean_ci == pytest.approx(
        [(1 + 0.5 + 1 + 0 + 0.5) / 5, (0.2 + 0.9 + 0.2) / 5, 0.02], abs=1e-6
    )
    assert columns.max_ci == pytest.approx([1.0, 0.9, 0.05])
    assert columns.density == pytest.approx([4 / 5, 3 / 5, 0.0])


def test_a_component_below_the_threshold_is_dead_whatever_held_out_prompts_do(found):
    assert found.columns.alive == [True, True, False]
    assert found.alive() == 2
    assert found.columns.label[2] == "dead on the run's prompts"


def test_top_tokens_are_ordered_by_their_mean_importance(found):
    assert found.columns.top_tokens == [["w1", "w2"], ["w3", "w2"], []]
    assert found.columns.top_token == ["w1", "w3", None]
    assert found.columns.label[0].startswith("fires on w1, w2")


def test_groups_are_the_alive_components_of_a_strongest_token(found):
    assert {group.name: group.components for group in found.groups} == {
        "w1": [f"{SITE}:0"],
        "w3": [f"{SITE}:4"],
    }


def test_a_group_leaves_out_components_that_fire_but_change_little():
    columns = HarvestColumns(
        site=["s"] * 4, index=[0, 1, 2, 3], alive=[True, True, True, False], mean_ci=[1.0] * 4, max_ci=[1.0] * 4,
        density=[1.0] * 4, label=[""] * 4, top_token=[" Woods"] * 4, top_tokens=[[" Woods"]] * 4,
        write_norm=[1.0] * 4, effect=[2.0, 1.01, 0.99, 5.0], reads=[[]] * 4, writes=[[]] * 4,
    )  # fmt: skip
    (group,) = groups_of(columns)
    assert (group.name, group.components) == ("␣Woods", ["s:0", "s:1"])
    assert group.why == "3 components fire most on ␣Woods"
    (group,) = groups_of(columns, all_alive=True)
    assert group.components == ["s:0", "s:1", "s:2"]


def test_stored_prompts_carry_their_importances_answer_and_split(found):
    assert [prompt.split for prompt in found.prompts] == ["train", "train", "held_out"]
    last = found.prompts[2]
    assert list(zip(last.position, last.component, last.ci, strict=True)) == [
        (0, 7, 1.0),
        (1, 0, 1.0),
        (1, 7, 0.05),
    ]
    assert 0 < (last.answer_probability or 0) < 1


def test_only_some_prompts_a_split_are_kept_but_all_are_counted():
    some = gathered(TABLE, TEXTS, shown=1)
    assert [prompt.text for prompt in some.prompts] == ["w1 w2", "w9 w1"]
    assert some.columns.density == pytest.approx([4 / 5, 3 / 5, 0.0])


def test_over_many_components_only_those_with_the_highest_mean_are_suppressed_and_grouped():
    heard: list[tuple[int, int]] = []
    all_of_them, some = (
        gathered(TABLE, TEXTS),
        gathered(TABLE, TEXTS, most_effects=1, report=lambda *at: heard.append(at)),
    )
    assert (all_of_them.unasked, some.unasked) == (0, 1)
    assert all(all_of_them.columns.effect[:2])
    assert some.columns.effect == [all_of_them.columns.effect[0], 0.0, 0.0]
    assert [group.components for group in some.groups] == [[f"{SITE}:0"]]
    assert some.columns.alive == all_of_them.columns.alive
    assert heard == [(0, 1)]


def test_a_first_position_that_is_the_targets_is_not_counted():
    some = gathered(TABLE, TEXTS, first_unmasked=True)
    assert some.columns.density == pytest.approx([2 / 3, 3 / 3, 0.0])
    assert some.columns.top_token == ["w2", "w3", None]


def test_the_write_norm_is_the_size_of_the_rank_one_matrix(found):
    assert all(norm > 0 for norm in found.columns.write_norm)


def test_white_space_is_shown():
    assert visible(" golf\n\t") == "␣golf↵⇥"
