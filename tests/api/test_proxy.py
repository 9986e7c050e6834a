"""A proxy that says who people are: believed from its own address, or for its signature, and never otherwise."""

from __future__ import annotations

import base64
import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi.testclient import TestClient
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from backend.app import create_app
from backend.services.access.proxy import ProxyError, key_finder
from tests.access import CLOSED, bearer, new_token
from tests.conftest import Open
from tests.factories import settings

PROXY, ELSEWHERE = "10.0.0.5", "203.0.113.9"
HEADERS = {
    "proxy_addresses": ["10.0.0.0/29", "::1"], "proxy_user_header": "X-Forwarded-User",
    "proxy_role_header": "X-Forwarded-Groups",
}  # fmt: skip
ADA = {"x-forwarded-user": "Ada", "x-forwarded-groups": "staff, write"}


@pytest.fixture
def behind(home: Path) -> Iterator[Any]:
    """`behind(address)`: a client whose connections come from that address."""
    app = create_app(settings(home, **CLOSED, **HEADERS))
    with TestClient(app, base_url="http://127.0.0.1"):
        yield lambda address: TestClient(app, base_url="http://127.0.0.1", client=(address, 4_000))


# --- headers ----------------------------------------------------------------------------------------------------


def test_the_proxys_headers_say_who_somebody_is(behind: Any) -> None:
    session = behind(PROXY).get("/api/session", headers=ADA).json()
    assert (session["name"], session["role"], session["by"]) == ("Ada", "write", "proxy")
    for groups, role in (("", "read"), ("staff", "read"), ("read,admin", "admin"), ("Administrator", "read")):
        headers = ADA | {"x-forwarded-groups": groups}
        assert behind(PROXY).get("/api/session", headers=headers).json()["role"] == role
    assert behind(PROXY).get("/api/jobs").status_code == 401  # it says nothing of anybody


@pytest.mark.parametrize("address", [ELSEWHERE, "10.0.0.8", "127.0.0.1", "::2", "testclient"])
@pytest.mark.parametrize(
    "more", [{}, {"x-forwarded-for": PROXY}, {"x-real-ip": PROXY}, {"forwarded": f"for={PROXY}"}]
)
def test_from_any_other_address_they_say_nothing(behind: Any, address: str, more: dict[str, str]) -> None:
    forged = {"x-forwarded-user": "root", "x-forwarded-groups": "admin", **more}
    assert behind(address).get("/api/tokens", headers=forged).status_code == 401


def test_the_address_in_the_audit_is_the_one_behind_the_proxy(behind: Any) -> None:
    root = {"x-forwarded-user": "root", "x-forwarded-groups": "admin"}
    asked = {"name": "x", "role": "read"}
    for address, chain in ((PROXY, f"6.6.6.6, {ELSEWHERE}, 10.0.0.6"), (PROXY, ELSEWHERE)):
        told = {**root, "x-forwarded-for": chain}
        assert behind(address).post("/api/tokens", json=asked, headers=told).status_code == 201
    lines = behind(PROXY).get("/api/audit", headers=root).json()["items"]
    assert {(line["who"], line["address"]) for line in lines} == {("root", ELSEWHERE)}


def test_a_token_counts_behind_a_proxy_that_knows_nobody(home: Path, open_app: Open) -> None:
    client = open_app(home, **CLOSED, **HEADERS)
    assert client.get("/api/jobs", headers=bearer(new_token(client, "read").secret)).status_code == 200


def test_https_before_the_proxy_makes_the_cookie_secure(behind: Any) -> None:
    root = {"x-forwarded-user": "root", "x-forwarded-groups": "admin"}
    made = behind(PROXY).post("/api/tokens", json={"name": "x", "role": "read"}, headers=root).json()
    for address, secure in ((PROXY, True), (ELSEWHERE, False)):
        client = behind(address)
        answer = client.post(
            "/api/session", json={"token": made["secret"]}, headers={"x-forwarded-proto": "https"}
        )
        assert ("Secure" in answer.headers["set-cookie"]) == secure


# --- a signed JWT -----------------------------------------------------------------------------------------------

KEY, OTHER = (rsa.generate_private_key(public_exponent=65_537, key_size=2_048) for _ in range(2))
CURVE = ec.generate_private_key(ec.SECP256R1())
AUDIENCE, ISSUER = "unweave", "https://login.example"


