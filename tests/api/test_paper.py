"""A run beside its paper: what agrees, and which parts of the method it uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import workers
from backend.services.paper import agrees, method_parts
from workers.spd.artifact import TableLine, read_artifact
from workers.spd.config import DecomposeConfig, load_config, parse_config

SHIPPED = Path(workers.__file__).parent / "shipped"


@pytest.mark.parametrize(
    ("paper", "ours", "own", "expected"),
    [
        ("1 at m (1)", "1 at m (0.99)", True, "agrees"),
        ("1 at m (1)", "1 at m (0.5)", False, "differs"),
        ("11 at m (5.05)", "6 at m (5.99)", True, "fewer"),
        ("1 at m (1)", "2 at m (1.2) + 1 at BOS (0.4)", True, "more"),
        ("1 at m (1)", "0 at m (0.0002)", None, "not comparable"),
        ("1 at m (1)", "1 at s1 (1)", False, "differs"),
    ],
)
def test_agreement_is_the_same_number_in_use_at_the_same_place(
    paper: str, ours: str, own: bool | None, expected: str
) -> None:
    assert TableLine(name="V1", paper=paper, ours=ours, agrees=own).verdict == expected


def test_only_the_verdict_agrees_counts_as_agreement() -> None:
    assert [agrees(one) for one in ("agrees", "fewer", "more", "differs", "not comparable")] == [
        True, False, False, False, None,
    ]  # fmt: skip


def test_the_shipped_circuit_has_fewer_components_at_v1_than_the_paper() -> None:
    paper = read_artifact(SHIPPED / "induction", verify=False).manifest.paper
    assert paper is not None
    found = {row.name: row.verdict for row in paper.rows}
    assert found["V1"] == "fewer"
    assert found["K1"] == "agrees"


def parts(**changes: Any) -> dict[str, tuple[str, str]]:
    plain = load_config("induction").model_dump(mode="json")
    config: DecomposeConfig = parse_config({**plain, **changes})
    return {part.name: (part.here, part.use) for part in method_parts(config)}


def test_the_papers_attention_is_one_head_and_one_network_per_component() -> None:
    attention = {"kind": "attention", "heads": 1, "scope": "component"}
    assert parts(ci=attention)["Causal importance"] == (
        "attention, one head, one network per component",
        "as in the paper",
    )
    assert parts(ci=attention | {"scope": "site"})["Causal importance"][1] == "changed"
    assert parts(ci={"kind": "shared_mlp"})["Causal importance"] == (
        "one MLP per site, without attention",
        "changed",
    )


def test_a_loss_that_is_not_there_or_weighs_nothing_is_not_used() -> None:
    plain = [{"kind": "stochastic_reconstruction", "uniform": 1, "level": 0}]
    found = parts(losses=plain)
    assert found["Stochastic reconstruction"] == ("uniform masks, all sites", "as in the paper")
    assert {name: found[name][1] for name in ("Partial reconstruction", "Faithfulness")} == {
        "Partial reconstruction": "not used",
        "Faithfulness": "not used",
    }
    silent = parts(losses=[*plain, {"kind": "faithfulness", "coefficient": 0}])
    assert silent["Faithfulness"][1] == "not used"
    assert parts(losses=[*plain, {"kind": "faithfulness"}])["Faithfulness"][1] == "as in the paper"


def test_what_the_paper_does_not_have_is_added() -> None:
    losses = [{"kind": "stochastic_reconstruction"}, {"kind": "adversarial_reconstruction"}]
    assert parts(losses=losses)["Adversarial reconstruction"][1] == "added"
