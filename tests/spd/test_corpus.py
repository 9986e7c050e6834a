"""SPEC 20: running text as data, streamed in windows."""

import pytest
import torch
from pydantic import ValidationError

from tests.spd import tiny
from tests.spd.test_decompose import same_numbers, stop_at
from tests.spd.test_training import TOKENIZER
from workers.spd.config import ConfigError, CorpusData, parse_config
from workers.spd.corpora.corpus import Corpus, text_files
from workers.spd.progress import Stopped
from workers.spd.prompts.kinds import training_data
from workers.spd.run.decompose import decompose
from workers.spd.statistics.config import HarvestConfig


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A long file whose first 90 % hold w1 … w11 and whose end holds w12 … w19, and a short one."""
    folder = tmp_path_factory.mktemp("corpus")
    generator = torch.Generator().manual_seed(0)
    head = torch.randint(1, 12, (3000,), generator=generator).tolist()
    tail = torch.randint(12, 20, (2000,), generator=generator).tolist()
    text = " ".join(f"w{token}" for token in head)
    end = " ".join(f"w{token}" for token in tail)[: len(text) // 9]
    (folder / "a.txt").write_text(text + " " + end.rpartition(" ")[0])
    (folder / "deep").mkdir()
    (folder / "deep" / "b.txt").write_text("w1 w2 w3\nw4 w5 w6 w7 w8 w9")
    (folder / "c.md").write_text("w23 " * 500)
    return folder


def corpus(texts, **changes) -> Corpus:
    return Corpus(CorpusData(path=str(texts), window=8, **changes), TOKENIZER)


def test_windows_have_their_length_and_come_from_the_files_that_match(texts):
    windows = corpus(texts).draw(60, "train", torch.Generator().manual_seed(1))
    assert max(map(len, windows)) == 8
    assert sum(len(window) == 8 for window in windows) > 50
    assert 23 not in {token for window in windows for token in window}
    assert len({tuple(window) for window in windows}) > 40


def test_the_end_of_every_file_is_held_out(texts):
    held_out = corpus(texts).draw(60, "held_out", torch.Generator().manual_seed(1))
    train = corpus(texts).draw(200, "train", torch.Generator().manual_seed(1))
    assert not {token for window in train for token in window} & set(range(12, 20))
    assert {token for window in held_out for token in window if window[0] >= 12} <= set(range(12, 20))


def test_words_are_never_cut_at_the_start_of_a_window(texts):
    """With a vocabulary of whole words a cut word would be unknown, w0."""
    windows = corpus(texts).draw(200, "train", torch.Generator().manual_seed(3))
    assert all(window[0] != 0 for window in windows)


def test_windows_that_are_shown_begin_at_a_sentence(tmp_path):
    """Sentences of this text begin with w1, and nothing else is w1."""
    sentence = "w1 w2 w3 w4 w5 w6"
    ends = [". ", "! ", "?” ", ".’ ", "… ", ".) ", ".\n"]
    (tmp_path / "a.txt").write_text("".join(sentence + ends[place % len(ends)] for place in range(400)))
    windows = Corpus(CorpusData(path=str(tmp_path), window=8), TOKENIZER)
    drawn = windows.draw(60, "train", torch.Generator().manual_seed(2), sentences=True)
    assert {window[0] for window in drawn} == {1}
    assert len({window[0] for window in windows.draw(60, "train", torch.Generator().manual_seed(2))}) > 3


def test_a_text_without_sentences_is_shown_from_where_a_word_begins(texts):
    windows = corpus(texts).draw(60, "train", torch.Generator().manual_seed(2), sentences=True)
    assert all(window[0] != 0 for window in windows)


def test_the_generator_alone_decides_which_windows(texts):
    one, same, other = (
        corpus(texts).draw(5, "train", torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert one == same != other


def test_a_bos_takes_the_first_place_of_a_window(texts):
    windows = corpus(texts, bos=True).draw(5, "train", torch.Generator().manual_seed(1))
    assert all(window[0] == 0 and len(window) <= 8 for window in windows)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"path": "/nowhere/at/all"}, "data.path: there is no text at “/nowhere/at/all”"),
        ({"glob": "*.csv"}, "there is no text at"),
        ({"window": 99}, "data.window is 99; this model takes 16 tokens"),
    ],
)
def test_a_corpus_that_cannot_be_used_is_told(texts, changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Corpus(CorpusData(**{"path": str(texts), "window": 8, **changes}), TOKENIZER)


@pytest.mark.parametrize(
    "glob", ["../*.txt", "deep/../../*.txt", "/etc/passwd", "~/*.txt", "..\\a.txt", "a\0b"]
)
def test_a_glob_never_leaves_its_folder(texts, glob):
    for model in (CorpusData, HarvestConfig):
        with pytest.raises(ValidationError, match="glob"):
            model(path=str(texts / "deep"), glob=glob)


def test_a_link_that_leads_out_of_the_folder_is_not_read(tmp_path, texts):
    """Neither a linked file nor a file behind a linked folder; a link to a file of the folder itself is one."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "inside.txt").write_text("w1 w2 w3")
    (folder / "again.txt").symlink_to(folder / "inside.txt")
    assert [path.name for path in text_files("path", str(folder), "*.txt")] == ["again.txt", "inside.txt"]
    (folder / "elsewhere").symlink_to(texts)
    with pytest.raises(ConfigError, match=r"path: “elsewhere/a\.txt” is a link that leads out of"):
        text_files("path", str(folder), "elsewhere/*.txt")
    (folder / "passwd.txt").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match=r"path: “passwd\.txt” is a link that leads out of"):
        text_files("path", str(folder), "*.txt")


