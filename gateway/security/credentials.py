"""Reads the credential of a request: a bearer token or an API key, by one of three headers.
Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.http.problems import HttpProblem
from stores.errors import InputError

LONGEST = 8_192
"""Bytes of a credential: as much as a server's header line commonly holds."""
KEY_PREFIX = "rgk_"
"""The beginning of every API key, so that a key and a token are never taken for each other."""
CHALLENGE = 'Bearer realm="recordgate"'
PAGE_CHALLENGE = 'Basic realm="recordgate: the password is an API key", charset="UTF-8"'
"""The challenge for a browser, which then asks for the key and sends it with its page's
requests."""


@dataclass(frozen=True, slots=True)
class Credential:
    """`text` is an API key or a JWT; it must not show in a log."""

    text: str

    @property
    def is_key(self) -> bool:
        return self.text.startswith(KEY_PREFIX)

    def __repr__(self) -> str:
        return "Credential(…)"


def unauthenticated(message: str, *, hint: str = "", error: str = "") -> HttpProblem:
    """401 with its challenge. `error`: a code of RFC 6750, for a credential that was given."""
    challenge = f'{CHALLENGE}, error="{error}"' if error else CHALLENGE
    return HttpProblem(
        "UNAUTHENTICATED", message, hint=hint, headers={"WWW-Authenticate": challenge}
    )


def credential_of(headers: Iterable[tuple[bytes, bytes]]) -> Credential | None:
    """The credential in ASGI headers: `Authorization: Bearer …`, `X-API-Key`, or an API key as the
    password of Basic. None where there is none. Raises HttpProblem (401) for one that cannot be
    read."""
    found: list[str] = []
    for name, value in headers:
        if name == b"authorization":
            found.append(_authorization(value))
        elif name == b"x-api-key":
            found.append(_text(value))
    if not found:
        return None
    if len(found) > 1:
        raise unauthenticated("the request has more than one credential", error="invalid_request")
    return Credential(found[0])


def asked_roles(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[str] | None:
    """Return the roles to which a request narrows its caller's, by `Recordgate-Roles: reader,
    clerk`; None where it does not. Raises InputError where the header comes twice or names none."""
    found = [value for name, value in headers if name == b"recordgate-roles"]
    if not found:
        return None
    names = frozenset(
        filter(None, (n.strip() for n in found[0].decode("utf-8", "replace").split(",")))
    )
    if len(found) > 1 or not names:
        raise InputError("Recordgate-Roles names roles, separated by commas, once")
    return names


def _text(raw: bytes) -> str:
    if len(raw) > LONGEST or not raw.isascii():
        raise unauthenticated("the credential is malformed", error="invalid_request")
    return raw.decode("ascii").strip()


def _authorization(raw: bytes) -> str:
    scheme, _, rest = _text(raw).partition(" ")
    if scheme.lower() == "bearer" and rest.strip():
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            _, colon, password = base64.b64decode(rest.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            colon = password = b""
        if colon:
            return _text(password)
    raise unauthenticated(
        "the Authorization header has an unsupported scheme",
        hint="send Authorization: Bearer, with a token or an API key",
        error="invalid_request",
    )
