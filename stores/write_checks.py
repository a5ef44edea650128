"""Checks each single write before it is sent: every store refuses bad keys, versions and
documents."""

from __future__ import annotations

from typing import Any

import orjson

from stores import json_numbers
from stores.protocols import APPLIED, Outcome, Verdict, Write

MAX_KEY_BYTES = 512
MAX_DOCUMENT_BYTES = 16_000_000
"""A little under the 16 MiB of MongoDB, so that every store takes what one of them takes."""
MAX_VERSION = 2**63 - 1


def reject(reason: str) -> Verdict:
    return Verdict(Outcome.REJECT, reason)


def check_key(write: Write) -> Verdict | None:
    """Return a verdict if no store can take the key or the version, else None. Deleting such a key
    counts as applied, because no store can hold it."""
    if not 0 < write.version <= MAX_VERSION:
        return reject("the version is not a positive number of 63 bits")
    reason = _why_no_key(write.key)
    if not reason:
        return None
    return APPLIED if write.document is None else reject(reason)


def _why_no_key(key: str) -> str:
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "the key is not valid Unicode"
    if size > MAX_KEY_BYTES:
        return f"the key has {size} bytes, more than {MAX_KEY_BYTES}"
    return "the key holds a NUL character" if "\0" in key else ""


def parse_document(document: bytes) -> tuple[dict[str, Any] | None, Verdict | None]:
    """Return the parsed document, or the verdict on one that is too large or not a JSON object."""
    if len(document) > MAX_DOCUMENT_BYTES:
        return None, reject(
            f"the document has {len(document)} bytes, more than {MAX_DOCUMENT_BYTES}"
        )
    try:
        parsed = json_numbers.loads(document)
    except orjson.JSONDecodeError as error:
        return None, reject(f"the document is not valid JSON at character {error.pos}")
    if not isinstance(parsed, dict):
        return None, reject("the document is not a JSON object")
    return parsed, None
