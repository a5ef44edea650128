"""The tables recordgate.sources and recordgate.landings, and the leases by which collectors share
the sources.

A lease has an *epoch*, greater with each: the cursor moves only for the epoch that stands, so a
collector that stalled while another took over can commit nothing, whatever its clock says.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from stores.canonical.conditions import COLLECT, RECORD
from stores.canonical.connect import Connection
from stores.canonical.notices import POSITIONS, SOURCE
from stores.contract.model import Contract
from stores.errors import FencedError, InputError

LEASE = 30.0
"""Seconds of a lease; it is renewed long before."""
LONGEST_REST = 600.0
"""Seconds after which a source that fails is asked again at the latest, unless it asked for more.
"""

_REGISTER = """
INSERT INTO recordgate.sources AS s (name, type, definition) VALUES (%(name)s, %(name)s,
  %(definition)s)
ON CONFLICT (name) DO UPDATE SET definition = excluded.definition,
  next_at = least(s.next_at, now()), failures = 0
WHERE s.definition <> excluded.definition
"""
_TAKE = """
UPDATE recordgate.sources SET owner = %(owner)s, epoch = epoch + 1, asked_at = now(),
  leased_until = now() + make_interval(secs => %(lease)s)
WHERE name = (
  SELECT name FROM recordgate.sources
  WHERE name = ANY(%(names)s) AND (leased_until IS NULL OR leased_until < now())
    AND (%(at_once)s OR (next_at <= now() AND state NOT IN ('paused', 'drifted')))
  ORDER BY next_at FOR UPDATE SKIP LOCKED LIMIT 1)
RETURNING *, extract(epoch FROM now() - full_at)::float8 AS full_age
"""
_RENEW = """
UPDATE recordgate.sources SET leased_until = now() + make_interval(secs => %(lease)s)
WHERE name = %(name)s AND epoch = %(epoch)s
"""
_MOVE = """
UPDATE recordgate.sources SET cursor = %(to)s, shape = coalesce(%(shape)s, shape),
  answered_at = now(),
  leased_until = now() + make_interval(secs => %(lease)s),
  as_of = coalesce(to_timestamp(%(as_of)s), as_of),
  full_at = CASE WHEN %(full)s THEN now() ELSE full_at END,
  pages = pages + %(pages)s, rows = rows + %(rows)s
WHERE name = %(name)s AND epoch = %(epoch)s AND cursor = %(from)s
"""
_END = """
UPDATE recordgate.sources SET leased_until = NULL, owner = '', state = %(state)s, code = %(code)s,
  problem = %(problem)s, hint = %(hint)s,
  failures = CASE WHEN %(code)s = '' THEN 0 ELSE failures + 1 END,
  next_at = now() + make_interval(secs => %(rest)s)
WHERE name = %(name)s AND epoch = %(epoch)s AND state <> 'paused'
"""
_LET_GO = (
    "UPDATE recordgate.sources SET leased_until = NULL, owner = '' WHERE name = %s AND epoch = %s"
)
_LAND = """
INSERT INTO recordgate.landings (source, host, file, sha256, from_cursor, to_cursor, walk, pages,
  rows, bytes)
VALUES (%(source)s, %(host)s, %(file)s, %(sha256)s, %(from)s, %(to)s, %(walk)s, %(pages)s, %(rows)s,
  %(bytes)s)