def pem(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def claims(**changes: Any) -> dict[str, Any]:
    told = {
        "sub": "ada", "aud": AUDIENCE, "iss": ISSUER, "exp": time.time() + 600, "groups": ["staff", "write"], **changes,
    }  # fmt: skip
    return {name: value for name, value in told.items() if value is not None}


def jwks() -> str:
    keys = [
        {
            **json.loads(RSAAlgorithm.to_jwk(KEY.public_key())),
            "kid": "r",
            "use": "sig",
            "alg": "RS256",
        },
        {
            **json.loads(ECAlgorithm.to_jwk(CURVE.public_key())),
            "kid": "e",
            "use": "sig",
            "alg": "ES256",
        },
    ]
    return json.dumps({"keys": keys})


@pytest.fixture
def signed(home: Path, tmp_path: Path, open_app: Open) -> TestClient:
    """A server that believes what KEY signed."""
    (tmp_path / "key.pem").write_bytes(pem(KEY))
    return open_app(
        home, **CLOSED, proxy_jwt_header="X-Jwt", proxy_jwt_keys=str(tmp_path / "key.pem"),
        proxy_jwt_audience=AUDIENCE, proxy_jwt_issuer=ISSUER, proxy_jwt_role_claim="groups",
    )  # fmt: skip


def session(client: TestClient, token: str) -> dict[str, Any]:
    return client.get("/api/session", headers={"x-jwt": token}).json()


def test_a_signed_jwt_says_who_somebody_is(signed: TestClient) -> None:
    for prefix in ("", "Bearer "):
        found = session(signed, prefix + jwt.encode(claims(), KEY, "RS256"))
        assert (found["name"], found["role"], found["by"]) == ("ada", "write", "proxy")
    assert session(signed, jwt.encode(claims(groups="admin"), KEY, "PS256"))["role"] == "admin"
    assert session(signed, jwt.encode(claims(groups=None), KEY, "RS256"))["role"] == "read"
    assert session(signed, jwt.encode(claims(groups={"admin": 1}, sub="x"), KEY, "RS256"))["name"] == "x"


def unsigned(header: dict[str, Any], **changes: Any) -> str:
    parts = [header, claims(**changes)]
    return (
        ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts) + "."
    )


def with_shared_secret() -> str:
    """Signed with the public key as if it were a shared secret."""
    import hashlib
    import hmac

    body = unsigned({"alg": "HS256", "typ": "JWT"}).rstrip(".")
    digest = hmac.new(pem(KEY), body.encode(), hashlib.sha256).digest()
    return f"{body}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


@pytest.mark.parametrize(
    "token",
    [
        unsigned({"alg": "none"}),
        unsigned({"alg": "None"}),
        with_shared_secret(),
        jwt.encode(claims(), OTHER, "RS256"),
        jwt.encode(claims(), CURVE, "ES256"),
        jwt.encode(claims(), "a shared secret that is long enough", "HS256"),
        jwt.encode(claims(aud="another"), KEY, "RS256"),
        jwt.encode(claims(aud=None), KEY, "RS256"),
        jwt.encode(claims(iss="https://evil.example"), KEY, "RS256"),
        jwt.encode(claims(iss=None), KEY, "RS256"),
        jwt.encode(claims(exp=1_000_000_000), KEY, "RS256"),
        jwt.encode(claims(exp=None), KEY, "RS256"),
        jwt.encode(claims(nbf=4_000_000_000), KEY, "RS256"),
        jwt.encode(claims(sub=None), KEY, "RS256"),
        jwt.encode(claims(sub=" "), KEY, "RS256"),
        jwt.encode(claims(), KEY, "RS256")[:-6] + "AAAAAA",
        "x", "a.b.c", "Bearer", "..",
    ],
)  # fmt: skip
def test_what_proves_nothing_lets_nobody_in(signed: TestClient, token: str) -> None:
    answer = signed.get("/api/jobs", headers={"x-jwt": token})
    assert (answer.status_code, answer.json()["code"]) == (401, "sign_in_needed")
    assert session(signed, token)["role"] is None


def test_plain_headers_say_nothing_where_a_signature_is_asked_for(signed: TestClient) -> None:
    assert signed.get("/api/jobs", headers={"x-forwarded-user": "root", "x-jwt": ""}).status_code == 401


def test_keys_of_a_set_are_found_by_their_id(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(jwks())
    find = key_finder(str(tmp_path / "keys.json"))
    for key, id, algorithm in ((KEY, "r", "RS256"), (CURVE, "e", "ES256")):
        token = jwt.encode(claims(), key, algorithm, headers={"kid": id})
        assert jwt.decode(token, find(token), [algorithm], audience=AUDIENCE)["sub"] == "ada"
    with pytest.raises(jwt.InvalidKeyError, match="“x”, which is not the proxy's"):
        find(jwt.encode(claims(), KEY, "RS256", headers={"kid": "x"}))


def test_keys_can_be_asked_for_at_an_address() -> None:
    class Keys(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(jwks().encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Keys) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        find = key_finder(f"http://127.0.0.1:{server.server_address[1]}/jwks.json")
        token = jwt.encode(claims(), CURVE, "ES256", headers={"kid": "e"})
        assert jwt.decode(token, find(token), ["ES256"], audience=AUDIENCE)["sub"] == "ada"
        server.shutdown()


@pytest.mark.parametrize("text", [None, "", "no key", "{", '{"keys": []}'])
def test_keys_that_cannot_be_read_are_said_at_the_start(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "keys"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ProxyError, match="cannot be read"):
        key_finder(str(path))
