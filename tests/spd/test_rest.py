"""SPEC 27: the second stream of a targeted decomposition."""

import pytest
import torch

from tests.spd import tiny
from tests.spd.test_decompose import same_numbers, stop_at
from tests.spd.test_training import TOKENIZER
from workers.spd.config import ConfigError, DecomposeConfig, RestConfig, parse_config
from workers.spd.evaluation.rest import rest_figures
from workers.spd.method.decomposition import mean_counted
from workers.spd.method.rest import rest_loss
from workers.spd.method.start import data_start
from workers.spd.method.training import Trainer
from workers.spd.progress import Stopped
from workers.spd.prompts.batches import clean_batch
from workers.spd.prompts.kinds import training_data
from workers.spd.prompts.rest import RestText, second_moments
from workers.spd.run.decompose import decompose
from workers.spd.targets.masks import recorded

SITES = ("model.layers.0.mlp.down_proj", "model.layers.1.mlp.gate_proj")
LOSSES = [
    {"kind": "stochastic_reconstruction"},
    {"kind": "importance_minimality", "coefficient": 0.05},
]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """2,000 random words without w2 and w7, one of which stands in every prompt of the run."""
    path = tmp_path_factory.mktemp("rest") / "rest.txt"
    ids = torch.randint(1, tiny.VOCABULARY, (2000,), generator=torch.Generator().manual_seed(0)).tolist()
    path.write_text(" ".join(f"w{token}" for token in ids if token not in (2, 7)))
    return path


def config_of(path, folder=None, **changes) -> DecomposeConfig:
    rest = {"text": {"kind": "corpus", "path": str(path), "window": 6, "batch_size": 3, "evaluation": 5}}
    rest |= changes.pop("rest", {})
    base = {"losses": LOSSES, "C": "auto", "start": {"kind": "data", "background": "rest"}, "rest": rest}
    return tiny.run_config(folder, **{**base, **changes})


def loss_of(decomposition, batch, **changes):
    config = RestConfig(
        text={"kind": "corpus", "path": "x"},  # type: ignore[arg-type]
        **{"minimality": {"coefficient": 0.0}, "coefficient": 1.0, **changes},
    )
    generator = torch.Generator().manual_seed(3)
    return rest_loss(decomposition, batch, config, generator, step=0, steps=10, threshold=0.1)


def decomposition(start: float):
    target = tiny.target_of(tiny.llama_model())
    ci = tiny.SharedMLPCI(hidden=8, start=start)
    made = tiny.decomposition_of(target, SITES, ci=ci)
    for gamma in made.ci.gammas:  # the same importance everywhere
        gamma.last.weight.data.zero_()
    return made


def batch_of(made):
    return clean_batch(made.target, tiny.tokens(3, 6).tolist(), "all")


# --- the losses ---------------------------------------------------------------------------------------------------


def test_needed_components_and_the_remainder_change_nothing_on_rest_text():
    made = decomposition(start=1.0)
    total, figures = loss_of(made, batch_of(made), uniform=2, level=1, removed=0)
    assert float(total) == pytest.approx(0, abs=1e-6)
    assert figures["rest_l0"] == 10


def test_a_pass_with_everything_off_removes_the_components_whatever_their_importance():
    made = decomposition(start=1.0)
    batch = batch_of(made)
    total, figures = loss_of(made, batch, uniform=0, removed=1)
    g = made.importances(batch.inputs).g
    zero = {site: torch.zeros_like(value) for site, value in g.items()}
    one = {site: torch.ones_like(value[..., :1]) for site, value in g.items()}
    expected = mean_counted(made.kl(batch, made.site_masks(zero, one))[0], batch.counted)
    assert float(expected) > 1e-3
    assert float(total) == pytest.approx(float(expected), rel=1e-5)
    assert figures["rest_removed"] == pytest.approx(float(expected), rel=1e-5)


def test_that_pass_moves_the_components_and_not_their_importances():
    made = decomposition(start=0.5)
    total, _ = loss_of(made, batch_of(made), uniform=0, removed=1)
    total.backward()
    assert all(U.grad is not None and U.grad.abs().max() > 0 for U in made.components.U_list)
    assert all(V.grad is not None and V.grad.abs().max() > 0 for V in made.components.V_list)
    assert all(p.grad is None or not p.grad.any() for p in made.ci.parameters())


def test_the_reconstruction_is_a_mean_over_the_passes_times_its_coefficient():
    made = decomposition(start=0.0)
    batch = batch_of(made)
    once, figures = loss_of(made, batch, uniform=1, removed=1)
    assert float(once) == pytest.approx((figures["rest_uniform"] + figures["rest_removed"]) / 2, rel=1e-5)
    thrice, _ = loss_of(made, batch, uniform=1, removed=1, coefficient=3.0)
    assert float(thrice) == pytest.approx(3 * float(once), rel=1e-5)


