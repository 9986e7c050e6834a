"""Disks and databases that are full, locked, damaged or read-only."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx

from tests.faults.server import Server, home_with_artifact, refusal, server, wait

KEY = "model.layers.0.mlp.down_proj:0"
LABEL = f"/api/decompositions/tiny/components/{KEY}/label"


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own of this size. Needs root."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take every byte that is left."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            try:
                while True:
                    if file.write(b"\0" * size) < size:
                        break
            except OSError:
                continue
    return path


def a_full_disk(folder: Path) -> str:
    """a full disk under labels and a running job; then room again"""
    with small_disk(folder / "disk", 24) as disk:
        home = home_with_artifact(disk)
        with server(home) as running:
            job = running.start_job(name="runs", steps=100_000, checkpoint_every=20)
            wait(lambda: running.ask("GET", f"/api/jobs/{job['id']}").json()["step"] > 40)
            filler, version = fill(disk), 0
            while (
                label := _label(running, version)
            ).status_code == 200:  # as long as the write-ahead log has room
                version += 1
            assert label.status_code == 503, label.text
            assert running.ask("GET", "/api/decompositions/tiny").status_code == 200
            filler.unlink()
            assert _label(running, version).status_code == 200
            kept = running.ask("GET", f"{LABEL}s").json()["version"]
            assert kept == version + 1
            at, before = f"/api/jobs/{job['id']}", running.ask("GET", f"/api/jobs/{job['id']}").json()["step"]
            wait(lambda: running.ask("GET", at).json()["step"] > before + 40)
            job = running.ask("GET", at).json()
            assert running.ask("POST", f"{at}/cancel").json()["state"] == "cancelled"
    return (
        f"label {version + 1}: {refusal(label)}; with room again: the label is written, none is lost, the job goes on "
        f"by itself (resumed {job['resumed']} times) and can be cancelled"
    )


def _label(running: Server, version: int) -> httpx.Response:
    return running.ask("PUT", LABEL, json={"text": "x" * 200, "version": version})


def a_locked_database(folder: Path) -> str:
    """another program locks the database for good"""
    home = home_with_artifact(folder)
    with server(home, "--no-worker") as running, closing(sqlite3.connect(home / "unweave.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        said = refusal(running.ask("PUT", LABEL, json={"text": "x", "version": 0}))
        other.rollback()
        assert running.ask("PUT", LABEL, json={"text": "x", "version": 0}).status_code == 200
    return f"{said} after 5 s; 200 once it is free"


def does_not_start(home: Path) -> str:
    running = Server(home, "--no-worker")
    code = running.process.wait(120)
    said = running.said()
    assert code == 2, (code, said)
    assert "Traceback" not in said, said
    return f"exit code 2: “{said.removeprefix('unweave: ')}”".replace(str(home.parent), "…")


def a_corrupt_database(folder: Path) -> str:
    """a database file full of other bytes"""
    home = home_with_artifact(folder)
    (home / "unweave.db").write_bytes(b"\x13\x37" * 40_000)
    return does_not_start(home)


def a_home_that_cannot_be_written(folder: Path) -> str:
    """a home folder, new or used before, on a disk that is mounted read-only"""
    said: list[str] = []
    for used in (False, True):
        with small_disk(folder / f"disk-{used}", 16) as disk:
            home = home_with_artifact(disk)
            if used:
                with server(home, "--no-worker") as running:
                    running.end()
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            said.append(does_not_start(home))
    return "; ".join(said)


def a_corrupt_artefact(folder: Path) -> str:
    """a damaged decomposition in the home folder"""
    home = home_with_artifact(folder)
    (home / "artifacts" / "tiny" / "components.safetensors").write_bytes(b"\0" * 100)
    with server(home, "--no-worker") as running:
        [warning] = [w for w in running.ask("GET", "/api/health").json()["warnings"] if "tiny" in w]
        assert running.ask("GET", "/api/decompositions").status_code == 200
    return f"starts; health warns: “{warning}”"


FAULTS: list[Callable[[Path], str]] = [
    a_full_disk, a_locked_database, a_corrupt_database, a_home_that_cannot_be_written,
    a_corrupt_artefact,
]  # fmt: skip