RETURNING id
"""


@dataclass(slots=True)
class Lease:
    """A source, held. `row` is what its table said when it was taken; `cursor` is where it is
    now."""

    name: str
    epoch: int
    row: dict[str, Any]
    cursor: dict[str, Any]
    renewed: float

    @property
    def fresh(self) -> bool:
        """Return whether the lease was taken or renewed not long ago."""
        return time.monotonic() - self.renewed < LEASE / 4


def register(connection: Connection, contract: Contract) -> None:
    """Make a row for each source that has none; one whose definition changed is asked at once."""
    for name, record in contract.collected.items():
        assert record.collect is not None
        given = {"name": name, "definition": record.collect.definition}
        connection.execute(_REGISTER.encode(), given)


def take(
    connection: Connection, names: Iterable[str], owner: str, *, at_once: bool = False
) -> Lease | None:
    """Lease the source that waits longest, if one of `names` is due; `at_once`: due or not, and
    paused or not."""
    given = {"names": list(names), "owner": owner, "lease": LEASE, "at_once": at_once}
    cursor = connection.cursor(row_factory=dict_row)
    row = cursor.execute(_TAKE.encode(), given).fetchone()
    if row is None:
        return None
    return Lease(row["name"], row["epoch"], row, row["cursor"], time.monotonic())


def renew(connection: Connection, lease: Lease) -> None:
    """Hold it longer. Raises FencedError where another collector has it."""
    given = {"name": lease.name, "epoch": lease.epoch, "lease": LEASE}
    if connection.execute(_RENEW.encode(), given).rowcount != 1:
        raise lost(lease)
    lease.renewed = time.monotonic()


def lost(lease: Lease) -> FencedError:
    return FencedError(f"another collector has taken over the source {lease.name}")


def move(
    connection: Connection,
    lease: Lease,
    to: dict[str, Any],
    *,
    shape: dict[str, Any] | None = None,
    as_of: float | None = None,
    full: bool = False,
    pages: int = 0,
    rows: int = 0,
) -> None:
    """Move the cursor from `lease.cursor`, in the transaction that is open; the caller sets
    `lease.cursor` when it is committed. Raises FencedError where the lease is another's or the
    cursor moved."""
    given = {
        "name": lease.name, "epoch": lease.epoch, "from": Jsonb(lease.cursor), "to": Jsonb(to),
        "lease": LEASE,
        "shape": None if shape is None else Jsonb(shape), "as_of": as_of, "full": full,
        "pages": pages, "rows": rows,
    }  # fmt: skip
    if connection.execute(_MOVE.encode(), given).rowcount != 1:
        raise lost(lease)
    if as_of is not None:
        told = f"{SOURCE}{as_of}:{lease.name}"
        connection.execute("SELECT pg_notify(%s, %s)", (POSITIONS, told))  # to gateways


def end(
    connection: Connection,
    lease: Lease,
    *,
    state: str,
    rest: float,
    code: str = "",
    problem: str = "",
    hint: str = "",
) -> None:
    """Record the outcome and release the lease; do nothing where it is another's by now."""
    connection.execute(
        _END.encode(),
        {
            "name": lease.name, "epoch": lease.epoch, "state": state, "rest": rest, "code": code,
            "problem": problem[:1000], "hint": hint[:500],
        },
    )  # fmt: skip
    connection.execute(_LET_GO.encode(), (lease.name, lease.epoch))


def count(connection: Connection, name: str, *, rejected: int, deleted: int) -> None:
    connection.execute(
        "UPDATE recordgate.sources SET rejected = rejected + %s, deleted = deleted + %s WHERE name"
        " = %s",
        (rejected, deleted, name),
    )


def rest_after(failures: int, every: float, asked: float) -> float:
    """Seconds until a source that failed `failures` times in a row is asked again. Pure."""
    return max(asked, min(LONGEST_REST, max(every, 1.0), 2.0 ** min(failures, 12)))


# Landings ----------------------------------------------------------------------------------------


def land(connection: Connection, lease: Lease, values: dict[str, Any], to: dict[str, Any]) -> int:
    """Record a landing; its number."""
    given = {**values, "source": lease.name, "from": Jsonb(lease.cursor), "to": Jsonb(to)}
    row = connection.execute(_LAND.encode(), given).fetchone()
    assert row is not None
    return int(row[0])


def landings(connection: Connection, where: LiteralString, *given: Any) -> list[dict[str, Any]]:
    """Landings by a condition in SQL of ours, in order."""
    cursor = connection.cursor(row_factory=dict_row)
    query = sql.SQL("SELECT * FROM recordgate.landings WHERE {} ORDER BY id").format(sql.SQL(where))
    return cursor.execute(query, given).fetchall()


