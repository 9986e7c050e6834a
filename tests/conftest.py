"""Fixtures every tier shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

for name in [name for name in os.environ if name.startswith("UNWEAVE_") and name != "UNWEAVE_HOME"]:
    del os.environ[name]  # a developer's own settings change nothing here


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home folder."""
    return tmp_path / "home"


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one artefact written by hand; tests must not change it."""
    from tests.factories import hand_artifact

    home = tmp_path_factory.mktemp("tiny")
    hand_artifact(home / "artifacts")
    return home


@pytest.fixture(scope="session")
def client(tiny_home: Path) -> Iterator[TestClient]:
    """The API over the tiny home, with an engine that needs no model."""
    from backend.app import create_app
    from backend.services import container
    from tests.factories import FakeAblator, settings

    made = settings(tiny_home)
    services = container.build(made, loader=lambda *_: FakeAblator())
    with TestClient(create_app(made, services), base_url="http://127.0.0.1") as client:
        services.engines.wait(services.catalogue.get("tiny"), 10)
        yield client
