"""Freshness tokens: a commit position of one database, signed, as short text.

Layout (41 bytes, base64url without padding, 55 characters):
version (1) · commit position (8, big endian) · SHA-256 of the database's identity (first 16) · HMAC-SHA256
of all before (first 16). A caller can neither make one nor move one to another database.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from stores.errors import InputError

_VERSION = 1
_BODY = 1 + 8 + 16
_MAC = 16
_LENGTH = len(base64.urlsafe_b64encode(bytes(_BODY + _MAC)).rstrip(b"="))


def _identity(system: str) -> bytes:
    return hashlib.sha256(system.encode()).digest()[:16]


def _mac(body: bytes, secret: bytes) -> bytes:
    return hmac.new(secret, body, hashlib.sha256).digest()[:_MAC]


def sign_token(system: str, lsn: int, secret: bytes) -> str:
    """The token of a write that committed at or before `lsn` in the database `system`."""
    body = bytes([_VERSION]) + lsn.to_bytes(8, "big") + _identity(system)
    return base64.urlsafe_b64encode(body + _mac(body, secret)).rstrip(b"=").decode("ascii")


def read_token(token: str, system: str, secret: bytes) -> int:
    """The position in `token`. Raises InputError where it is malformed, forged, or another database's."""
    if len(token) != _LENGTH or not token.isascii():
        raise InputError("the freshness token is malformed", hint="pass it as a write returned it")
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InputError(
            "the freshness token is malformed", hint="pass it as a write returned it"
        ) from None
    body, mac = raw[:_BODY], raw[_BODY:]
    if body[0] != _VERSION or not hmac.compare_digest(mac, _mac(body, secret)):
        raise InputError(
            "the freshness token was not made here",
            hint="pass it as a write returned it; gateways that answer for one another need one secret:"
            " setting token_secret_file",
        )
    if not hmac.compare_digest(body[9:], _identity(system)):
        raise InputError(
            "the freshness token belongs to another database",
            hint="a token holds for the database that was written to",
        )
    return int.from_bytes(body[1:9], "big")
