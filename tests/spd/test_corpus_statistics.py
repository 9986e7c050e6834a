"""SPEC 23: what a harvest counts, by hand on tiny cases; and that a harvest interrupted anywhere ends the same."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import factories
from tests.spd import tiny
from workers.jobs.limits import Limits
from workers.spd.artifact import Artifact, ArtifactError
from workers.spd.config import ConfigError
from workers.spd.keys import ComponentKey
from workers.spd.progress import Stopped
from workers.spd.statistics import corpus_statistics as running
from workers.spd.statistics import counts as counting
from workers.spd.statistics.config import HarvestConfig, parse_harvest, parse_options
from workers.spd.statistics.corpus_statistics import harvest_corpus
from workers.spd.statistics.counts import ACTIVATION_BINS, CI_BINS, Counts, Kept, Pairs, Together
from workers.spd.statistics.directions import faces, heads_of, nearest, strongest
from workers.spd.statistics.examples import chosen_examples
from workers.spd.statistics.labels import LabelScore, chosen_tokens, label_text, writes_bar
from workers.spd.statistics.store import QUANTILES, HarvestStore, Ragged, read_info
from workers.spd.statistics.tables import cofiring, label_columns, token_scores
from workers.spd.statistics.text import Texts, Window, batches
from workers.spd.targets.tokenizer import PromptTokenizer

IDS = torch.tensor([[1, 2, 3], [1, 1, 2]])
CI = torch.tensor([[[0.0, 0.3], [1.0, 0.0], [0.05, 0.6]], [[0.9, 0.0], [0.0, 0.5], [0.2, 0.9]]])
INNER = torch.tensor([[[0.0, -3.0], [2.0, 0.0], [0.5, -4.0]], [[1.0, 0.5], [-1.0, -5.0], [0.1, -6.0]]])


def counted(**changes: torch.Tensor) -> Counts:
    found = Counts(2, 4, threshold=0.1, seed=0)
    where = changes.get("counted", torch.ones_like(IDS, dtype=torch.bool))
    found.add(IDS, where, {"site": CI}, {"site": INNER}, IDS.roll(-1, 1), np.array([0, 1]))
    found.flush()
    return found


def test_a_label_is_made_of_some_windows_and_scored_on_the_others() -> None:
    """Component 0 fires on token 1 wherever it stands, and once on 2; component 1 only in the held-out window."""
    ids = torch.tensor([[1, 2, 1, 1], [1, 2, 1, 3]])
    ci = torch.zeros(2, 4, 2)
    ci[0, [0, 1, 2, 3], 0] = 1.0
    ci[1, [0, 3], 0] = 1.0
    ci[1, 3, 1] = 1.0
    found = Counts(2, 4, threshold=0.1, seed=0)
    everywhere = torch.ones_like(ids, dtype=torch.bool)
    found.add(ids, everywhere, {"s": ci}, {"s": ci}, ids, np.array([0, 1]), np.array([False, True]))
    found.flush()
    made = label_columns(found, None)
    tokens = made["label_tokens"]
    assert isinstance(tokens, Ragged)
    assert np.asarray(tokens.fields[""]).tolist() == [1]  # 2 was seen once, which is no sign of anything
    assert tokens.offsets.tolist() == [0, 1, 1]
    scored = {name: np.asarray(made[f"label_{name}"]).tolist() for name in ("hits", "guesses", "fires")}
    assert scored == {"hits": [1, 0], "guesses": [2, 0], "fires": [2, 1]}
    score = LabelScore(hits=1, guesses=2, fires=2, positions=4)
    assert (score.precision, score.recall, score.f1, score.balanced_accuracy) == (0.5, 0.5, 0.5, 0.5)
    assert LabelScore(0, 2, 0, 4).f1 is None
    assert np.asarray(label_columns(found, [[1], [3, 2]])["label_hits"]).tolist() == [1, 1]


def test_tokens_join_a_label_while_they_raise_its_f1() -> None:
    """Fires 20 times: 10 of 10 on token 5, 6 of 8 on 7, 4 of 400 on 9; 9 would lower F1 from 0.84 to 0.09."""
    tokens, counts, totals = np.array([5, 7, 9]), np.array([10, 6, 4]), np.array([10, 8, 400])
    assert chosen_tokens(tokens, counts, totals, 20).tolist() == [5, 7]
    assert chosen_tokens(tokens, np.array([1, 1, 1]), totals, 3).tolist() == []


def test_writing_is_said_from_a_cosine_that_a_random_direction_does_not_reach() -> None:
    U = torch.randn(200, 64, generator=torch.Generator().manual_seed(0))
    rows = torch.randn(5000, 64, generator=torch.Generator().manual_seed(1))
    cosines = torch.cosine_similarity(U[:, None], rows[None], dim=-1).amax(1)
    assert writes_bar(5000, 64) > float(cosines.max())
    assert label_text(["␣a"], [], alive=True) == "fires on ␣a"


def test_firings_sums_and_histograms_are_those_counted_by_hand() -> None:
    found = counted()
    assert found.positions == 6
    assert found.fires.tolist() == [3, 4]
    assert found.ci_sum == pytest.approx([2.15, 2.3])
    assert found.ci_max == pytest.approx([1.0, 0.9])
    assert found.activation_sum == pytest.approx([3.1, -18.0])
    first = np.zeros(CI_BINS, int)
    first[[1, 4, 22, 24]] = 1  # 0.05 → (0.04, 0.08], 0.2 → (0.16, 0.2], 0.9 → (0.88, 0.92], 1 → (0.96, 1]
    assert found.ci_bins[0].tolist() == first.tolist()
    assert (2.0**found.exponent).tolist() == [4.0, 8.0]  # the power of two above 2 and 6
    assert found.bins.sum(1).tolist() == [6, 6]
    assert found.firing_bins.sum(1).tolist() == [3, 4]
    assert found.firing_bins[1][: ACTIVATION_BINS // 2].sum() == 4  # all of them negative


def test_a_range_that_doubles_keeps_every_count_in_its_place() -> None:
    whole, twice = Counts(1, 4, 0.1, 0), Counts(1, 4, 0.1, 0)
    values = torch.tensor([[-0.9, -0.3, 0.0, 0.4, 0.9], [7.0, -30.0, 0.1, 0.2, 3.0]])
    ids, on = torch.zeros(2, 5, dtype=torch.long), torch.ones(2, 5, dtype=torch.bool)
    ci = torch.ones(2, 5, 1)
    whole.add(ids, on, {"s": ci}, {"s": values[..., None]}, ids, np.array([0, 1]))
    for row in (0, 1):
        part = slice(row, row + 1)
        twice.add(
            ids[part], on[part], {"s": ci[part]}, {"s": values[part][..., None]}, ids[part], np.array([row])
        )
    assert whole.exponent.tolist() == twice.exponent.tolist() == [5]
    # Bins that are joined hold what the wide bins hold, but for values on the border of two.
    assert twice.bins.sum() == whole.bins.sum() == 10
    assert abs(twice.bins - whole.bins).sum() <= 2


def test_positions_that_do_not_count_are_nowhere() -> None:
    later = torch.ones_like(IDS, dtype=torch.bool)
    later[:, 0] = False
    found = counted(counted=later)
    assert found.positions == 4
    assert found.fires.tolist() == [2, 3]
    assert found.input_total.tolist() == [0, 1, 2, 1]


def test_precision_recall_and_pmi_of_a_token() -> None:
    found = counted()
    tokens, fired = found.inputs.of(0)
    assert dict(zip(tokens.tolist(), fired.tolist(), strict=True)) == {1: 1, 2: 2}
    precision, recall, pmi = token_scores(fired, found.input_total[tokens], 3, 6)
    assert precision.tolist() == [1 / 3, 1.0]  # of three 1s it fires on one; on both 2s
    assert recall.tolist() == pytest.approx([1 / 3, 2 / 3])
    assert pmi.tolist() == pytest.approx([math.log(2 / 3), math.log(2)])


def test_pairs_past_their_room_lose_the_rarest_and_say_how_many() -> None:
    pairs = Pairs(10, most=2)
    pairs.add(np.array([0, 0, 0, 1, 1, 2]), np.array([5, 5, 5, 6, 6, 7]))
    pairs.flush()
    assert pairs.of(0)[1].tolist() == [3]
    assert (pairs.of(2)[0].tolist(), pairs.dropped) == ([], 1)


def test_what_is_kept_does_not_depend_on_the_order_of_the_windows() -> None:
    generator = np.random.default_rng(0)
    count = 600
    rows = counting.Firings(
        generator.integers(0, 3, count).astype(np.int32), np.arange(count, dtype=np.int32),
        generator.integers(0, 9, count).astype(np.int32), generator.random(count).astype(np.float32),
        generator.standard_normal(count).astype(np.float32),
    )  # fmt: skip
    for strongest_first in (True, False):
        one, other = Kept(8, 1, strongest=strongest_first), Kept(8, 1, strongest=strongest_first)
        one.add(rows)
        one.flush()
        for part in np.array_split(generator.permutation(count), 7):
            other.add(rows.pick(part))
            other.flush()
        assert one.rows.window.tolist() == other.rows.window.tolist()
        assert np.bincount(one.rows.component).tolist() == [8, 8, 8]
    best = np.sort(rows.ci[rows.component == 0])[::-1][:8]
    top = Kept(8, 1, strongest=True)
    top.add(rows)
    top.flush()
    assert top.rows.ci[top.rows.component == 0].tolist() == best.tolist()


def test_components_that_fire_together() -> None:
    together = Together(100, 0)
    places = np.array([[0, position] for position in range(10)])
    component = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    at = np.array([0, 1, 2, 3, 1, 2, 3, 9])
    together.add(places, component, at)
    found = cofiring(together, 3)
    assert np.diff(found.offsets).tolist() == [1, 1, 0]
    assert found.fields["jaccard"].tolist() == [0.75, 0.75]  # type: ignore[union-attr]
    assert found.fields["pmi"].tolist() == pytest.approx([math.log(3 * 10 / (4 * 3))] * 2)  # type: ignore[union-attr]


def test_an_even_sample_of_positions_stays_within_its_room() -> None:
    together = Together(50, 0)
    for window in range(40):
        places = np.array([[window, position] for position in range(10)])
        together.add(places, np.zeros(10, np.int32), np.arange(10))
    assert len(together.chances) == len(together.component) == 50


def test_bands_are_quantiles_of_the_firings_and_show_nothing_twice() -> None:
    found = Counts(1, 4, 0.1, 0)
    ci = torch.linspace(0.2, 1.0, 90)[:, None]
    for window, value in enumerate(ci):
        one = torch.zeros(1, 1, dtype=torch.long)
        at = torch.ones(1, 1, dtype=torch.bool)
        found.add(one, at, {"s": value[None, None]}, {"s": value[None, None]}, one, np.array([window]))
    found.flush()
    examples = chosen_examples(found, HarvestConfig(examples=4))
    assert len({(w, p) for w, p in zip(examples.window, examples.position, strict=True)}) == len(
        examples.window
    )
    by_band = [examples.window[examples.quantile == band] for band in range(len(QUANTILES))]
    assert by_band[0].tolist() == [89, 88, 87, 86]
    assert [len(band) for band in by_band] == [4, 4, 4, 4]
    assert by_band[1].min() >= 80  # the highest tenth of 90
    assert set(by_band[2].tolist()) <= set(range(44, 82))
    assert set(by_band[3].tolist()) <= set(range(8, 46))


# --- weights --------------------------------------------------------------------------------------------------


def test_faces_and_heads_are_read_off_the_module() -> None:
    target = tiny.tiny_target("llama")
    assert faces(target, "model.embed_tokens") == ("tokens", "residual")
    assert faces(target, "model.layers.0.mlp.down_proj") == ("neurons", "residual")
    assert faces(target, "model.layers.1.self_attn.o_proj") == ("heads", "residual")
    assert heads_of(target, "model.layers.0.self_attn.k_proj", 8) == [(0, 4), (4, 8)]
    gpt2 = tiny.tiny_target("gpt2")
    assert faces(gpt2, "transformer.h.0.attn.c_attn") == ("residual", "heads")
    assert faces(gpt2, "transformer.h.1.mlp.c_proj") == ("neurons", "residual")
    assert len(heads_of(gpt2, "transformer.h.0.attn.c_attn", 48)) == 6


def test_a_direction_along_an_unembedding_row_writes_that_token_first() -> None:
    target = tiny.tiny_target("llama")
    gain = target.model.get_parameter("model.norm.weight")
    row = target.unembedding()[7].float() / gain
    found = strongest(target, "model.layers.0.mlp.down_proj", "residual", row[None], writes=True)[0]
    assert found.ids[0] == 7
    assert found.scores[0] == pytest.approx(1, abs=1e-5)
    neuron = torch.zeros(1, 24)
    neuron[0, 5], neuron[0, 2] = -3.0, 4.0
    found = strongest(target, "model.layers.0.mlp.down_proj", "neurons", neuron, writes=False)[0]
    assert found.ids[:2].tolist() == [2, 5]
    assert found.scores[:2].tolist() == pytest.approx([0.8, -0.6])


def test_nearest_are_the_largest_cosines_and_never_the_component_itself() -> None:
    target = tiny.tiny_target("llama")
    sites = ("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.gate_proj")
    made = tiny.decomposition_of(target, sites, C=4)
    found = nearest(made, np.ones(8, bool))
    V = torch.cat([made.components.V[site].T for site in sites]).detach()
    V = V / V.norm(dim=1, keepdim=True)
    cosine = (V @ V.T).fill_diagonal_(0)
    best = cosine.abs().argmax(1)
    assert found["reads"].ordinals[:, 0].tolist() == best.tolist()
    assert found["reads"].cosines[:, 0] == pytest.approx(cosine[torch.arange(8), best].numpy(), abs=1e-5)
    assert (found["writes"].ordinals == -1).all()  # neither writes the residual stream
    assert set(found["matrix"].ordinals[0][:3].tolist()) == {1, 2, 3}  # only its own site has its shape


# --- whole harvests -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Artifact]:
    home = tmp_path_factory.mktemp("harvest")
    return home, factories.trained_artifact(home, steps=5)


CONFIG = HarvestConfig(
    text="\n".join(factories.CORPUS), window=8, batch_tokens=64, context=3, examples=2, ablate_windows=2, ablate_own=1,
    ablate_components=6,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(made: tuple[Path, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One finished harvest of the tiny Llama."""
    home, artifact = made
    return harvest_corpus(artifact, CONFIG, tmp_path_factory.mktemp("whole"), home=home)


