"""The staging tables of a batch, and the threads that fill them from a file's chunks.

Rows that Arrow proves go to `staged`, typed like the table; all others go as text to `loose`, where
Postgres judges them. Each thread parses, proves and copies with a connection of its own, in one
transaction; the bytes in flight are bounded.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.csv as pa_csv
from psycopg import Copy, sql

from stores.canonical.importing.arrow import compute as pc
from stores.canonical.importing.block import Block, Chunk, Fault
from stores.canonical.importing.catalog import TargetTable
from stores.canonical.importing.columns import Matched
from stores.canonical.importing.connection import Connection, connect, translated
from stores.canonical.importing.forms import bring_into_form, take_nulls
from stores.canonical.importing.key_order import INTEGERS, KeyOrder
from stores.canonical.importing.proof import proven
from stores.contract.model import Scalar

SCHEMA = "recordgate"
_IN_FLIGHT = 8 << 20
"""Bytes of chunks that are queued or being worked on."""
_LOOSE_HELD = 1 << 20
"""Bytes of loose rows that a worker holds before it sends them."""
_LARGE = 4 << 20
"""Bytes of a chunk that is much larger than the usual ones."""
_PART = 1 << 18
_WRITE = pa_csv.WriteOptions(include_header=False, batch_size=1 << 16)


@dataclass(frozen=True, slots=True)
class Staging:
    """The tables of one batch. Column i of the file is `c<i>` in the staged table and `t<i>` in the
    loose one, whatever its real name."""

    table: str
    columns: tuple[Matched, ...]
    few: bool = False
    """The tables are the session's own and stay: each transaction's end empties them (few_rows.py).
    """

    @property
    def schema(self) -> str:
        return "pg_temp" if self.few else SCHEMA

    @property
    def staged(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.table)

    @property
    def loose(self) -> sql.Identifier:
        return sql.Identifier(self.schema, f"{self.table}_loose")

    @property
    def reasons(self) -> sql.Identifier:
        return sql.Identifier(self.schema, f"{self.table}_reasons")

    @property
    def gone(self) -> sql.Identifier:
        return sql.Identifier(self.schema, f"{self.table}_gone")

    def position(self, column: str) -> int | None:
        """Return the position of a table's column in the file, or None if the file lacks it."""
        for i, matched in enumerate(self.columns):
            if matched.property.column == column:
                return i
        return None

    def all(self, columns: Sequence[str]) -> list[sql.Identifier] | None:
        """Return the staged names of `columns`, or None if the file lacks one of them."""
        found = [self.position(c) for c in columns]
        return None if None in found else [sql.Identifier(f"c{i}") for i in found]


def create(connection: Connection, staging: Staging, table: TargetTable) -> None:
    """Make the two tables that are filled from the file, empty."""
    drop(connection, staging.table)
    fields = sql.SQL(", ").join(
        sql.SQL("t.{} AS {}").format(sql.Identifier(m.property.column), sql.Identifier(f"c{i}"))
        for i, m in enumerate(staging.columns)
    )
    # CREATE TABLE AS takes over the types, whatever they are, and none of the constraints.
    connection.execute(
        sql.SQL(
            "CREATE UNLOGGED TABLE {} WITH (autovacuum_enabled = off) AS "
            "SELECT NULL::bigint AS row, {} FROM {} t WITH NO DATA"
        ).format(staging.staged, fields, table.identifier)
    )
    texts = sql.SQL(", ").join(
        sql.SQL("{} text").format(sql.Identifier(f"t{i}")) for i in range(len(staging.columns))
    )
    connection.execute(
        sql.SQL(
            "CREATE UNLOGGED TABLE {} (row bigint, faults jsonb, raw text, {}) "
            "WITH (autovacuum_enabled = off)"
        ).format(staging.loose, texts)
    )


def analyze(connection: Connection, staging: Staging, table: sql.Identifier) -> None:
    """Have Postgres gather statistics of the staged rows; a few rows need none."""
    if not staging.few:
        connection.execute(sql.SQL("ANALYZE {}").format(table))


def drop(connection: Connection, table: str) -> None:
    """Remove a batch's tables, those that are there."""
    names = [sql.Identifier(SCHEMA, table + tail) for tail in ("", "_loose", "_reasons", "_gone")]
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.SQL(", ").join(names)))


