"""API keys: how one is made, kept and recognised. A key is kept as its hash: whoever reads the file
can neither use nor rebuild one.

A key is `rgk_<id>_<secret>`: 6 random bytes in hex, 32 random bytes in base64url. The secret is
random as a whole, so plain SHA-256 keeps it; a slow password hash would only slow the gateway.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping

import msgspec

from gateway.security.credentials import KEY_PREFIX

_FORM = re.compile(rf"{KEY_PREFIX}([0-9a-f]{{12}})_[A-Za-z0-9_-]{{43}}\Z")


class ApiKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key as it is kept. `sha256`: of the whole key, in hex. `created` and `expires`: Unix
    seconds."""

    id: str
    name: str
    roles: tuple[str, ...]
    sha256: str
    created: int
    expires: int | None = None


def make_key(
    name: str, roles: tuple[str, ...], now: float, lifetime: float | None
) -> tuple[str, ApiKey]:
    """A new key's text, which is to be shown once, and what is kept of it. Times in seconds."""
    identity = secrets.token_hex(6)
    text = f"{KEY_PREFIX}{identity}_{secrets.token_urlsafe(32)}"
    expires = None if lifetime is None else int(now + lifetime)
    return text, ApiKey(identity, name, roles, _digest(text), int(now), expires)


def recognised(text: str, keys: Mapping[str, ApiKey], now: float) -> ApiKey | None:
    """The key that `text` is; None for one that is unknown or has expired. The comparison takes as
    long for a wrong secret as for a wrong id."""
    form = _FORM.match(text)
    if form is None:
        return None
    key = keys.get(form[1])
    same = hmac.compare_digest(_digest(text), key.sha256 if key else "0" * 64)
    if key is None or not same or (key.expires is not None and now >= key.expires):
        return None
    return key


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
