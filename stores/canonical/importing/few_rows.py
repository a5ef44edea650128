"""The light way of a few rows: staged in tables that the session keeps, checked and merged in one
transaction. What a batch of ten rows costs is then its statements, not the tables made and dropped
for it.

The checks are those of any import: they are asked of other tables. Nothing of such a batch is there
before its commit, so there is nothing to go on from: whoever died with it begins again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from psycopg import sql

from stores.canonical.importing.block import Block, Chunk
from stores.canonical.importing.catalog import TargetTable
from stores.canonical.importing.columns import Matched
from stores.canonical.importing.connection import Connection
from stores.canonical.importing.forms import bring_into_form, take_nulls
from stores.canonical.importing.row_checks import REASONS
from stores.canonical.importing.staging import Copier, Rules, Staging, proof_of

_MOST_BYTES = 6 << 20
"""Bytes of chunks that are looked at for whether they are few rows."""


@dataclass(slots=True)
class Part:
    """A chunk of a batch. `block` is the chunk parsed, until it is taken: taking it changes it."""

    chunk: Chunk
    rules: Rules
    block: Block | None = None

    def take(self) -> Block:
        """Return the parsed chunk; one that was taken before, in an attempt that failed, is parsed
        again."""
        block, self.block = self.block, None
        return block or self.chunk.parse(self.rules.wanted, self.rules.raw)


Work = list[Part]


def split(
    chunks: Iterator[tuple[Chunk, Rules]], most_rows: int
) -> tuple[Work | None, Iterable[tuple[Chunk, Rules]]]:
    """(the chunks of at most `most_rows` rows, or None; all chunks again)."""
    if most_rows <= 0:
        return None, chunks
    taken: list[tuple[Chunk, Rules]] = []
    size = 0
    for item in chunks:
        taken.append(item)
        size += item[0].size
        if size > _MOST_BYTES:
            return None, chain(taken, chunks)
    work: Work = []
    rows = 0
    for chunk, rules in taken:
        block = chunk.parse(rules.wanted, rules.raw)
        rows += len(block.rows) + len(block.lost)
        if rows > most_rows:
            return None, taken
        work.append(Part(chunk, rules, block))
    return work, ()


def staging_of(table: TargetTable, columns: tuple[Matched, ...]) -> Staging:
    """The session's tables for these columns of the table, as they are typed now."""
    form = [
        table.schema,
        table.name,
        table.key,
        [[m.property.column, table.types[m.property.column]] for m in columns],
    ]
    name = "import_" + hashlib.sha256(json.dumps(form).encode()).hexdigest()[:16]
    return Staging(name, columns, few=True)


def prepare(connection: Connection, staging: Staging, table: TargetTable) -> None:
    """Make the session's tables where it has none yet."""
    found = connection.execute("SELECT to_regclass(%s)", (f"pg_temp.{staging.table}",)).fetchone()
    if found and found[0] is not None:
        return
    typed = sql.SQL(", ").join(
        sql.SQL("t.{} AS {}").format(sql.Identifier(m.property.column), sql.Identifier(f"c{i}"))
        for i, m in enumerate(staging.columns)
    )
    texts = sql.SQL(", ").join(
        sql.SQL("{} text").format(sql.Identifier(f"t{i}")) for i in range(len(staging.columns))
    )
    keys = sql.SQL(", ").join(
        sql.SQL("t.{} AS {}").format(sql.Identifier(column), sql.Identifier(f"k{i}"))
        for i, column in enumerate(table.key)
    )
    plain = "CREATE TEMPORARY TABLE {} ({}) ON COMMIT DELETE ROWS"
    like = "CREATE TEMPORARY TABLE {} ON COMMIT DELETE ROWS AS SELECT {} FROM {} t WITH NO DATA"
    with connection.transaction():
        staged = sql.SQL("NULL::bigint AS row, {}").format(typed)
        connection.execute(sql.SQL(like).format(staging.staged, staged, table.identifier))
        connection.execute(sql.SQL(like).format(staging.gone, keys, table.identifier))
        loose = sql.SQL("row bigint, faults jsonb, raw text, {}").format(texts)
        connection.execute(sql.SQL(plain).format(staging.loose, loose))
        connection.execute(sql.SQL(plain).format(staging.reasons, REASONS))


def fill(connection: Connection, staging: Staging, work: Work, *, prove: bool) -> int:
    """Copy the rows into the tables, in the transaction that is open; how many were read."""
    rows = 0
    with Copier(connection, staging) as copier:
        for part in work:
            block, rules = part.take(), part.rules
            take_nulls(block, rules.nulls)
            bring_into_form(block, [m.property for m in rules.columns])
            rows += len(block.rows) + len(block.lost)
            copier.send(block, proof_of(block, rules, prove=prove))
    return rows
