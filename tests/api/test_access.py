"""Tokens, sessions, limits and the record of changes on a closed server."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update
from starlette.websockets import WebSocketDisconnect

from backend.db.tables import AccessTokenRow, AuditRow, SessionRow
from backend.services.access import tokens
from backend.services.access.limits import network
from backend.web.visitors import SESSION
from tests.access import CLOSED, bearer, expire, new_token, visitors
from tests.conftest import Open, wait_for_engine
from tests.factories import SITES, WOODS, hand_artifact

KEY = f"{SITES[0]}:0"
ASKED = {
    "decomposition": "tiny",
    "title": "golf falls",
    "ablations": [{"text": WOODS, "components": [{"key": KEY}]}],
}


@pytest.fixture
def closed(home: Path, open_app: Open) -> TestClient:
    return open_app(home, **CLOSED)


@pytest.fixture
def lab(home: Path, open_app: Open) -> TestClient:
    """A closed server with a decomposition."""
    hand_artifact(home / "artifacts")
    client = open_app(home, **CLOSED)
    wait_for_engine(client)
    return client


def sign_in(client: TestClient, secret: str) -> None:
    assert client.post("/api/session", json={"token": secret}).status_code == 204


# --- tokens -----------------------------------------------------------------------------------------------------


def test_a_token_is_stored_as_a_hash_only(closed: TestClient, home: Path) -> None:
    secret = new_token(closed, "admin").secret
    sign_in(closed, secret)
    visitors(closed).tokens.database.close()
    stored = b"".join(path.read_bytes() for path in home.glob("unweave.db*"))
    assert secret.encode() not in stored
    assert closed.cookies[SESSION].encode() not in stored
    assert tokens._hash(secret).encode() in stored


def test_an_administrator_makes_lists_and_revokes_tokens(closed: TestClient) -> None:
    admin = bearer(new_token(closed, "admin", "Ada").secret)
    made = closed.post(
        "/api/tokens", json={"name": "script", "role": "write", "days": 7}, headers=admin
    ).json()
    assert closed.get("/api/jobs", headers=bearer(made["secret"])).status_code == 200
    listed = closed.get("/api/tokens", headers=admin).json()["items"]
    assert [item["name"] for item in listed] == ["script", "Ada"]
    assert "secret" not in listed[0]
    assert datetime.fromisoformat(listed[0]["expires_at"]) - datetime.now(UTC) < timedelta(days=7)
    assert listed[0]["last_used_at"] is not None
    assert closed.delete(f"/api/tokens/{made['id']}", headers=admin).status_code == 200
    assert closed.get("/api/jobs", headers=bearer(made["secret"])).status_code == 401
    assert closed.delete(f"/api/tokens/{made['id']}", headers=admin).status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [{"role": "owner"}, {"role": "read", "days": 0}, {"role": None}, {"role": ["admin"]}, {"name": " \n"}],
)
def test_a_token_that_makes_no_sense_is_refused(closed: TestClient, wrong: dict[str, Any]) -> None:
    admin = bearer(new_token(closed, "admin").secret)
    answer = closed.post("/api/tokens", json={"name": "x", "role": "read", **wrong}, headers=admin)
    assert answer.status_code == 422


def test_a_writer_cannot_make_themselves_an_administrator(closed: TestClient) -> None:
    writer = new_token(closed, "write")
    asked = {"name": "me", "role": "admin"}
    assert closed.post("/api/tokens", json=asked, headers=bearer(writer.secret)).status_code == 403
    sign_in(closed, writer.secret)
    assert closed.post("/api/tokens", json=asked).status_code == 403
    forged = {"x-unweave-role": "admin", "x-forwarded-user": "root", "x-role": "admin"}
    assert closed.get("/api/tokens", headers=forged).status_code == 403


@pytest.mark.parametrize("where", ["token", "access_token", "authorization", SESSION])
def test_a_token_in_an_address_is_not_accepted(closed: TestClient, where: str) -> None:
    secret = new_token(closed, "admin").secret
    assert closed.get("/api/jobs", params={where: secret}).status_code == 401
    assert closed.get("/api/jobs", params={where: f"Bearer {secret}"}).status_code == 401


@pytest.mark.parametrize(
    "header",
    ["{}", "Basic {}", "Bearer", "Bearer  ", "Bearer {}x", "Bearer x{}", "bearer \t{} {}", "Token {}"],
)
def test_what_is_no_token_lets_nobody_in(closed: TestClient, header: str) -> None:
    secret = new_token(closed, "admin").secret
    answer = closed.get("/api/jobs", headers={"authorization": header.format(secret, secret)})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_a_wrong_token_is_not_made_good_by_a_session(closed: TestClient) -> None:
    sign_in(closed, new_token(closed, "admin").secret)
    answer = closed.get("/api/jobs", headers=bearer("unweave_wrong"))
    assert (answer.status_code, answer.json()["code"]) == (401, "sign_in_needed")
    assert "revoked" in answer.json()["message"]


def test_the_token_of_the_setting_works_as_long_as_it_is_set(home: Path, open_app: Open) -> None:
    first, other = "a-long-enough-secret-1", "a-long-enough-secret-2"
    client = open_app(home, **CLOSED, admin_token=first)
    assert client.get("/api/tokens", headers=bearer(first)).status_code == 200
    sign_in(client, first)
    assert client.delete("/api/tokens/setting").status_code == 409
    changed = open_app(home, **CLOSED, admin_token=other)
    assert changed.get("/api/tokens", headers=bearer(first)).status_code == 401
    assert changed.get("/api/tokens", headers=bearer(other)).status_code == 200
    changed.cookies = client.cookies
    assert changed.get("/api/tokens").status_code == 401
    assert open_app(home, **CLOSED).get("/api/tokens", headers=bearer(other)).status_code == 401


# --- sessions ---------------------------------------------------------------------------------------------------


def test_the_cookie_is_kept_from_scripts_other_sites_and_the_clear(closed: TestClient) -> None:
    secret = new_token(closed, "read").secret
    plain = closed.post("/api/session", json={"token": secret}).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(plain.split("; "))
    assert "Secure" not in plain
    assert secret not in plain
    closed.base_url = "https://127.0.0.1"
    assert "Secure" in closed.post("/api/session", json={"token": secret}).headers["set-cookie"].split("; ")


def test_one_signs_in_and_out(closed: TestClient) -> None:
    secret = new_token(closed, "write", "Ada").secret
    assert closed.get("/api/session").json()["role"] is None
    sign_in(closed, secret)
    assert closed.get("/api/session").json() == {
        "name": "Ada", "role": "write", "by": "session", "public_findings": False,
    }  # fmt: skip
    cookie = closed.cookies[SESSION]
    assert closed.delete("/api/session").status_code == 204
    assert SESSION not in closed.cookies
    closed.cookies.set(SESSION, cookie)
    assert closed.get("/api/jobs").status_code == 401


def test_a_session_ends_with_its_token_and_with_its_time(closed: TestClient) -> None:
    service = visitors(closed)
    for end in ("revoked", "expired", "old"):
        token = new_token(closed, "read", days=1)
        sign_in(closed, token.secret)
        assert closed.get("/api/jobs").status_code == 200
        if end == "revoked":
            service.tokens.revoke(token.id)
        elif end == "expired":
            expire(service, token.id)
        else:
            with service.tokens.database.session() as session:
                session.execute(update(SessionRow).values(expires_at=datetime.now(UTC)))
        service.tokens._remembered.clear()
        assert closed.get("/api/jobs").status_code == 401, end
        assert closed.get("/api/session").json()["role"] is None


def test_a_session_is_no_token_and_a_token_no_session(closed: TestClient) -> None:
    secret = new_token(closed, "admin").secret
    sign_in(closed, secret)
    cookie = closed.cookies[SESSION]
    assert closed.get("/api/jobs").status_code == 200
    assert closed.get("/api/jobs", headers=bearer(cookie)).status_code == 401
    assert closed.post("/api/session", json={"token": cookie}).status_code == 401
    closed.cookies.clear()
    assert closed.get("/api/jobs", headers=bearer(secret)).status_code == 200
    closed.cookies.set(SESSION, secret)
    assert closed.get("/api/jobs").status_code == 401


def test_a_page_of_another_site_changes_nothing_with_the_cookie(lab: TestClient) -> None:
    sign_in(lab, new_token(lab, "admin").secret)
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        for method, path in (("POST", "/api/findings"), ("DELETE", "/api/session"), ("POST", "/api/session")):
            answer = lab.request(method, path, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")
    assert lab.get("/api/session").json()["by"] == "session"


def test_files_and_event_streams_come_with_the_cookie_alone(lab: TestClient) -> None:
    paths = ("/api/decompositions/tiny/components.csv", "/api/findings.json", "/api/jobs/nope/events")
    assert [lab.get(path).status_code for path in paths] == [401] * 3
    sign_in(lab, new_token(lab, "read").secret)
    assert [lab.get(path).status_code for path in paths] == [200, 200, 404]


def test_a_websocket_is_refused(closed: TestClient) -> None:
    sign_in(closed, new_token(closed, "admin").secret)
    for path in ("/api/jobs", "/", "/api/jobs/x/events"):
        with pytest.raises(WebSocketDisconnect), closed.websocket_connect(path):
            pass


# --- findings that anyone may open ------------------------------------------------------------------------------


@pytest.mark.parametrize("public", [False, True])
def test_what_a_findings_link_leads_to_can_be_public(home: Path, open_app: Open, public: bool) -> None:
    hand_artifact(home / "artifacts")
    client = open_app(home, **CLOSED, public_findings=public)
    wait_for_engine(client)
    writer = bearer(new_token(client, "write").secret)
    slug = client.post("/api/findings", json=ASKED, headers=writer).json()["slug"]
    linked = [
        f"/api/findings/{slug}", f"/api/findings/{slug}.csv", f"/api/findings/{slug}.md", f"/f/{slug}/embed",
        f"/api/findings/{slug}/figures/output-shift.json",
    ]  # fmt: skip
    assert [client.get(path).status_code for path in linked] == [200 if public else 401] * 5
    others = [
        "/api/findings",
        "/api/findings.csv",
        "/api/decompositions",
        "/api/decompositions/tiny",
        "/api/health",
    ]
    assert [client.get(path).status_code for path in others] == [401] * 5
    assert client.post(f"/api/findings/{slug}/replay").status_code == 401


# --- limits -----------------------------------------------------------------------------------------------------


def test_wrong_tokens_are_tried_only_so_often(home: Path, open_app: Open) -> None:
    client = open_app(home, open=False, failed_sign_ins_per_minute=3)
    right = new_token(client, "admin").secret
    tried = [client.post("/api/session", json={"token": f"wrong {i}"}) for i in range(5)]
    assert [answer.status_code for answer in tried] == [401, 401, 401, 429, 429]
    assert 1 <= int(tried[-1].headers["retry-after"]) <= 60
    assert tried[-1].json()["code"] == "too_many_requests"
    assert (
        client.post("/api/session", json={"token": right}).status_code == 429
    )  # unread, so nothing is learnt
    shown = [client.get("/api/jobs", headers=bearer(f"wrong {i}")).status_code for i in range(5)]
    assert shown == [401, 401, 401, 429, 429]
    assert (
        client.get("/api/jobs", headers=bearer(right)).status_code == 200
    )  # a colleague's mistakes lock nobody out


def test_each_client_has_its_own_requests(home: Path, open_app: Open) -> None:
    client = open_app(home, open=False, requests_per_minute=5)
    a, b = (bearer(new_token(client, "read").secret) for _ in range(2))
    codes = [client.get("/api/jobs", headers=a).status_code for _ in range(7)]
    assert codes == [200] * 5 + [429] * 2
    assert client.get("/api/jobs", headers=b).status_code == 200
    assert client.get("/api/nothing", headers=a).status_code == 429  # whatever is asked for
    assert [client.get("/healthz").status_code for _ in range(9)] == [200] * 9


def test_each_client_has_its_own_bytes(home: Path, open_app: Open) -> None:
    client = open_app(home, open=False, bytes_per_minute=1_000)
    a, b = (bearer(new_token(client, "read").secret) for _ in range(2))
    for headers, codes in ((a, [404, 429]), (b, [404])):
        for code in codes:
            answer = client.post("/api/decompositions/no/tokenize", json={"text": "x" * 600}, headers=headers)
            assert answer.status_code == code


def test_an_open_server_on_loopback_counts_nothing(home: Path, open_app: Open) -> None:
    client = open_app(home, requests_per_minute=1)
    assert [client.get("/api/jobs").status_code for _ in range(3)] == [200] * 3
    client = open_app(home, host="0.0.0.0", open=True, requests_per_minute=1)
    assert [client.get("/api/jobs").status_code for _ in range(2)] == [200, 429]


def test_one_household_of_ipv6_is_one_client() -> None:
    assert network("2001:db8:1:2:3:4:5:6") == network("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert network("::ffff:192.0.2.7") == network("192.0.2.7") == "192.0.2.7"
    assert network("testclient") == "testclient"


# --- the record of changes --------------------------------------------------------------------------------------


def test_every_change_leaves_a_line_and_looking_none(lab: TestClient) -> None:
    admin = bearer(new_token(lab, "admin", "root").secret)
    ada = bearer(new_token(lab, "write", "Ada").secret)
    lab.get("/api/findings", headers=ada)
    lab.post("/api/decompositions/tiny/tokenize", json={"text": "x"}, headers=ada)
    slug = lab.post("/api/findings", json=ASKED, headers=ada).json()["slug"]
    listed = lab.post("/api/collections", json={"title": "x", "findings": [slug]}, headers=ada).json()["slug"]
    label = f"/api/decompositions/tiny/components/{KEY}/label"
    assert lab.put(label, json={"text": "golf", "version": 0}, headers=ada).status_code == 200
    assert lab.put(label, json={"text": "late", "version": 0}, headers=ada).status_code == 409
    assert lab.post("/api/findings", json={}, headers=ada).status_code == 422
    assert lab.post("/api/tokens", json={"name": "x", "role": "read"}, headers=ada).status_code == 403
    made = lab.post("/api/tokens", json={"name": "new", "role": "read"}, headers=admin).json()["id"]
    lines = lab.get("/api/audit", headers=admin).json()["items"]
    assert [(line["who"], line["action"], line["subject"]) for line in lines] == [
        ("root", "create_token", f"{made} (new, read)"),
        ("Ada", "edit_label", f"tiny/{KEY}"),
        ("Ada", "create_collection", listed),
        ("Ada", "create_finding", slug),
    ]
    assert {line["address"] for line in lines} == {"testclient"}
    assert [line["who"] for line in lab.get("/api/audit?q=FINDING", headers=admin).json()["items"]] == ["Ada"]
    page = lab.get("/api/audit?limit=3", headers=admin).json()
    assert (page["total"], page["next_cursor"]) == (4, "3")
    assert len(lab.get("/api/audit?limit=3&cursor=3", headers=admin).json()["items"]) == 1


def test_old_lines_are_swept_out(home: Path, open_app: Open) -> None:
    service = visitors(open_app(home, audit_days=10))
    service.audit.write("Ada", "create_job", "old")
    with service.audit.database.session() as session:
        session.execute(update(AuditRow).values(at=datetime.now(UTC) - timedelta(days=11)))
    service.audit._swept = float("-inf")
    service.audit.write("Ada", "create_job", "new")
    assert [line.subject for line in service.audit.listing(limit=9).items] == ["new"]


def test_a_change_is_made_though_its_line_cannot_be_written(
    lab: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    ada = bearer(new_token(lab, "write", "Ada").secret)
    with visitors(lab).audit.database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE audit")
    with caplog.at_level(logging.ERROR, "unweave"):
        assert lab.post("/api/findings", json=ASKED, headers=ada).status_code == 201
    assert "not in the audit: create_finding" in caplog.text


def test_a_token_says_when_it_was_last_used_to_the_minute(closed: TestClient) -> None:
    token, service = new_token(closed, "read"), visitors(closed)

    def used() -> datetime | None:
        with service.tokens.database.session() as session:
            return session.scalar(select(AccessTokenRow.last_used_at).where(AccessTokenRow.id == token.id))

    assert used() is None
    closed.get("/api/jobs", headers=bearer(token.secret))
    first = used()
    service.tokens._remembered.clear()
    closed.get("/api/jobs", headers=bearer(token.secret))
    assert first is not None
    assert used() == first
