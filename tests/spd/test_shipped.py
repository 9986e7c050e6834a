"""The shipped decompositions on the real weights: what the first page promises, measured by the engine behind it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

import workers
from tests.spd import tiny
from workers.spd.ablation.engine import AblationEngine
from workers.spd.ablation.loading import artifact_target, load_decomposition
from workers.spd.artifact import read_artifact
from workers.spd.config import InductionSource
from workers.spd.evaluation.induction_table import NOISE, paper_table, site_use
from workers.spd.keys import ComponentKey
from workers.spd.prompts.batches import induction_prompts
from workers.spd.queries import Edit
from workers.spd.targets.tokenizer import PromptTokenizer

SHIPPED = Path(workers.__file__).parent / "shipped"
WOODS, BRYANT = ("␣Woods",), ("obe", "␣Bryant")
IS = "is an American professional"
TIGER = "Tiger Woods is an American professional"
KOBE = "Kobe Bryant was an American professional"


@pytest.mark.parametrize("name", ["induction", "sports-smollm2", "facts-smollm2", "bible-lm"])
def test_a_shipped_artefact_is_whole_and_small(name):
    artifact = read_artifact(SHIPPED / name)
    assert artifact.name == name
    assert artifact.columns.alive.count(True) > 0
    assert sum(file.stat().st_size for file in (SHIPPED / name).rglob("*") if file.is_file()) < 20 * 2**20


@pytest.mark.parametrize("name", ["induction", "sports-smollm2", "facts-smollm2", "bible-lm"])
def test_a_shipped_harvest_is_of_the_artefact_it_lies_beside(name):
    artifact = read_artifact(SHIPPED / name, verify=False)
    found = list((SHIPPED / name / "harvests").glob("*/harvest.json"))
    assert len(found) == 1
    assert json.loads(found[0].read_text())["artifact_hash"] == artifact.hash


@pytest.mark.parametrize("name", ["induction", "sports-smollm2", "facts-smollm2", "bible-lm"])
def test_a_shipped_artefact_was_made_from_its_preset(name):
    from workers.spd.config import load_config

    assert read_artifact(SHIPPED / name, verify=False).manifest.config == load_config(name)


def test_the_shipped_induction_circuit_is_the_papers_on_sequences_never_seen(tmp_path):
    artifact = read_artifact(SHIPPED / "induction")
    figures = {metric.name: metric for metric in artifact.manifest.metrics}
    assert (figures["faithfulness"].train or 0) <= 1e-8
    for name in ("kl_stochastic", "kl_ci_masks", "kl_rounded_ci", "kl_components_only"):
        assert (figures[name].held_out or 0) <= 1e-4
    target = artifact_target(artifact, tmp_path)
    decomposition = load_decomposition(artifact, target)
    source = artifact.manifest.config.target
    assert isinstance(source, InductionSource)
    tokenizer = PromptTokenizer.from_file(
        artifact.path / "tokenizer.json", bos_token_id=None, context_length=64
    )
    fresh = induction_prompts(source, tokenizer, 256, "held_out", torch.Generator().manual_seed(987))
    threshold = artifact.manifest.config.threshold
    rows = {row.name: row for row in paper_table(decomposition, fresh, threshold).rows}
    found = {name: row.agrees for name, row in rows.items()}
    assert found.pop("Q0") is None  # this target's position terms find the previous token by themselves
    found.pop("Q1")  # where it must be, but half of its strength is enough: KL 4e-7 (docs/log.md)
    assert found == dict.fromkeys(("K0", "V0", "K1", "V1"), True)
    query = site_use(decomposition, fresh, threshold)["Q1"]
    assert query.components == {"BOS": 0, "s1": 0, "m": 0, "s2": 1}
    assert query.total >= 0.85
    assert sum(query.marks.values()) - query.total + query.elsewhere <= NOISE
    assert "With its output 0 at m alone the target copies M in 100% of sequences" in (rows["Q0"].note or "")


def test_the_whole_model_run_holds_on_text_that_nobody_trained_on():
    """The goals of docs/log.md, and how near training and held-out text are: no look-up table."""
    figures = {m.name: m for m in read_artifact(SHIPPED / "bible-lm", verify=False).manifest.metrics}
    held_out = {name: metric.held_out for name, metric in figures.items()}
    assert held_out["l0"] <= 150
    assert held_out["l0_above_zero"] <= 150
    assert held_out["kl_ci_masks"] <= 0.10
    assert held_out["kl_rounded_ci"] <= 0.12
    assert held_out["kl_stochastic"] <= 0.06
    assert held_out["kl_adversarial_shared_640"] <= 5 * held_out["kl_stochastic"]
    assert held_out["ce_unrecovered_ci_masks"] <= 0.04
    assert held_out["kl_aggregated_8"] <= 0.02
    assert held_out["kl_start_as_many"] >= 5 * held_out["kl_rounded_ci"]
    for name in ("l0", "kl_ci_masks", "kl_rounded_ci", "kl_stochastic"):
        assert figures[name].train == pytest.approx(held_out[name], rel=0.1)


def test_the_variants_that_ship_are_those_of_the_file_on_all_their_seeds():
    variants = read_artifact(SHIPPED / "bible-lm", verify=False).variants
    file = yaml.safe_load((Path(__file__).parents[1] / "bench/variants/bible-lm.yaml").read_text())
    assert variants is not None
    assert {row.name: row.seeds for row in variants.rows} == {
        name: one["seeds"] for name, one in file["variants"].items()
    }
    for row in variants.rows:
        assert row.figures["steps"].mean == file["base"]["steps"]
        assert (row.agreement is None) == (len(row.seeds) == 1)


class Shipped:
    def __init__(self, name: str, home: Path) -> None:
        self.artifact = read_artifact(SHIPPED / name)
        self.engine = AblationEngine.load(self.artifact, home)
        card = self.artifact.manifest.target
        self.tokenizer = PromptTokenizer.from_file(
            self.artifact.path / "tokenizer.json", bos_token_id=card.bos_token_id, context_length=8192
        )

    def edits(self, names: tuple[str, ...]) -> list[Edit]:
        named = [key for group in self.artifact.groups if group.name in names for key in group.components]
        return [Edit(key.site, key.index) for key in map(ComponentKey.parse, named)]

    def ratio(self, prompt: str, answer: str, names: tuple[str, ...]) -> float:
        """The answer's probability with the groups suppressed, over that without."""
        return self.kept(prompt, answer, self.edits(names))

    def kept(self, prompt: str, answer: str, edits: list[Edit]) -> float:
        """The same with these edits."""
        ids = self.tokenizer.encode(prompt, bos=False)
        token = self.tokenizer.token_id(answer)
        assert token is not None
        result = tiny.ablate(self.engine, ids, edits, watch=[token], positions=[len(ids) - 1])
        row = result.positions[0].watched[0]
        return row.ablated.probability / row.baseline.probability


