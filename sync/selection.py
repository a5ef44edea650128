"""Resolves reaches against canonical: which roots embed these rows? One statement for a reach and a
batch; results come in pages, because one country can stand for millions of cities."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection

from psycopg import sql

from stores.canonical.connect import AsyncConnection
from stores.canonical.document_sql import table, value_of_text
from stores.contract.model import Contract
from stores.keys import sql_key
from sync.impact import Reach, Values

PAGE = 5000


def selection_sql(contract: Contract, reach: Reach) -> sql.Composed:
    """Rows (key of the root), each once. Parameters `v0`, `v1`, … text[]: the values in the order
    of `reach.columns`."""
    start = contract.types[reach.type_name]
    names = [sql.Identifier(f"v{i}") for i in range(len(reach.columns))]
    asked = sql.SQL("SELECT DISTINCT {} FROM unnest({}) AS v({})").format(
        sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(value_of_text(start.by_column[c], name), name)
            for c, name in zip(reach.columns, names, strict=True)
        ),
        sql.SQL(", ").join(
            sql.SQL("{}::text[]").format(sql.Placeholder(f"v{i}")) for i in range(len(names))
        ),
        sql.SQL(", ").join(names),
    )
    froms = [sql.SQL("({}) AS v").format(asked)]
    before, columns = "v", [f"v{i}" for i in range(len(names))]
    for number, step in enumerate(reach.steps):
        alias = f"s{number}"
        if number:
            columns = list(step.from_columns)
        on = sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier(alias, c), sql.Identifier(before, b))
            for c, b in zip(step.columns, columns, strict=True)
        )
        froms.append(
            sql.SQL("JOIN {} AS {} ON {}").format(
                table(contract.types[step.type_name]), sql.Identifier(alias), on
            )
        )
        before = alias
    root = contract.types[reach.root]
    return sql.SQL("SELECT DISTINCT {} FROM {}").format(
        sql_key([sql.Identifier(before, c) for c in root.key]), sql.SQL(" ").join(froms)
    )


async def roots(
    conn: AsyncConnection, contract: Contract, reach: Reach, values: Collection[Values]
) -> AsyncIterator[list[str]]:
    """Pages of the keys of `reach.root` that embed rows with `values` now. The whole result is one
    snapshot; at most a page of it is in memory."""
    parameters = {f"v{i}": list(column) for i, column in enumerate(zip(*values, strict=True))}
    async with (
        conn.transaction(),
        conn.cursor(name="recordgate_selection") as cursor,
    ):
        await cursor.execute(selection_sql(contract, reach), parameters)
        while page := await cursor.fetchmany(PAGE):
            yield [row[0] for row in page]
