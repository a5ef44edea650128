"""The rules that a row keeps together with others, as SQL over all staged rows: keys, unique
values, foreign keys, deletes. Each statement looks at the whole set; none is run per row."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import sql

from stores.canonical.importing.catalog import Check, TargetForeignKey, TargetTable
from stores.canonical.importing.codes import Reject
from stores.canonical.importing.connection import Connection
from stores.canonical.importing.options import Mode
from stores.canonical.importing.row_checks import SHOWN
from stores.canonical.importing.staging import Staging, analyze

LINE_MASK = sql.SQL("((1::bigint << 40) - 1)")


def check_sets(
    connection: Connection,
    staging: Staging,
    table: TargetTable,
    mode: Mode,
    *,
    empty: bool,
    distinct_keys: bool,
) -> None:
    """Add the reasons. `empty`: nothing was in the table, so nothing can collide with it.
    `distinct_keys`: no key of the file comes twice."""
    key = staging.all(table.key)
    assert key is not None, "the key's columns are required of every file"
    if not distinct_keys or mode in (Mode.REPLACE, Mode.DELETE):
        _duplicates(
            connection, staging, table.key, Reject.DUPLICATE_KEY, report=mode is not Mode.DELETE
        )
    if not empty:
        analyze(connection, staging, staging.staged)
    _gone(connection, staging, table, mode, empty=empty)
    if mode is Mode.DELETE:
        return
    for check in table.checks:
        _broken(connection, staging, check)
    for columns in table.unique:
        if staging.all(columns) is not None:
            _duplicates(connection, staging, columns, Reject.DUPLICATE_VALUE, report=True)
            if not empty:
                _taken(connection, staging, table, columns)
    if mode is Mode.INSERT and not empty:
        _existing(connection, staging, table)
    own = (table.schema, table.name)
    for foreign in table.references:
        if foreign.target != own:
            _dangling(connection, staging, foreign)
    for foreign in table.references:
        if foreign.target == own:
            # A row that falls takes those with it that point to it, and so on.
            while _dangling_self(connection, staging, table, foreign):
                pass


def _names(staging: Staging, columns: Sequence[str]) -> tuple[str, str]:
    """The columns as properties and as the file's headers, for a reason."""
    found = [m for c in columns for m in staging.columns if m.property.column == c]
    return ",".join(m.property.name for m in found), ",".join(m.header for m in found)


def _shown(columns: Sequence[sql.Identifier], alias: str) -> sql.Composable:
    """The values of a reason about several columns."""
    parts = sql.SQL(", ").join(sql.SQL("{}.{}").format(sql.Identifier(alias), c) for c in columns)
    return sql.SQL("left(concat_ws(',', {}), {})").format(parts, sql.Literal(SHOWN))


def _equal(
    left: str,
    left_columns: Sequence[sql.Identifier],
    right: str,
    right_columns: Sequence[sql.Identifier],
) -> sql.Composable:
    return sql.SQL(" AND ").join(
        sql.SQL("{}.{} = {}.{}").format(sql.Identifier(left), a, sql.Identifier(right), b)
        for a, b in zip(left_columns, right_columns, strict=True)
    )


def _present(alias: str, columns: Sequence[sql.Identifier]) -> sql.Composable:
    return sql.SQL(" AND ").join(
        sql.SQL("{}.{} IS NOT NULL").format(sql.Identifier(alias), c) for c in columns
    )


def identifiers(names: Sequence[str]) -> list[sql.Identifier]:
    return [sql.Identifier(n) for n in names]


def good(staging: Staging, alias: str = "s") -> sql.Composable:
    """True of a staged row against which there is no reason."""
    return sql.SQL("NOT EXISTS (SELECT FROM {} bad WHERE bad.row = {}.row)").format(
        staging.reasons, sql.Identifier(alias)
    )


def _add(
    connection: Connection,
    staging: Staging,
    columns: Sequence[str],
    code: Reject,
    rest: sql.Composable,
    message: sql.Composable,
) -> int:
    """Reasons for the rows `s` that `rest` (FROM …) yields; how many."""
    names, headers = _names(staging, columns)
    staged = staging.all(columns)
    assert staged is not None
    statement = sql.SQL(
        "INSERT INTO {} (row, property, header, value, code, message) SELECT s.row, {}, {}, {},"
        " {}, {} {}"
    ).format(
        staging.reasons,
        sql.Literal(names),
        sql.Literal(headers),
        _shown(staged, "s"),
        sql.Literal(code.value),
        message,
        rest,
    )
    return connection.execute(statement).rowcount


