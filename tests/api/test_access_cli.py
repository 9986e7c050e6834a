"""`unweave serve` on an address that others can reach, `unweave tokens` and `unweave audit`."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from backend.cli import app
from backend.settings import Settings
from backend.web import serving
from backend.web.serving import StartError, run_server
from tests.access import bearer
from tests.conftest import Open
from tests.factories import hand_artifact, settings
from tests.jobs.conftest import config_of
from workers.jobs.queue import JobQueue

run = CliRunner()
WIDE = {"COLUMNS": "200", "NO_COLOR": "1"}


def said(*arguments: str | Path, code: int = 0) -> str:
    answer = run.invoke(app, [str(argument) for argument in arguments], env=WIDE)
    assert answer.exit_code == code, answer.output
    return answer.output


def test_tokens_are_made_listed_and_revoked_on_the_command_line(home: Path, open_app: Open) -> None:
    secret = said("tokens", "create", "Ada [x]", "--role", "write", "--days", "7", "--home", home).strip()
    assert secret.startswith("unweave_")
    assert len(secret) > 40
    listed = said("tokens", "list", "--home", home)
    assert "Ada [x]" in listed
    assert secret not in listed
    client = open_app(home, open=False)
    assert client.get("/api/session", headers=bearer(secret)).json()["role"] == "write"
    id = listed.splitlines()[1].split()[0]
    assert "Revoked the token of “Ada [x]”" in said("tokens", "revoke", id, "--home", home)
    client.app.state.services.visitors.tokens._remembered.clear()  # type: ignore[attr-defined]
    assert client.get("/api/jobs", headers=bearer(secret)).status_code == 401
    lines = said("audit", "--home", home)
    assert "revoke_token" in lines
    assert "create_token" not in said("audit", "revoke", "--home", home)


def test_what_other_commands_change_is_in_the_audit_too(home: Path, tmp_path: Path) -> None:
    said("import", hand_artifact(tmp_path).path, "--home", home)
    said("backup", tmp_path / "b.zip", "--home", home)
    said("restore", tmp_path / "b.zip", "--replace", "--home", home)
    queue = JobQueue(home, settings(home).url)
    job = queue.cancel(queue.enqueue(config_of(), preset=None, name=None).id)
    queue.close()
    said("prune", "--days", "0", "--home", home)
    lines = [line.split()[2:] for line in said("audit", "--home", home).splitlines()[1:]]
    assert lines == [
        ["the", "command", "line", "delete_job", job.id],
        ["the", "command", "line", "restore_backup", "b.zip"],
        ["the", "command", "line", "import_decomposition", "tiny"],
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["create", "x", "--role", "owner"], "“role” input should be 'read', 'write' or 'admin'"),
        (["create", " "], "needs a name"),
        (["create", "x" * 61], "“name” is too long; the most is 60"),
        (["revoke", "[nope]"], "There is no access token “[nope]” here."),
    ],
)
def test_what_makes_no_sense_gets_a_sentence(home: Path, arguments: list[str], sentence: str) -> None:
    answer = run.invoke(app, ["tokens", *arguments, "--home", str(home)], env=WIDE)
    assert answer.exit_code != 0
    assert sentence in " ".join(answer.stderr.split())


@pytest.mark.parametrize(
    "wrong",
    [
        {"UNWEAVE_PROXY_USER_HEADER": "X-User"},
        {"UNWEAVE_PROXY_JWT_HEADER": "X-Jwt", "UNWEAVE_PROXY_JWT_KEYS": "k", "UNWEAVE_PROXY_JWT_ISSUER": "i"},
        {"UNWEAVE_PROXY_ADDRESSES": '["proxy.example"]'},
        {"UNWEAVE_ADMIN_TOKEN": "short"},
    ],
)
def test_settings_that_protect_nothing_are_refused(home: Path, wrong: dict[str, str]) -> None:
    answer = run.invoke(app, ["serve", "--home", str(home)], env=WIDE | wrong)
    assert answer.exit_code == 2
    assert "UNWEAVE_PROXY" in answer.stderr or "cannot be used" in answer.stderr
    assert "short" not in answer.stderr.replace("too short", "")


class Started(Exception):
    pass


def start(monkeypatch: pytest.MonkeyPatch, made: Settings) -> None:
    """Start a server as far as it would listen."""

    def started(*_: object) -> None:
        raise Started

    monkeypatch.setattr(serving, "create_app", started)
    monkeypatch.setattr(serving, "take_port", lambda *_: (made.home / "port").open("w"))
    with pytest.raises(Started):
        run_server(made, worker=False, console=Console(quiet=True))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "lab.example", "127.0.0.2"])
def test_where_others_can_reach_it_it_does_not_start_before_it_is_said_who_may(
    home: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    home.mkdir()
    monkeypatch.setattr(serving, "take_port", lambda *_: (home / "port").open("w"))
    with pytest.raises(StartError) as refused:
        run_server(settings(home, host=host), worker=False, console=Console(quiet=True))
    for way in ("unweave tokens create", "proxy", "--open"):
        assert way in str(refused.value)


@pytest.mark.parametrize(
    "way",
    [
        {"open": True},
        {"admin_token": "a-secret-of-more-than-20"},
        {"proxy_addresses": ["10.0.0.5"], "proxy_user_header": "X-User"},
        {"host": "127.0.0.1"},
        {"host": "127.0.0.1", "open": False, "admin_token": "a-secret-of-more-than-20"},
    ],
)
def test_each_way_lets_it_start(home: Path, monkeypatch: pytest.MonkeyPatch, way: dict[str, object]) -> None:
    home.mkdir()
    start(monkeypatch, settings(home, **{"host": "0.0.0.0", **way}))


def test_a_token_lets_it_start_until_it_is_revoked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said("tokens", "create", "me", "--role", "admin", "--home", home)
    start(monkeypatch, settings(home, host="0.0.0.0"))
    said(
        "tokens", "revoke", said("tokens", "list", "--home", home).splitlines()[1].split()[0], "--home", home
    )
    with pytest.raises(StartError):  # the port is a file, as `start` left it
        run_server(settings(home, host="0.0.0.0"), worker=False, console=Console(quiet=True))


def test_who_is_asked_follows_from_address_proxy_and_open() -> None:
    proxy = {"proxy_addresses": ["10.0.0.5"], "proxy_user_header": "X-User"}
    assert settings(Path("/x")).is_open
    assert not settings(Path("/x"), host="0.0.0.0").is_open
    assert not settings(Path("/x"), **proxy).is_open
    assert not settings(Path("/x"), open=False).is_open
    assert settings(Path("/x"), host="0.0.0.0", open=True).is_open
