"""Freshness tokens: a commit position of one database, signed, as short text.

Layout (45 bytes, base64url without padding, 60 characters): version (1) · commit position (8, big
endian) · SHA-256 of the database's identity (first 16) · timeline of the position (4, big endian) ·
HMAC-SHA256 of all before (first 16). A caller can neither make one nor move one to another
database. Tokens of version 1 have no timeline, and are taken still.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

from stores.errors import InputError, LimitError

_VERSION = 2
_BODY = {1: 1 + 8 + 16, 2: 1 + 8 + 16 + 4}
"""Version → bytes before the MAC."""
_MAC = 16
MAX_TOKENS = 50
_LENGTHS = {len(base64.urlsafe_b64encode(bytes(n + _MAC)).rstrip(b"=")) for n in _BODY.values()}


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit that a token names. `timeline` 0: it does not say which."""

    lsn: int
    timeline: int = 0


def _identity(system: str) -> bytes:
    return hashlib.sha256(system.encode()).digest()[:16]


def _mac(body: bytes, secret: bytes) -> bytes:
    return hmac.new(secret, body, hashlib.sha256).digest()[:_MAC]


def sign_token(system: str, lsn: int, secret: bytes, *, timeline: int = 0) -> str:
    """The token of a write that committed at or before `lsn` of `timeline` (0: it is not said) in
    the database `system`."""
    body = bytes([_VERSION]) + lsn.to_bytes(8, "big") + _identity(system)
    body += timeline.to_bytes(4, "big")
    return base64.urlsafe_b64encode(body + _mac(body, secret)).rstrip(b"=").decode("ascii")


def own_tokens(text: str, system: str, *, alone: bool = True) -> list[str]:
    """Return those of a list of tokens, separated by commas as a federated gateway joins those of
    several products, that are of the database `system`. A single token is nobody else's, `alone`:
    `read_token` says what is wrong with it. A federated gateway also passes on a single one that is
    another product's. Raises InputError, LimitError."""
    tokens = [part.strip() for part in text.split(",") if part.strip()]
    if alone and len(tokens) < 2:
        return tokens or [text]
    if len(tokens) > MAX_TOKENS:
        raise LimitError(f"more than {MAX_TOKENS} freshness tokens")
    return [t for t in tokens if _decoded(t)[9:25] == _identity(system)]


def _decoded(token: str) -> bytes:
    if len(token) not in _LENGTHS or not token.isascii():
        raise InputError("the freshness token is malformed", hint="pass it as a write returned it")
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InputError(
            "the freshness token is malformed", hint="pass it as a write returned it"
        ) from None


def read_token(token: str, system: str, secret: bytes) -> Commit:
    """Return the commit that `token` names. Raises InputError where it is malformed, forged, or
    another database's."""
    raw = _decoded(token)
    body, mac = raw[:-_MAC], raw[-_MAC:]
    if _BODY.get(body[0]) != len(body) or not hmac.compare_digest(mac, _mac(body, secret)):
        raise InputError(
            "the freshness token was not signed by this gateway",
            hint=(
                "pass it as a write returned it; all gateways of a product need the same secret:"
                " setting token_secret_file"
            ),
        )
    if not hmac.compare_digest(body[9:25], _identity(system)):
        raise InputError(
            "the freshness token belongs to another database",
            hint="a token is valid only for the database that was written to",
        )
    return Commit(int.from_bytes(body[1:9], "big"), int.from_bytes(body[25:], "big"))
