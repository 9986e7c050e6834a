"""The command line: real processes where the process is what matters."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backend.cli import app
from tests.factories import SITES, WOODS, hand_artifact, tiny_config

run = CliRunner()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(*arguments: str, home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "backend.cli", *arguments, "--home", str(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={
            **os.environ,
            "UNWEAVE_LOAD_ENGINES": "false",
            "OMP_NUM_THREADS": "1",
            "UNWEAVE_SHIPPED": str(home / "shipped"),
        },
    )


def get(url: str, seconds: float = 30) -> bytes:
    end = time.monotonic() + seconds
    while True:
        try:
            return urllib.request.urlopen(url, timeout=2).read()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


@pytest.mark.slow
def test_serve_answers_says_where_it_is_and_ends_when_told(home: Path) -> None:
    hand_artifact(home / "artifacts")
    port = free_port()
    server = start("serve", "--port", str(port), "--no-worker", home=home)
    try:
        listed = json.loads(get(f"http://127.0.0.1:{port}/api/decompositions"))
        assert [item["id"] for item in listed["items"]] == ["tiny"]
        second = start("serve", "--port", str(port), "--no-worker", home=home)
        said, _ = second.communicate(timeout=30)
        assert second.returncode == 2
        assert f"Port {port} on 127.0.0.1 is taken" in said
        assert "Traceback" not in said
        assert get(f"http://127.0.0.1:{port}/api/health"), "the first one still runs"
    finally:
        server.send_signal(signal.SIGINT)
        said, _ = server.communicate(timeout=30)
    assert f"http://127.0.0.1:{port}" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_serve_brings_a_worker_and_takes_it_along_when_it_ends(home: Path) -> None:
    port = free_port()
    server = start("serve", "--port", str(port), home=home)
    try:
        end = time.monotonic() + 60
        workers: list[dict[str, object]] = []
        while not workers and time.monotonic() < end:
            workers = json.loads(get(f"http://127.0.0.1:{port}/api/health"))["workers"]
            time.sleep(0.2)
        assert [worker["state"] for worker in workers] == ["idle"]
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)
    assert "leaves" in (home / "worker.log").read_text()


def test_import_verifies_and_export_writes_what_import_reads(tmp_path: Path, home: Path) -> None:
    made = hand_artifact(tmp_path / "elsewhere")
    answer = run.invoke(app, ["import", str(made.path), "--home", str(home)])
    assert answer.exit_code == 0, answer.output
    zipped = tmp_path / "tiny.zip"
    answer = run.invoke(app, ["export", "tiny", "--out", str(zipped), "--home", str(home)])
    assert answer.exit_code == 0, answer.output
    other = tmp_path / "other"
    assert run.invoke(app, ["import", str(zipped), "--home", str(other)]).exit_code == 0
    for name in ["manifest.json", *made.manifest.files]:
        assert (other / "artifacts/tiny" / name).read_bytes() == (made.path / name).read_bytes()


@pytest.mark.parametrize("what", ["damaged", "not a zip", "missing", "leads outside", "another of the name"])
def test_import_refuses_in_a_sentence_and_leaves_nothing_behind(
    tmp_path: Path, home: Path, what: str
) -> None:
    source = hand_artifact(tmp_path / "elsewhere").path
    before: list[str] = []
    match what:
        case "damaged":
            (source / "tokenizer.json").write_text("{}")
        case "not a zip":
            source = tmp_path / "x.zip"
            source.write_text("hello")
        case "missing":
            source = tmp_path / "nowhere"
        case "leads outside":
            source = tmp_path / "x.zip"
            with zipfile.ZipFile(source, "w") as archive:
                archive.writestr("../manifest.json", "{}")
        case "another of the name":
            hand_artifact(home / "artifacts", components=5)
            before = ["tiny"]
    answer = run.invoke(app, ["import", str(source), "--home", str(home)])
    assert answer.exit_code == 1
    assert "unweave:" in answer.output
    assert sorted(path.name for path in (home / "artifacts").glob("*")) == before
    assert not (tmp_path / "manifest.json").exists()


def test_tokens_shows_ids_and_spaces(home: Path) -> None:
    hand_artifact(home / "artifacts")
    answer = run.invoke(app, ["tokenize", "tiny", f"{WOODS} ", "--home", str(home)])
    assert answer.exit_code == 0
    assert "␣Woods" in answer.output
    assert "ends with a space" in answer.output
    missing = run.invoke(app, ["tokenize", "nope", "x", "--home", str(home)])
    assert missing.exit_code == 1
    assert "There is no decomposition “nope”" in missing.output


@pytest.mark.parametrize(
    ("config", "said"),
    [("no-such-preset", "There is no preset"), ("missing.yaml", "cannot be read"), ("wrong.yaml", "colour")],
)
def test_decompose_names_what_is_wrong_with_a_config(
    tmp_path: Path, home: Path, config: str, said: str
) -> None:
    (tmp_path / "wrong.yaml").write_text(json.dumps({**tiny_config(), "colour": 1}))
    name = config if config == "no-such-preset" else str(tmp_path / config)
    answer = run.invoke(app, ["decompose", name, "--home", str(home)])
    assert answer.exit_code == 2
    assert said in answer.output


def test_decompose_does_not_replace_a_result_unasked(tmp_path: Path, home: Path) -> None:
    hand_artifact(home / "artifacts")
    (tmp_path / "tiny.yaml").write_text(json.dumps(tiny_config()))
    answer = run.invoke(app, ["decompose", str(tmp_path / "tiny.yaml"), "--home", str(home)])
    assert answer.exit_code == 2
    assert "--replace" in answer.output


@pytest.mark.slow
@pytest.mark.long
def test_decompose_stops_at_a_checkpoint_and_goes_on_from_it(tmp_path: Path, home: Path) -> None:
    from tests.factories import tiny_llama

    config = tiny_config(
        target={"kind": "folder", "path": str(tiny_llama(tmp_path / "llama"))},
        sites=[SITES[0]], C=4, start={"kind": "svd"}, ci={"kind": "shared_mlp", "hidden": 4}, steps=60,
        losses=[{"kind": "faithfulness"}, {"kind": "stochastic_reconstruction"}], checkpoint_every=5,
    )  # fmt: skip
    (tmp_path / "tiny.yaml").write_text(json.dumps(config))
    first = start("decompose", str(tmp_path / "tiny.yaml"), home=home)
    checkpoint = home / "artifacts/tiny.partial"
    end = time.monotonic() + 120
    while not list(checkpoint.glob("checkpoint*")) and time.monotonic() < end:
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    said, _ = first.communicate(timeout=120)
    assert first.returncode == 130, said
    assert "The same command resumes from there" in " ".join(said.split())
    second = start("decompose", str(tmp_path / "tiny.yaml"), home=home)
    said, _ = second.communicate(timeout=240)
    assert second.returncode == 0, said
    assert "components alive" in said
    assert (home / "artifacts/tiny/manifest.json").is_file()
    assert not checkpoint.exists()
