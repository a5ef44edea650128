"""Cursors of search results: the sort values of a hit, signed, because a search store trusts their
types, and sealed, because a score tells of rows that the viewer may not see.

Layout, base64url without padding: the values as JSON under AES-SIV (RFC 5297), bound to type and
sort. It needs no nonce: the same place has the same cursor.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from functools import lru_cache
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from gateway.shape.orders import nulls_first
from stores.errors import InputError
from stores.query import SearchQuery

_LONGEST = 20_000


@lru_cache(maxsize=8)
def _sealer(secret: bytes) -> AESSIV:
    return AESSIV(hmac.new(secret, b"search cursor", hashlib.sha512).digest())


def _bound(query: SearchQuery) -> list[bytes]:
    steps = [[o.property, o.descending, nulls_first(o)] for o in query.sort]
    return [orjson.dumps([query.type, steps])]


def encode(query: SearchQuery, values: tuple[Any, ...], secret: bytes) -> str:
    """The cursor after a hit of `query` with these sort values."""
    sealed = _sealer(secret).encrypt(orjson.dumps(values), _bound(query))
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")


def decode(query: SearchQuery, cursor: str, secret: bytes) -> tuple[Any, ...]:
    """The sort values in `cursor`. Raises InputError where it is not one of this type and sort."""
    wrong = InputError(
        "the cursor is not one of this search", hint="pass one that the same search returned"
    )
    if len(cursor) > _LONGEST or not cursor.isascii():
        raise wrong
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        values = _sealer(secret).decrypt(raw, _bound(query))
    except (binascii.Error, ValueError, InvalidTag):
        raise wrong from None
    return tuple(orjson.loads(values))
