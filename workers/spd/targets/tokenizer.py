"""Text to token ids and back, from a `tokenizer.json` alone: needs neither the weights nor torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer

REPLACEMENT = "\ufffd"
ALPHABET = {
    **{chr(byte): byte for byte in (*range(33, 127), *range(161, 173), *range(174, 256))},
    **{chr(256 + n): byte for n, byte in enumerate((*range(33), *range(127, 161), 173))},
}
"""How byte-level BPE spells each byte: printable ones as themselves, others from U+0100 on (GPT-2's tokenizer)."""


class TokenizerError(Exception):
    """A tokenizer file that cannot be used; the message is a plain sentence."""


class PromptTokenizer:
    """Exactly the text, token by token. A BOS is put in front only where it is asked for."""

    def __init__(
        self, tokenizer: Tokenizer, *, bos_token_id: int | None, context_length: int, rows: int | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self._pieces: dict[int, str] = {}
        self._plain: Tokenizer | None = None
        self._spells_bytes = b"ByteLevel" in (tokenizer.decoder.__getstate__() if tokenizer.decoder else b"")
        added = tokenizer.get_added_tokens_decoder()
        self._control = {id: token.content for id, token in added.items() if token.special}
        self.bos_token_id = bos_token_id
        self.context_length = context_length
        self.rows = rows or 0
        self.vocabulary: int = tokenizer.get_vocab_size(with_added_tokens=True)
        unknown = getattr(tokenizer.model, "unk_token", None)
        self.unknown_token_id: int | None = None if unknown is None else tokenizer.token_to_id(unknown)

    @classmethod
    def from_file(
        cls, path: Path, *, bos_token_id: int | None, context_length: int, rows: int | None = None
    ) -> PromptTokenizer:
        """Read a `tokenizer.json`; `rows`: those of the model's embedding, which may be more than there are tokens.
        Raises TokenizerError where it is missing or not one."""
        try:
            tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # the library raises bare Exception for a malformed file
            raise TokenizerError(f"The tokenizer {path.name} cannot be read: {error}.") from None
        return cls(tokenizer, bos_token_id=bos_token_id, context_length=context_length, rows=rows)

    def encode(self, text: str, *, bos: bool, plain: bool = False) -> list[int]:
        """Token ids of `text`; with `bos`, the model's BOS id stands in front (if it has one). With `plain`, what looks
        like a control token (`<|endoftext|>`) is text like any other."""
        ids: list[int] = (
            (self._as_text if plain else self._tokenizer).encode(text, add_special_tokens=False).ids
        )
        if bos and self.bos_token_id is not None:
            return [self.bos_token_id, *ids]
        return ids

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where in `text` each of its tokens begins and ends, a BOS left out."""
        return self._tokenizer.encode(text, add_special_tokens=False).offsets

    def places(self, text: str, part: str, *, bos: bool) -> list[int]:
        """The places of the tokens that hold any of `part` where it first stands in `text`; none where it does not."""
        first = text.find(part)
        if first < 0 or not part:
            return []
        last, shift = first + len(part), int(bos and self.bos_token_id is not None)
        return [
            at + shift for at, (begin, end) in enumerate(self.spans(text)) if begin < last and end > first
        ]

    @property
    def _as_text(self) -> Tokenizer:
        if self._plain is None:  # a tokenizer of its own: the switch is a state, and threads share this one
            as_text = Tokenizer.from_str(self._tokenizer.to_str())
            as_text.encode_special_tokens = True
            self._plain = as_text
        return self._plain

    def control_tokens(self, ids: Iterable[int]) -> list[str]:
        """The control tokens among ids, each once, in order."""
        return list(dict.fromkeys(self._control[id] for id in ids if id in self._control))

    def text(self, ids: Sequence[int]) -> str:
        """What the tokens say together; characters that are spread over several tokens are whole."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def piece(self, token_id: int) -> str:
        """The text of one token, its leading space kept; bytes that are no whole character as `<0xA9>`, and a row
        of the embedding that stands for no token (vocabularies are padded) as its number, `<24>`. Raises IndexError
        outside both."""
        if token_id not in self._pieces:
            token = self._tokenizer.id_to_token(token_id)
            if token is None and 0 <= token_id < self.rows:
                return f"<{token_id}>"
            if token is None:
                raise IndexError(f"There is no token {token_id}; the vocabulary has {self.vocabulary}.")
            decoded = self._tokenizer.decode([token_id], skip_special_tokens=False)
            if self._spells_bytes and REPLACEMENT in decoded and all(sign in ALPHABET for sign in token):
                decoded = _with_fragments(bytes(ALPHABET[sign] for sign in token))
            elif decoded == "" or REPLACEMENT in decoded:
                decoded = token.replace("▁", " ")
            self._pieces[token_id] = decoded
        return self._pieces[token_id]

    def token_id(self, text: str) -> int | None:
        """The id where `text` is exactly one token, else None."""
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids[0] if len(ids) == 1 else None


def _with_fragments(raw: bytes) -> str:
    """UTF-8 as text; each byte that belongs to no whole character as `<0xA9>`."""
    text = ""
    while raw:
        try:
            return text + raw.decode("utf-8")
        except UnicodeDecodeError as error:
            text += raw[: error.start].decode("utf-8")
            text += "".join(f"<0x{byte:02X}>" for byte in raw[error.start : error.end])
            raw = raw[error.end :]
    return text
