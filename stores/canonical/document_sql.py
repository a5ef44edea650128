"""The SQL that makes documents: a record of canonical with its embedded records, as finished JSON.

A statement is a chain of CTEs. `n0` holds the roots; each embedded relation adds `n<i>`, its
distinct records, and `d<i>`, their JSON by the columns that join them to their parent. A record
that a thousand roots embed is therefore read and printed once. Embedded to-one relations are an
object or null, to-many an array in order of the target's key. `row_to_json` and `array_to_json`
print no white space.

Names of the contract stand in quotes, behind the name of their table; what is behind no table is
ours alone. So a column, a relation or a table may be called as any name that is made here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg import sql

from stores.canonical.json_form import json_value
from stores.contract.model import Contract, Embed, Property, RecordType, Relation
from stores.keys import sql_key

_TYPMOD = re.compile(r"\(\s*\d+(\s*,\s*-?\d+)?\s*\)")
_FREE_TEXT = frozenset({"text", "character varying", "varchar", "bpchar"})


def documents_of_keys(contract: Contract, record_type: RecordType) -> sql.Composed:
    """One row for each key asked: (key asked, its canonical text, the row's own key, document).

    Parameters: `keys` text[], and `part0`, `part1`, … text[]: the parts of each key. The last two
    columns are null where there is no such row. The own key differs from the canonical text where
    equal values print differently (numeric 1.0 and 1.00). A part that is no value of its column's
    type matches nothing."""
    asked = sql.SQL("asked AS MATERIALIZED ({})").format(keys_as_columns(record_type))
    key_columns = [_column("t", c) for c in record_type.key]
    asked_key = sql_key([_column("asked", f"k{i}") for i in range(len(key_columns))])
    roots = sql.SQL(
        "n0 AS MATERIALIZED (SELECT asked.key AS asked, COALESCE({asked_key}, asked.key) AS "
        "canonical,"
        " {own} AS own, {columns} FROM asked LEFT JOIN {table} AS t ON {on})"
    ).format(
        asked_key=asked_key,
        own=_present(record_type, sql_key(key_columns)),
        columns=_columns(record_type),
        table=table(record_type),
        on=equal_keys(record_type, "t", "asked"),
    )
    return _statement(
        contract,
        record_type,
        [asked, roots],
        sql.SQL("n0.asked, n0.canonical, n0.own, CASE WHEN n0.own IS NOT NULL THEN {} END"),
        sql.SQL(""),
    )


def keys_as_columns(
    record_type: RecordType, given: Sequence[sql.Composable] | None = None
) -> sql.Composed:
    """The keys asked, as columns of their types: rows (key, k0, k1, …). `given`: the keys and each
    of their parts, as lists of texts; else they are parameters as in `documents_of_keys`."""
    parts = _parts_as_columns(record_type.key_properties)
    if given is None:
        names = ("keys", *(f"part{i}" for i in range(len(parts))))
        given = [sql.Placeholder(name) for name in names]
    return sql.SQL("SELECT k.key, {casts} FROM unnest({arrays}) AS k(key, {names})").format(
        casts=_list(
            sql.SQL("{} AS {}").format(part, _Names.key(i)) for i, part in enumerate(parts)
        ),
        arrays=_list(sql.SQL("{}::text[]").format(one) for one in given),
        names=_list(sql.Identifier(f"p{i}") for i in range(len(parts))),
    )


def equal_keys(record_type: RecordType, row: str, asked: str) -> sql.Composed:
    """The condition that joins the table `row` with the rows `asked` of `keys_as_columns`."""
    return _equal(
        [(_column(row, c), _column(asked, f"k{i}")) for i, c in enumerate(record_type.key)]
    )


def documents_of_page(contract: Contract, record_type: RecordType, *, first: bool) -> sql.Composed:
    """A page in order of the primary key's index: rows (own key, document). Parameters: `limit`,
    and unless `first` the parts of the key after which the page begins: `part0`, `part1`, …"""
    key = [_column("t", c) for c in record_type.key]
    roots = sql.SQL(
        "n0 AS MATERIALIZED (SELECT row_number() OVER () AS place, {own} AS own, {columns} FROM"
        " (SELECT * FROM {table} AS t {after} ORDER BY {key} LIMIT %(limit)s) AS t)"
    ).format(
        own=sql_key(key),
        columns=_columns(record_type),
        table=table(record_type),
        after=_after(record_type, first),
        key=_list(key),
    )
    return _statement(
        contract, record_type, [roots], sql.SQL("n0.own, {}"), sql.SQL(" ORDER BY n0.place")
    )


def digest_of_keys(contract: Contract, record_type: RecordType) -> sql.Composed:
    """One row for the records of the keys asked that are there: (count, hexadecimal MD5).
    Parameters as in `documents_of_keys`. The digest is that of the digests of `key \\n document`,
    in bytewise order of keys (`sync.ranges` computes the same of what a store holds)."""
    return sql.SQL(
        "SELECT count(own), md5(coalesce(string_agg(md5(own || E'\\n' || document::text), ''"
        " ORDER BY own COLLATE \"C\"), '')) FROM ({}) AS found(asked, canonical, own, document)"
    ).format(documents_of_keys(contract, record_type))


def keys_of_page(record_type: RecordType, *, first: bool) -> sql.Composed:
    """The keys alone of what `documents_of_page` reads: rows (own key)."""
    key = [_column("t", c) for c in record_type.key]
    return sql.SQL("SELECT {own} FROM {table} AS t {after} ORDER BY {key} LIMIT %(limit)s").format(
        own=sql_key(key), table=table(record_type), after=_after(record_type, first), key=_list(key)
    )


def _after(record_type: RecordType, first: bool) -> sql.Composable:
    if first:
        return sql.SQL("")
    bounds = [
        sql.SQL("CAST({} AS {})").format(sql.Placeholder(f"part{i}"), key_type(p))
        for i, p in enumerate(record_type.key_properties)
    ]
    return sql.SQL("WHERE ({}) > ({})").format(
        _list(_column("t", c) for c in record_type.key), _list(bounds)
    )


def keys_in_text_order(record_type: RecordType) -> sql.Composed:
    """Every key of the type in bytewise order of its text, as `Store.scan` orders: rows (key)."""
    return sql.SQL('SELECT {key} AS key FROM {table} AS t ORDER BY ({key}) COLLATE "C"').format(
        key=sql_key([_column("t", c) for c in record_type.key]), table=table(record_type)
    )


def table(record_type: RecordType) -> sql.Identifier:
    return sql.Identifier(record_type.schema, record_type.table)


def key_type(prop: Property) -> sql.SQL:
    """The type to which a key's text is cast so that the column's index serves: without length or
    scale, which would cut a value that is too long to one that exists."""
    base = _TYPMOD.sub("", prop.sql_type).strip()
    return sql.SQL("bpchar" if base in ("character", "char") else base)


def value_of_text(prop: Property, text: sql.Composable) -> sql.Composable:
    """`text` as a value of the property's column, NULL where it is none."""
    if _TYPMOD.sub("", prop.sql_type).strip() in _FREE_TEXT:
        return sql.SQL("{}::{}").format(text, key_type(prop))
    return sql.SQL("CASE WHEN pg_input_is_valid({0}, {1}) THEN {0}::{2} END").format(
        text, sql.Literal(key_type(prop).as_string()), key_type(prop)
    )


# Embedded records --------------------------------------------------------------------------------

_OBJECT = sql.SQL("(SELECT row_to_json(x.*) FROM (SELECT {}) AS x)")
"""One JSON object of a select list, whose names are the contract's. `x.*` and not `x`: where a name
of the list is `x`, too, that alone would be the column."""


@dataclass
class _Names:
    """Numbers the nodes of one statement."""

    nodes: int = 0

    def next(self) -> int:
        self.nodes += 1
        return self.nodes

    @staticmethod
    def key(index: int) -> sql.Identifier:
        return sql.Identifier(f"k{index}")


def _statement(
    contract: Contract,
    record_type: RecordType,
    ctes: list[sql.Composable],
    output: sql.SQL,
    order: sql.SQL,
) -> sql.Composed:
    names = _Names()
    fields, joins = _fields(contract, record_type, 0, record_type.embeds, names, ctes)
    document = _OBJECT.format(fields)
    return sql.SQL("WITH {ctes} SELECT {output} FROM n0{joins}{order}").format(
        ctes=_list(ctes),
        output=output.format(document),
        joins=sql.Composed(joins),
        order=order,
    )


def _fields(
    contract: Contract,
    record_type: RecordType,
    node: int,
    embeds: Sequence[Embed],
    names: _Names,
    ctes: list[sql.Composable],
) -> tuple[sql.Composable, list[sql.Composable]]:
    """The select list of a document at `node`, and the joins it needs; adds the CTEs of
    `embeds`."""
    fields: list[sql.Composable] = [
        sql.SQL("{} AS {}").format(
            json_value(p, _column(f"n{node}", f"c{i}")), sql.Identifier(p.name)
        )
        for i, p in enumerate(record_type.properties)
    ]
    joins: list[sql.Composable] = []
    for embed in embeds:
        relation = record_type.relation_by_name[embed.relation]
        child = names.next()
        _embedded(contract, record_type, relation, node, child, embed, names, ctes)
        value: sql.Composable = sql.SQL("{}.doc").format(sql.Identifier(f"d{child}"))
        if relation.many:
            value = sql.SQL("COALESCE({}, '[]'::json)").format(value)
        fields.append(sql.SQL("{} AS {}").format(value, sql.Identifier(relation.name)))
        joins.append(
            sql.SQL(" LEFT JOIN {} ON {}").format(
                sql.Identifier(f"d{child}"),
                _equal(
                    [
                        (_column(f"d{child}", f"f{i}"), _own(record_type, node, c))
                        for i, c in enumerate(relation.columns)
                    ]
                ),
            )
        )
    return _list(fields), joins


def _embedded(
    contract: Contract,
    parent: RecordType,
    relation: Relation,
    node: int,
    child: int,
    embed: Embed,
    names: _Names,
    ctes: list[sql.Composable],
) -> None:
    target = contract.types[relation.target]
    joined = [_own(parent, node, c) for c in relation.columns]
    wanted = sql.SQL("SELECT DISTINCT {} FROM {} WHERE {}").format(
        _list(sql.SQL("{} AS {}").format(c, sql.Identifier(f"f{i}")) for i, c in enumerate(joined)),
        sql.Identifier(f"n{node}"),
        sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(c) for c in joined),
    )
    on = _equal(
        [(_column("t", c), _column("w", f"f{i}")) for i, c in enumerate(relation.target_columns)]
    )
    ctes.append(
        sql.SQL(
            "{node} AS MATERIALIZED (SELECT {columns} FROM ({wanted}) AS w JOIN {table} AS t ON "
            "{on})"
        ).format(
            node=sql.Identifier(f"n{child}"),
            columns=_columns(target),
            wanted=wanted,
            table=table(target),
            on=on,
        )
    )
    fields, joins = _fields(contract, target, child, embed.embeds, names, ctes)
    columns = [_own(target, child, c) for c in relation.target_columns]
    document: sql.Composable = _OBJECT.format(fields)
    group: sql.Composable = sql.SQL("")
    if relation.many:
        document = sql.SQL("array_to_json(array_agg({} ORDER BY {}))").format(
            document, _list(_own(target, child, c) for c in target.key)
        )
        group = sql.SQL(" GROUP BY ") + _list(columns)
    ctes.append(
        sql.SQL(
            "{name} AS MATERIALIZED (SELECT {columns}, {document} AS doc FROM {node}{joins}{group})"
        ).format(
            name=sql.Identifier(f"d{child}"),
            columns=_list(
                sql.SQL("{} AS {}").format(c, sql.Identifier(f"f{i}"))
                for i, c in enumerate(columns)
            ),
            document=document,
            node=sql.Identifier(f"n{child}"),
            joins=sql.Composed(joins),
            group=group,
        )
    )


