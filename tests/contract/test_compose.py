"""docker-compose.yml: what it starts exists, is healthy for the right reason, and holds no password."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose
from typer.testing import CliRunner

from backend.cli import app
from backend.settings import Settings
from tests.compose import read

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


ENVIRONMENTS = {
    "nothing set": {},
    "postgres": {
        "POSTGRES_PASSWORD": "s3cret",
        "UNWEAVE_DATABASE_URL": "postgresql+psycopg://unweave:s3cret@postgres/unweave",
    },
    "for others": {
        "UNWEAVE_BIND": "0.0.0.0",
        "UNWEAVE_ALLOWED_HOSTS": '["unweave.lab.example"]',
        "UNWEAVE_PORT": "80",
    },
    "gpu": {
        "UNWEAVE_GPUS": "2",
        "TORCH_INDEX": "https://download.pytorch.org/whl/cu126",
        "UNWEAVE_TAG": "1.2",
    },
}


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS.keys())
def test_it_follows_the_compose_specification(environment: dict[str, str]) -> None:
    file = PyCompose.from_json(json.dumps(read(TEXT, environment)))
    file.validate()
    assert set(file.service_names()) == {"api", "worker", "worker-gpu", "postgres"}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("condition: service_healthy", "condition: healthy"),
        ("restart: unless-stopped", "restart: sometimes"),
        ("interval: 10s", "interval: ten"),
        ("- home:/data", "- nohome:/data"),
        ("capabilities: [gpu]", "capabilities: gpu"),
    ],
)
def test_the_specification_would_refuse_a_mistake(right: str, wrong: str) -> None:
    assert right in TEXT
    with pytest.raises(ValueError, match=r"."):
        PyCompose.from_json(json.dumps(read(TEXT.replace(right, wrong, 1), {}))).validate()


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
