"""Names of constraints and indexes: the same for the same rule, at most 63 bytes, as Postgres cuts
no name.

A name of ours can be told from one made by hand: it is what `constraint_name` gives for its
columns, and a check's name ends in a fingerprint of what it checks, so that a changed rule is
another constraint.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

LIMIT = 63
"""Bytes of an identifier that Postgres keeps."""

CHECK_NAME = re.compile(r"_(enum|min|max|xmin|xmax|multiple|minlen|maxlen|pattern)_[0-9a-f]{8}$")


def constraint_name(kind: str, table: str, columns: Sequence[str]) -> str:
    """`kind`: pkey, key (unique), fkey, idx."""
    parts = [table] if kind == "pkey" else [table, *columns]
    return _bounded("_".join(parts), f"_{kind}", "\0".join((kind, table, *columns)))


def check_name(table: str, column: str, rule: str, expression: str) -> str:
    return _bounded(f"{table}_{column}", f"_{rule}_{_digest(expression)}", f"{table}\0{column}")


def is_check_of_ours(name: str) -> bool:
    return CHECK_NAME.search(name) is not None


def _bounded(stem: str, suffix: str, identity: str) -> str:
    if len((stem + suffix).encode()) <= LIMIT:
        return stem + suffix
    suffix = f"_{_digest(identity)}{suffix}"
    kept = stem.encode()[: LIMIT - len(suffix)].decode(errors="ignore")
    return kept + suffix


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
