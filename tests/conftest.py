"""Fixtures every tier shares."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
from fastapi.testclient import TestClient

from tests import factories
from workers.trainer import share_the_machine

share_the_machine()  # before anything imports torch
if "PYTEST_XDIST_WORKER" in os.environ:  # as many threads as there are processors would be that many in each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Real weights are fetched once and kept between runs of the tests.
WEIGHTS_HOME = Path(os.environ.get("UNWEAVE_TEST_HOME", Path(__file__).parents[1] / ".make" / "weights"))

for name in [name for name in os.environ if name.startswith("UNWEAVE_")]:
    del os.environ[name]  # a developer's own settings change nothing here

Open = Callable[..., TestClient]


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """`-n auto`: a process per processor, as long as their models fit into memory."""
    return min(os.cpu_count() or 1, 4)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In several processes (`-n`), the tests of a file stay together, for they share what is made for them; the files
    that take longest begin, and short ones fill the end."""
    if config.getoption("dist") == "no":
        return
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.name))
    items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in ("e2e", "slow", "real")])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Shapes and types of the method are checked as it runs in its own short tests: that takes half as long again."""
    long = any(item.get_closest_marker(name) for name in ("slow", "real"))
    jaxtyping.config.update("jaxtyping_disable", long or "spd" not in item.path.parts)
    return (yield)


def pytest_collection_finish() -> None:
    """What is imported stays: the garbage collector need not look through torch's half a million objects again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home folder."""
    return tmp_path / "home"


@pytest.fixture(scope="session")
def weights_home() -> Path:
    """A home folder kept between runs, where real weights are fetched once."""
    WEIGHTS_HOME.mkdir(parents=True, exist_ok=True)
    return WEIGHTS_HOME


@pytest.fixture
def open_app() -> Iterator[Open]:
    """`open_app(home, loader=…, setting=…)`: the API over a home folder, started; all are ended with the test."""
    with ExitStack() as stack:
        yield lambda home, **options: stack.enter_context(api_over(home, **options))


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one artefact written by hand, “tiny”; tests must not change it."""
    home = tmp_path_factory.mktemp("tiny")
    factories.hand_artifact(home / "artifacts")
    return home


@pytest.fixture(scope="session")
def client(tiny_home: Path) -> Iterator[TestClient]:
    """The API over the tiny home, with an engine that needs no model."""
    with api_over(tiny_home) as client:
        wait_for_engine(client)
        yield client


@pytest.fixture(scope="session")
def real_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with “tiny”, a random Llama decomposed by the method itself; tests must not change it."""
    home = tmp_path_factory.mktemp("real")
    factories.trained_artifact(home)
    return home


@pytest.fixture(scope="session")
def real_client(real_home: Path) -> Iterator[TestClient]:
    """The API over the tiny home that was really trained, with the real engine."""
    with TestClient(_create(factories.settings(real_home), None), base_url="http://127.0.0.1") as client:
        wait_for_engine(client, seconds=120)
        yield client


def wait_for_engine(client: TestClient, id: str = "tiny", seconds: float = 20) -> None:
    """Load a decomposition's engine and wait for it."""
    services: Any = client.app.state.services  # type: ignore[attr-defined]
    status = services.engines.wait(services.catalogue.get(id), seconds)
    assert status.state == "ready", status.message


def api_over(home: Path, *, loader: Any = None, **changes: Any) -> TestClient:
    """The API over a home folder, with an engine that needs no model; entered, it is started."""
    made = factories.settings(home, **changes)
    return TestClient(
        _create(made, loader or (lambda *_: factories.FakeAblator())), base_url="http://127.0.0.1"
    )


def _create(made: Any, loader: Any) -> Any:
    from backend.app import create_app
    from backend.services import container

    return create_app(made, container.build(made, loader))
