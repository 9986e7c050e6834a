"""Text to ids and back from a tokenizer.json alone."""

import pytest
from tokenizers import Tokenizer, decoders, models

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


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("👩", ["<0xF0>", "<0x9F>", "<0x91>", "<0xA9>"]),  # never the “©” that spells the byte A9
        ("©", ["<0xC2>", "<0xA9>"]),
        ("é", ["<0xC3>", "<0xA9>"]),
    ],
)
def test_a_part_of_a_character_shows_its_bytes(bytes_tokenizer, text, pieces):
    ids = bytes_tokenizer.encode(text, bos=False)
    assert [bytes_tokenizer.piece(i) for i in ids] == pieces
    assert bytes_tokenizer.text(ids) == text


@pytest.mark.parametrize(
    ("token", "piece"),
    [("Ġà¤", " <0xE0><0xA4>"), ("ðŁĳ©a", "👩a"), ("©Ġb", "<0xA9> b"), ("ï¿½", "\ufffd")],
)
def test_a_token_of_whole_characters_and_fragments_shows_both(token, piece):
    made = Tokenizer(models.BPE({token: 0}, []))
    made.decoder = decoders.ByteLevel()
    assert PromptTokenizer(made, bos_token_id=None, context_length=8).piece(0) == piece


def test_a_fragment_of_a_byte_fallback_tokenizer_shows_its_byte():
    made = Tokenizer(models.BPE({"<0xA9>": 0, "▁a": 1}, [], byte_fallback=True))
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = PromptTokenizer(made, bos_token_id=None, context_length=8)
    assert [tokenizer.piece(0), tokenizer.piece(1)] == ["<0xA9>", " a"]


def test_a_control_token_in_a_text_is_one_unless_the_text_is_plain(bytes_tokenizer):
    ids = bytes_tokenizer.encode("a<bos>b<bos>", bos=False)
    assert ids.count(0) == 2
    assert bytes_tokenizer.control_tokens(ids) == ["<bos>"]
    plain = bytes_tokenizer.encode("a<bos>b<bos>", bos=False, plain=True)
    assert bytes_tokenizer.control_tokens(plain) == []
    assert bytes_tokenizer.text(plain) == "a<bos>b<bos>"
    assert bytes_tokenizer.encode("a<bos>", bos=False).count(0) == 1  # the switch left nothing behind


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
