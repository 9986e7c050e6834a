"""A proxy that asks people who they are and hands it on: in headers, believed only from its own address, or in a signed
JWT, believed for its signature."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from backend.schemas.access import ROLES, Role
from backend.services.access.remembered import Remembered
from backend.settings import Settings

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures with a private key only: with a shared secret, whoever can check could also sign."""
LEEWAY_SECONDS = 30
REMEMBER_SECONDS = 60.0

FindKey = Callable[[str], Any]


class ProxyError(ValueError):
    """What the proxy's settings name cannot be used; the message is a plain sentence."""


class NotBelieved(Exception):
    """A JWT that proves nothing; the message is a plain sentence."""


@dataclass(frozen=True)
class Introduced:
    """Whom the proxy says it has before it."""

    name: str
    role: Role


class TrustedProxy:
    """Reads what the proxy says of a request. Raises ProxyError where its keys cannot be read."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._key = None if settings.proxy_jwt_keys is None else key_finder(settings.proxy_jwt_keys)
        self._remembered = Remembered[Introduced]()

    def introduced(self, headers: Mapping[str, str], *, from_proxy: bool) -> Introduced | None:
        """Whom the request is from; None where it says nothing that can be believed. It may wait for a key.

        `from_proxy`: the connection comes from one of the proxy's addresses. Raises NotBelieved for a bad JWT.
        """
        made = self.settings
        if made.proxy_jwt_header is not None:
            token = headers.get(made.proxy_jwt_header, "").removeprefix("Bearer ").strip()
            return self._verified(token) if token else None
        if made.proxy_user_header is None or not from_proxy:
            return None
        name = headers.get(made.proxy_user_header, "").strip()
        named = headers.get(made.proxy_role_header, "") if made.proxy_role_header else ""
        return Introduced(name[:200], self._role(named.split(","))) if name else None

    def _verified(self, token: str) -> Introduced:
        hash = hashlib.sha256(token.encode()).hexdigest()
        if (known := self._remembered.get(hash)) is not None:
            return known
        made = self.settings
        try:
            claims = jwt.decode(
                token,
                self._key(token) if self._key else "",
                algorithms=list(ALGORITHMS),
                audience=made.proxy_jwt_audience,
                issuer=made.proxy_jwt_issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "aud", "iss"]},
            )
        except (jwt.PyJWTError, TypeError, ValueError) as error:  # a key of another kind than the token says
            raise NotBelieved(f"The proxy's token is not valid: {str(error).rstrip('.')}.") from None
        name = str(claims.get(made.proxy_jwt_user_claim) or "").strip()
        if not name:
            raise NotBelieved(
                f"The proxy's token has no claim “{made.proxy_jwt_user_claim}”, so it names nobody."
            )
        named = claims.get(made.proxy_jwt_role_claim or "") or []
        found = Introduced(name[:200], self._role([named] if isinstance(named, str) else named))
        self._remembered.put(hash, found, min(REMEMBER_SECONDS, claims["exp"] + LEEWAY_SECONDS - time.time()))
        return found

    def _role(self, named: Iterable[Any]) -> Role:
        """The greatest of the roles that are named; the one of the settings where none is."""
        given = {str(name).strip() for name in named}
        greatest = max((place for place, role in enumerate(ROLES) if role in given), default=None)
        return self.settings.proxy_role if greatest is None else ROLES[greatest]


def key_finder(where: str) -> FindKey:
    """What gives the key of a JWT: from a file with a public key (PEM) or a set of them (JWKS), or from the address of
    such a set, which is asked again for a key that it did not hold. Raises ProxyError."""
    if where.startswith(("https://", "http://")):
        client = jwt.PyJWKClient(where, timeout=5)
        return lambda token: client.get_signing_key_from_jwt(token).key
    try:
        text = Path(where).expanduser().read_text(encoding="utf-8")
        if not text.lstrip().startswith("{"):
            key = load_pem_public_key(text.encode())
            return lambda _: key
        keys = {key.key_id: key.key for key in jwt.PyJWKSet.from_dict(json.loads(text)).keys}
    except (OSError, ValueError, jwt.PyJWTError) as error:
        raise ProxyError(f"The proxy's keys {where} cannot be read: {error}.") from None

    def by_id(token: str) -> Any:
        named = jwt.get_unverified_header(token).get("kid")
        if named not in keys:
            raise jwt.InvalidKeyError(
                f"it is signed with the key “{str(named)[:80]}”, which is not the proxy's"
            )
        return keys[named]

    return by_id
