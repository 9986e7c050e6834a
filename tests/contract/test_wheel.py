"""The wheel: one package, with the page and what ships, that runs where no checkout can be seen."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

from backend.wheel import renamed

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("backend", "workers", "frontend/dist", "pyproject.toml", "README.md", "LICENSE")


def test_only_imports_and_names_of_modules_are_renamed() -> None:
    before = (
        "import workers\n"
        "from backend.settings import Settings  # backend.settings\n"
        "    from workers.jobs import queue\n"
        'start = ["-m", "workers.trainer", "backend", "workers."]\n'
        'says = "workers take jobs; backend/static"\n'
        "from workers_of_mine import x\n"
    )
    assert renamed(before) == (
        "from unweave import workers\n"
        "from unweave.backend.settings import Settings  # backend.settings\n"
        "    from unweave.workers.jobs import queue\n"
        'start = ["-m", "unweave.workers.trainer", "unweave.backend", "unweave.workers."]\n'
        'says = "workers take jobs; backend/static"\n'
        "from workers_of_mine import x\n"
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel, and of this one only the packages."""
    if not (ROOT / "frontend/dist/index.html").is_file():
        pytest.skip("the page is not built")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in COPIED:
        place = source / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, place)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("unweave-*.whl")
    venv.create(folder / "env", with_pip=False)
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    packages = [path for path in sys.path if path.endswith("site-packages")]
    packages += [sysconfig.get_path("purelib")]
    (site / "packages.pth").write_text(
        "\n".join(packages)
    )  # whose own .pth files, of a checkout, are not read
    return folder / "env/bin"


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "UNWEAVE"))}
    return {**kept, "UNWEAVE_HOME": str(home), "UNWEAVE_LOAD_ENGINES": "false", "OMP_NUM_THREADS": "1"}


def python(bin: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(bin / "python"), *arguments]
    return subprocess.run(
        command, cwd=bin, env=environment(home), check=False, capture_output=True, text=True
    )


@pytest.mark.slow
def test_an_installed_unweave_is_one_package(installed: Path, home: Path) -> None:
    code = (
        "import unweave.backend.cli, unweave.workers.jobs.runner, sys; "
        "print(unweave.__file__, {'backend', 'workers'} & set(sys.modules))"
    )
    done = python(installed, home, "-c", code)
    assert done.returncode == 0, done.stderr
    assert "env/lib" in done.stdout
    assert done.stdout.strip().endswith("set()")
    site = next(installed.parent.glob("lib/python*/site-packages"))
    assert {path.name for path in site.iterdir()} - {"packages.pth"} == {
        "unweave",
        next(path.name for path in site.glob("*.dist-info")),
    }
    assert python(installed, home, "-m", "unweave", "--version").stdout.startswith("unweave ")


@pytest.mark.slow
def test_an_installed_unweave_serves_its_page_and_what_ships(installed: Path, home: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(installed / "python"), "-m", "unweave", "serve", "--port", str(port), "--no-worker"]
    with (installed.parent / "log").open("w+") as log:
        server = subprocess.Popen(command, cwd=installed, env=environment(home), stdout=log, stderr=log)
        try:
            page = read(server, f"http://127.0.0.1:{port}/f/woods-golf", log.name)
            assert '<div id="root">' in page
            listed = json.loads(read(server, f"http://127.0.0.1:{port}/api/decompositions", log.name))
            shipped = {path.name for path in (ROOT / "workers/shipped").iterdir()}
            assert {item["id"] for item in listed["items"]} >= shipped
            findings = json.loads(read(server, f"http://127.0.0.1:{port}/api/findings", log.name))
            assert findings["total"] == len(list((ROOT / "backend/featured").glob("*.json")))
        finally:
            server.terminate()
            server.wait(60)


def read(server: subprocess.Popen[bytes], url: str, log: str) -> str:
    """What a server that is starting answers. Fails with its log where it ends instead."""
    end = time.monotonic() + 120
    while True:
        try:
            return urllib.request.urlopen(url, timeout=5).read().decode()
        except OSError:
            if server.poll() is not None or time.monotonic() > end:
                pytest.fail(Path(log).read_text())
            time.sleep(0.1)
