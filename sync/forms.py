"""Decides what follows from a table whose form is another one than before. Pure: from the two
forms.

Changes tell what statements did to rows. No change tells what DDL does to them: a table that was
made anew, a partition that came with rows or went with them, values that were rewritten, or are
read in another way now.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from stores.canonical.followed import FollowedTable
from stores.contract.model import RecordType
from sync.impact import Reach


def missed(
    before: FollowedTable | None, now: FollowedTable | None, filled: Collection[str] = ()
) -> str:
    """Return why records of the table may have changed without a change that tells it, for people;
    empty if none can have. `filled` are leaves (OIDs) that may hold rows. A table that does not
    exist has no records to miss."""
    if now is None:
        return ""
    if before is None:
        return "it was dropped and exists again"
    if before.oid != now.oid:
        return "it was dropped and created again"
    if before.published != now.published:
        return "some of its changes were not published for a time"
    if before.silent != now.silent:
        return "a table whose changes are not published was attached to it or detached from it"
    return _leaves(before, now, filled) or _values(before, now)


def _leaves(before: FollowedTable, now: FollowedTable, filled: Collection[str]) -> str:
    if not now.partitioned:
        return ""
    for oid, leaf in before.leaves.items():
        after = now.leaves.get(oid)
        if after is None:
            return f"its partition {leaf.name} was removed"
        if after.file != leaf.file:
            return f"its partition {leaf.name} was emptied or rewritten"
    for oid in new_leaves(before, now):
        if oid in filled:
            return f"its partition {now.leaves[oid].name} was attached with rows"
    return ""


def new_leaves(before: FollowedTable | None, now: FollowedTable | None) -> list[str]:
    """OIDs of the leaves that the form before does not have."""
    if before is None or now is None:
        return []
    return [oid for oid in now.leaves if oid not in before.leaves]


def _values(before: FollowedTable, now: FollowedTable) -> str:
    # VACUUM FULL and CLUSTER write a file anew too, but alter no column.
    written = _files(before) != _files(now)
    for name, column in now.columns.items():
        if name not in before.columns or column is None:
            continue
        old = before.columns[name]
        if old is None:
            return f"its column {name} was dropped and added again"
        if (old.number, old.type, old.modifier) != (column.number, column.type, column.modifier):
            return f"its column {name} was changed or created again"
        if old.made != column.made:
            return f"the expression of its generated column {name} was changed"
        if written and old.written != column.written:
            return f"its column {name} was rewritten"
    for oid, label in before.labels.items():
        if now.labels.get(oid, label) != label:
            return f"the value {label} of an enum of its columns was renamed"
    if before.parts != now.parts:
        return "a composite type of its columns was changed"
    return ""


def _files(form: FollowedTable) -> dict[str, int]:
    return {oid: leaf.file for oid, leaf in form.leaves.items()}


def blind(before: FollowedTable | None, now: FollowedTable | None) -> str:
    """Return why the old rows of some updates and deletes were not sent although the table must
    send them all, or an empty text."""
    for oid, leaf in now.leaves.items() if now else ():
        earlier = before.leaves.get(oid, leaf) if before else leaf
        if leaf.identity != "f" or earlier.identity != "f":
            return f"the replica identity of {leaf.name} was not FULL for a time"
    return ""


def lacking(record_type: RecordType, form: FollowedTable | None) -> str:
    """Return why records of the type cannot be read as the contract declares, for people, or an
    empty text."""
    table = f"{record_type.schema}.{record_type.table}"
    if form is None:
        return f"table {table} of type {record_type.name} does not exist"
    gone = [column for column, found in form.columns.items() if found is None]
    named = [p for p in record_type.properties if p.column in gone]
    if not named:
        return ""
    columns = ", ".join(f"{p.column} (property {p.name})" for p in named)
    return f"table {table} of type {record_type.name} has no column {columns}"


def touched(reaches: Iterable[Reach], type_name: str) -> list[str]:
    """Return the types whose documents hold records of a type, itself first."""
    return [
        type_name,
        *dict.fromkeys(r.root for r in reaches if r.type_name == type_name != r.root),
    ]
