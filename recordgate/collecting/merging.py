"""The part that every merge of collected records shares, of a walk, a file and a replay alike."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import replace

from recordgate.collecting.landing import Landings
from recordgate.collecting.shaping import Shaper
from stores.canonical.importing import ImportOptions, ImportReport, RowLimit
from stores.canonical.importing.run import ImportSession, InTheMerge
from stores.contract.model import RecordType

LOCK_WAIT = 60.0
"""Seconds for which another import of the type is waited for."""


def row_limit(text: str) -> RowLimit | None:
    """Return a limit of the contract, or None where it sets none."""
    return RowLimit.parse(text) if text else None


def key_of(record: RecordType) -> list[str]:
    """Return the properties of the key, in its order."""
    return [record.by_column[column].name for column in record.key]


def filled(shaper: Shaper, seen: Collection[str]) -> frozenset[str]:
    """Return the properties that a batch fills. `seen` are the fields that the source has; a field
    that it has never had leaves its property alone."""
    return frozenset(
        f.property for f in shaper.fields if f.path and (f.path[0] in seen or f.default is not None)
    )


def import_lines(
    session: ImportSession,
    landings: Landings,
    record: RecordType,
    lines: bytes,
    options: ImportOptions,
    in_the_merge: InTheMerge | None = None,
) -> ImportReport:
    """Import lines of JSON by a file that is gone afterwards. Raises what an import raises."""
    path = landings.scratch(f"import-{secrets.token_hex(6)}.ndjson", lines)
    try:
        waiting = replace(options, lock_wait=LOCK_WAIT)
        return session.run(record.name, [path], waiting, in_the_merge=in_the_merge)
    finally:
        path.unlink(missing_ok=True)