@dataclass(frozen=True, slots=True)
class Rules:
    """The columns and their rules, as a worker process needs them."""

    wanted: tuple[int, ...]
    raw: frozenset[int]
    """The members of `wanted` that fill a JSON property."""
    columns: tuple[Matched, ...]
    types: tuple[str, ...]
    index_bytes: tuple[int | None, ...]
    key: int | None
    """Index of the key's column where it is the only one and of whole numbers."""
    nulls: tuple[tuple[str, ...], ...]
    """The texts of each column that stand for a missing value."""


def rules_for(
    columns: Sequence[Matched], table: TargetTable, nulls: Mapping[str, tuple[str, ...]]
) -> Rules:
    limits = table.index_bytes
    key = [i for i, m in enumerate(columns) if m.property.column in table.key]
    ordered = len(key) == 1 and table.types[table.key[0]] in INTEGERS
    return Rules(
        wanted=tuple(m.index for m in columns),
        raw=frozenset(
            m.index for m in columns if m.property.scalar is Scalar.JSON and not m.property.array
        ),
        columns=tuple(columns),
        types=tuple(table.types[m.property.column] for m in columns),
        index_bytes=tuple(limits.get(m.property.column) for m in columns),
        key=key[0] if ordered else None,
        nulls=tuple((*nulls.get("", ()), *nulls.get(m.header, ())) for m in columns),
    )


class _Budget:
    """A bound on the bytes in flight; one chunk larger than it goes alone."""

    def __init__(self, limit: int) -> None:
        self._limit, self._used = limit, 0
        self._changed = threading.Condition()

    def take(self, size: int, stopped: Callable[[], bool]) -> None:
        with self._changed:
            while self._used and self._used + size > self._limit and not stopped():
                self._changed.wait(0.2)
            self._used += size

    def give(self, size: int) -> None:
        with self._changed:
            self._used -= size
            self._changed.notify_all()


class ProofError(Exception):
    """Postgres refused a value that Arrow had proven: read again without proofs."""


class Filler:
    """Fills the staging tables. `rows` counts what was read, lost rows included; `order` may know
    that no key comes twice."""

    def __init__(self, url: str, staging: Staging, *, prove: bool) -> None:
        self._url, self._staging, self._prove = url, staging, prove
        self._queue: queue.Queue[tuple[Chunk, Rules] | None] = queue.Queue()
        self._budget = _Budget(_IN_FLIGHT)
        self._failed: BaseException | None = None
        self._lock = threading.Lock()
        self.rows = 0
        self.order = KeyOrder()

    def fill(
        self, chunks: Iterator[tuple[Chunk, Rules]], workers: int, tick: Callable[[], None]
    ) -> None:
        """Copy all chunks; raises what a worker or the reader raised, and then nothing is committed
        by the worker that failed (others may have: the caller starts over with empty tables)."""
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(max(1, workers))]
        for thread in threads:
            thread.start()
        try:
            for chunk, rules in chunks:
                self._budget.take(chunk.size, lambda: self._failed is not None)
                if self._failed is not None:
                    break
                self._queue.put((chunk, rules))
                tick()
        except BaseException as error:
            self._failed = self._failed or error
        finally:
            for _ in threads:
                self._queue.put(None)
            for thread in threads:
                thread.join()
        if isinstance(self._failed, psycopg.DataError):
            raise ProofError from self._failed
        if self._failed is not None:
            with translated():
                raise self._failed

    def _work(self) -> None:
        try:
            with connect(self._url) as connection:
                connection.autocommit = False
                with Copier(connection, self._staging) as copier:
                    while self._failed is None and self._take_next(copier):
                        pass
                if self._failed is None:
                    connection.commit()
                else:
                    connection.rollback()
        except BaseException as error:
            self._failed = self._failed or error

    def _take_next(self, copier: Copier) -> bool:
        """Work on the next chunk; False at the end. What is done with is let go at each step: one
        row may be 16 MiB."""
        item = self._queue.get()
        if item is None:
            return False
        (chunk, rules), item = item, None
        size = chunk.size
        try:
            block = chunk.parse(rules.wanted, rules.raw)
            del chunk
            take_nulls(block, rules.nulls)
            bring_into_form(block, [m.property for m in rules.columns])
            mask = proof_of(block, rules, prove=self._prove)
            if mask is not None or block.lost or rules.key is None:
                self.order.give_up()
            elif len(block.rows):
                self.order.add(block.rows[0].as_py(), block.columns[rules.key])
            copier.send(block, mask)
            with self._lock:
                self.rows += len(block.rows) + len(block.lost)
            del block
            if size > _LARGE:
                # Arrow's allocator keeps what a thread has freed.
                pa.default_memory_pool().release_unused()
        finally:
            self._budget.give(size)
        return True