def _duplicates(
    connection: Connection,
    staging: Staging,
    columns: Sequence[str],
    code: Reject,
    *,
    report: bool,
) -> None:
    """An index that can be made unique proves that there are none, and later joins use it; a few
    rows are looked at without."""
    staged = staging.all(columns)
    assert staged is not None
    listed = sql.SQL(", ").join(staged)
    if not staging.few:
        index = sql.SQL("CREATE {}INDEX ON {} ({})")
        try:
            connection.execute(index.format(sql.SQL("UNIQUE "), staging.staged, listed))
            return
        except psycopg.errors.UniqueViolation:
            connection.execute(index.format(sql.SQL(""), staging.staged, listed))
    if not report:
        return
    rest = sql.SQL(
        "FROM (SELECT *, first_value(d.row) OVER (PARTITION BY {columns} ORDER BY d.row) AS earlier"
        " FROM {staged} d WHERE {present}) s WHERE s.row <> s.earlier"
    ).format(columns=listed, staged=staging.staged, present=_present("d", staged))
    message = sql.SQL("format('the same as on line %s', s.earlier & {})").format(LINE_MASK)
    _add(connection, staging, columns, code, rest, message)


def _broken(connection: Connection, staging: Staging, check: Check) -> None:
    """Rows that break a check of the table, asked by its own expression over the columns' own
    names."""
    staged = staging.all(check.columns)
    if not staged:
        return
    named = sql.SQL(", ").join(
        sql.SQL("c.{} AS {}").format(place, sql.Identifier(column))
        for place, column in zip(staged, check.columns, strict=True)
    )
    # The expression is Postgres's own print of the constraint: it is SQL, not input.
    rest = sql.SQL(
        "FROM (SELECT *, (SELECT ({expression}) IS FALSE FROM (SELECT {named}) AS of_row) AS"
        " is_broken FROM {staged} c) s WHERE s.is_broken"
    ).format(expression=sql.SQL(check.expression), named=named, staged=staging.staged)
    message = sql.Literal(f"breaks the rule {check.name} of the table")
    _add(connection, staging, check.columns, Reject.CHECK, rest, message)


def _taken(
    connection: Connection, staging: Staging, table: TargetTable, columns: Sequence[str]
) -> None:
    staged, key = staging.all(columns), staging.all(table.key)
    assert staged is not None
    assert key is not None
    rest = sql.SQL(
        "FROM {staged} s JOIN {table} t ON {same}"
        " WHERE NOT ({own}) AND NOT EXISTS (SELECT FROM {gone} g WHERE {leaves})"
    ).format(
        staged=staging.staged,
        table=table.identifier,
        same=_equal("s", staged, "t", identifiers(columns)),
        own=sql.SQL("coalesce({}, false)").format(_equal("s", key, "t", identifiers(table.key))),
        gone=staging.gone,
        leaves=_equal("g", _key_names(table), "t", identifiers(table.key)),
    )
    _add(
        connection, staging, columns, Reject.UNIQUE_TAKEN, rest,
        sql.SQL("'another record has this value'"),
    )  # fmt: skip


def _existing(connection: Connection, staging: Staging, table: TargetTable) -> None:
    key = staging.all(table.key)
    assert key is not None
    rest = sql.SQL("FROM {} s WHERE EXISTS (SELECT FROM {} t WHERE {})").format(
        staging.staged, table.identifier, _equal("s", key, "t", identifiers(table.key))
    )
    message = sql.SQL("'a record with this key already exists'")
    _add(connection, staging, table.key, Reject.KEY_EXISTS, rest, message)


def _dangling(connection: Connection, staging: Staging, foreign: TargetForeignKey) -> None:
    staged = staging.all(foreign.columns)
    if staged is None:
        return
    rest = sql.SQL("FROM {} s WHERE {} AND NOT EXISTS (SELECT FROM {} t WHERE {})").format(
        staging.staged,
        _present("s", staged),
        sql.Identifier(*foreign.target),
        _equal("s", staged, "t", identifiers(foreign.target_columns)),
    )
    _add(connection, staging, foreign.columns, Reject.FOREIGN_KEY, rest, _no_target(foreign))


def _no_target(foreign: TargetForeignKey) -> sql.Composable:
    return sql.Literal(f"{foreign.target[1]} has no such record")


def _dangling_self(
    connection: Connection, staging: Staging, table: TargetTable, foreign: TargetForeignKey
) -> int:
    """Rows not bad yet whose target is neither a good row of the file nor a record that stays."""
    staged = staging.all(foreign.columns)
    targets = staging.all(foreign.target_columns)
    if staged is None:
        return 0
    in_file: sql.Composable = sql.SQL("false")
    if targets is not None:
        in_file = sql.SQL("EXISTS (SELECT FROM {} o WHERE {} AND {})").format(
            staging.staged, _equal("s", staged, "o", targets), good(staging, "o")
        )
    rest = sql.SQL(
        "FROM {staged} s WHERE {present} AND {good} AND NOT {in_file}"
        " AND NOT EXISTS (SELECT FROM {table} t WHERE {same}"
        " AND NOT EXISTS (SELECT FROM {gone} g WHERE {leaves}))"
    ).format(
        staged=staging.staged,
        present=_present("s", staged),
        good=_not_yet(staging, foreign),
        in_file=in_file,
        table=table.identifier,
        same=_equal("s", staged, "t", identifiers(foreign.target_columns)),
        gone=staging.gone,
        leaves=_equal("g", _key_names(table), "t", identifiers(table.key)),
    )
    return _add(connection, staging, foreign.columns, Reject.FOREIGN_KEY, rest, _no_target(foreign))


