"""What a featured finding claims, in numbers: each expectation is checked against the record's own results."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backend.schemas.findings import FindingRecord
from backend.services.sentences import probability


class Expectation(BaseModel):
    """One token at the last position of one prompt: its probability falls by at least, or keeps at least, a share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str
    token: str = Field(description="one of the watched tokens")
    falls: float | None = Field(default=None, gt=0, le=1, description="the share by which it must fall")
    keeps: float | None = Field(default=None, gt=0, le=1, description="the share that must remain")

    @model_validator(mode="after")
    def _one_of(self) -> Expectation:
        if (self.falls is None) == (self.keeps is None):
            raise ValueError("give either “falls” or “keeps”, one of the two.")
        return self


def contradictions(
    record: FindingRecord, expect: Sequence[Expectation], kl_at_most: float | None = None
) -> list[str]:
    """A sentence for each expectation that the record's numbers do not meet, and for each prompt that none mentions.

    kl_at_most: nats, of every position of every prompt, the self-check included; None for no bound.
    """
    problems: list[str] = []
    for result in record.results:
        ablation = result.result
        text = "".join(token.piece for token in ablation.tokens)
        here = [one for one in expect if one.prompt == text]
        if not here:
            problems.append(f"No expectation mentions “{text}”.")
        last = ablation.positions[-1]
        for one in here:
            shift = next((shift for shift in last.watched if shift.token == one.token), None)
            if shift is None:
                problems.append(f"“{one.token}” is not watched on “{text}”.")
                continue
            before, after = shift.baseline.probability, shift.ablated.probability
            kept = after / before if before > 0 else 0.0
            numbers = f"“{one.token}” goes from {probability(before)} to {probability(after)} on “{text}”"
            if one.falls is not None and 1 - kept < one.falls:
                problems.append(f"{numbers}: the claim is a fall of {probability(one.falls)} or more.")
            if one.keeps is not None and kept < one.keeps:
                problems.append(f"{numbers}: the claim is that {probability(one.keeps)} or more remains.")
        largest = max(ablation.max_kl, ablation.self_check.max_kl)
        if kl_at_most is not None and largest > kl_at_most:
            problems.append(
                f"The largest KL on “{text}” is {largest:.2g} nats: the claim is {kl_at_most:.2g} or less."
            )
    texts = {"".join(token.piece for token in result.result.tokens) for result in record.results}
    problems += [
        f"“{one.prompt}” is not a prompt of the finding." for one in expect if one.prompt not in texts
    ]
    return problems
