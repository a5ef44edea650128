"""Positions in the changes of a type, as short text that only its maker can read.

What a position says, a count of changes and a time, would tell of changes that its holder may not
see: so it is encrypted, and no two texts are the same. Layout (base64url without padding): nonce
(12 bytes) · the position under a key stream of HMAC-SHA256 · HMAC-SHA256 of both (first 16).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import struct
from dataclasses import dataclass

from stores.errors import InputError

_FORM = struct.Struct(">B16s16sQQQQ")
_NONCE, _MAC = 12, 16
_VERSION = 1
_BYTES = _NONCE + _FORM.size + _MAC
_LENGTH = len(base64.urlsafe_b64encode(bytes(_BYTES)).rstrip(b"="))


@dataclass(frozen=True, slots=True)
class ChangePosition:
    """Behind the row `id` of the log, which was written `at` (microseconds since the epoch), in the
    `epoch` of the type's log. `system`: the database, hashed; `view`: what of which type is asked,
    as who may see it, hashed."""

    system: bytes
    view: bytes
    timeline: int
    epoch: int
    id: int
    at: int


def digest(*parts: str | bytes) -> bytes:
    """The hash of several texts as a position has it."""
    found = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        found.update(len(raw).to_bytes(8, "big") + raw)
    return found.digest()[:16]


def _stream(nonce: bytes, secret: bytes, size: int) -> bytes:
    blocks = [
        hmac.new(secret, b"changes stream" + nonce + bytes([i]), hashlib.sha256).digest()
        for i in range(-(-size // 32))
    ]
    return b"".join(blocks)[:size]


def _mac(sealed: bytes, secret: bytes) -> bytes:
    return hmac.new(secret, b"changes" + sealed, hashlib.sha256).digest()[:_MAC]


def _crossed(body: bytes, stream: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(body, stream, strict=True))


def write_position(position: ChangePosition, secret: bytes) -> str:
    """The text of a position."""
    p = position
    body = _FORM.pack(_VERSION, p.system, p.view, p.timeline, p.epoch, p.id, p.at)
    nonce = secrets.token_bytes(_NONCE)
    sealed = nonce + _crossed(body, _stream(nonce, secret, len(body)))
    return base64.urlsafe_b64encode(sealed + _mac(sealed, secret)).rstrip(b"=").decode("ascii")


def read_position(text: str, secret: bytes) -> ChangePosition:
    """The position that a text says. Raises InputError where we did not write it."""
    wrong = InputError(
        "the position was not given by this product",
        hint="pass it as an export or an answer of /changes gave it; all gateways of a product need"
        " the same secret: setting token_secret_file",
    )
    if len(text) != _LENGTH or not text.isascii():
        raise wrong
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise wrong from None
    sealed, mac = raw[:-_MAC], raw[-_MAC:]
    if not hmac.compare_digest(mac, _mac(sealed, secret)):
        raise wrong
    nonce, body = sealed[:_NONCE], sealed[_NONCE:]
    version, *rest = _FORM.unpack(_crossed(body, _stream(nonce, secret, len(body))))
    if version != _VERSION:
        raise wrong
    return ChangePosition(*rest)
