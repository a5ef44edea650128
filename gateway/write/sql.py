"""The statements of mutations on one record type. Values are bound parameters, names are quoted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from gateway.compiler.statement import column
from stores.contract.model import Property, RecordType, Scalar
from stores.keys import sql_key
from stores.values import to_text

_CALENDAR = (Scalar.DATE, Scalar.TIMESTAMP, Scalar.DATETIME, Scalar.TIME)

DEFERRED = "SET CONSTRAINTS ALL DEFERRED"
IMMEDIATE = "SET CONSTRAINTS ALL IMMEDIATE"
"""Checks the constraints that may be checked late after each statement; what is open already is
checked at once."""

Values = Mapping[str, Any]
"""Property name → coerced value (None: NULL); what is absent is not given."""


def table(record_type: RecordType) -> sql.Composable:
    return sql.Identifier(record_type.schema, record_type.table)


def bound(prop: Property, value: Any) -> Any:
    """`value` as psycopg binds it for the property's column."""
    if prop.scalar is Scalar.JSON and value is not None:
        return [None if v is None else Jsonb(v) for v in value] if prop.array else Jsonb(value)
    if prop.array and value is not None and prop.scalar in _CALENDAR:
        # A day that Python has not is a text: the list's elements must be of one type for the
        # driver.
        return to_text(prop, value)
    return value


def _columns(record_type: RecordType, names: Sequence[str]) -> list[sql.Composable]:
    return [sql.Identifier(record_type.by_name[n].column) for n in names]


def parameters(record_type: RecordType, values: Values) -> list[Any]:
    return [bound(record_type.by_name[name], value) for name, value in values.items()]


def key_text(record_type: RecordType) -> sql.Composable:
    return sql_key([sql.Identifier(c) for c in record_type.key])


def key_equals(record_type: RecordType) -> sql.Composable:
    """A condition on the key; its parameters are the key's values in order."""
    return sql.SQL(" AND ").join(
        sql.SQL("{} = %s").format(sql.Identifier(c)) for c in record_type.key
    )


def version(record_type: RecordType) -> sql.Composed:
    """The version of one record, which is locked until the transaction ends."""
    return sql.SQL("SELECT xmin::text FROM {} WHERE {} FOR UPDATE").format(
        table(record_type), key_equals(record_type)
    )


def insert(record_type: RecordType, names: Sequence[str]) -> sql.Composed:
    """INSERT of the properties `names`; returns the new record's key text."""
    if not names:
        return sql.SQL("INSERT INTO {} DEFAULT VALUES RETURNING {}").format(
            table(record_type), key_text(record_type)
        )
    return sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING {}").format(
        table(record_type),
        sql.SQL(", ").join(_columns(record_type, names)),
        sql.SQL(", ").join([sql.Placeholder()] * len(names)),
        key_text(record_type),
    )


def upsert(record_type: RecordType, names: Sequence[str]) -> sql.Composed:
    """INSERT, or UPDATE of the record with that key where a given value differs: a record that is
    already so is not touched, and makes no change event."""
    given = [n for n in names if record_type.by_name[n].column not in record_type.key]
    head = sql.SQL("INSERT INTO {} AS t ({}) VALUES ({}) ON CONFLICT ({})").format(
        table(record_type),
        sql.SQL(", ").join(_columns(record_type, names)),
        sql.SQL(", ").join([sql.Placeholder()] * len(names)),
        sql.SQL(", ").join(sql.Identifier(c) for c in record_type.key),
    )
    if not given:
        return head + sql.SQL(" DO NOTHING")
    columns = _columns(record_type, given)
    return head + sql.SQL(" DO UPDATE SET {} WHERE ({}) IS DISTINCT FROM ({})").format(
        sql.SQL(", ").join(sql.SQL("{0} = EXCLUDED.{0}").format(c) for c in columns),
        sql.SQL(", ").join(sql.SQL("t.{}").format(c) for c in columns),
        sql.SQL(", ").join(sql.SQL("EXCLUDED.{}").format(c) for c in columns),
    )


def update(record_type: RecordType, names: Sequence[str]) -> sql.Composed:
    """UPDATE of the properties `names` of one record; returns its key text as it then is."""
    return sql.SQL("UPDATE {} SET {} WHERE {} RETURNING {}").format(
        table(record_type),
        sql.SQL(", ").join(sql.SQL("{} = %s").format(c) for c in _columns(record_type, names)),
        key_equals(record_type),
        key_text(record_type),
    )


def delete(record_type: RecordType) -> sql.Composed:
    return sql.SQL("DELETE FROM {} WHERE {}").format(table(record_type), key_equals(record_type))


def delete_where(
    record_type: RecordType, alias: sql.SQL, conditions: Sequence[sql.Composable], most: int
) -> sql.Composed:
    """Delete the rows that meet `conditions` over `alias`, where they are at most `most`; returns
    how many were found (`most` + 1 for more) and how many deleted. Nothing is tried where there are
    too many: what a foreign key says of a row would be told."""
    return sql.SQL(
        "WITH found AS MATERIALIZED (SELECT {inner} FROM {table} {alias} WHERE {where} LIMIT "
        "{limit}),"
        " gone AS (DELETE FROM {table} WHERE (SELECT count(*) FROM found) <= {most}"
        " AND ({key}) IN (SELECT {key} FROM found) RETURNING 1)"
        " SELECT (SELECT count(*) FROM found), (SELECT count(*) FROM gone)"
    ).format(
        table=table(record_type),
        key=sql.SQL(", ").join(sql.Identifier(c) for c in record_type.key),
        inner=sql.SQL(", ").join(column(alias, c) for c in record_type.key),
        alias=alias,
        where=sql.SQL(" AND ").join(conditions),
        most=sql.Literal(most),
        limit=sql.Literal(most + 1),
    )