def test_a_glob_that_cannot_be_read_is_an_error_of_the_config(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.path: the files matching .* cannot be listed"):
        text_files("data.path", str(tmp_path), "a**b")


def test_a_file_that_is_no_text_is_told(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff" * 500)
    with pytest.raises(ConfigError, match="holds no text that can be read"):
        corpus(tmp_path).draw(1, "train", torch.Generator())


def test_a_data_start_is_refused_for_a_corpus(texts):
    data = tiny.run_config().model_dump(mode="json")
    with pytest.raises(
        ConfigError, match=r"start\.kind “data” gives each token input a component of its own"
    ):
        parse_config({**data, "start": {"kind": "data"}, "data": {"kind": "corpus", "path": str(texts)}})


def config(texts, home, **changes):
    data = {"kind": "corpus", "path": str(texts), "window": 8, "batch_size": 4, "evaluation": 6, "shown": 2}
    return tiny.run_config(home / "model", data=data, **changes)


def test_padding_of_short_windows_counts_in_no_loss(tmp_path):
    (tmp_path / "short.txt").write_text("w1 w2 w3 w4 w5")
    (tmp_path / "long.txt").write_text("w6 w7 w8 w9 w10 w11 w12")
    data = training_data(config(tmp_path, tmp_path), tiny.tiny_target("llama"), TOKENIZER)
    lengths = {
        window.sum().item() for s in range(9) for window in data.next(torch.Generator().manual_seed(s)).valid
    }
    assert len(lengths) > 1
    batch = data.everything()
    assert torch.equal(batch.counted, batch.valid)
    assert batch.masked(False).sum() < batch.tokens.numel()


@pytest.mark.slow
def test_a_run_over_a_corpus_reports_held_out_text_and_resumes_with_the_same_numbers(texts, tmp_path):
    tiny.saved(tiny.llama_model(), tmp_path / "model")
    prune = {"prune": {"at": [0.5], "below": 0.5}}
    whole = decompose(config(texts, tmp_path, **prune), tmp_path / "whole", home=tmp_path)
    figures = {metric.name: metric for metric in whole.manifest.metrics}
    assert figures["kl_stochastic"].held_out is not None
    assert [prompt.split for prompt in whole.prompts] == ["train", "train", "held_out", "held_out"]
    with pytest.raises(Stopped):
        decompose(config(texts, tmp_path, **prune), tmp_path / "again", home=tmp_path, **stop_at(7))
    same_numbers(decompose(config(texts, tmp_path, **prune), tmp_path / "again", home=tmp_path), whole)
