"""The public keys that sign tokens: a JWK set (RFC 7517) from a file or a URL, kept, renewed, and
asked for again when a token names a key that it does not have."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from stores.errors import SetupError, StoreUnavailable

log = logging.getLogger("gateway")

ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""All that is taken: signatures by a private key. A shared secret (HS…) never is: whoever holds the
set could sign with it."""
_FITTING = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
SMALLEST_RSA = 2048
LARGEST = 512_000
"""Bytes of a set."""
MOST_KEYS = 100
SECONDS = 5.0
"""The most seconds that a set may take to come."""
RENEW = 600.0
"""Seconds after which the set is asked for again, so that a key that was taken out is not trusted
on."""
AGAIN = 30.0
"""Seconds that must lie between two askings, however many tokens name an unknown key."""
AGAIN_FAILED = 3.0


@dataclass(frozen=True, slots=True)
class KeySet:
    """Keys by algorithm and id; what no id is asked for is under None."""

    keys: dict[tuple[str, str | None], tuple[jwt.PyJWK, ...]] = field(default_factory=dict)

    def find(self, algorithm: str, kid: str | None) -> jwt.PyJWK | None:
        """The key; without a `kid` only where one key alone could be meant."""
        found = self.keys.get((algorithm, kid), ())
        return found[0] if found and (kid is not None or len(found) == 1) else None


def read_key_set(raw: bytes, algorithms: tuple[str, ...]) -> KeySet:
    """The keys in `raw` that can verify by one of `algorithms`; others are passed over. Raises
    SetupError where it is no JWK set, or has no such key."""
    try:
        entries = json.loads(raw)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise SetupError("it is not a JWK set") from None
    if not isinstance(entries, list) or len(entries) > MOST_KEYS:
        raise SetupError(f"it is not a JWK set of at most {MOST_KEYS} keys")
    found: dict[tuple[str, str | None], tuple[jwt.PyJWK, ...]] = {}
    for entry in entries:
        for algorithm in _algorithms_of(entry):
            if algorithm not in algorithms:
                continue
            key = _key(entry, algorithm)
            if key is None:
                continue
            kid = entry.get("kid")
            for name in dict.fromkeys((kid if isinstance(kid, str) else None, None)):
                found[algorithm, name] = (*found.get((algorithm, name), ()), key)
    if not found:
        raise SetupError("it has no key that the settings' algorithms can use")
    return KeySet(found)


def _algorithms_of(entry: Any) -> tuple[str, ...]:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return ()
    kind = entry.get("kty")
    curve = None if kind == "RSA" else entry.get("crv")
    if not isinstance(kind, str) or not isinstance(curve, str | None):
        return ()
    fitting = _FITTING.get((kind, curve), ())
    own = entry.get("alg")
    return fitting if own is None else tuple(a for a in fitting if a == own)


def _key(entry: dict[str, Any], algorithm: str) -> jwt.PyJWK | None:
    """The public key, also of an entry that has a private part."""
    public = {k: v for k, v in entry.items() if k in ("kty", "kid", "n", "e", "crv", "x", "y")}
    try:
        key = jwt.PyJWK(public, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key.key, RSAPublicKey) and key.key.key_size < SMALLEST_RSA:
        return None
    return key


class KeySource:
    """The key set at a place. `read` blocks, and raises OSError or SetupError; it runs in a
    thread."""

    def __init__(
        self,
        read: Callable[[], bytes],
        algorithms: tuple[str, ...],
        *,
        renew: float = RENEW,
        again: float = AGAIN,
    ) -> None:
        self._read, self._algorithms = read, algorithms
        self._renew, self._again = renew, again
        self._set: KeySet | None = None
        self._fetched = self._asked = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self.version = 0
        """Grows with each set that comes in."""

    def load(self) -> None:
        """Read the set now, in this thread. Raises OSError, SetupError."""
        self._take(read_key_set(self._read(), self._algorithms))

    async def find(self, algorithm: str, kid: str | None) -> jwt.PyJWK | None:
        """The key; None where the set has none such, also after asking again. Raises
        StoreUnavailable where there is no set at all."""
        if self._set is not None and time.monotonic() - self._fetched >= self._renew:
            self._ask()  # requests go on with the set at hand
        found = None if self._set is None else self._set.find(algorithm, kid)
        if found is None:
            asking = self._ask()
            if asking is not None:
                await asyncio.shield(asking)
            found = None if self._set is None else self._set.find(algorithm, kid)
        if self._set is None:
            raise StoreUnavailable(
                "the keys that verify tokens cannot be fetched",
                store="jwks",
                retry_after=AGAIN_FAILED,
            )
        return found

    def _ask(self) -> asyncio.Task[None] | None:
        """The asking that is under way, or a new one; None where it is too early for one."""
        if self._asking is not None and not self._asking.done():
            return self._asking
        now = time.monotonic()
        if now - self._asked < (AGAIN_FAILED if self._set is None else self._again):
            return None
        self._asked = now
        self._asking = asyncio.ensure_future(self._fetch())
        return self._asking

    async def _fetch(self) -> None:
        """Never raises."""
        try:
            raw = await asyncio.wait_for(asyncio.to_thread(self._read), SECONDS * 2)
            self._take(read_key_set(raw, self._algorithms))
        except (OSError, SetupError, TimeoutError) as error:
            log.warning("the keys that verify tokens: %s", error)

    def _take(self, found: KeySet) -> None:
        self._set = found
        self._fetched = self._asked = time.monotonic()
        self.version += 1


# Where it comes from ----------------------------------------------------------------------------


def is_url(place: str) -> bool:
    return "://" in place


def reader(place: str) -> Callable[[], bytes]:
    """Reads the set at a path or URL. Raises SetupError for a URL that is not https (http is taken
    of this machine alone: whoever can change the answer can sign)."""
    if not is_url(place):
        return lambda: _bounded(Path(place).open("rb"))
    parts = urlsplit(place)
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_local(parts.hostname)):
        raise SetupError("setting jwks: a URL must begin with https://")
    if parts.username is not None:
        raise SetupError("setting jwks: a URL must not hold a password")
    return lambda: _fetch(place)


def _is_local(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would lead away from the place that the settings trust."""

    def redirect_request(self, *_args: Any, **_more: Any) -> None:
        return None


def _fetch(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"Accept": "application/json"})
    try:
        return _bounded(urllib.request.build_opener(_NoRedirects).open(request, timeout=SECONDS))
    except urllib.error.HTTPError as error:
        raise SetupError(f"the URL answers with status {error.code}") from None


def _bounded(file: Any) -> bytes:
    with file:
        raw: bytes = file.read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise SetupError(f"the set is larger than {LARGEST} bytes")
    return raw
