"""SPEC 9: batches, padding, and which positions count."""

import pytest
import torch

from tests.spd import tiny
from workers.spd.config import ConfigError
from workers.spd.prompts.batches import clean_batch, read_prompts
from workers.spd.prompts.kinds import training_data
from workers.spd.targets.tokenizer import PromptTokenizer

TOKENIZER = PromptTokenizer(tiny.word_tokenizer(), bos_token_id=0, context_length=tiny.CONTEXT)
LISTS = [[1, 2, 3, 4], [5, 6], [7, 8, 9]]


@pytest.fixture(scope="module")
def target():
    made = tiny.tiny_target("llama")
    return made


def test_prompts_are_padded_on_the_right_and_padding_is_not_valid(target):
    batch = clean_batch(target, LISTS, "all")
    assert batch.tokens.tolist() == [[1, 2, 3, 4], [5, 6, 0, 0], [7, 8, 9, 0]]
    assert batch.valid.sum(1).tolist() == [4, 2, 3]
    assert batch.answer_at.tolist() == [3, 1, 2]
    assert torch.equal(batch.counted, batch.valid)


def test_at_the_answers_alone_only_the_needed_logits_are_computed(target):
    batch = clean_batch(target, LISTS, "answer")
    assert batch.keep.tolist() == [1, 2, 3]
    assert batch.counted.tolist() == [[False, False, True], [True, False, False], [False, True, False]]
    assert batch.log_probs.shape == (3, 3, tiny.VOCABULARY)


def test_log_probabilities_are_those_of_each_prompt_run_alone(target):
    batch = clean_batch(target, LISTS, "all")
    for row, ids in enumerate(LISTS):
        alone = clean_batch(target, [ids], "all")
        torch.testing.assert_close(batch.log_probs[row, : len(ids)], alone.log_probs[0], rtol=1e-4, atol=1e-4)


def test_the_first_position_leaves_the_masked_ones_where_it_is_the_targets(target):
    batch = clean_batch(target, LISTS, "all")
    assert batch.masked(False).sum() == 9
    assert batch.masked(True).sum() == 6
    assert batch.valid.sum() == 9


def test_rows_of_a_batch_are_a_batch(target):
    batch = clean_batch(target, LISTS, "answer").rows(torch.tensor([2, 0]))
    assert batch.tokens[:, 0].tolist() == [7, 1]
    assert batch.answer_at.tolist() == [2, 3]
    assert all(len(x) == 2 for x in batch.inputs.values())


def test_a_step_takes_all_prompts_or_a_drawn_few(target):
    every = training_data(tiny.run_config(), target, TOKENIZER)
    assert len(every.next(torch.Generator()).tokens) == 3
    config = tiny.run_config(data={**tiny.run_config().data.model_dump(), "batch_size": 2})
    some = training_data(config, target, TOKENIZER)
    generator = torch.Generator().manual_seed(0)
    drawn = [some.next(generator).tokens[:, 0].tolist() for _ in range(20)]
    assert all(len(set(rows)) == 2 for rows in drawn)
    assert {token for rows in drawn for token in rows} == {1, 6, 9}
    assert len(some.everything().tokens) == 3


def test_a_split_without_prompts_is_none(target):
    data = training_data(tiny.run_config(), target, TOKENIZER)
    assert data.split("bystander", "answer") is None
    held_out = data.split("held_out", "answer")
    assert held_out is not None
    assert held_out.tokens.tolist() == [[1, 7, 3]]


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ({"text": "  "}, "“  ” has no tokens"),
        ({"text": "w1 " * 17}, "has 17 tokens; the model takes 16"),
        ({"text": "w1", "answer": "w2 w3"}, "the answer “w2 w3” is not a single token"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_told(prompt, sentence):
    config = tiny.run_config(data={"kind": "prompts", "prompts": [prompt]})
    with pytest.raises(ConfigError, match=sentence):
        read_prompts(config.data, TOKENIZER)  # type: ignore[arg-type]


def test_a_run_needs_something_to_train_on(target):
    config = tiny.run_config(data={"kind": "prompts", "prompts": [{"text": "w1", "split": "held_out"}]})
    with pytest.raises(ConfigError, match="at least one prompt must be in the split “train”"):
        training_data(config, target, TOKENIZER)


def test_induction_data_goes_with_the_induction_target_alone():
    with pytest.raises(ConfigError, match=r"data\.kind “induction” does not go with target\.kind “folder”"):
        tiny.run_config(data={"kind": "induction"})


def test_a_bos_for_a_model_that_has_none_is_refused():
    config = tiny.run_config(data={"kind": "prompts", "bos": True, "prompts": [{"text": "w1"}]})
    without = PromptTokenizer(tiny.word_tokenizer(), bos_token_id=None, context_length=8)
    with pytest.raises(ConfigError, match=r"data\.bos: this model has no BOS token"):
        read_prompts(config.data, without)  # type: ignore[arg-type]
