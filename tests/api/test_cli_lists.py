"""What the command line lists and checks: the API's own rows as JSON, help with its defaults, findings again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, text
from typer.testing import CliRunner

from backend.cli import app
from tests.factories import WOODS, settings, tiny_config
from unweave import servers


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command line over a home folder, with nothing shipped and a database of its own."""
    monkeypatch.setenv("UNWEAVE_SHIPPED", str(tmp_path / "shipped"))
    monkeypatch.setenv("UNWEAVE_FEATURED", str(tmp_path / "featured"))
    monkeypatch.setenv("UNWEAVE_DATABASE_URL", f"sqlite:///{tmp_path}/unweave.db")
    return lambda home, *arguments: CliRunner().invoke(app, [*arguments, "--home", str(home)])


@pytest.mark.parametrize(
    ("command", "path"),
    [
        ("list", ""),
        ("components tiny", "/tiny/components?sort=mean_ci&order=desc&limit=1000"),
        (
            "components tiny --dead --search down",
            "/tiny/components?sort=mean_ci&order=desc&alive=false&q=down",
        ),
    ],
)
def test_json_is_what_the_api_lists(
    run: Any, client: TestClient, tiny_home: Path, command: str, path: str
) -> None:
    done = run(tiny_home, *command.split(), "--json")
    assert done.exit_code == 0, done.output
    items = client.get(f"/api/decompositions{path}").json()["items"]
    found = json.loads(done.stdout)
    for item in [*items, *found]:
        item.pop("target", None)  # whether the weights are loaded
    assert items
    assert found == items
    assert items[0].get("key", "tiny") in run(tiny_home, *command.split()).output


@pytest.mark.parametrize("command", ["presets", "jobs", "findings", "tokens list", "audit"])
def test_every_list_has_json_and_a_table(run: Any, home: Path, command: str) -> None:
    done = run(home, *command.split(), "--json")
    assert done.exit_code == 0, done.output
    assert isinstance(json.loads(done.stdout), list)
    assert run(home, *command.split()).exit_code == 0


def test_a_home_or_device_that_cannot_be_used_is_a_sentence(run: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = run(tmp_path / "file" / "home", "list")
    assert done.exit_code == 2
    assert "home cannot be made (Not a directory). Name another with --home or UNWEAVE_HOME" in flat(done)
    done = run(tmp_path, "serve", "--device", "gpu")
    assert done.exit_code == 2
    assert "There is no device “gpu”. Name cpu, cuda or cuda:0." in flat(done)


def flat(done: Any) -> str:
    return " ".join(done.stderr.split())


def test_help_shows_defaults_and_what_exit_codes_mean() -> None:
    helps = {
        name: CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "200"}).output
        for name in ("", "serve")
    }
    assert "[default: 127.0.0.1]" in helps["serve"]
    assert "[default: $UNWEAVE_HOME or ~/.unweave]" in helps["serve"]
    assert re.search(r"Exit codes: 0 .*; 1 .*; 2 .*; 130", " ".join(helps[""].split()))
    assert "--install-completion" in helps[""]


def test_validate_names_what_is_wrong_and_what_to_think_about(run: Any, home: Path, tmp_path: Path) -> None:
    good, wrong = tmp_path / "good.yaml", tmp_path / "wrong.yaml"
    good.write_text(yaml.safe_dump(tiny_config()))
    wrong.write_text(yaml.safe_dump(tiny_config(colour=1)))
    done = run(home, "validate", str(good))
    assert done.exit_code == 0
    assert "can be run" in done.output
    assert "No prompt is held out" in done.output
    assert run(home, "validate", str(good), "--model").exit_code == 2, "its model is nowhere"
    done = run(home, "validate", str(wrong))
    assert done.exit_code == 2
    assert "colour" in done.output


def test_verify_and_replay_tell_a_finding_that_holds_from_one_that_was_changed(
    run: Any, real_home: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/unweave.db"
    with servers.inside(settings(real_home, database_url=url)) as server:
        d = server.open("tiny")
        slugs = [d.publish(title, d.ablate(WOODS)).slug for title in ("one", "two")]
        file = tmp_path / "finding.json"
        file.write_text(server.finding(slugs[0]).data.model_dump_json())
    done = run(real_home, "verify")
    assert done.exit_code == 0, done.output
    assert "2 findings hold" in done.output

    assert f"agree: {slugs[0]}" in run(real_home, "import", str(file)).output, "it is here already"
    file.write_text("{}")
    assert "is not a finding" in run(real_home, "import", str(file)).output

    database = create_engine(url)
    with database.begin() as connection:
        stored = connection.execute(
            text("select record from findings where slug = :slug"), {"slug": slugs[0]}
        )
        record = json.loads(stored.scalar_one())
        record["results"][0]["result"]["positions"][0]["top"][0]["ablated"]["probability"] += 0.01
        connection.execute(
            text("update findings set record = :record where slug = :slug"),
            {"record": json.dumps(record), "slug": slugs[0]},
        )
    database.dispose()
    done = run(real_home, "verify")
    assert done.exit_code == 1
    assert f"{slugs[0]}: different" in done.output
    assert f"{slugs[1]}: same" in done.output
    assert run(real_home, "replay", slugs[1]).exit_code == 0
    assert run(real_home, "replay", slugs[0]).exit_code == 1
    assert json.loads(run(real_home, "replay", slugs[0], "--json").stdout)["verdict"] == "different"
    assert "There is no finding" in run(real_home, "replay", "nothing").output
