"""Prompts: text to token ids and back, with everything that can be wrong said in words. Needs no weights."""

from __future__ import annotations

from collections.abc import Sequence

from backend.errors import ApiError, invalid
from backend.schemas.common import Token
from backend.schemas.workbench import Prompt, TokenizeAnswer, TokenizeRequest, TokenizeWarning
from backend.services.entries import Entry


class Prompts:
    """Tokenisation by a decomposition's own tokenizer."""

    def tokenize(self, entry: Entry, request: TokenizeRequest) -> TokenizeAnswer:
        """Tokens of a text as it is being typed: warnings instead of errors, so that nothing is lost."""
        check_bos(entry, request.bos)
        if request.token_ids is not None:
            ids = list(request.token_ids)
            _check_vocabulary(entry, ids)
        else:
            ids = entry.tokenizer.encode(request.text or "", bos=request.bos, plain=request.plain_text)
        own = ids[1:] if request.bos else ids
        text = entry.tokenizer.text(own) if request.text is None else request.text
        return TokenizeAnswer(
            tokens=tokens(entry, ids),
            text=text,
            bos=request.bos,
            limit=entry.limit,
            warnings=_warnings(entry, request, text, ids),
        )

    def resolve(self, entry: Entry, prompt: Prompt) -> list[int]:
        """The token ids a request means. Raises ApiError 422 where they cannot be run."""
        if prompt.token_ids is not None:
            ids = list(prompt.token_ids)
            _check_vocabulary(entry, ids)
        else:
            check_bos(entry, prompt.bos)
            text = prompt.text or ""
            if text == "":
                raise _empty()
            ids = entry.tokenizer.encode(text, bos=prompt.bos, plain=prompt.plain_text)
            _check_vocabulary(entry, ids)  # a tokenizer may know more tokens than its model
        if not ids:
            raise _empty()
        if len(ids) > entry.limit:
            raise invalid(
                "prompt_too_long", _too_long(len(ids), entry.limit), tokens=len(ids), limit=entry.limit
            )
        return ids

    def watched(self, entry: Entry, watch: Sequence[str | int]) -> list[int]:
        """Ids of watched tokens, each once. Raises ApiError 422 naming the one that is not a token."""
        vocabulary = entry.artifact.manifest.target.model.vocabulary
        missing: list[int] = []
        for item in watch:
            if isinstance(item, str):
                token_id = entry.tokenizer.token_id(item)
                if token_id is None:
                    pieces = [entry.piece(i) for i in entry.tokenizer.encode(item, bos=False)]
                    why = f"it is {len(pieces)} tokens: {' · '.join(pieces[:8])}" if pieces else "it is empty"
                    raise invalid(
                        "watch_not_one_token",
                        f"“{item[:80]}” cannot be watched because {why}. Most words need their leading space.",
                        watch=item[:200],
                    )
            elif item >= vocabulary:
                raise invalid(
                    "unknown_token", f"There is no token {item}: the vocabulary has {vocabulary:,}."
                )
            else:
                token_id = item
            if token_id not in missing:
                missing.append(token_id)
        return missing


def tokens(entry: Entry, ids: Sequence[int]) -> list[Token]:
    """Ids with the text they stand for."""
    return [entry.token(token_id) for token_id in ids]


def check_bos(entry: Entry, bos: bool) -> None:
    """Raises ApiError 422 where a BOS is asked of a model that has none."""
    if bos and entry.artifact.manifest.target.bos_token_id is None:
        raise invalid("no_bos_token", "This model has no beginning-of-sequence token. Switch BOS off.")


def _check_vocabulary(entry: Entry, ids: Sequence[int]) -> None:
    vocabulary = entry.artifact.manifest.target.model.vocabulary
    outside = next((i for i in ids if i >= vocabulary), None)
    if outside is not None:
        raise invalid(
            "unknown_token",
            f"There is no token {outside}: the vocabulary has {vocabulary:,} tokens, numbered from 0.",
            token_id=outside,
            vocabulary=vocabulary,
        )


def _empty() -> ApiError:
    return invalid("empty_prompt", "The prompt is empty. Type at least one token.")


def _too_long(length: int, limit: int) -> str:
    return (
        f"The prompt is {length:,} tokens long; at most {limit:,} fit here. Shorten it by {length - limit:,}."
    )


def _warnings(entry: Entry, request: TokenizeRequest, text: str, ids: list[int]) -> list[TokenizeWarning]:
    warnings: list[TokenizeWarning] = []
    own = ids[1:] if request.bos else ids
    if text == "":
        warnings.append(TokenizeWarning(code="empty", message="Type a prompt to see its tokens."))
    if len(ids) > entry.limit:
        warnings.append(TokenizeWarning(code="too_long", message=_too_long(len(ids), entry.limit)))
    if text.strip() and text != text.rstrip(" "):
        warnings.append(
            TokenizeWarning(
                code="trailing_space",
                message="The prompt ends with a space. Most tokens begin with one, so the next word becomes unlikely.",
            )
        )
    bos_id = entry.artifact.manifest.target.bos_token_id
    if bos_id is not None and ids[int(request.bos) : int(request.bos) + 1] == [bos_id]:
        doubled = "; with BOS on there are two" if request.bos else ""
        message = f"The text itself begins with the beginning-of-sequence token{doubled}."
        warnings.append(TokenizeWarning(code="has_bos_text", message=message))
    control = entry.tokenizer.control_tokens(own)
    if control and request.text is not None:
        named = ", ".join(f"“{name}”" for name in control[:5])
        message = (
            f"{named} in the text is read as a control token of the model. Plain text (“plain_text”) reads it as it is "
            "written."
        )
        warnings.append(TokenizeWarning(code="control_tokens", message=message))
    if request.token_ids is not None and entry.tokenizer.encode(text, bos=False) != own:
        message = "The model would split this text into other tokens: editing it changes more than the edit."
        warnings.append(TokenizeWarning(code="other_tokens", message=message))
    unknown = _unknown(entry, text, own)
    if unknown:
        warnings.append(TokenizeWarning(code="unknown_tokens", message=unknown))
    return warnings


def _unknown(entry: Entry, text: str, ids: list[int]) -> str | None:
    if text.strip() and not ids:
        return "None of the text is in this model's vocabulary."
    if "unk" not in text.lower() and any(entry.piece(i).lower() in ("<unk>", "[unk]") for i in ids):
        return "Some of the text is not in this model's vocabulary and became an unknown token."
    return None
