"""docker-compose.yml: what it starts exists, is healthy for the right reason, and holds no password."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from backend.cli import app
from backend.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load(TEXT)["services"]


@pytest.mark.parametrize("name", ["api", "worker", "worker-gpu"])
def test_its_commands_are_those_of_the_command_line(services: dict[str, Any], name: str) -> None:
    for command in (services[name]["command"], services[name]["healthcheck"]["test"][1:]):
        if command[0] == "unweave":
            help = CliRunner().invoke(app, [command[1], "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
            assert help.exit_code == 0
            for option in (word for word in command[2:] if word.startswith("--")):
                assert option in help.output


def test_its_variables_are_settings(services: dict[str, Any]) -> None:
    for service in services.values():
        for name in service.get("environment", {}):
            assert (
                not name.startswith("UNWEAVE_")
                or name.removeprefix("UNWEAVE_").lower() in Settings.model_fields
            )


def test_the_gpu_profile_reserves_a_gpu_for_the_worker_that_asks_for_one(services: dict[str, Any]) -> None:
    worker = services["worker-gpu"]
    assert worker["profiles"] == ["gpu"]
    assert worker["environment"]["UNWEAVE_DEVICE"] == "cuda"
    [device] = worker["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert "profiles" not in services["worker"]


def test_there_is_no_default_password_and_no_open_port() -> None:
    assert re.findall(r"\$\{POSTGRES_PASSWORD[^}]*\}", TEXT) == ["${POSTGRES_PASSWORD:-}"]
    assert not re.search(r"unweave:unweave@", TEXT)
    assert "${UNWEAVE_BIND:-127.0.0.1}" in TEXT


def test_each_worker_answers_for_itself(services: dict[str, Any]) -> None:
    for name in ("worker", "worker-gpu"):
        assert services[name]["healthcheck"]["test"] == ["CMD", "unweave", "worker", "--check"]
    assert "/readyz" in str(services["api"]["healthcheck"]["test"])
