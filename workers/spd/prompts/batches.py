"""What a run reads: prompts or induction sequences as padded batches, with the target's own outputs beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workers.spd.config import ConfigError, InductionSource, PromptData, PromptsConfig
from workers.spd.targets.induction import InductionBatch, sample_sequences
from workers.spd.targets.masks import SiteInput, recorded
from workers.spd.targets.target import Target
from workers.spd.targets.tokenizer import PromptTokenizer


@dataclass(frozen=True)
class Batch:
    """Prompts padded on the right, and what the target makes of them.

    tokens: [batch, seq]; valid: real tokens; answer_at: the position whose output is the answer, [batch];
    keep: the positions whose logits are computed, [kept]; counted: which of them the reconstruction counts,
    [batch, kept]; log_probs: the target's, [batch, kept, vocab]; inputs: what each site reads; subject: where the
    remainder may be masked, None: everywhere.
    """

    tokens: Int[Tensor, "batch seq"]
    valid: Bool[Tensor, "batch seq"]
    answer_at: Int[Tensor, " batch"]
    keep: Int[Tensor, " kept"]
    counted: Bool[Tensor, "batch kept"]
    log_probs: Float[Tensor, "batch kept vocab"]
    inputs: dict[str, SiteInput]
    subject: Bool[Tensor, "batch seq"] | None = None

    def remainder(
        self, delta: Mapping[str, Float[Tensor, "... seq 1"]]
    ) -> dict[str, Float[Tensor, "... seq 1"]]:
        """The remainder's masks of these prompts, 1 outside the subject (SPEC 27); leading dimensions are of passes."""
        if self.subject is None:
            return dict(delta)
        here = self.subject[..., None]
        return {site: torch.where(here, value, torch.ones_like(value)) for site, value in delta.items()}

    def masked(self, first_unmasked: bool) -> Bool[Tensor, "batch seq"]:
        """Positions whose components are masked: the valid ones, without the first where that stays the target's."""
        if not first_unmasked:
            return self.valid
        result = self.valid.clone()
        result[:, 0] = False
        return result

    def rows(self, chosen: Int[Tensor, " rows"]) -> Batch:
        """Some of the prompts."""
        return replace(
            self, tokens=self.tokens[chosen], valid=self.valid[chosen], answer_at=self.answer_at[chosen],
            counted=self.counted[chosen], log_probs=self.log_probs[chosen],
            inputs={site: x[chosen] for site, x in self.inputs.items()},
            subject=None if self.subject is None else self.subject[chosen],
        )  # fmt: skip

    def trimmed(self) -> Batch:
        """The same without the padding that every row has."""
        seq = int(self.answer_at.max()) + 1
        kept = int((self.keep < seq).sum())
        return replace(
            self, tokens=self.tokens[:, :seq], valid=self.valid[:, :seq], keep=self.keep[:kept],
            counted=self.counted[:, :kept], log_probs=self.log_probs[:, :kept],
            inputs={site: x[:, :seq] for site, x in self.inputs.items()},
            subject=None if self.subject is None else self.subject[:, :seq],
        )  # fmt: skip


def padded(
    token_lists: list[list[int]],
) -> tuple[Int[Tensor, "batch seq"], Bool[Tensor, "batch seq"]]:
    """Lists of ids as one batch, filled up with 0 on the right, and which of its tokens are real."""
    seq = max(len(ids) for ids in token_lists)
    tokens = torch.zeros(len(token_lists), seq, dtype=torch.long)
    valid = torch.zeros(len(token_lists), seq, dtype=torch.bool)
    for row, ids in enumerate(token_lists):
        tokens[row, : len(ids)] = torch.tensor(ids)
        valid[row, : len(ids)] = True
    return tokens, valid


