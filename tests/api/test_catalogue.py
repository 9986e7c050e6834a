"""The catalogue follows the disk: what can be read is there, what cannot is named, nothing stops the rest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import workers
from backend.services import catalogue
from backend.services.evidence import Evidence
from backend.services.views import fact_table
from tests.conftest import Open
from tests.factories import KOBE, SITES, hand_artifact
from workers.spd.artifact import Manifest, Metric, read_artifact

SHIPPED = Path(workers.__file__).parent / "shipped"


@pytest.fixture(autouse=True)
def _look_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "RESCAN_SECONDS", 0.0)


def listed(client: TestClient) -> dict[str, Any]:
    return client.get("/api/decompositions").json()


def test_the_gallery_tells_what_a_card_needs(client: TestClient) -> None:
    (item,) = listed(client)["items"]
    assert (item["id"], item["title"], item["sites"], item["components"], item["alive"]) == (
        "tiny",
        "Tiny",
        3,
        24,
        18,
    )
    assert item["model"]["context_length"] == 32
    assert item["thumbnail"]["rows"] == ["L0 mlp.down", "L1 mlp.down", "L1 attn.q"]
    assert item["thumbnail"]["values"][0] == [0.0, 0.9, 0.0, 0.0, 0.0, 0.0]


def test_the_overview_tells_what_the_run_measured_in_plain_words(client: TestClient) -> None:
    view = client.get("/api/decompositions/tiny").json()
    rows = {row["name"]: row for row in view["evidence"]}
    assert rows["kl_everything_on"]["status"] == "good"
    assert rows["kl_adversarial"]["status"] == "weak"
    assert "with care" in rows["kl_adversarial"]["warning"]
    assert rows["something_new"] == {
        "name": "something_new", "label": "something new", "explain": "A figure this run measured.", "unit": "",
        "train": 1.0, "held_out": None, "spread": None, "seeds": None, "status": "info", "warning": None,
    }  # fmt: skip
    assert [site["alive"] for site in view["site_summaries"]] == [6, 6, 6]
    assert view["default_watch"] == [" golf", " basketball"]
    assert view["curves"][0]["steps"] == [0, 20, 40]
    assert view["ablation_checks"][0]["change"] == pytest.approx(-0.975)
    assert view["prompts"][1]["text"] == KOBE
    assert view["provenance"]["threshold"] == view["config"]["threshold"]


def test_a_decomposition_opens_by_slug_and_by_content_hash(client: TestClient) -> None:
    by_slug = client.get("/api/decompositions/tiny").json()
    assert client.get(f"/api/decompositions/{by_slug['artifact_hash']}").json() == by_slug


def test_groups_come_from_the_harvest(client: TestClient) -> None:
    answer = client.get("/api/decompositions/tiny/groups").json()
    assert answer["total"] == 1
    assert answer["items"][0]["name"] == "␣Woods"
    assert answer["items"][0]["components"] == [f"{SITES[0]}:0", f"{SITES[2]}:1"]


def test_a_new_folder_appears_without_a_restart_and_a_removed_one_goes(home: Path, open_app: Open) -> None:
    client = open_app(home)
    assert listed(client)["items"] == []
    hand_artifact(home / "artifacts", "later")
    assert [item["id"] for item in listed(client)["items"]] == ["later"]
    assert client.get("/api/decompositions/later/components").json()["total"] == 21
    shutil.rmtree(home / "artifacts/later")
    assert listed(client) == {"items": [], "next_cursor": None, "total": 0, "warnings": [], "story": None}
    assert client.get("/api/decompositions/later").status_code == 404


def test_a_replaced_artefact_keeps_its_slug_and_gets_new_components(home: Path, open_app: Open) -> None:
    hand_artifact(home / "artifacts")
    client = open_app(home)
    before = listed(client)["items"][0]
    hand_artifact(home / "artifacts", components=5)
    (after,) = listed(client)["items"]
    assert after["id"] == "tiny"
    assert after["artifact_hash"] != before["artifact_hash"]
    assert client.get("/api/decompositions/tiny/components").json()["total"] == 12


def test_variants_that_lie_beside_an_artefact_are_on_its_overview(home: Path, open_app: Open) -> None:
    plain, varied = (hand_artifact(home / "artifacts", name).path for name in ("plain", "varied"))
    row = {
        "name": "shared_mlp", "about": "no attention", "seeds": [0, 1], "agreement_at_start": None,
        "figures": {"l0": {"mean": 2.0, "least": 1.0, "most": 3.0}},
        "agreement": {"reads": 0.5, "writes": 0.4, "both": 0.3},
    }  # fmt: skip
    found = {"about": "a few steps", "rows": [row]}
    (varied / "variants.json").write_text(json.dumps(found))
    client = open_app(home)
    assert client.get(f"/api/decompositions/{plain.name}").json()["variants"] is None
    assert client.get(f"/api/decompositions/{varied.name}").json()["variants"] == found


def test_a_home_artefact_of_a_shipped_name_gets_a_slug_of_its_own(home: Path, open_app: Open) -> None:
    shipped = hand_artifact(home / "shipped", "tiny")
    mine = hand_artifact(home / "artifacts", "tiny", components=5)
    items = listed(open_app(home))["items"]
    assert [(item["id"], item["shipped"]) for item in items] == [
        ("tiny", True),
        (f"tiny-{mine.hash[:8]}", False),
    ]
    assert items[0]["artifact_hash"] == shipped.hash


def test_a_copy_of_the_same_artefact_is_shown_once(home: Path, open_app: Open) -> None:
    hand_artifact(home / "shipped", "tiny")
    shutil.copytree(home / "shipped/tiny", home / "artifacts/copy")
    client = open_app(home)
    for _ in range(2):
        assert [item["id"] for item in listed(client)["items"]] == ["tiny"]
    assert listed(client)["warnings"] == []


def break_nothing_but(what: str, folder: Path) -> None:
    match what:
        case "empty":
            shutil.rmtree(folder)
            folder.mkdir()
        case "not json":
            (folder / "manifest.json").write_text("{")
        case "another format":
            (folder / "manifest.json").write_text('{"format": 99}')
        case "damaged file":
            (folder / "harvest/components.json").write_text("{}")
        case "missing file":
            (folder / "tokenizer.json").unlink()
        case "unknown key":
            manifest = json.loads((folder / "manifest.json").read_text())
            (folder / "manifest.json").write_text(json.dumps({**manifest, "surprise": 1}))
        case "a path outside":
            manifest = json.loads((folder / "manifest.json").read_text())
            manifest["files"]["../../secret"] = "0" * 64
            (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "what",
    ["empty", "not json", "another format", "damaged file", "missing file", "unknown key", "a path outside"],
)
def test_a_broken_folder_is_skipped_with_a_sentence_and_the_rest_works(
    home: Path, open_app: Open, what: str
) -> None:
    hand_artifact(home / "artifacts", "good")
    hand_artifact(home / "artifacts", "odd", components=6)
    break_nothing_but(what, home / "artifacts/odd")
    client = open_app(home)
    answer = listed(client)
    assert [item["id"] for item in answer["items"]] == ["good"]
    (warning,) = answer["warnings"]
    assert "“odd”" in warning
    assert warning.endswith(".")
    assert client.get("/api/health").json()["warnings"] == [warning]


def test_work_in_progress_is_not_a_broken_folder(home: Path, open_app: Open) -> None:
    (home / "artifacts/run.partial").mkdir(parents=True)
    (home / "artifacts/.import-x").mkdir()
    (home / "artifacts/notes.txt").write_text("mine")
    assert listed(open_app(home))["warnings"] == []


def test_the_index_is_rebuilt_from_the_folders_when_the_database_is_gone(home: Path, open_app: Open) -> None:
    hand_artifact(home / "artifacts")
    first = listed(open_app(home))
    for file in home.glob("unweave.db*"):
        file.unlink()
    assert listed(open_app(home)) == first


def test_columns_that_an_older_artefact_lacks_may_be_missing(home: Path, open_app: Open) -> None:
    made = hand_artifact(home / "artifacts")
    assert made.columns.slice == []
    assert listed(open_app(home))["warnings"] == []


def figures(**metrics: tuple[float | None, float | None]) -> Manifest:
    """The shipped sports manifest with these figures alone, (trained on, held out) in nats."""
    manifest = read_artifact(SHIPPED / "sports-smollm2", verify=False).manifest
    found = [
        Metric(name=name, unit="nats", train=train, held_out=held) for name, (train, held) in metrics.items()
    ]
    return manifest.model_copy(update={"metrics": found})


def test_a_card_leads_with_what_was_measured_on_held_out_prompts() -> None:
    manifest = figures(kl_ci_masks=(0.04, 11.85), kl_adversarial=(33.7, None), kl_everything_off=(27.7, 18.4))
    first, second, *_ = Evidence(manifest).headlines(162, 1080)
    assert (first.label, first.value) == ("KL, causal importances as masks, held out", 11.85)
    assert first.status == "weak"
    assert first.explain.endswith("With everything off it is 18.4.")
    assert (second.label, second.value) == ("KL, adversarial masks, training prompts", 33.7)


def test_a_warning_about_the_adversary_says_of_random_masks_only_what_was_measured() -> None:
    warning = {
        stochastic: Evidence(
            figures(kl_stochastic=(0.01, stochastic), kl_adversarial=(0.02, 8.0), kl_everything_off=(10.0, 10.0))
        ).rows()[1].warning
        for stochastic in (0.05, 1.5)
    }  # fmt: skip
    assert (warning[0.05] or "").startswith("Random masks do little")
    assert (warning[1.5] or "").startswith("Components called unimportant still matter")


def test_a_loss_on_held_out_answers_is_weak_whatever_the_training_prompts_show() -> None:
    """0.67 of the cross-entropy is lost held out, none on the training prompts."""
    (row,) = Evidence(figures(ce_unrecovered_ci_masks=(-0.004, 0.67))).rows()
    assert row.status == "weak"


def test_an_adversary_of_many_steps_is_judged_held_out_and_the_shared_one_leads() -> None:
    """Three times the stochastic KL is good, twenty-six times is weak; neither is a look-up table."""
    evidence = Evidence(
        figures(
            kl_stochastic=(0.03, 0.03), kl_ci_masks=(0.07, 0.07), kl_adversarial=(0.33, 0.33),
            kl_adversarial_shared_20=(0.11, 0.09), kl_adversarial_shared_640=(None, 0.11),
            kl_adversarial_position_160=(None, 1.1), kl_aggregated_64=(-0.01, -0.01), kl_everything_off=(3.0, 3.0),
        )
    )  # fmt: skip
    rows = {row.name: row for row in evidence.rows()}
    assert rows["kl_adversarial_shared_640"].status == "good"
    assert "640 steps" in rows["kl_adversarial_shared_640"].label
    assert (rows["kl_adversarial_position_160"].warning or "").startswith("Random masks do little")
    assert rows["kl_aggregated_64"].status == "good"
    assert [(h.value, h.status) for h in evidence.headlines(1, 2)[:2]] == [(0.07, "good"), (0.09, "good")]


def test_a_run_over_facts_says_what_suppressing_one_does() -> None:
    manifest = read_artifact(SHIPPED / "facts-smollm2", verify=False).manifest
    table = fact_table(manifest)
    assert table is not None
    assert table.known == sum(row.kept for row in table.rows) == 44
    assert table.candidates == len(table.rows) > table.known
    france = next(row for row in table.rows if row.subject == "France")
    assert (france.group, france.answer, france.prompt) == (
        "France",
        " Paris",
        "The capital city of France is",
    )
    assert all(row.group is None for row in table.rows if not row.kept)
    headline = next(h for h in Evidence(manifest).headlines(1, 2) if h.label == "A fact suppressed")
    assert headline.status == "good"
    assert manifest.facts is not None
    assert manifest.facts.held_out_drop is not None
    assert headline.value == pytest.approx(100 * manifest.facts.held_out_drop, abs=0.06)
