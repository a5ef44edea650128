"""The rules that a row keeps by itself, as SQL over the loose rows: every reason of every bad row.

Postgres judges the types (`pg_input_is_valid`, PG 16); the typed rows then join the proven ones in
the staged table, where a value that has no type's form is NULL.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from psycopg import sql

from stores.canonical.checks import check_expressions
from stores.canonical.importing.catalog import TargetTable
from stores.canonical.importing.codes import Reject
from stores.canonical.importing.connection import Connection
from stores.canonical.importing.staging import Staging, analyze
from stores.canonical.importing.text_forms import form_of, has_form, without_modifier
from stores.contract.model import Property, Scalar

SHOWN = 200
"""Characters of a bad value that are kept in a reason."""
REASONS = sql.SQL(
    "id bigint GENERATED ALWAYS AS IDENTITY, row bigint, property text, header text, value text,"
    " code text NOT NULL, message text NOT NULL"
)
"""The columns of the table of reasons."""


def create_reasons(connection: Connection, staging: Staging) -> None:
    """The table of reasons, empty. `column` as the file calls it; `row` NULL: not a row of the
    file."""
    if staging.few:
        return  # They are there, and empty.
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(staging.reasons))
    connection.execute(
        sql.SQL("CREATE UNLOGGED TABLE {} ({}) WITH (autovacuum_enabled = off)").format(
            staging.reasons, REASONS
        )
    )


def check_loose(connection: Connection, staging: Staging, table: TargetTable) -> None:
    """Judge the loose rows, and move what is typed of them to the staged table. Safe to repeat."""
    found = connection.execute(
        sql.SQL("SELECT EXISTS (SELECT FROM {})").format(staging.loose)
    ).fetchone()
    if not (found and found[0]):
        return
    connection.execute(
        sql.SQL("DELETE FROM {} s USING {} l WHERE s.row = l.row").format(
            staging.staged, staging.loose
        )
    )
    _known_faults(connection, staging)
    _types(connection, staging, table)
    _move(connection, staging, table)
    analyze(connection, staging, staging.loose)
    _rules(connection, staging, table)


def _known_faults(connection: Connection, staging: Staging) -> None:
    """Insert the faults that the readers have already found."""
    names = [m.property.name for m in staging.columns]
    headers = [m.header for m in staging.columns]
    connection.execute(
        sql.SQL(
            "INSERT INTO {} (row, property, header, value, code, message) "
            "SELECT l.row, (%(names)s::text[])[(f.item->>'column')::int + 1],"
            " (%(headers)s::text[])[(f.item->>'column')::int + 1],"
            " coalesce(f.item->>'value', left(l.raw, {shown})), f.item->>'code', f.item->>'message'"
            " FROM {} l CROSS JOIN LATERAL jsonb_array_elements(l.faults) f(item)"
            " WHERE l.faults IS NOT NULL"
        ).format(staging.reasons, staging.loose, shown=sql.Literal(SHOWN)),
        {"names": names, "headers": headers},
    )


def _types(connection: Connection, staging: Staging, table: TargetTable) -> None:
    branches: list[sql.Composable] = []
    for i, matched in enumerate(staging.columns):
        kind = table.types[matched.property.column]
        if kind in ("text", "bytea"):
            continue
        text = sql.Identifier("l", f"t{i}")
        branches.append(
            sql.SQL("SELECT {}, {}, {}, {} WHERE NOT ({})").format(
                sql.Literal(matched.property.name),
                sql.Literal(matched.header),
                text,
                _first_error(text, matched.property, kind),
                _valid(text, matched.property, kind),
            )
        )
    if branches:
        connection.execute(
            sql.SQL(
                "INSERT INTO {} (row, property, header, value, code, message)"
                " SELECT l.row, f.property, f.header, left(f.value, {}), {}, f.message"
                " FROM {} l CROSS JOIN LATERAL ({}) f(property, header, value, message)"
            ).format(
                staging.reasons,
                sql.Literal(SHOWN),
                sql.Literal(Reject.INVALID_TYPE.value),
                staging.loose,
                sql.SQL(" UNION ALL ").join(branches),
            )
        )


def _kinds(kind: str) -> list[str]:
    """The type, and the same without its modifier."""
    return list(dict.fromkeys([kind, without_modifier(kind)]))


def _valid(text: sql.Composable, prop: Property, kind: str) -> sql.Composable:
    """NULL for NULL. A cast would take some texts that are no value's form, so Postgres is not
    asked alone."""
    parts: list[sql.Composable] = [
        sql.SQL("pg_input_is_valid({}, {})").format(text, sql.Literal(k)) for k in _kinds(kind)
    ]
    form = form_of(prop, kind)
    if form is not None:
        parts.append(has_form(text, form, array=kind.endswith("[]")))
    return sql.SQL(" AND ").join(parts)


def _first_error(text: sql.Composable, prop: Property, kind: str) -> sql.Composable:
    messages: list[sql.Composable] = [
        sql.SQL("(pg_input_error_info({}, {})).message").format(text, sql.Literal(k))
        for k in _kinds(kind)
    ]
    form = form_of(prop, kind)
    if form is not None:
        element = "an element is " if kind.endswith("[]") else ""
        messages.append(sql.Literal(f"{element}not {form.said}"))
    return sql.SQL("left(coalesce({}), 300)").format(sql.SQL(", ").join(messages))


def _move(connection: Connection, staging: Staging, table: TargetTable) -> None:
    values: list[sql.Composable] = []
    most = table.index_bytes
    for i, matched in enumerate(staging.columns):
        kind = table.types[matched.property.column]
        text = sql.Identifier("l", f"t{i}")
        typed: sql.Composable = text
        if kind == "bytea":
            typed = sql.SQL(
                r"CASE WHEN {0} ~ '^\\x([0-9a-fA-F]{{2}})*$' THEN {0}::bytea END"
            ).format(text)
        elif kind != "text":
            # `kind` is what Postgres printed for the column's type: it is SQL, not input.
            typed = sql.SQL("CASE WHEN {1} THEN {0}::{2} END").format(
                text, _valid(text, matched.property, kind), sql.SQL(kind)
            )
        if matched.property.column in most:
            typed = sql.SQL("CASE WHEN octet_length({}) <= {} THEN {} END").format(
                text, sql.Literal(most[matched.property.column]), typed
            )
        values.append(typed)
    connection.execute(
        sql.SQL("INSERT INTO {} SELECT l.row, {} FROM {} l WHERE l.raw IS NULL").format(
            staging.staged, sql.SQL(", ").join(values), staging.loose
        )
    )


def _rules(connection: Connection, staging: Staging, table: TargetTable) -> None:
    """The contract's rules, by the very expressions that the table's checks are made of."""
    branches: list[sql.Composable] = []
    limits = table.index_bytes
    for i, matched in enumerate(staging.columns):
        prop, text = matched.property, sql.Identifier(f"t{i}")
        rules = _broken(prop, f"c{i}")
        if prop.required or prop.column in table.key:
            missing = sql.SQL("{} IS NULL").format(text)
            rules.append((missing, Reject.REQUIRED, "a value is required"))
        if prop.column in limits:
            most = limits[prop.column]
            long = sql.SQL("octet_length({}) > {}").format(text, sql.Literal(most))
            rules.append((long, Reject.TOO_LONG, f"longer than the {most} bytes of a key"))
        for condition, code, message in rules:
            branches.append(
                sql.SQL("SELECT {}, {}, {}, {}, {} WHERE {}").format(
                    sql.Literal(prop.name),
                    sql.Literal(matched.header),
                    text,
                    sql.Literal(code.value),
                    sql.Literal(message),
                    condition,
                )
            )
    if branches:
        connection.execute(
            sql.SQL(
                "INSERT INTO {} (row, property, header, value, code, message)"
                " SELECT l.row, f.property, f.header, left(f.value, {}), f.code, f.message"
                " FROM {} l JOIN {} s ON s.row = l.row"
                " CROSS JOIN LATERAL ({}) f(property, header, value, code, message)"
            ).format(
                staging.reasons,
                sql.Literal(SHOWN),
                staging.loose,
                staging.staged,
                sql.SQL(" UNION ALL ").join(branches),
            )
        )


def _broken(prop: Property, column: str) -> list[tuple[sql.Composable, Reject, str]]:
    """(condition under which a rule is broken, its code, its message), of the typed value or, in an
    array, of an element."""
    found: list[tuple[sql.Composable, Reject, str]] = []
    for rule, expression in check_expressions(dataclasses.replace(prop, column=column)):
        found.append((sql.SQL("({}) IS FALSE").format(_sql(expression)), *_RULES[rule](prop)))
    if prop.array and prop.scalar is not Scalar.JSON:
        element = dataclasses.replace(prop, column="element", array=False, enum=())
        for rule, expression in check_expressions(element):
            broken = sql.SQL(
                "EXISTS (SELECT FROM unnest({}) AS e(element) WHERE ({}) IS FALSE)"
            ).format(sql.Identifier(column), _sql(expression))
            code, message = _RULES[rule](prop)
            found.append((broken, code, f"an element is {message}"))
    return found


def _sql(expression: str) -> sql.SQL:
    """A check's expression, whose values are quoted already."""
    return sql.SQL(expression)


_RULES: dict[str, Callable[[Property], tuple[Reject, str]]] = {
    "enum": lambda p: (Reject.NOT_IN_ENUM, ("not one of " + ", ".join(p.enum))[:300]),
    "min": lambda p: (Reject.TOO_SMALL, f"less than {p.minimum}"),
    "max": lambda p: (Reject.TOO_LARGE, f"more than {p.maximum}"),
    "xmin": lambda p: (Reject.TOO_SMALL, f"not more than {p.exclusive_minimum}"),
    "xmax": lambda p: (Reject.TOO_LARGE, f"not less than {p.exclusive_maximum}"),
    "multiple": lambda p: (Reject.NOT_MULTIPLE, f"not a multiple of {p.multiple_of}"),
    "minlen": lambda p: (Reject.TOO_SHORT, f"shorter than {p.min_length}"),
    "maxlen": lambda p: (Reject.TOO_LONG, f"longer than {p.max_length}"),
    "pattern": lambda p: (Reject.PATTERN, f"not of the pattern {p.pattern}"[:300]),
}
"""Rule of checks.py → the code and the message of a value that breaks it."""