def _not_yet(staging: Staging, foreign: TargetForeignKey) -> sql.Composable:
    names, _ = _names(staging, foreign.columns)
    return sql.SQL(
        "NOT EXISTS (SELECT FROM {} r WHERE r.row = s.row AND r.code = {} AND r.property = {})"
    ).format(staging.reasons, sql.Literal(Reject.FOREIGN_KEY.value), sql.Literal(names))


# Deletes -----------------------------------------------------------------------------------------


def _key_names(table: TargetTable) -> list[sql.Identifier]:
    """The key's columns in the table `gone`."""
    return [sql.Identifier(f"k{i}") for i in range(len(table.key))]


def _gone(
    connection: Connection, staging: Staging, table: TargetTable, mode: Mode, *, empty: bool
) -> None:
    """The keys to delete. In mode replace those that no row of the file has, good or bad."""
    key = staging.all(table.key)
    assert key is not None
    listed = sql.SQL(", ").join(
        sql.SQL("t.{} AS {}").format(column, name)
        for column, name in zip(identifiers(table.key), _key_names(table), strict=True)
    )
    condition: sql.Composable = sql.SQL("false")
    if mode in (Mode.REPLACE, Mode.DELETE) and not empty:
        replace = mode is Mode.REPLACE
        condition = sql.SQL("{}EXISTS (SELECT FROM {} s WHERE {} AND {})").format(
            sql.SQL("NOT " if replace else ""),
            staging.staged,
            _equal("s", key, "t", identifiers(table.key)),
            sql.SQL("true") if replace else good(staging),
        )
    fill = sql.SQL("SELECT {} FROM {} t WHERE {}").format(listed, table.identifier, condition)
    if staging.few:
        connection.execute(sql.SQL("INSERT INTO {} {}").format(staging.gone, fill))
    else:
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(staging.gone))
        connection.execute(
            sql.SQL("CREATE UNLOGGED TABLE {} WITH (autovacuum_enabled = off) AS {}").format(
                staging.gone, fill
            )
        )
    analyze(connection, staging, staging.gone)
    if mode in (Mode.REPLACE, Mode.DELETE) and not empty:
        while any(_keep_used(connection, staging, table, f) for f in table.referenced):
            pass


def _keep_used(
    connection: Connection, staging: Staging, table: TargetTable, foreign: TargetForeignKey
) -> int:
    """Take those out of `gone` that a record which stays points to, with a reason; how many."""
    names = _key_names(table)
    keys = identifiers(table.key)
    stays: sql.Composable = sql.SQL("true")
    if foreign.table == (table.schema, table.name):
        stays = sql.SQL("NOT EXISTS (SELECT FROM {} other WHERE {})").format(
            staging.gone, _equal("other", names, "r", keys)
        )
        moved = staging.all(foreign.columns)
        staged_key = staging.all(table.key)
        assert staged_key is not None
        if moved is not None:
            # The file may point the record elsewhere; a staged row with its key decides.
            same = _equal("s", moved, "t", identifiers(foreign.target_columns))
            stays = sql.SQL(
                "{} AND NOT EXISTS (SELECT FROM {} s WHERE {} AND NOT coalesce({}, false) AND {})"
            ).format(stays, staging.staged, _equal("s", staged_key, "r", keys), same, good(staging))
    used = sql.SQL(
        "DELETE FROM {gone} g USING {table} t WHERE {own} AND EXISTS"
        " (SELECT FROM {referencing} r WHERE {points} AND {stays}) RETURNING {returned}"
    ).format(
        gone=staging.gone,
        table=table.identifier,
        own=_equal("g", names, "t", keys),
        referencing=sql.Identifier(*foreign.table),
        points=_equal("r", identifiers(foreign.columns), "t", identifiers(foreign.target_columns)),
        stays=stays,
        returned=sql.SQL(", ").join(sql.SQL("g.{}").format(n) for n in names),
    )
    properties, headers = _names(staging, table.key)
    staged_key = staging.all(table.key)
    assert staged_key is not None
    result = connection.execute(
        sql.SQL(
            "WITH used AS ({used}) INSERT INTO {reasons} (row, property, header, value, code,"
            " message) SELECT (SELECT min(s.row) FROM {staged} s WHERE {same}), {properties},"
            " {headers}, {shown}, {code}, {message} FROM used u"
        ).format(
            used=used,
            reasons=staging.reasons,
            staged=staging.staged,
            same=_equal("s", staged_key, "u", names),
            properties=sql.Literal(properties),
            headers=sql.Literal(headers),
            shown=_shown(names, "u"),
            code=sql.Literal(Reject.FOREIGN_KEY_IN_USE.value),
            message=sql.Literal(f"records of {foreign.table[1]} refer to it"),
        )
    )
    return result.rowcount