def proof_of(block: Block, rules: Rules, *, prove: bool) -> Any:
    """Return the mask of the rows that are proven, or None where all are. Without `prove` none
    is."""
    if not prove:
        return pa.array([False] * len(block.rows), pa.bool_())
    mask = None
    for i, (column, matched) in enumerate(zip(block.columns, rules.columns, strict=True)):
        found = proven(
            column, matched.property, rules.types[i], rules.index_bytes[i], block.sound.get(i)
        )
        if found is not None:
            mask = found if mask is None else pc.and_(mask, found)
    if block.faults:
        faulty = pa.array([f.row for f in block.faults], pa.int64())
        clean = pc.invert(pc.is_in(block.rows, value_set=faulty))
        mask = clean if mask is None else pc.and_(mask, clean)
    return mask


class Copier:
    """Sends blocks to both tables over one connection, one COPY at a time."""

    def __init__(self, connection: Connection, staging: Staging) -> None:
        self._connection, self._staging = connection, staging
        self._open = ExitStack()
        self._copy: Copy | None = None
        self._loose = bytearray()

    def __enter__(self) -> Copier:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is None:
            self._close()
            self._send_loose()
        else:
            self._open.__exit__(kind, error, trace)

    def send(self, block: Block, mask: Any) -> None:
        """Send the block, whose columns are gone afterwards. `mask`: the rows that are proven."""
        good, width = [block.rows, *block.columns], len(block.columns)
        block.columns = []
        if mask is not None and not pc.all(mask, min_count=0).as_py():
            rest = pc.invert(mask)
            bad = [c.filter(rest) for c in good]
            good = [c.filter(mask) for c in good]
            faults = _by_row(block.faults)
            known = pa.array([faults.get(r) for r in bad[0].to_pylist()], pa.string())
            self._loose += _csv([bad[0], known, pa.nulls(len(bad[0]), pa.string()), *bad[1:]])
            del bad
        if block.lost:
            rows = pa.array([lost.fault.row for lost in block.lost], pa.int64())
            texts = _by_row([lost.fault for lost in block.lost])
            known = pa.array([texts[lost.fault.row] for lost in block.lost], pa.string())
            raw = pa.array([lost.raw for lost in block.lost], pa.string())
            self._loose += _csv([rows, known, raw, *[pa.nulls(len(rows), pa.string())] * width])
        if len(good[0]):
            if self._copy is None:
                statement = sql.SQL("COPY {} FROM STDIN (FORMAT csv)").format(self._staging.staged)
                self._copy = self._open.enter_context(self._connection.cursor().copy(statement))
            data = _csv(good)
            good.clear()
            _write(self._copy, data)
        if len(self._loose) > _LOOSE_HELD:
            self._close()
            self._send_loose()

    def _close(self) -> None:
        self._open.close()
        self._copy = None

    def _send_loose(self) -> None:
        if self._loose:
            statement = sql.SQL("COPY {} FROM STDIN (FORMAT csv)").format(self._staging.loose)
            with self._connection.cursor().copy(statement) as copy:
                _write(copy, memoryview(self._loose))
            self._loose = bytearray()


def _write(copy: Copy, data: memoryview) -> None:
    """Write the data in parts: libpq's buffer grows to the largest of them, and never shrinks."""
    for start in range(0, len(data), _PART):
        copy.write(data[start : start + _PART])


def _by_row(faults: Sequence[Fault]) -> dict[int, str]:
    """row → its faults as JSON, as `loose.faults` holds them."""
    found: dict[int, list[dict[str, object]]] = {}
    for fault in faults:
        found.setdefault(fault.row, []).append(
            {
                "column": fault.column,
                "code": fault.code.value,
                "value": fault.value,
                "message": fault.message,
            }
        )
    return {row: json.dumps(items) for row, items in found.items()}


def _csv(columns: Sequence[Any]) -> memoryview:
    """Arrays of one length as the CSV that COPY reads: NULL is empty, an empty string is `""`."""
    batch = pa.record_batch(list(columns), names=[str(i) for i in range(len(columns))])
    sink = pa.BufferOutputStream()
    pa_csv.write_csv(batch, sink, _WRITE)
    return memoryview(sink.getvalue())
