"""One config on several seeds, side by side."""

import pytest

from tests.spd import tiny
from workers.spd.config import ConfigError, load_config
from workers.spd.run.seeds import comparison, main, run_seed, seeded


def test_a_seed_is_the_decompositions_and_only_when_asked_the_targets():
    config = load_config("induction")
    one, both = seeded(config, 7), seeded(config, 7, targets=True)
    assert (one.seed, one.target) == (7, config.target)
    assert (both.seed, both.target.seed) == (7, 7)  # type: ignore[union-attr]


@pytest.mark.slow
def test_each_seed_is_a_run_of_its_own_and_what_is_there_is_only_read(tmp_path, capsys):
    tiny.saved(tiny.llama_model(), tmp_path / "model")
    config = tiny.run_config(tmp_path / "model", steps=3)
    path = tmp_path / "tiny.yaml"
    path.write_text(config.model_dump_json())
    out = tmp_path / "out"
    arguments = [str(path), "--seeds", "4", "5", "--out", str(out), "--home", str(tmp_path)]
    assert main(arguments) == 0
    table = capsys.readouterr().out
    assert "| | seed 4 | seed 5 |" in table
    runs = [run_seed(seeded(config, seed), out / f"tiny-{seed}", tmp_path) for seed in (4, 5)]
    assert comparison(runs) in table
    value = next(metric.held_out for metric in runs[1].manifest.metrics if metric.name == "kl_stochastic")
    assert value is not None
    assert f"{value:.2g} |" in next(line for line in table.splitlines() if line.startswith("| kl_stochastic"))
    with pytest.raises(ConfigError, match="the result of another config"):
        run_seed(seeded(config, 6), out / "tiny-4", tmp_path)
