"""What a model makes of prompts that somebody wants to decompose it on: tokens, the answer's rank, what is wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from workers.spd.config import PromptData
from workers.spd.scouted import AskedPrompt, Guess, Piece
from workers.spd.targets.target import Target, TargetError
from workers.spd.targets.tokenizer import PromptTokenizer

LIKELIEST = 5
ROWS = 16


def ask(
    target: Target,
    tokenizer: PromptTokenizer,
    prompts: Sequence[PromptData],
    *,
    bos: bool,
    check_stop: Callable[[], None] = lambda: None,
) -> list[AskedPrompt]:
    """Every prompt with what the model predicts after it; prompts of the same length run together."""
    ids = [tokenizer.encode(prompt.text, bos=bos) for prompt in prompts]
    found: dict[int, AskedPrompt] = {}
    lengths: dict[int, list[int]] = defaultdict(list)
    for place, own in enumerate(ids):
        fault = _fault(prompts[place], own, target, tokenizer, bos)
        if fault is None:
            lengths[len(own)].append(place)
        else:
            found[place] = AskedPrompt(tokens=_pieces(tokenizer, own), fault=fault)
    for length, places in lengths.items():
        for first in range(0, len(places), ROWS):
            check_stop()
            part = places[first : first + ROWS]
            rows = torch.tensor([ids[place] for place in part], device=target.device)
            keep = torch.tensor([length - 1], device=target.device)
            with torch.no_grad():
                log_probs = torch.log_softmax(target.logits(rows, keep)[:, 0].double(), dim=-1)
            for place, row in zip(part, log_probs, strict=True):
                found[place] = _answered(prompts[place], ids[place], row, tokenizer)
    return [found[place] for place in range(len(prompts))]


def _fault(
    prompt: PromptData, ids: list[int], target: Target, tokenizer: PromptTokenizer, bos: bool
) -> str | None:
    if bos and tokenizer.bos_token_id is None:
        return "This model has no token that begins a text; switch “bos” off."
    if not ids:
        return "It has no tokens."
    if len(ids) > tokenizer.context_length:
        return f"It has {len(ids):,} tokens; the model takes {tokenizer.context_length:,}."
    try:
        target.check_tokens(ids)
    except TargetError as error:
        return str(error)
    return None


def _pieces(tokenizer: PromptTokenizer, ids: Sequence[int]) -> list[Piece]:
    return [Piece(id=id, piece=_piece(tokenizer, id)) for id in ids]


def _piece(tokenizer: PromptTokenizer, id: int) -> str:
    try:
        return tokenizer.piece(id)
    except IndexError:  # a row of the logits that stands for no token
        return f"<{id}>"


def _answered(
    prompt: PromptData, ids: list[int], log_probs: Float[Tensor, " vocab"], tokenizer: PromptTokenizer
) -> AskedPrompt:
    """A prompt beside the log-probabilities of the token after it."""
    top = log_probs.topk(min(LIKELIEST, len(log_probs)))
    likeliest = [
        Guess(piece=_piece(tokenizer, id), probability=float(value.exp()))
        for id, value in zip(top.indices.tolist(), top.values, strict=True)
    ]
    asked = AskedPrompt(tokens=_pieces(tokenizer, ids), likeliest=likeliest)
    if prompt.answer is None:
        return asked
    answer, other = prompt.answer, _turned(prompt.answer)
    pieces = [_piece(tokenizer, id) for id in tokenizer.encode(answer, bos=False)]
    own, turned = tokenizer.token_id(answer), tokenizer.token_id(other)
    own = own if own is not None and own < len(log_probs) else None
    turned = turned if turned is not None and turned < len(log_probs) and turned != own else None
    better = turned is not None and (own is None or log_probs[turned] > log_probs[own])
    changes: dict[str, object] = {"answer_pieces": pieces, "suggestion": other if better else None}
    if own is None:
        split = "|".join(pieces).replace(" ", "␣") or "nothing"
        changes["fault"] = f"The answer is not one token of this model: {split}."
    else:
        value = log_probs[own]
        changes |= {"rank": int((log_probs > value).sum()) + 1, "probability": float(value.exp())}
    if better:
        with_space = other.startswith(" ")
        changes["warning"] = (
            f"{'With' if with_space else 'Without'} a leading space the answer is likelier: "
            f"“{other.replace(' ', '␣')}”, {float(log_probs[turned].exp()):.1%}."
        )
    return asked.model_copy(update=changes)


def _turned(answer: str) -> str:
    """The answer with a leading space where it has none, else without."""
    return answer[1:] if answer.startswith(" ") else f" {answer}"