def test_rest_text_has_a_minimality_of_its_own():
    made = decomposition(start=0.5)
    total, figures = loss_of(
        made,
        batch_of(made),
        uniform=0,
        removed=1,
        coefficient=0.0,
        minimality={"coefficient": 2.0, "warmup": 0.0},
    )
    assert figures["rest_minimality"] == pytest.approx(10 * 0.5, rel=1e-4)  # p is 1 at the first step
    assert float(total) == pytest.approx(2 * 10 * 0.5, rel=1e-4)


def test_with_an_unmasked_first_position_nothing_is_removed_there():
    made = decomposition(start=1.0)
    made.first_unmasked = True
    batch = clean_batch(made.target, [[4], [9]], "all")
    total, figures = loss_of(made, batch, uniform=0, removed=1)
    assert float(total) == pytest.approx(0, abs=1e-6)
    assert figures["rest_l0"] == 0


# --- a start that is quiet there -----------------------------------------------------------------------------------


def test_moments_are_the_mean_of_x_xt_without_the_first_positions():
    target = tiny.target_of(tiny.llama_model())
    target.attach(list(SITES))
    windows = [[1, 2, 3, 4], [5, 6], [7, 8, 9]]
    found = second_moments(target, list(SITES), windows)
    for site in SITES:
        rows = []
        for ids in windows:
            with recorded() as inputs:
                target.logits(torch.tensor([ids]))
            rows.append(inputs[site][0, 1:])
        X = torch.cat(rows).double()
        torch.testing.assert_close(found[site], X.T @ X / 6, rtol=1e-4, atol=1e-6)


def test_the_pass_ends_at_the_last_site_asked_for():
    target = tiny.target_of(tiny.llama_model())
    target.attach(list(SITES))
    ran: list[str] = []
    for layer, block in enumerate(target.model.model.layers):
        block.mlp.register_forward_hook(lambda *_, layer=layer: ran.append(str(layer)))
    second_moments(target, [SITES[0]], [[1, 2, 3]])
    assert ran == []
    with recorded(only=[SITES[1]]) as inputs:
        target.logits(tiny.tokens())
    assert ran == ["0"]
    assert list(inputs) == [SITES[1]]


def test_a_quiet_start_costs_the_rest_text_less_when_all_of_it_is_removed(texts):
    costs = []
    for background in (None, "rest"):
        config = config_of(
            texts, start={"kind": "data", "background": background, "ridge": 100 if background else 1}
        )
        target = tiny.target_of(tiny.llama_model())
        sites = target.sites(config.sites)
        target.attach(sites)
        data = training_data(config, target, TOKENIZER)
        assert config.rest is not None
        rest = RestText(config.rest, target, TOKENIZER, data.prompts)
        moments = rest.moments(sites, 0) if background else None
        trainer = Trainer(config, target, sites, data.everything(), moments)
        figures = rest_figures(trainer.decomposition, rest.evaluation("held_out", 0), 0.1)
        costs.append(figures["kl_rest_off"])
    assert costs[1] < costs[0]


def test_moments_of_the_data_itself_leave_the_start_exact():
    W, X = torch.randn(6, 8), torch.randn(3, 8)
    V, U = data_start(W, X, (X.T @ X / 3).double(), 10.0)
    torch.testing.assert_close((X @ V) @ U, X @ W.T, rtol=1e-3, atol=1e-3)


# --- the run ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.saved(tiny.llama_model(), tmp_path_factory.mktemp("model") / "model")


CHECK = {"groups": ["w2"], "prompt": "w1 w2 w3 w4", "answer": "w5", "role": "target"}


def test_a_run_reports_how_quiet_it_is_and_what_its_start_did(folder, texts, tmp_path):
    config = config_of(texts, folder, checks=[CHECK])
    artifact = decompose(config, tmp_path / "run", home=tmp_path)
    figures = {metric.name: metric for metric in artifact.manifest.metrics}
    for name in ("rest_l0", "kl_rest_ci_masks", "kl_rest_rounded_ci", "kl_rest_off"):
        assert figures[name].train is not None
        assert figures[name].held_out is not None
    (check,) = artifact.manifest.checks
    assert check.untrained is not None
    assert check.untrained != check.baseline


def test_a_run_that_was_stopped_draws_the_same_windows_as_one_that_was_not(folder, texts, tmp_path):
    config = config_of(texts, folder)
    whole = decompose(config, tmp_path / "whole", home=tmp_path)
    with pytest.raises(Stopped):
        decompose(config, tmp_path / "again", home=tmp_path, **stop_at(7))
    again = decompose(config, tmp_path / "again", home=tmp_path)
    same_numbers(whole, again)


