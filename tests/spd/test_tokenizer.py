"""Text to ids and back from a tokenizer.json alone."""

import pytest

from tests.factories import tiny_tokenizer
from tests.spd import tiny
from workers.spd.targets.tokenizer import PromptTokenizer, TokenizerError


@pytest.fixture(scope="module")
def bytes_tokenizer() -> PromptTokenizer:
    return PromptTokenizer(tiny_tokenizer(), bos_token_id=0, context_length=32)


@pytest.mark.parametrize("text", ["Tiger Woods is", " golf", "naïve – ∞ 🙂", "a\nb\tc", "<script>"])
def test_pieces_joined_are_the_text(bytes_tokenizer, text):
    ids = bytes_tokenizer.encode(text, bos=False)
    whole = bytes_tokenizer._tokenizer.decode(ids, skip_special_tokens=False)
    assert whole == text
    if text.isascii():
        assert "".join(bytes_tokenizer.piece(i) for i in ids) == text


def test_a_bos_stands_in_front_only_when_asked_for(bytes_tokenizer):
    without, with_bos = (bytes_tokenizer.encode("Tiger", bos=bos) for bos in (False, True))
    assert with_bos == [0, *without]


def test_a_model_without_bos_gets_none():
    tokenizer = PromptTokenizer(tiny.word_tokenizer(), bos_token_id=None, context_length=8)
    assert tokenizer.encode("w3 w4", bos=True) == [3, 4]


def test_a_token_keeps_its_leading_space(bytes_tokenizer):
    token = bytes_tokenizer.token_id(" golf")
    assert token is not None
    assert bytes_tokenizer.piece(token) == " golf"


def test_text_of_several_tokens_is_no_token(bytes_tokenizer):
    assert bytes_tokenizer.token_id("Tiger Woods") is None
    assert bytes_tokenizer.token_id("") is None


def test_part_of_a_character_shows_its_byte_spelling(bytes_tokenizer):
    ids = bytes_tokenizer.encode("🙂", bos=False)
    assert len(ids) > 1
    assert all("\ufffd" not in bytes_tokenizer.piece(i) and bytes_tokenizer.piece(i) for i in ids)


def test_outside_the_vocabulary_there_is_no_piece(bytes_tokenizer):
    with pytest.raises(IndexError, match="There is no token 99999"):
        bytes_tokenizer.piece(99999)


@pytest.mark.parametrize("content", [None, "{}", "not json"])
def test_a_file_that_is_no_tokenizer_is_told(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json cannot be read"):
        PromptTokenizer.from_file(path, bos_token_id=None, context_length=8)
