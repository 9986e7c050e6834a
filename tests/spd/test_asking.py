"""Prompts before a run: read from files, and asked of the model."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tests.spd import tiny
from workers.spd.config import ConfigError, PromptData
from workers.spd.prompts.asking import ask
from workers.spd.prompts.files import format_of, read_prompt_file
from workers.spd.targets.tokenizer import PromptTokenizer

PIECES = ["a", "b", "c", "Ġ", "Ġa", "Ġb", "Ġc", "ab"]


@pytest.fixture(scope="module")
def tokenizer():
    made = Tokenizer(
        models.BPE(
            {piece: id for id, piece in enumerate(PIECES)}, [("Ġ", "a"), ("Ġ", "b"), ("Ġ", "c"), ("a", "b")]
        )
    )
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PromptTokenizer(made, bos_token_id=None, context_length=8)


@pytest.fixture(scope="module")
def target():
    return tiny.target_of(tiny.llama_model(vocab_size=len(PIECES)))


def asked(target, tokenizer, text, answer=None, bos=False):
    return ask(target, tokenizer, [PromptData(text=text, answer=answer)], bos=bos)[0]


def test_a_prompt_is_split_and_its_answer_ranked_as_the_model_does(target, tokenizer):
    found = asked(target, tokenizer, "a b", " c")
    assert [piece.piece for piece in found.tokens] == ["a", " b"]
    with torch.no_grad():
        logits = target.model(input_ids=torch.tensor([[0, 5]])).logits[0, -1].double()
    chance = torch.softmax(logits, -1)
    assert found.rank == int((chance > chance[6]).sum()) + 1
    assert found.probability == pytest.approx(float(chance[6]), rel=1e-4)
    assert found.likeliest[0].probability == pytest.approx(float(chance.max()), rel=1e-4)
    assert found.fault is None


def test_prompts_of_different_lengths_keep_their_order(target, tokenizer):
    texts = ["a b c", "a", "b c", "c"]
    found = ask(target, tokenizer, [PromptData(text=text) for text in texts], bos=False)
    assert [len(one.tokens) for one in found] == [3, 1, 2, 1]


def test_an_answer_of_several_tokens_is_shown_in_pieces(target, tokenizer):
    found = asked(target, tokenizer, "a", " abc")
    assert found.fault == "The answer is not one token of this model: ␣a|b|c."
    assert (found.rank, found.answer_pieces) == (None, [" a", "b", "c"])


def test_an_answer_that_is_likelier_with_or_without_its_space_is_said_so(target, tokenizer):
    chances = {one: asked(target, tokenizer, "a b", one).probability or 0.0 for one in ("c", " c")}
    worse, better = sorted(chances, key=lambda one: chances[one])
    found = asked(target, tokenizer, "a b", worse)
    assert found.suggestion == better
    assert ("With a leading space" if better == " c" else "Without a leading space") in (found.warning or "")
    assert asked(target, tokenizer, "a b", better).suggestion is None


@pytest.mark.parametrize(
    ("text", "bos", "said"),
    [
        ("a b c a b c a b c", False, "It has 9 tokens; the model takes 8."),
        ("a", True, "This model has no token that begins a text; switch “bos” off."),
    ],
)
def test_a_prompt_that_cannot_be_used_says_why(target, tokenizer, text, bos, said):
    assert asked(target, tokenizer, text, bos=bos).fault == said


def test_a_token_that_the_model_has_no_row_for_is_a_fault_and_no_crash(tokenizer):
    small = tiny.target_of(tiny.llama_model(vocab_size=5))
    found = asked(small, tokenizer, "a b")
    assert (found.fault or "").startswith("The tokenizer gives token 5, and tiny knows 5 tokens")
    assert asked(small, tokenizer, "a", " c").fault == "The answer is not one token of this model: ␣c."


WOODS = {"text": "Tiger Woods plays", "answer": " golf"}


@pytest.mark.parametrize(
    ("content", "format", "wanted"),
    [
        ("Tiger Woods plays => golf\n\nTiger", "text", [WOODS, {"text": "Tiger"}]),
        ("Tiger Woods plays →golf", "text", [WOODS]),
        ("Tiger Woods plays\tgolf\r\n", "text", [WOODS]),
        ("text,answer,split\nTiger Woods plays, golf,held_out\n", "csv", [{**WOODS, "split": "held_out"}]),
        ("Text\tAnswer\nTiger Woods plays\t golf\n", "csv", [WOODS]),
        ('text\n"a, ""b"""\n', "csv", [{"text": 'a, "b"'}]),
        ("# from: here\ntext,answer,kl [nats]\nTiger Woods plays, golf,0.5\n", "csv", [WOODS]),
        ('{"text": "Tiger Woods plays", "answer": " golf", "fact": null}\n', "jsonl", [WOODS]),
        (
            '\ufeff[{"text": "a"}, {"text": "b", "fact": "f"}]',
            "jsonl",
            [{"text": "a"}, {"text": "b", "fact": "f"}],
        ),
    ],
)
def test_prompts_are_read_from_text_csv_and_json_lines(content, format, wanted):
    assert read_prompt_file(content, format) == [PromptData.model_validate(one) for one in wanted]


@pytest.mark.parametrize(
    ("content", "format", "said"),
    [
        ("\n \n", "text", "There is no prompt in it."),
        ("prompt,answer\na,b\n", "csv", "one of them is “text”"),
        ("text,answer\na,b,c\n", "csv", "Line 2: it has more cells"),
        ("text,split\na,test\n", "csv", "Line 2: split: Input should be 'train', 'held_out' or 'bystander'."),
        ("text,colour\na,red\n", "csv", "Line 2: “colour” is not a field of a prompt"),
        ('{"text": "a"}\n{"text": \n', "jsonl", "Line 2 is not JSON"),
        ('["a"]', "jsonl", "Line 1 is not an object"),
    ],
)
def test_what_cannot_be_read_names_the_line(content, format, said):
    with pytest.raises(ConfigError, match=None) as error:
        read_prompt_file(content, format)
    assert said in str(error.value)


def test_a_files_name_tells_its_format():
    assert [format_of(name) for name in ("a.csv", "b.JSONL", "c.txt", "d")] == [
        "csv",
        "jsonl",
        "text",
        "text",
    ]
