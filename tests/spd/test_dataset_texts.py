"""SPEC 20: a corpus by dataset. Taken once, by the real library, from folders and from a hub of our own."""

from __future__ import annotations

import builtins
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.spd import hub, tiny
from tests.spd.test_decompose import same_numbers, stop_at
from tests.spd.test_training import TOKENIZER
from workers.spd.artifact import read_artifact
from workers.spd.config import ConfigError, CorpusData, DatasetText, parse_config
from workers.spd.corpora import dataset_library, dataset_texts
from workers.spd.corpora.corpus import Corpus
from workers.spd.corpora.dataset_library import TextsError
from workers.spd.corpora.dataset_texts import Taken, ensure_texts, texts_folder
from workers.spd.progress import Stopped
from workers.spd.run.decompose import decompose

pytest.importorskip("datasets")
ROOT = Path(__file__).parents[2]
CARD = "---\nconfigs:\n- config_name: default\n  data_files: {}\n---\n"


def lines(texts: list[str | None], **more: object) -> bytes:
    return "".join(json.dumps({"text": text, **more}) + "\n" for text in texts).encode()


def word_texts(count: int, seed: int = 0, vocabulary: range = range(1, 20)) -> list[str | None]:
    """Texts of 3 to 30 words; every fifth is empty or missing."""
    generator = torch.Generator().manual_seed(seed)
    texts: list[str | None] = []
    for place in range(count):
        length = int(torch.randint(3, 31, (1,), generator=generator))
        words = torch.randint(vocabulary.start, vocabulary.stop, (length,), generator=generator).tolist()
        texts.append([None, "", " \n"][place % 3] if place % 5 == 4 else " ".join(f"w{w}" for w in words))
    return texts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 rows as JSON lines (w1 … w11), then 30 (w12 … w19), and a second split."""
    place = tmp_path_factory.mktemp("dataset")
    rows = [*word_texts(120, 0, range(1, 12)), *word_texts(30, 1, range(12, 20))]
    (place / "train.jsonl").write_bytes(lines(rows, n=1))
    (place / "test.jsonl").write_bytes(lines(["w20 w21 w22"]))
    return place


def of(folder: Path, **changes: object) -> DatasetText:
    return DatasetText(**{"path": str(folder), **changes})  # type: ignore[arg-type]


def stored(taken: Taken) -> list[str]:
    data = taken.path.read_bytes()
    return [data[b:e].decode() for b, e in zip(taken.begin.tolist(), taken.end.tolist(), strict=True)]


def wanted(count: int = 150) -> list[str]:
    rows = [*word_texts(120, 0, range(1, 12)), *word_texts(30, 1, range(12, 20))]
    return [text for text in rows[:count] if text is not None and text.strip()]


# --- taking ---------------------------------------------------------------------------------------------------


def test_the_texts_of_a_folder_are_taken_in_order_without_the_empty_ones(
    folder: Path, tmp_path: Path
) -> None:
    taken = ensure_texts(of(folder), tmp_path)
    assert stored(taken) == wanted()
    card = taken.card
    assert (card.texts, card.empty, card.whole, card.commit) == (120, 30, True, None)
    assert card.characters == sum(map(len, wanted()))
    assert "120 texts" in taken.summary
    assert "30 empty ones were left out" in taken.summary
    assert {path.name for path in (tmp_path / "corpora").iterdir() if path.is_dir()} == {
        taken.path.parent.name
    }


def test_parquet_reads_as_json_lines_do(folder: Path, tmp_path: Path) -> None:
    rows = [*word_texts(120, 0, range(1, 12)), *word_texts(30, 1, range(12, 20))]
    (tmp_path / "data").mkdir()
    table = pa.table({"n": list(range(150)), "body": rows})
    pq.write_table(table, tmp_path / "data" / "train.parquet")
    taken = ensure_texts(of(tmp_path / "data", column="body"), tmp_path)
    assert taken.card.sha256 == ensure_texts(of(folder), tmp_path).card.sha256


def test_no_more_is_taken_than_asked_for(folder: Path, tmp_path: Path) -> None:
    few = ensure_texts(of(folder, texts=7), tmp_path)
    assert stored(few) == wanted()[:7]
    assert not few.card.whole
    short = ensure_texts(of(folder, characters=100), tmp_path)
    assert "".join(stored(short)) == "".join(wanted())[:100]
    assert (short.card.characters, short.card.whole) == (100, False)
    assert "the split holds more" in short.summary


def test_one_huge_text_is_cut_where_the_limit_is(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_bytes(lines(["w1 wörter " * 300_000, "w2"]))
    taken = ensure_texts(of(tmp_path / "data", characters=50_000), tmp_path)
    assert (taken.card.texts, taken.card.characters) == (1, 50_000)
    corpus = Corpus(CorpusData(dataset=taken.card.source, window=8), TOKENIZER, taken)
    assert all(len(w) == 8 for w in corpus.draw(20, "train", torch.Generator().manual_seed(0)))


def test_what_was_taken_is_kept_and_read_again_without_the_library(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ensure_texts(of(folder), tmp_path)
    monkeypatch.setattr(dataset_texts, "opened", lambda *_: pytest.fail("it was read again"))
    assert ensure_texts(of(folder), tmp_path).card == first.card


def test_texts_damaged_on_disk_are_taken_again(folder: Path, tmp_path: Path) -> None:
    first = ensure_texts(of(folder), tmp_path)
    first.path.write_bytes(first.path.read_bytes().replace(b"w3", b"w4"))
    again = ensure_texts(of(folder), tmp_path)
    assert stored(again) == wanted()


def test_a_folder_whose_files_changed_is_read_anew(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_bytes(lines(["w1 w2 w3"]))
    assert stored(ensure_texts(of(tmp_path / "data"), tmp_path)) == ["w1 w2 w3"]
    (tmp_path / "data" / "train.jsonl").write_bytes(lines(["w1 w2 w3", "w4"]))
    assert stored(ensure_texts(of(tmp_path / "data"), tmp_path)) == ["w1 w2 w3", "w4"]


def test_a_stop_in_mid_reading_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    asked = 0

    def check_stop() -> None:
        nonlocal asked
        asked += 1
        if asked == 20:
            raise Stopped("enough")

    with pytest.raises(Stopped):
        ensure_texts(of(folder), tmp_path, check_stop=check_stop)
    assert not [path for path in (tmp_path / "corpora").iterdir() if path.is_dir()]
    assert stored(ensure_texts(of(folder), tmp_path)) == wanted()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"column": "body"}, r"column: “\S+” has no column “body”\. It has: text, n\."),
        ({"column": "n"}, r"column: “n” of “\S+” holds int, not text"),
        ({"split": "dev"}, r"split: “\S+” has no split “dev”\. It has: train, test\."),
        ({"config": "small"}, r"config: “\S+” has no subset “small”\. It has: default\."),
        ({"path": "/nowhere/at/all"}, "there is no folder “/nowhere/at/all”"),
    ],
)
def test_what_a_dataset_has_not_got_is_named(
    folder: Path, tmp_path: Path, changes: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        ensure_texts(of(folder, **changes), tmp_path)


def test_a_dataset_of_empty_texts_is_refused_and_soon_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_bytes(lines(["", " ", None] * 50))
    with pytest.raises(ConfigError, match=r"the column “text” of “data”, split train, holds no text"):
        ensure_texts(of(tmp_path / "data"), tmp_path)
    monkeypatch.setattr(dataset_texts, "ROWS_A_TEXT", 3)
    (tmp_path / "data" / "train.jsonl").write_bytes(lines(["w1", *[""] * 50]))
    taken = ensure_texts(of(tmp_path / "data", texts=2), tmp_path)
    assert (taken.card.texts, taken.card.empty, taken.card.whole) == (1, 5, False)


def test_a_missing_library_is_told_with_the_way_to_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: object, **options: object) -> object:
        if name == "datasets":
            raise ImportError(name)
        return real(name, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(TextsError, match=r"needs the library “datasets”.*\.\[datasets\]"):
        ensure_texts(of(folder), tmp_path)


# --- what may be read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "files", ["/etc/passwd", "../secret/*.txt", "~/x.txt", "http://10.0.0.1/x.txt", "file:///etc/*"]
)
def test_a_card_that_names_files_elsewhere_is_refused(tmp_path: Path, files: str) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a.txt").write_text("a secret")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "README.md").write_text(CARD.format(files))
    with pytest.raises(ConfigError, match="no files of its own"):
        ensure_texts(of(tmp_path / "data"), tmp_path)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("a secret")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(ConfigError, match="no files of its own"):
        ensure_texts(of(tmp_path / "data"), tmp_path)


def test_pictures_and_scripts_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"not a picture")
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "script.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    for name in ("pictures", "script"):
        with pytest.raises(ConfigError, match=f"“{name}” cannot be read"):
            ensure_texts(of(tmp_path / name), tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({}, "give “path”, a text file or folder, “dataset”, “package” or “shipped”, one of the four"),
        ({"path": "a", "dataset": {"name": "a/b"}}, "give “path”"),
        ({"dataset": {}}, "give either “name”"),
        ({"dataset": {"name": "json"}}, "data.corpus.dataset.name"),
        ({"dataset": {"name": "../b"}}, "data.corpus.dataset.name"),
        ({"dataset": {"path": "a", "revision": "v1"}}, "revision goes with “name”"),
        ({"dataset": {"name": "a/b"}, "glob": "*.md"}, "glob goes with “path”"),
        ({"dataset": {"name": "a/b", "trust_remote_code": True}}, "trust_remote_code: is not a known key"),
    ],
)
def test_a_source_that_cannot_be_meant_is_refused(data: dict[str, object], sentence: str) -> None:
    config = tiny.run_config().model_dump(mode="json")
    with pytest.raises(ConfigError, match=sentence):
        parse_config({**config, "data": {"kind": "corpus", **data}})


# --- the hub --------------------------------------------------------------------------------------------------

ROWS = lines(word_texts(20))
REPOSITORIES = {
    "a/plain": {"README.md": b"# Plain\n", "train.jsonl": ROWS, "test.jsonl": lines(["w1 w2"])},
    "a/subsets": {
        "README.md": b"---\nconfigs:\n- config_name: one\n  data_files: one/*\n"
        b"- config_name: two\n  data_files: two/*\n---\n",
        "one/x.jsonl": ROWS,
        "two/y.jsonl": lines(["w3 w4"]),
    },
    "a/elsewhere": {"README.md": CARD.format("/etc/passwd").encode(), "train.jsonl": ROWS},
    "a/folder": {"README.md": CARD.format("x.txt\n  data_dir: /etc").encode(), "x.txt": b"w1"},
    "a/script": {"script.py": b"open('ran', 'w')"},
}
CASES: list[tuple[dict[str, object], str]] = [
    ({"name": "a/plain"}, "16 texts"),
    ({"name": "a/plain", "revision": hub.COMMIT, "split": "test"}, f"at commit {hub.COMMIT}"),
    ({"name": "a/plain", "revision": "v2"}, "ConfigError: data.dataset.revision: “a/plain” has no revision “v2”"),
    ({"name": "a/subsets", "config": "two"}, "first 1 texts"),
    ({"name": "a/subsets"}, "ConfigError: data.dataset.config: “a/subsets” has several subsets; name one"),
    ({"name": "a/elsewhere"}, "ConfigError: data.dataset: “a/elsewhere” cannot be read: it has no files of its own"),
    ({"name": "a/folder"}, "ConfigError: data.dataset: “a/folder” cannot be read: it has no files of its own"),
    ({"name": "a/script"}, "ConfigError: data.dataset: “a/script” cannot be read"),
    ({"name": "a/private"}, "ConfigError: data.dataset.name: there is no public dataset “a/private” on the hub"),
]  # fmt: skip
TAKE = """
import json, sys
from pathlib import Path
from workers.spd.config import ConfigError, DatasetText
from workers.spd.corpora.dataset_library import TextsError
from workers.spd.corpora.dataset_texts import ensure_texts
said = []
for source in json.loads(sys.argv[1]):
    try:
        said.append(ensure_texts(DatasetText(**source), Path(sys.argv[2])).summary)
    except (ConfigError, TextsError) as error:
        said.append(f"{type(error).__name__}: {error}")
