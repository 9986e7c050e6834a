"""SPEC 28, and variants of a config side by side."""

import json

import pytest
import torch
import yaml

from tests.spd import tiny
from workers.spd.artifact import Variants
from workers.spd.evaluation.agreement import agreement
from workers.spd.method.components import Components
from workers.spd.run.variants import main, seeds_agree, variant

ALL = {"a": torch.tensor([True, True])}


def components(reads: list[list[float]], writes: list[list[float]]) -> Components:
    return Components(
        {"a": torch.tensor(reads).float().T}, {"a": torch.tensor(writes).float()}, {"a": [0, 1]}
    )


def test_a_decomposition_agrees_with_itself_in_any_order_scale_and_sign():
    one = components([[1, 0], [0, 2]], [[3, 4], [1, 0]])
    other = components([[0, -1], [5, 0]], [[-1, 0], [6, 8]])
    found = agreement(one, other, ALL, ALL)
    assert (found.reads, found.writes, found.both) == pytest.approx((1, 1, 1))


def test_the_best_read_and_the_best_write_may_belong_to_different_components():
    one = components([[1, 0], [0, 1]], [[1, 0], [0, 1]])
    other = components([[1, 0], [0, 1]], [[0, 1], [1, 0]])
    found = agreement(one, other, ALL, ALL)
    assert (found.reads, found.writes, found.both) == pytest.approx((1, 1, 0))


def test_only_alive_components_are_compared():
    one = components([[1, 0], [0, 1]], [[1, 0], [0, 1]])
    other = components([[0.6, 0.8], [1, 0]], [[1, 0], [1, 0]])
    first = {"a": torch.tensor([True, False])}
    found = [agreement(one, other, first, others).reads for others in (first, ALL)]
    assert found == pytest.approx([0.6, 1.0])
    none = {"a": torch.tensor([False, False])}
    assert agreement(one, other, first, none).reads == 0


@pytest.mark.slow
def test_variants_are_trained_once_and_printed_beside_each_other(tmp_path, capsys):
    tiny.saved(tiny.llama_model(), tmp_path / "model")
    (tmp_path / "a.txt").write_text(" ".join(f"w{1 + place % 19}" for place in range(3000)))
    data = {
        "kind": "corpus", "path": str(tmp_path), "window": 8, "batch_size": 4, "evaluation": 6, "shown": 2,
    }  # fmt: skip
    config = tiny.run_config(tmp_path / "model", data=data)
    (tmp_path / "tiny.yaml").write_text(config.model_dump_json())
    file = {
        "base": {"steps": 4},
        "variants": {
            "as it is": {"about": "itself", "seeds": [0, 1], "changes": {}},
            "one": {"about": "one a site", "seeds": [1], "changes": {"C": 1}},
        },
        "about": "a few steps",
    }
    (tmp_path / "variants.yaml").write_text(yaml.safe_dump(file))
    out = tmp_path / "out"
    arguments = [str(tmp_path / "tiny.yaml"), str(tmp_path / "variants.yaml"), "--out", str(out)]
    arguments += ["--home", str(tmp_path)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    rows = {line.split("|")[1].strip(): line.split("|") for line in printed.splitlines()}
    assert rows["as it is"][2].strip() == "2"
    assert rows["one"][-3].strip() == ""  # a single seed agrees with nobody
    start = seeds_agree([out / "as it is-0", out / "as it is-1"], "start.safetensors")
    assert start is not None
    assert rows["as it is"][-2].strip() == f"{start.reads:.2f}, {start.writes:.2f}, {start.both:.2f}"
    stored = Variants.model_validate_json((out / "variants.json").read_text())
    assert [(one.name, one.about, one.seeds) for one in stored.rows] == [
        ("as it is", "itself", [0, 1]), ("one", "one a site", [1]),
    ]  # fmt: skip
    l0 = [json.loads((out / f"as it is-{seed}" / "figures.json").read_text())["l0"] for seed in (0, 1)]
    assert stored.rows[0].figures["l0"].model_dump() == pytest.approx(
        {"mean": sum(l0) / 2, "least": min(l0), "most": max(l0)}
    )
    assert main(arguments) == 0  # read, not trained again: even the seconds are the same
    assert capsys.readouterr().out == printed


def test_a_variant_changes_what_it_names():
    config = tiny.run_config()
    changed = variant(config, {"steps": 7, "ci": {"kind": "mlp", "hidden": 3}}, 5)
    assert (changed.steps, changed.ci.kind, changed.seed) == (7, "mlp", 5)
    assert changed.losses == config.losses
