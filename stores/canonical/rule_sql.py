"""A quality rule as SQL: one expression, which import gate, check, metric and answer share.
Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from psycopg import sql

from stores.canonical.checks import check_expressions
from stores.contract.model import Property, RecordType
from stores.contract.promises import Rule
from stores.contract.quality import filled

TOTAL = sql.SQL("count(*)")


def table_of(record: RecordType) -> sql.Identifier:
    return sql.Identifier(record.schema, record.table)


def scan(source: sql.Composable, aggregates: Sequence[sql.Composable]) -> sql.Composed:
    """The one statement that counts all rules of a type; its first column is the number of rows."""
    return sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join([TOTAL, *aggregates]), source)


def aggregate(rule: Rule, record: RecordType) -> sql.Composed:
    """Return the aggregate that counts the rule over the rows of a type. Rules of type sql have
    none."""
    if rule.metric == "rowCount":
        return sql.Composed([TOTAL])
    if rule.metric == "duplicateValues":
        columns = [sql.Identifier(c) for c in rule.columns]
        there = sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(c) for c in columns)
        whole = sql.SQL(", ").join(columns)
        return sql.SQL(
            "count(*) FILTER (WHERE {there}) - count(DISTINCT ({whole})) FILTER (WHERE {there})"
        ).format(there=there, whole=whole)
    return sql.SQL("count(*) FILTER (WHERE {})").format(
        bad_row(rule, record.by_column[rule.columns[0]])
    )


def bad_row(rule: Rule, prop: Property) -> sql.Composed:
    """True of a row that is bad by a rule on rows, false of any other; never null. `prop.column` is
    looked at."""
    if rule.items:
        element = dataclasses.replace(
            prop, column="e", array=False, sql_type=prop.sql_type.removesuffix("[]")
        )
        return sql.SQL("EXISTS (SELECT FROM pg_catalog.unnest({}) AS u(e) WHERE {})").format(
            sql.Identifier(prop.column), _bad_value(rule, element)
        )
    return _bad_value(rule, prop)


def _bad_value(rule: Rule, prop: Property) -> sql.Composed:
    column = sql.Identifier(prop.column)
    if rule.metric == "nullValues":
        return sql.SQL("{} IS NULL").format(column)
    if rule.metric == "missingValues":
        if not rule.values:
            return sql.SQL("{} IS NULL").format(column)
        return sql.SQL("({} IS NULL OR {})").format(column, _is_one_of(rule.values, prop))
    sound: list[sql.Composable] = []
    if rule.values is not None:
        sound.append(_is_one_of(rule.values, prop))
    if rule.pattern is not None:
        sound.append(sql.SQL("{} ~ {}").format(column, sql.Literal(rule.pattern)))
    if not sound:
        # Of a contract that linted: names are quoted and values literal there already.
        sound = [sql.SQL(text) for _, text in check_expressions(prop)]
    both = sql.SQL(" AND ").join(sql.SQL("({})").format(s) for s in sound)
    return sql.SQL("NOT coalesce({}, true)").format(both)


def _is_one_of(values: Sequence[str], prop: Property) -> sql.Composed:
    """Return the condition that the column has one of the values.

    The values of an enum of the application are compared as text: the type may have lost a value
    that the contract still names, and a cast to it would fail.
    """
    listed = sql.SQL(", ").join(sql.Literal(v) for v in values)
    own = "." in prop.sql_type
    kind = sql.SQL("text" if own else prop.sql_type)
    column = sql.SQL("{}::text" if own else "{}").format(sql.Identifier(prop.column))
    if not values:
        return sql.SQL("({} IS NOT NULL AND false)").format(column)
    if len(values) == 1:  # half the price of an array's
        return sql.SQL("{} = {}::{}").format(column, sql.Literal(values[0]), kind)
    return sql.SQL("{} = ANY (ARRAY[{}]::{}[])").format(column, listed, kind)


def sql_rule(rule: Rule, record: RecordType) -> sql.Composed:
    """The query of a rule of type sql, which gives two rows at most: one would do, two are a
    fault."""
    column = sql.Identifier(rule.columns[0]).as_string(None) if rule.columns else ""
    names = {"object": table_of(record).as_string(None), "property": column}
    query = filled(rule.query, names)
    return sql.SQL("SELECT * FROM (\n{}\n) AS measured LIMIT 2").format(sql.SQL(query))


def bad_keys(
    source: sql.Composable, keys: Sequence[sql.Composable], bad: sql.Composable, most: int
) -> sql.Composed:
    """The keys of some bad rows."""
    return sql.SQL("SELECT {} FROM {} WHERE {} LIMIT {}").format(
        sql.SQL(", ").join(keys), source, bad, sql.Literal(most)
    )