print(json.dumps(said))
"""


def taken_from(url: str, home: Path, sources: list[dict[str, object]]) -> list[str]:
    """What a process that knows the hub at `url` says of these sources. It works in a folder of traps."""
    (home / "a").mkdir(parents=True, exist_ok=True)
    (home / "a" / "plain").mkdir(exist_ok=True)  # of the same name as a dataset
    (home / "a" / "plain" / "train.txt").write_text("a secret")
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {
        **os.environ, "PYTHONPATH": paths, "HF_ENDPOINT": url, "HF_HOME": str(home / "hf"), "HF_TOKEN": "hf_ours",
        "HF_HUB_OFFLINE": "0",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", TAKE, json.dumps(sources), str(home)],
        cwd=home, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_datasets_of_a_hub_are_read_at_a_commit_and_nothing_else_of_anyones(tmp_path: Path) -> None:
    with hub.running(REPOSITORIES) as server:
        said = taken_from(server.url, tmp_path, [source for source, _ in CASES])
        asked = list(server.asked)
    for sentence, (source, expected) in zip(said, CASES, strict=True):
        assert expected in sentence, source
    assert {authorisation for _, authorisation in asked} == {None}, "no token may be sent"
    assert not (tmp_path / "ran").exists()
    away = taken_from("http://127.0.0.1:9", tmp_path, [CASES[0][0], {"name": "a/other"}])
    assert "16 texts" in away[0], "what was taken needs no hub"
    assert away[1].startswith("TextsError: The dataset “a/other” could not be read from the Hugging Face hub")


def test_a_hub_that_fails_in_mid_reading_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows() -> object:
        yield {"text": "w1"}
        raise ConnectionError("gone")

    source = DatasetText(name="a/b")
    opened = dataset_library.Opened(dataset_library._rows(rows(), source, "a/b"), "c", "datasets")
    monkeypatch.setattr(dataset_texts, "opened", lambda *_: opened)
    with pytest.raises(TextsError, match="could not be read from the Hugging Face hub"):
        ensure_texts(source, tmp_path)
    assert not texts_folder(source, tmp_path).exists()


# --- windows --------------------------------------------------------------------------------------------------


def test_windows_keep_to_their_text_and_reach_every_token_of_it(tmp_path: Path) -> None:
    """Each text has words of its own: no window holds two texts, and short texts come whole."""
    (tmp_path / "data").mkdir()
    long = " ".join(f"w{1 + n // 10}" for n in range(50))
    (tmp_path / "data" / "train.jsonl").write_bytes(
        lines([long, "w10 w11 w12", "w13 w14", "w20 w21 w22 w23"])
    )
    taken = ensure_texts(of(tmp_path / "data"), tmp_path)
    corpus = Corpus(CorpusData(dataset=taken.card.source, window=8, held_out=0.01), TOKENIZER, taken)
    windows = corpus.draw(400, "train", torch.Generator().manual_seed(0))
    assert {tuple(w) for w in windows if w[0] >= 10 and w[0] < 20} == {(10, 11, 12), (13, 14)}
    assert all(max(w) <= 5 for w in windows if w[0] < 10)
    assert {token for w in windows for token in w} >= {1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 20, 21, 22}
    first = [w for w in windows if w[0] < 10]
    assert sum(len(w) == 8 for w in first) > 0.9 * len(first)


def test_the_last_texts_are_held_out(folder: Path, tmp_path: Path) -> None:
    taken = ensure_texts(of(folder), tmp_path)
    data = CorpusData(dataset=of(folder), window=8, held_out=0.1)
    corpus = Corpus(data, TOKENIZER, taken)
    generator = torch.Generator().manual_seed(0)
    tail = {token for window in corpus.draw(60, "held_out", generator) for token in window}
    assert tail <= set(range(12, 20)) | {0}  # w0: the word the cut goes through
    late = Corpus(data.model_copy(update={"held_out": 0.3}), TOKENIZER, taken)
    head = {token for window in late.draw(200, "train", generator) for token in window}
    assert head <= set(range(12)) | {0}


# --- runs -----------------------------------------------------------------------------------------------------


def config(folder: Path, home: Path, **changes: object):
    data = {
        "kind": "corpus",
        "dataset": {"path": str(folder)},
        "window": 8,
        "batch_size": 4,
        "evaluation": 6,
        "shown": 2,
    }
    return tiny.run_config(home / "model", data=data, **changes)


def test_a_run_that_was_stopped_goes_on_over_the_same_texts_and_says_which(
    folder: Path, tmp_path: Path
) -> None:
    tiny.saved(tiny.llama_model(), tmp_path / "model")
    whole = decompose(config(folder, tmp_path), tmp_path / "whole", home=tmp_path)
    card = whole.manifest.texts
    assert card is not None
    assert (card.texts, card.sha256) == (120, ensure_texts(of(folder), tmp_path).card.sha256)
    assert any(card.sha256[:16] in note for note in whole.manifest.notes)
    assert read_artifact(tmp_path / "whole").manifest.texts == card
    assert [prompt.split for prompt in whole.prompts] == ["train", "train", "held_out", "held_out"]
    with pytest.raises(Stopped):
        decompose(config(folder, tmp_path), tmp_path / "again", home=tmp_path, **stop_at(7))
    same_numbers(decompose(config(folder, tmp_path), tmp_path / "again", home=tmp_path), whole)


def test_a_run_does_not_go_on_over_texts_that_have_changed(tmp_path: Path) -> None:
    tiny.saved(tiny.llama_model(), tmp_path / "model")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_bytes(lines(word_texts(20)))
    with pytest.raises(Stopped):
        decompose(config(tmp_path / "data", tmp_path), tmp_path / "run", home=tmp_path, **stop_at(7))
    (tmp_path / "data" / "train.jsonl").write_bytes(lines(word_texts(21)))
    with pytest.raises(ConfigError, match="its texts are no longer those this run began with"):
        decompose(config(tmp_path / "data", tmp_path), tmp_path / "run", home=tmp_path)
    decompose(config(tmp_path / "data", tmp_path), tmp_path / "run", home=tmp_path, resume=False)


@pytest.mark.slow
@pytest.mark.long
def test_a_run_over_a_dataset_killed_with_minus_nine_ends_with_the_numbers_of_one_that_was_not(
    folder: Path, tmp_path: Path
) -> None:
    tiny.saved(tiny.llama_model(), tmp_path / "model")
    path = tmp_path / "config.json"
    path.write_text(config(folder, tmp_path).model_dump_json())

    def run(out: str, *kill: str) -> int:
        command = [
            sys.executable,
            "-m",
            "tests.spd.runs",
            str(path),
            str(tmp_path / out),
            str(tmp_path),
            *kill,
        ]
        return subprocess.run(
            command, cwd=ROOT, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
        ).returncode

    assert run("whole") == 0
    assert run("killed", "8") == -9
    assert run("killed") == 0
    same_numbers(read_artifact(tmp_path / "killed"), read_artifact(tmp_path / "whole"))