def test_training_makes_the_removal_cheaper_on_text_it_never_saw(folder, texts, tmp_path):
    changes = {"steps": 25, "optimizer": {"component_learning_rate": 0.01}, "start": {"kind": "data"}}
    loud = decompose(
        config_of(texts, folder, rest={"coefficient": 0.0}, **changes), tmp_path / "a", home=tmp_path
    )
    quiet = decompose(
        config_of(texts, folder, rest={"coefficient": 20.0}, **changes), tmp_path / "b", home=tmp_path
    )
    off = [{m.name: m for m in run.manifest.metrics}["kl_rest_off"].held_out for run in (loud, quiet)]
    assert off[0] is not None
    assert off[1] is not None
    assert off[1] < 0.7 * off[0]


# --- bad input ----------------------------------------------------------------------------------------------------


def prepared(config: DecomposeConfig) -> RestText:
    target = tiny.target_of(tiny.llama_model())
    target.attach(target.sites(config.sites))
    assert config.rest is not None
    return RestText(config.rest, target, TOKENIZER, training_data(config, target, TOKENIZER).prompts)


def test_rest_text_that_is_missing_is_reported_before_training(tmp_path):
    with pytest.raises(ConfigError, match=r"rest.text: path: there is no text at"):
        prepared(config_of(tmp_path / "nothing.txt"))


def test_rest_text_that_is_too_short_is_reported_with_what_is_needed(tmp_path):
    (tmp_path / "short.txt").write_text("w4 w9 " * 30)
    with pytest.raises(
        ConfigError, match=r"rest.text is too short: its training part has 54 tokens .* at least 384"
    ):
        prepared(config_of(tmp_path / "short.txt"))


def test_rest_text_that_holds_a_prompt_of_the_run_is_refused(texts, tmp_path):
    (tmp_path / "with.txt").write_text(texts.read_text() + " w6 w2 w7 w1")
    with pytest.raises(ConfigError, match=r"rest.text holds the prompt “w6 w2 w7”"):
        prepared(config_of(tmp_path / "with.txt"))


def test_rest_text_of_another_tokenizer_is_refused(tmp_path):
    (tmp_path / "english.txt").write_text("the quick brown fox jumps over the lazy dog " * 100)
    with pytest.raises(ConfigError, match=r"rest.text belongs to another tokenizer"):
        prepared(config_of(tmp_path / "english.txt"))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"losses": [{"kind": "faithfulness"}, *LOSSES]}, "ask for opposite things"),
        ({"rest": {"uniform": 0, "removed": 0}}, "rest needs a pass"),
        ({"adapt": {}}, "adapt would grow it"),
        ({"rest": {"text": {"kind": "corpus", "path": "x", "bos": True}}}, "must be the same"),
        (
            {"rest": {"text": {"kind": "corpus", "path": "x", "shipped": "smollm2-samples"}}},
            "one of the four",
        ),
    ],
)
def test_a_rest_that_does_not_fit_the_run_is_refused(changes, named, texts):
    with pytest.raises(ConfigError, match=named):
        config_of(texts, **changes)


def test_a_background_of_rest_text_needs_rest_text():
    plain = tiny.run_config().model_dump(mode="json")
    with pytest.raises(ConfigError, match="give “rest”"):
        parse_config({**plain, "start": {"kind": "data", "background": "rest"}})


def test_a_run_about_all_of_its_text_has_no_rest(texts):
    with pytest.raises(ConfigError, match="about all of its text"):
        config_of(texts, data={"kind": "corpus", "path": str(texts)}, start={"kind": "svd"})


def test_a_share_of_the_training_windows_holds_a_subjects_token(texts):
    prompts = [{"text": "w1 w2 w7 w3", "answer": "w5", "fact": "w2 w7"}]
    made = prepared(config_of(texts, rest={"planted": 0.5}, data={"kind": "prompts", "prompts": prompts}))
    generator = torch.Generator().manual_seed(0)
    held_out, train = made.windows(40, "held_out", generator), made.windows(40, "train", generator, 0.5)
    found = [[at for at, token in enumerate(window) if token in (2, 7)] for window in train]
    assert [len(places) for places in found] == [1] * 20 + [0] * 20
    assert {place for places in found for place in places} == {1, 2, 3, 4, 5}
    assert {window[place] for window, places in zip(train, found, strict=True) for place in places} == {2, 7}
    assert not any({2, 7} & {*window} for window in held_out)


def test_planting_needs_prompts_that_say_what_they_are_about(texts):
    with pytest.raises(ConfigError, match=r"rest\.planted puts the tokens"):
        prepared(config_of(texts, rest={"planted": 0.5}))
