"""Tests of other folders a second time, on a real PostgreSQL: files here name those that touch the database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests import databases, factories
from tests.conftest import api_over, wait_for_engine
from tests.jobs.conftest import queue, workers

__all__ = ["queue", "workers"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[databases.Cluster]:
    """One server for all tests of this process; each home folder gets a database of its own."""
    with databases.cluster() as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def _here(postgres: databases.Cluster) -> Iterator[None]:
    databases.server = postgres.folder
    yield
    databases.server = None


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, _here: None) -> Iterator[TestClient]:
    """The API over the tiny home, on PostgreSQL."""
    home: Path = tmp_path_factory.mktemp("tiny")
    factories.hand_artifact(home / "artifacts")
    with api_over(home) as client:
        wait_for_engine(client)
        yield client
