"""How far a decomposition describes a prompt: the rule, its words, and the answer."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend.services.trust import judge, nats
from workers.spd.answers import TrustFigures
from workers.spd.config import DecomposeConfig, load_config, parse_config

WOODS = "Tiger Woods"


def config(positions: str = "all") -> DecomposeConfig:
    plain = load_config("sports-smollm2").model_dump(mode="json")
    return parse_config({**plain, "reconstruction": {"positions": positions}})


def figures(
    kl: list[float], off: list[float], rest: list[float] | None = None, fires: tuple[float, int] = (3.0, 9)
) -> TrustFigures:
    return TrustFigures(kl, off, rest, *fires)


@pytest.mark.parametrize(
    ("kl", "level"),
    [(0.0, "good"), (0.5, "good"), (0.51, "partly"), (2.5, "partly"), (2.51, "not"), (35.0, "not")],
)
def test_the_level_is_the_share_of_the_kl_with_everything_off(kl: float, level: str) -> None:
    """Of 10 nats: described up to 0.5, partly up to 2.5."""
    judged = judge(figures([kl], [10.0]), config(), own=False)
    assert (judged.level, judged.kl_off) == (level, 10.0)
    assert judged.share == pytest.approx(kl / 10)


def test_a_run_that_counts_the_answer_alone_is_judged_at_the_last_position_and_says_so() -> None:
    judged = judge(figures([6.0, 0.1], [10.0, 20.0]), config("answer"), own=True)
    assert (judged.level, judged.counted, judged.kl, judged.kl_off) == ("good", "last", 0.1, 20.0)
    assert (judged.kl_all, judged.kl_off_all) == (3.05, 15.0)
    assert judged.sentence == (
        "This decomposition describes this prompt. KL 0.10 nats at the last position under CI as masks with the "
        "remainder off, of 20.0 with everything off. The run counts no other position: over all of them it is 3.05 of "
        "15.0."
    )


def test_a_prompt_the_run_was_not_made_for_is_said_to_be_one() -> None:
    judged = judge(figures([30.0, 40.0], [20.0, 16.0]), config(), own=False)
    assert judged.sentence == (
        "This decomposition was made for other text. What fires here says little. KL 35.0 nats on average under CI as "
        "masks with the remainder off, of 18.0 with everything off."
    )
    assert "although it is one of the run's own" in judge(figures([9.0], [9.0]), config(), own=True).sentence


def test_other_text_that_a_targeted_run_leaves_alone_is_outside_it() -> None:
    quiet = figures([30.0], [20.0], rest=[0.003], fires=(0.0, 0))
    judged = judge(quiet, config(), own=False)
    assert judged.level == "outside"
    assert judged.sentence == (
        "Nothing of this decomposition fires here. Under CI as masks with the remainder on the output moves by "
        "0.003 nats (KL)."
    )
    some = judge(figures([30.0], [20.0], rest=[0.003], fires=(0.75, 4)), config(), own=False)
    assert "0.75 components fire per position" in some.sentence


def test_where_no_name_of_a_run_by_subject_stands_its_remainder_is_on_and_the_prompt_outside() -> None:
    plain = load_config("sports-smollm2").model_dump(mode="json")
    made = parse_config({**plain, "reconstruction": {"positions": "answer", "remainder": "subject"}})
    silent = TrustFigures([0.003], [0.003], [0.003], 0.2, 1, described=False)
    assert judge(silent, made, own=False).level == "outside"
    loud = judge(figures([0.01], [8.0], rest=[0.003], fires=(0.5, 3)), made, own=True)
    assert loud.level == "good"
    assert "with the remainder off at the names, of 8.00 with" in loud.sentence


def test_other_text_that_a_targeted_run_changes_is_not_described() -> None:
    """1.1 of 20 nats with the remainder on is more than a twentieth."""
    assert judge(figures([30.0], [20.0], rest=[1.1]), config(), own=False).level == "not"


def test_a_targeted_runs_own_prompt_is_judged_with_the_remainder_off() -> None:
    assert judge(figures([0.1], [20.0], rest=[0.0]), config(), own=True).level == "good"


def test_a_prompt_on_which_nothing_costs_anything_is_described() -> None:
    """Both are rounding, so their share means nothing."""
    judged = judge(figures([4e-8], [2e-8]), config(), own=False)
    assert (judged.level, judged.share) == ("good", 0.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "< 1e-7"), (3.1e-6, "3.1e-6"), (0.013, "0.013"), (1.84, "1.84"), (35.01, "35.0")],
)
def test_a_kl_in_a_sentence_follows_the_rule_of_the_page(value: float, text: str) -> None:
    assert nats(value) == text


def test_the_answer_holds_the_figures_by_position_and_is_kept(real_client: TestClient) -> None:
    url = "/api/decompositions/tiny/trust"
    first: dict[str, Any] = real_client.post(url, json={"text": WOODS}).json()
    assert len(first["kl_by_position"]) == len(first["kl_off_by_position"]) == len(first["tokens"])
    assert first["level"] in ("good", "partly", "not")
    assert first["kl_rest"] is None, "a run without other text"
    assert first["share"] == pytest.approx(first["kl"] / first["kl_off"])
    assert not first["cached"]
    again = real_client.post(url, json={"text": WOODS}).json()
    assert again["cached"]
    assert again["kl_by_position"] == first["kl_by_position"]


def test_the_figures_are_those_of_the_mask_regime_of_causal_importances(real_client: TestClient) -> None:
    answer = real_client.post("/api/decompositions/tiny/trust", json={"text": WOODS}).json()
    regimes = real_client.post(
        "/api/decompositions/tiny/regimes", json={"text": WOODS, "kinds": ["ci"]}
    ).json()
    assert answer["kl_by_position"] == pytest.approx(regimes["regimes"][0]["kl"], rel=1e-4, abs=1e-7)


def test_an_empty_prompt_is_refused_in_words(real_client: TestClient) -> None:
    assert real_client.post("/api/decompositions/tiny/trust", json={"text": ""}).status_code == 422