def is_merged(connection: Connection, number: int, batch: str) -> None:
    """Mark a landing as merged. Called in the merge's own transaction."""
    connection.execute(
        "UPDATE recordgate.landings SET merged_at = clock_timestamp(), batch = %s WHERE id = %s",
        (batch, number),
    )


def forget(connection: Connection, numbers: Sequence[int]) -> None:
    connection.execute("DELETE FROM recordgate.landings WHERE id = ANY(%s)", (list(numbers),))


# What people do -----------------------------------------------------------------------------------


def all_sources(connection: Connection) -> list[dict[str, Any]]:
    cursor = connection.cursor(row_factory=dict_row)
    return cursor.execute(
        "SELECT *, extract(epoch FROM now() - as_of)::float8 AS age FROM recordgate.sources ORDER"
        " BY name"
    ).fetchall()


def pause(connection: Connection, name: str) -> None:
    """No collector takes it until it is resumed; what is under way commits nothing more."""
    _changed(
        connection, name,
        "UPDATE recordgate.sources SET state = 'paused', epoch = epoch + 1, leased_until = NULL,"
        " owner = ''"
        " WHERE name = %s",
    )  # fmt: skip


def resume(connection: Connection, name: str) -> None:
    """Ask it again, now. The shape that it has is taken as it is: that is what a resume of a frozen
    source says."""
    _changed(
        connection, name,
        "UPDATE recordgate.sources SET state = 'ok', code = '', problem = '', hint = '', failures"
        " = 0,"
        " next_at = now(), shape = CASE WHEN state = 'drifted' THEN '{}' ELSE shape END WHERE name"
        " = %s",
    )  # fmt: skip


def reset(connection: Connection, name: str) -> None:
    """Forget how far it was read: it is read again from its beginning; records stay."""
    _changed(
        connection, name,
        "UPDATE recordgate.sources SET cursor = '{}', shape = '{}', full_at = NULL, epoch = epoch"
        " + 1,"
        " leased_until = NULL, owner = '', failures = 0, next_at = now(),"
        " state = CASE WHEN state = 'paused' THEN state ELSE 'new' END, code = '', problem = '',"
        " hint = ''"
        " WHERE name = %s",
    )  # fmt: skip
    forget(
        connection,
        [x["id"] for x in landings(connection, "source = %s AND merged_at IS NULL", name)],
    )


def begin_at(connection: Connection, name: str, since: str) -> None:
    """The next walk asks for what changed since then."""
    _changed(
        connection, name,
        "UPDATE recordgate.sources SET epoch = epoch + 1, leased_until = NULL, owner = '', next_at"
        " = now(),"
        " cursor = jsonb_build_object('walk', coalesce((cursor->>'walk')::bigint, 0), 'since',"
        " %s::text)"
        " WHERE name = %s",
        since,
    )  # fmt: skip


def _changed(connection: Connection, name: str, statement: str, *given: Any) -> None:
    if connection.execute(statement.encode(), (*given, name)).rowcount != 1:
        raise InputError(
            f"there is no source {name!r}", hint="`recordgate collect status` lists them"
        )


def tell(connection: Connection, type_name: str, code: str, message: str, hint: str) -> bool:
    """Record the one condition of a source, in the place of another of it; whether it is new."""
    over(connection, type_name, but=code)
    given = (COLLECT, type_name, code, message, hint)
    row = connection.execute(f"{RECORD} RETURNING xmax = 0".encode(), given).fetchone()
    return bool(row and row[0])


def over(connection: Connection, type_name: str, but: str = "") -> bool:
    """End the conditions of a source; whether one stood."""
    return (
        connection.execute(
            "DELETE FROM recordgate.conditions WHERE sink = %s AND type = %s AND code <> %s",
            (COLLECT, type_name, but),
        ).rowcount
        > 0
    )