@pytest.mark.slow
def test_a_harvest_that_was_stopped_anywhere_ends_as_one_that_was_not(
    made: tuple[Path, Artifact], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, artifact = made
    monkeypatch.setattr(running, "PART", 3)
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", 0.0)
    parts = folder
    for patience in (1, 4, 9, 20, 40, None):
        left = iter([False] * patience if patience is not None else [])

        def stop(left: Iterator[bool] = left, patience: int | None = patience) -> bool:
            return next(left, True) if patience is not None else False

        try:
            parts = harvest_corpus(artifact, CONFIG, tmp_path, home=home, stop=stop)
        except Stopped:
            assert patience is not None
            assert not (tmp_path / folder.name).exists()
    assert parts != folder
    one, other = HarvestStore(folder), HarvestStore(parts)
    assert one.info.files == other.info.files
    assert one.info.id == other.info.id == folder.name
    assert [path.name for path in tmp_path.iterdir()] == [parts.name]


def test_a_harvest_says_what_live_importances_say(made: tuple[Path, Artifact], folder: Path) -> None:
    from workers.spd.ablation.engine import AblationEngine

    home, artifact = made
    store = HarvestStore(folder)
    engine = AblationEngine.load(artifact, home)
    keys = [
        (site, i) for site in engine.decomposition.sites for i in engine.decomposition.components.index[site]
    ]
    seen = 0
    for ordinal, (site, index) in enumerate(keys):
        row = store.row(ordinal)
        assert sum(row["ci_histogram"]) <= store.info.positions
        for example in row["examples"]:
            if example["source"] != 3 or example["start"] != 0 or len(example["tokens"]) < 4:
                continue
            seen += 1
            live = engine.trace(example["tokens"], ComponentKey(site, index))
            assert example["ci"][0] == pytest.approx(live.ci[0], abs=1e-2)
            assert example["activation"][0] == pytest.approx(live.inner_activation[0], rel=1e-2, abs=1e-2)
            if seen > 20:
                return
    assert seen > 0
    assert store.info.fired > 0


def test_effects_are_those_of_a_single_ablation(made: tuple[Path, Artifact], folder: Path) -> None:
    from workers.spd.ablation.engine import AblationEngine
    from workers.spd.queries import Edit

    home, artifact = made
    store = HarvestStore(folder)
    engine = AblationEngine.load(artifact, home)
    keys = [
        (site, i) for site in engine.decomposition.sites for i in engine.decomposition.components.index[site]
    ]
    ordinal = max(range(len(keys)), key=lambda n: store.row(n)["effect_max"] or 0)
    row = store.row(ordinal)
    window = row["affected"][0]
    live = tiny.ablate(engine, window["tokens"], [Edit(*keys[ordinal])])
    assert window["kl"] == pytest.approx(live.kl, abs=1e-6)
    assert row["effect_max"] == pytest.approx(max(live.kl), rel=1e-4)


def test_an_induction_model_is_harvested_over_its_sequences(tmp_path: Path) -> None:
    from workers.jobs.names import SHIPPED
    from workers.spd.artifact import read_artifact

    artifact = read_artifact(SHIPPED / "induction")
    tokenizer = PromptTokenizer.from_file(
        artifact.path / "tokenizer.json", bos_token_id=128, context_length=64
    )
    texts = Texts(artifact, HarvestConfig(name="few", sequences=3), tokenizer)
    windows = list(texts.windows())
    assert [w.source for w in windows[-3:]] == ["sequence"] * 3
    assert windows == list(texts.windows())
    assert all(len(w.ids) == 64 and w.ids[0] == 128 for w in windows[-3:])
    with pytest.raises(ConfigError, match="sequences"):
        Texts(artifact, HarvestConfig(text="t1 t2"), tokenizer)


# --- texts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["line", "text"])
def test_every_word_of_every_file_is_read_once_however_long_the_files(
    made: tuple[Path, Artifact], tmp_path: Path, unit: str
) -> None:
    from workers.spd.statistics import text as texts_module

    _, artifact = made
    words = [f"word{n}" for n in range(9000)]
    lines = [" ".join(words[n : n + 9]) for n in range(0, 9000, 9)]
    (tmp_path / "a.txt").write_text("\n".join(lines[:700]) + "\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.txt").write_text("\n".join(lines[700:]))
    config = HarvestConfig(path=str(tmp_path), unit=unit, own_prompts=False)  # type: ignore[arg-type]
    tokenizer = PromptTokenizer(factories.tiny_tokenizer(), bos_token_id=0, context_length=32)
    texts = Texts(artifact, config, tokenizer)
    assert len(lines) * 60 > 3 * texts_module.PIECE
    found = " ".join(texts._texts()).split()
    assert sorted(found) == sorted(words)


def test_a_harvest_over_a_dataset_reads_every_text_by_itself_and_says_what_it_read(
    made: tuple[Path, Artifact], tmp_path: Path
) -> None:
    pytest.importorskip("datasets")
    from workers.spd.corpora.dataset_texts import ensure_texts

    home, artifact = made
    (tmp_path / "data").mkdir()
    rows = [" ".join(f"word{n}" for n in range(first, first + 4000)) for first in range(0, 12000, 4000)]
    lines = [json.dumps({"body": text}) for text in [rows[0], "", *rows[1:]]]
    (tmp_path / "data" / "train.jsonl").write_text("\n".join(lines))
    dataset = {"path": str(tmp_path / "data"), "column": "body"}
    config = parse_harvest({"dataset": dataset, "unit": "text", "own_prompts": False})
    tokenizer = PromptTokenizer(factories.tiny_tokenizer(), bos_token_id=0, context_length=32)
    assert config.dataset is not None
    texts = Texts(artifact, config, tokenizer, ensure_texts(config.dataset, home))
    pieces = [piece.split() for piece in texts._texts()]
    assert sorted(word for piece in pieces for word in piece) == sorted(" ".join(rows).split())
    assert all(len({int(word[4:]) // 4000 for word in piece}) == 1 for piece in pieces)
    assert len(pieces) > 3
    done = harvest_corpus(
        artifact, config.model_copy(update={"tokens": 50, "ablate_windows": 0}), tmp_path / "out", home=home
    )
    info = HarvestStore(done).info
    assert "3 texts of the dataset data (split train)" in info.described
    assert info.config.dataset is None, "where the files lie stays on this machine"
    assert any("first 3 texts" in note for note in info.notes)
    with pytest.raises(ConfigError, match="give one of them"):
        parse_harvest({"dataset": dataset, "text": "t1"})


def test_a_harvest_over_the_held_out_part_reads_that_part_and_no_word_more(
    made: tuple[Path, Artifact], tmp_path: Path
) -> None:
    pytest.importorskip("datasets")
    from workers.spd.config import CorpusData, DatasetText
    from workers.spd.corpora.dataset_texts import ensure_texts

    home, artifact = made
    (tmp_path / "data").mkdir()
    rows = [" ".join(f"word{n}" for n in range(first, first + 2000)) for first in range(0, 8000, 2000)]
    (tmp_path / "data" / "train.jsonl").write_text("\n".join(json.dumps({"text": row}) for row in rows))
    source = DatasetText(path=str(tmp_path / "data"))
    data = CorpusData(dataset=source, window=8, held_out=0.25)
    config = artifact.manifest.config.model_copy(update={"data": data})
    of_texts = replace(artifact, manifest=artifact.manifest.model_copy(update={"config": config}))
    tokenizer = PromptTokenizer(factories.tiny_tokenizer(), bos_token_id=0, context_length=32)
    asked = parse_harvest({"held_out": True, "unit": "text", "own_prompts": False})
    texts = Texts(of_texts, asked, tokenizer, ensure_texts(source, home))
    words = [int(word[4:]) for word in " ".join(texts._texts()).split()]
    assert sorted(words) == list(range(min(words), 8000))
    assert 5990 < min(words) < 6050  # a quarter of the letters, the last ones
    assert texts.described == "the held-out part of 4 texts of the dataset data (split train)"
    assert texts.name == "held-out"
    with pytest.raises(ConfigError, match="is not of texts of a dataset or package"):
        harvest_corpus(artifact, asked, tmp_path / "out", home=home)
    with pytest.raises(ConfigError, match="give it on the command line"):
        Limits().check_harvest(asked, home)


def test_a_harvest_stops_at_its_tokens_and_says_so(made: tuple[Path, Artifact]) -> None:
    _, artifact = made
    tokenizer = PromptTokenizer(factories.tiny_tokenizer(), bos_token_id=0, context_length=32)
    texts = Texts(artifact, HarvestConfig(tokens=40, own_prompts=False), tokenizer)
    read = sum(len(window.ids) for window in texts.windows())
    assert 40 <= read < 40 + 32
    assert not texts.all_read


def test_a_batch_holds_windows_of_one_length() -> None:
    part = [(n, Window([1] * length, "corpus")) for n, length in enumerate([3, 5, 3, 3, 5, 2])]
    assert [[n for n, _ in batch] for batch in batches(part, 7)] == [[5], [0, 2], [3], [1], [4]]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"windows": 3}, "windows"),
        ({"path": "x", "text": "y"}, "“path” and “text” are two corpora"),
        ({"window": 1}, "window"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_config_that_cannot_be_used_names_what_is_wrong(data: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_harvest(data)


def test_options_of_the_command_line_are_keys_and_values() -> None:
    assert parse_options({"seed": 3}, ["ablate_windows=0", "own_prompts=false"]) == HarvestConfig(
        seed=3, ablate_windows=0, own_prompts=False
    )
    with pytest.raises(ConfigError, match="key=value"):
        parse_options({}, ["seed"])


def test_a_damaged_harvest_is_told_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "components.arrow").write_bytes(b"nothing of the kind")
    with pytest.raises(ArtifactError, match="cannot be read"):
        HarvestStore(copy)
    (copy / "harvest.json").write_text("{}")
    with pytest.raises(ArtifactError, match="format"):
        read_info(copy)
