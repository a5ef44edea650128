"""Keyset cursors: base64url of `["<signature>", "<value>" | null, …]`, without padding.

The values are the texts of the order's values as Postgres prints them. The SQL compiler makes the
same bytes inside the statement (`compiler.pages`). A cursor is not a secret and proves nothing but
its form: values reach Postgres as bound parameters only.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence

from stores.errors import InputError

MAX_LENGTH = 100_000


def encode(signature: str, values: Sequence[str | None]) -> str:
    text = json.dumps([signature, *values], ensure_ascii=False, separators=(", ", ": "))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode("ascii")


def decode(cursor: str, signature: str, steps: int) -> tuple[str | None, ...]:
    """The values in a cursor of the order that has `signature` and `steps`. Raises InputError."""
    malformed = InputError("the cursor is malformed", hint="pass one that an answer returned")
    if len(cursor) > MAX_LENGTH or not cursor.isascii():
        raise malformed
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        values = json.loads(raw.decode())
    except (binascii.Error, ValueError, RecursionError):
        raise malformed from None
    if not isinstance(values, list) or not values or not isinstance(values[0], str):
        raise malformed
    if values[0] != signature or len(values) != steps + 1:
        raise InputError(
            "the cursor belongs to another collection or order",
            hint="use the same orderBy as in the query that returned the cursor",
        )
    texts = values[1:]
    for text in texts:
        if text is None:
            continue
        if (
            not isinstance(text, str)
            or "\x00" in text
            or any("\ud800" <= c <= "\udfff" for c in text)
        ):
            raise malformed
    return tuple(texts)