@torch.no_grad()
def clean_batch(
    target: Target,
    token_lists: list[list[int]],
    positions: str,
    subjects: Sequence[Sequence[int]] | None = None,
) -> Batch:
    """Run the target once on these prompts (lists of ids) and note what each attached site reads. `subjects`: the
    places of each prompt's subject, the only ones where the remainder may be masked; None: all."""
    target.check_tokens(token for ids in token_lists for token in ids)
    tokens, valid = padded(token_lists)
    answer_at = valid.sum(1) - 1
    keep = torch.arange(tokens.shape[1]) if positions == "all" else answer_at.unique()
    counted = valid[:, keep] if positions == "all" else keep[None, :] == answer_at[:, None]
    device = target.device
    tokens, keep = tokens.to(device), keep.to(device)
    with recorded() as inputs:
        logits = target.logits(tokens, keep)
    rows = len(token_lists)
    inputs = {site: x if x.shape[0] == rows else x.expand(rows, *x.shape[1:]) for site, x in inputs.items()}
    subject = None
    if subjects is not None:
        subject = torch.zeros_like(valid)
        for row, places in enumerate(subjects):
            subject[row, list(places)] = True
        subject = subject.to(device)
    return Batch(
        tokens, valid.to(device), answer_at.to(device), keep, counted.to(device),
        torch.log_softmax(logits.float(), dim=-1), inputs, subject,
    )  # fmt: skip


def answer_column(batch: Batch) -> Int[Tensor, " batch"]:
    """Where in `batch.keep` each prompt's answer position stands."""
    return torch.searchsorted(batch.keep, batch.answer_at)


@dataclass(frozen=True)
class Prompt:
    """A prompt of the run with its ids; `answer` is a token id, `subject` the places of its fact's tokens."""

    data: PromptData
    ids: list[int]
    answer: int | None
    marks: dict[str, int] | None = None
    subject: tuple[int, ...] = ()


def read_prompts(config: PromptsConfig, tokenizer: PromptTokenizer) -> list[Prompt]:
    """Tokenise the run's prompts. Raises ConfigError for one that is empty or whose answer is not one token."""
    if config.bos and tokenizer.bos_token_id is None:
        raise ConfigError("data.bos: this model has no BOS token.")
    prompts: list[Prompt] = []
    for data in config.prompts:
        ids = tokenizer.encode(data.text, bos=config.bos)
        if not ids:
            raise ConfigError(f"data.prompts: “{data.text}” has no tokens.")
        if len(ids) > tokenizer.context_length:
            raise ConfigError(
                f"data.prompts: “{data.text[:40]}…” has {len(ids)} tokens; the model takes {tokenizer.context_length}."
            )
        answer = None
        if data.answer is not None:
            answer = tokenizer.token_id(data.answer)
            if answer is None:
                raise ConfigError(
                    f"data.prompts: the answer “{data.answer}” is not a single token of this model."
                )
        prompts.append(Prompt(data, ids, answer, subject=subject_of(data, tokenizer, bos=config.bos)))
    return prompts


def subject_of(data: PromptData, tokenizer: PromptTokenizer, *, bos: bool) -> tuple[int, ...]:
    """The places of a prompt's fact in its text; none where it has no fact, or the text does not say it."""
    return tuple(tokenizer.places(data.text, data.fact, bos=bos)) if data.fact else ()


def induction_prompts(
    source: InductionSource, tokenizer: PromptTokenizer, count: int, split: str, generator: torch.Generator
) -> list[Prompt]:
    """Induction sequences as prompts; `marks` names the positions s1, m and s2."""
    batch: InductionBatch = sample_sequences(source, count, generator)
    prompts: list[Prompt] = []
    for row in range(count):
        ids = batch.tokens[row].tolist()
        text = " ".join(tokenizer.piece(token) for token in ids)
        answer = int(batch.answer[row])
        data = PromptData(text=text, answer=tokenizer.piece(answer), split=split, watch=False)  # type: ignore[arg-type]
        marks = {"s1": int(batch.s1[row]), "m": int(batch.m[row]), "s2": int(batch.s2[row])}
        prompts.append(Prompt(data, ids, answer, marks))
    return prompts