@pytest.fixture(scope="module")
def sports(weights_home: Path) -> Shipped:
    return Shipped("sports-smollm2", weights_home)


@pytest.mark.real
@pytest.mark.parametrize(
    ("prompt", "answer", "names", "least", "most"),
    [
        (TIGER, " golf", WOODS, 0.0, 0.10),
        (KOBE, " basketball", WOODS, 0.97, 1.03),
        ("Tiger Woods plays professional", " golf", WOODS, 0.0, 0.105),
        ("Tiger Woods was an American professional", " golf", WOODS, 0.0, 0.10),
        ("Tiger Woods is a professional", " golf", WOODS, 0.0, 0.10),
        ("Kobe Bryant plays professional", " basketball", WOODS, 0.97, 1.03),
        ("Peyton Manning is an American professional", " football", WOODS, 0.90, 1.10),
        ("The capital of France is", " Paris", WOODS, 0.90, 1.10),
        ("The most famous golfer of all time is Tiger", " Woods", WOODS, 0.90, 1.10),
        ("James Woods is an American", " astronaut", WOODS, 0.90, 1.10),
        (KOBE, " basketball", BRYANT, 0.0, 0.15),
        (TIGER, " golf", BRYANT, 0.97, 1.03),
        ("Kobe Bryant plays professional", " basketball", BRYANT, 0.0, 0.30),
        ("Tiger Woods plays professional", " golf", BRYANT, 0.97, 1.03),
        ("Peyton Manning is an American professional", " football", BRYANT, 0.90, 1.10),
        ("The capital of France is", " Paris", BRYANT, 0.90, 1.10),
    ],
)
def test_suppressing_one_athlete_takes_that_fact_and_leaves_the_others(
    sports, prompt, answer, names, least, most
):
    assert sports.edits(names)
    assert least <= sports.ratio(prompt, answer, names) <= most