# Small pieces ------------------------------------------------------------------------------------


def _parts_as_columns(properties: Sequence[Property]) -> list[sql.Composable]:
    return [value_of_text(p, _column("k", f"p{i}")) for i, p in enumerate(properties)]


def _columns(record_type: RecordType) -> sql.Composed:
    """The properties' columns under names of ours, so that none can clash."""
    return _list(
        sql.SQL("{} AS {}").format(_column("t", p.column), sql.Identifier(f"c{i}"))
        for i, p in enumerate(record_type.properties)
    )


def _own(record_type: RecordType, node: int, column: str) -> sql.Composable:
    index = next(i for i, p in enumerate(record_type.properties) if p.column == column)
    return _column(f"n{node}", f"c{index}")


def _present(record_type: RecordType, value: sql.Composable) -> sql.Composable:
    return sql.SQL("CASE WHEN {} IS NOT NULL THEN {} END").format(
        _column("t", record_type.key[0]), value
    )


def _column(alias: str, name: str) -> sql.Identifier:
    return sql.Identifier(alias, name)


def _equal(pairs: Sequence[tuple[sql.Composable, sql.Composable]]) -> sql.Composed:
    return sql.SQL(" AND ").join(sql.SQL("{} = {}").format(a, b) for a, b in pairs)


def _list(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
