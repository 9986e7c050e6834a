"""A shipped finding's claim holds in its own numbers."""

from __future__ import annotations

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


def given(before: float, after: float, kl: float = 0.0) -> FindingRecord:
    """A finding on the Tiger prompt alone, in which golf goes from `before` to `after` and the largest KL is `kl`."""
    plain = record("nothing-selected").model_dump(mode="json")
    plain["results"] = [
        one
        for one in plain["results"]
        if "".join(token["piece"] for token in one["result"]["tokens"]) == TIGER
    ]
    (result,) = plain["results"]
    golf = next(row for row in result["result"]["positions"][-1]["watched"] if row["token"] == " golf")
    golf["baseline"]["probability"], golf["ablated"]["probability"] = before, after
    result["result"]["max_kl"], result["result"]["self_check"]["max_kl"] = 0.0, kl
    return FindingRecord.model_validate(plain)


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
    """From 32.5 to 17.8 %, 54.8 % of golf remain and 45.2 % go."""
    keeps = Expectation(prompt=TIGER, token=" golf", keeps=0.9)
    assert contradictions(given(0.325, 0.178), [keeps]) == [
        f"“ golf” goes from 32.5 % to 17.8 % on “{TIGER}”: the claim is that 90.0 % or more remains."
    ]
    falls = Expectation(prompt=TIGER, token=" golf", falls=0.5)
    assert contradictions(given(0.325, 0.178), [falls]) == [
        f"“ golf” goes from 32.5 % to 17.8 % on “{TIGER}”: the claim is a fall of 50.0 % or more."
    ]
    assert contradictions(given(0.325, 0.178), [falls.model_copy(update={"falls": 0.45})]) == []
    assert contradictions(given(0.325, 0.3), [keeps]) == []


def test_a_prompt_that_no_expectation_mentions_is_named() -> None:
    assert contradictions(given(0.3, 0.3), []) == [f"No expectation mentions “{TIGER}”."]


def test_an_expectation_of_something_else_is_named() -> None:
    chess = Expectation(prompt=TIGER, token=" chess", keeps=1)
    other = Expectation(prompt="Hi", token=" golf", keeps=1)
    assert contradictions(given(0.3, 0.3), [chess, other]) == [
        f"“ chess” is not watched on “{TIGER}”.",
        "“Hi” is not a prompt of the finding.",
    ]


def test_a_kl_above_the_bound_is_named_the_self_check_included() -> None:
    golf = Expectation(prompt=TIGER, token=" golf", keeps=0.9)
    assert contradictions(given(0.3, 0.3, kl=2.8e-8), [golf], kl_at_most=1e-7) == []
    assert contradictions(given(0.3, 0.3, kl=2.8e-8), [golf], kl_at_most=1e-8) == [
        f"The largest KL on “{TIGER}” is 2.8e-08 nats: the claim is 1e-08 or less."
    ]


@pytest.mark.parametrize("change", [{}, {"falls": 0.5, "keeps": 0.5}, {"falls": 0}, {"keeps": 1.1}])
def test_an_expectation_says_one_thing(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Expectation.model_validate({"prompt": TIGER, "token": " golf"} | change)