def test_the_sports_run_is_quiet_on_text_it_never_saw():
    """The goals of docs/log.md: one component per position, 0.01 nats; and prompts nobody trained on are described."""
    figures = {m.name: m for m in read_artifact(SHIPPED / "sports-smollm2", verify=False).manifest.metrics}
    assert figures["rest_l0"].held_out <= 1
    assert figures["kl_rest_ci_masks"].held_out <= 0.01
    assert figures["kl_ci_masks"].held_out <= 0.05
    for split in ("train", "held_out"):
        adversarial, stochastic = (
            getattr(figures[f"kl_{name}"], split) for name in ("adversarial", "stochastic")
        )
        assert adversarial <= 10 * stochastic


def test_training_beats_the_start_on_golf():
    checks = read_artifact(SHIPPED / "sports-smollm2", verify=False).manifest.checks
    golf = [check for check in checks if check.groups == ["␣Woods"] and check.role == "target"]
    assert len(golf) == 4
    assert all(check.ablated < check.untrained for check in golf)


@pytest.mark.real
def test_every_component_of_the_athletes_groups_is_needed(sports):
    for names, prompts in ((WOODS, (TIGER, "Tiger Woods plays professional")), (BRYANT, (KOBE,))):
        answer = " golf" if names == WOODS else " basketball"
        edits = sports.edits(names)
        whole = [sports.kept(prompt, answer, edits) for prompt in prompts]
        for out in edits:
            without = [sports.kept(p, answer, [e for e in edits if e != out]) for p in prompts]
            assert max(abs(a - b) for a, b in zip(whole, without, strict=True)) > 0.01


@pytest.mark.real
@pytest.mark.parametrize("prompt", [TIGER, KOBE, "Any other prompt, typed by somebody else."])
def test_nothing_selected_is_the_target_itself(sports, prompt):
    ids = sports.tokenizer.encode(prompt, bos=False)
    result = tiny.ablate(sports.engine, ids, [])
    assert result.max_kl == 0.0
    assert result.self_check.max_kl < 1e-6


@pytest.mark.real
def test_the_run_measured_the_same_as_the_engine_does_now(sports):
    for check in sports.artifact.manifest.checks:
        ratio = sports.ratio(check.prompt, check.answer, tuple(check.groups))
        assert ratio == pytest.approx(check.ablated / check.baseline, rel=0.02, abs=2e-3)


@pytest.fixture(scope="module")
def facts(weights_home: Path) -> Shipped:
    return Shipped("facts-smollm2", weights_home)


def test_the_facts_fall_on_held_out_templates_and_the_others_stay():
    manifest = read_artifact(SHIPPED / "facts-smollm2", verify=False).manifest
    table = manifest.facts
    assert sum(row.kept for row in table.rows) >= 40
    assert table.held_out_drop >= 0.8
    assert table.others_change <= 0.05
    figures = {metric.name: metric for metric in manifest.metrics}
    assert figures["kl_ci_masks"].held_out <= 0.1


@pytest.mark.real
@pytest.mark.parametrize(
    ("fact", "prompt", "answer", "other", "stays"),
    [
        ("France", "The capital city of France is", " Paris", "The capital city of Germany is", " Berlin"),
        ("Japan", "The capital city of Japan is", " Tokyo", "The capital city of China is", " Beijing"),
        ("Derek Jeter", f"Derek Jeter {IS}", " baseball", "The capital city of Cuba is", " Havana"),
        ("Kobe Bryant", f"Kobe Bryant {IS}", " basketball", f"Peyton Manning {IS}", " football"),
    ],
)  # fmt: skip
def test_a_facts_group_takes_it_on_a_template_never_trained_on(facts, fact, prompt, answer, other, stays):
    """A few rows of the table again, by the live engine."""
    assert facts.ratio(prompt, answer, (fact,)) <= 0.2
    assert facts.ratio(other, stays, (fact,)) == pytest.approx(1, abs=0.1)
