"""Cursors of search results: the sort values of a hit, signed, because a search store trusts their types.

Layout, base64url without padding: HMAC-SHA256 (first 12 bytes) of type, sort and values · the values as JSON.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any

import orjson

from gateway.orders import nulls_first
from stores.errors import InputError
from stores.query import SearchQuery

_MAC = 12
_LONGEST = 20_000


def _mac(query: SearchQuery, values: bytes, secret: bytes) -> bytes:
    steps = [[o.property, o.descending, nulls_first(o)] for o in query.sort]
    bound = orjson.dumps(["search", query.type, steps]) + values
    return hmac.new(secret, bound, hashlib.sha256).digest()[:_MAC]


def encode(query: SearchQuery, values: tuple[Any, ...], secret: bytes) -> str:
    """The cursor after a hit of `query` with these sort values."""
    text = orjson.dumps(values)
    return base64.urlsafe_b64encode(_mac(query, text, secret) + text).rstrip(b"=").decode("ascii")


def decode(query: SearchQuery, cursor: str, secret: bytes) -> tuple[Any, ...]:
    """The sort values in `cursor`. Raises InputError where it is not one of this type and sort."""
    wrong = InputError(
        "the cursor is not one of this search", hint="pass one that the same search returned"
    )
    if len(cursor) > _LONGEST or not cursor.isascii():
        raise wrong
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise wrong from None
    mac, text = raw[:_MAC], raw[_MAC:]
    if not hmac.compare_digest(mac, _mac(query, text, secret)):
        raise wrong
    return tuple(orjson.loads(text))
