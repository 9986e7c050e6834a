"""A shipped finding's claim holds in its own numbers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from backend.commands.feature import Spec, read_specs
from backend.schemas.findings import FindingRecord
from backend.services.claims import Expectation, contradictions
from backend.settings import FEATURED

SPECS = {spec.slug: spec for spec in read_specs(FEATURED / "specs.yaml")}
TIGER = "Tiger Woods is an American professional"


def record(slug: str) -> FindingRecord:
    return FindingRecord.model_validate_json((FEATURED / f"{slug}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("spec", SPECS.values(), ids=lambda spec: spec.slug)
def test_a_featured_finding_claims_what_its_numbers_show(spec: Spec) -> None:
    assert contradictions(record(spec.slug), spec.expect, spec.kl_at_most) == []


@pytest.mark.parametrize("spec", SPECS.values(), ids=lambda spec: spec.slug)
def test_a_featured_finding_has_the_words_of_its_spec(spec: Spec) -> None:
    found = record(spec.slug)
    assert (found.title, found.claim, found.notes) == (spec.title, spec.claim, spec.notes)


def test_every_featured_finding_is_one_of_the_specs() -> None:
    assert {path.stem for path in FEATURED.glob("*.json")} == set(SPECS)


def test_a_claim_that_the_numbers_contradict_is_named_with_both() -> None:
    """France: golf of Tiger Woods falls from 32.5 to 17.8 %, so 54.6 % of it remain."""
    others = [one for one in SPECS["france-paris"].expect if one.prompt != TIGER]
    golf = Expectation(prompt=TIGER, token=" golf", keeps=0.9)
    assert contradictions(record("france-paris"), [*others, golf]) == [
        f"“ golf” goes from 32.5 % to 17.8 % on “{TIGER}”: the claim is that 90.0 % or more remains."
    ]
    deeper = golf.model_copy(update={"keeps": None, "falls": 0.5})
    assert contradictions(record("france-paris"), [*others, deeper]) == [
        f"“ golf” goes from 32.5 % to 17.8 % on “{TIGER}”: the claim is a fall of 50.0 % or more."
    ]


def test_a_prompt_that_no_expectation_mentions_is_named() -> None:
    others = [one for one in SPECS["france-paris"].expect if one.prompt != TIGER]
    assert contradictions(record("france-paris"), others) == [f"No expectation mentions “{TIGER}”."]


def test_an_expectation_of_something_else_is_named() -> None:
    mine = SPECS["nothing-selected"].expect
    found = contradictions(
        record("nothing-selected"),
        [
            *mine,
            Expectation(prompt=TIGER, token=" chess", keeps=1),
            Expectation(prompt="Hi", token=" golf", keeps=1),
        ],
    )
    assert found == [f"“ chess” is not watched on “{TIGER}”.", "“Hi” is not a prompt of the finding."]


def test_a_kl_above_the_bound_is_named() -> None:
    """The self-checks are rounding, a few 1e-8 nats: above a bound of 1e-12, below one of 1e-6."""
    expect = SPECS["nothing-selected"].expect
    (found, *_) = contradictions(record("nothing-selected"), expect, 1e-12)
    assert re.fullmatch(
        rf"The largest KL on “{TIGER}” is \d\.?\d*e-0[89] nats: the claim is 1e-12 or less\.", found
    )
    assert contradictions(record("nothing-selected"), expect, 1e-6) == []


@pytest.mark.parametrize("change", [{}, {"falls": 0.5, "keeps": 0.5}, {"falls": 0}, {"keeps": 1.1}])
def test_an_expectation_says_one_thing(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Expectation.model_validate({"prompt": TIGER, "token": " golf"} | change)
