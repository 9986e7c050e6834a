"""Text to token ids and back, from a `tokenizer.json` alone: needs neither the weights nor torch."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

REPLACEMENT = "\ufffd"


class TokenizerError(Exception):
    """A tokenizer file that cannot be used; the message is a plain sentence."""


class PromptTokenizer:
    """Exactly the text, token by token. A BOS is put in front only where it is asked for."""

    def __init__(self, tokenizer: Tokenizer, *, bos_token_id: int | None, context_length: int) -> None:
        self._tokenizer = tokenizer
        self._pieces: dict[int, str] = {}
        self.bos_token_id = bos_token_id
        self.context_length = context_length
        self.vocabulary: int = tokenizer.get_vocab_size(with_added_tokens=True)

    @classmethod
    def from_file(cls, path: Path, *, bos_token_id: int | None, context_length: int) -> PromptTokenizer:
        """Read a `tokenizer.json`. Raises TokenizerError where it is missing or not one."""
        try:
            tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # the library raises bare Exception for a malformed file
            raise TokenizerError(f"The tokenizer {path.name} cannot be read: {error}.") from None
        return cls(tokenizer, bos_token_id=bos_token_id, context_length=context_length)

    def encode(self, text: str, *, bos: bool) -> list[int]:
        """Token ids of `text`; with `bos`, the model's BOS id stands in front (if it has one)."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        if bos and self.bos_token_id is not None:
            return [self.bos_token_id, *ids]
        return ids

    def piece(self, token_id: int) -> str:
        """The text of one token, its leading space kept. Raises IndexError outside the vocabulary."""
        if token_id not in self._pieces:
            token = self._tokenizer.id_to_token(token_id)
            if token is None:
                raise IndexError(f"There is no token {token_id}; the vocabulary has {self.vocabulary}.")
            decoded = self._tokenizer.decode([token_id], skip_special_tokens=False)
            if decoded == "" or REPLACEMENT in decoded:
                decoded = token  # part of a character: its byte-level spelling says more than a box
            self._pieces[token_id] = decoded
        return self._pieces[token_id]

    def token_id(self, text: str) -> int | None:
        """The id where `text` is exactly one token, else None."""
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids[0] if len(ids) == 1 else None
