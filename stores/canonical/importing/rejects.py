"""Records the bad rows of a batch: a count by code, a CSV file, and recordgate.dead_letters."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from psycopg import sql

from stores.canonical.importing.codes import Reject
from stores.canonical.importing.connection import Connection
from stores.canonical.importing.row_checks import SHOWN
from stores.canonical.importing.set_checks import LINE_MASK
from stores.canonical.importing.staging import Staging
from stores.errors import InputError
from stores.keys import sql_key

_PAYLOAD = 65_536
"""Characters of a row that its dead letter keeps; a larger row is cut and cannot be replayed."""


def count_reasons(connection: Connection, staging: Staging) -> tuple[dict[str, int], int, int]:
    """(reasons by code, rows of the file with a reason, records that a reason keeps in place)."""
    codes = connection.execute(
        sql.SQL("SELECT code, count(*) FROM {} GROUP BY code ORDER BY 2 DESC, 1").format(
            staging.reasons
        )
    ).fetchall()
    rows = connection.execute(
        sql.SQL("SELECT count(DISTINCT row), count(*) FILTER (WHERE row IS NULL) FROM {}").format(
            staging.reasons
        )
    ).fetchone()
    bad, kept = rows or (0, 0)
    return dict(codes), bad, kept


def write_rejects(connection: Connection, staging: Staging, path: Path, files: list[str]) -> None:
    """Every reason as a line of CSV (line, column, value, code, message, and file where there are
    several), in the file's order. The file appears whole or not at all, and is its owner's alone:
    it holds values of rows."""
    fields = sql.SQL(
        'r.row & {mask} AS line, r.header AS "column", r.value, r.code, r.message'
    ).format(mask=LINE_MASK)
    if len(files) > 1:
        named = sql.SQL(", ").join(sql.Literal(f) for f in files)
        fields = sql.SQL("{}, (ARRAY[{}])[(r.row >> 40)::int + 1] AS file").format(fields, named)
    statement = sql.SQL(
        "COPY (SELECT {} FROM {} r ORDER BY r.row, r.id) TO STDOUT (FORMAT csv, HEADER)"
    ).format(fields, staging.reasons)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise InputError(f"--rejects {path} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file, connection.cursor().copy(statement) as copy:
            for data in copy:
                file.write(data)
        os.replace(name, path)
    except OSError as error:
        raise InputError(f"--rejects {path} cannot be written: {error.strerror}") from None
    finally:
        Path(name).unlink(missing_ok=True)


def to_dead_letters(
    connection: Connection,
    staging: Staging,
    type_name: str,
    batch: str,
    key: list[str],
    *,
    any_bad: bool,
) -> None:
    """One dead letter a bad row, in the transaction of the merge. `any_bad`: there is such a row.

    A dead letter that an earlier import left under a key that this file has again goes: it is
    either cured or replaced. One that comes again just as it was keeps its id and counts an attempt
    more.
    """
    keys = _keys(staging, key)
    if not any_bad:
        if _knows_letters(connection, type_name):
            _drop_cured(connection, staging, type_name, batch, keys)
        return
    texts = [sql.Identifier(f"t{i}") for i in range(len(staging.columns))]
    values = [sql.Identifier(f"c{i}") for i in range(len(staging.columns))]
    # The joins to the few bad rows come first: keys and payloads are made of no other row.
    connection.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE import_letters ON COMMIT DROP AS"
            " SELECT r.row, r.reasons, r.code, s.key, coalesce(t.payload, s.payload) AS payload"
            " FROM (SELECT row, (array_agg(code ORDER BY id))[1] AS code, "
            "jsonb_agg(jsonb_build_object("
            " 'property', property, 'column', header, 'value', value, 'code', code, 'message', "
            "message)"
            " ORDER BY id) AS reasons FROM {reasons} WHERE row IS NOT NULL GROUP BY row) r"
            " LEFT JOIN (SELECT l.row, {texts} AS payload FROM {loose} l"
            " WHERE l.row IN (SELECT row FROM {reasons})) t ON t.row = r.row"
            " LEFT JOIN (SELECT l.row, {key} AS key, {values} AS payload FROM {staged} l"
            " WHERE l.row IN (SELECT row FROM {reasons})) s ON s.row = r.row"
        ).format(
            reasons=staging.reasons,
            key=keys,
            texts=_loose_payload(staging, texts),
            values=_payload(staging, values),
            loose=staging.loose,
            staged=staging.staged,
        )
    )
    _replace_earlier(connection, staging, type_name, batch, keys)
    connection.execute(
        sql.SQL(
            "INSERT INTO recordgate.dead_letters"
            " (kind, type, batch, key, line, code, reasons, payload)"
            " SELECT 'import', %s, %s, key, row & {}, code, reasons, payload"
            " FROM import_letters ORDER BY row"
        ).format(LINE_MASK),
        (type_name, batch),
    )


def _replace_earlier(
    connection: Connection, staging: Staging, type_name: str, batch: str, keys: sql.Composable
) -> None:
    if not _knows_letters(connection, type_name):
        return
    given = {"type": type_name, "batch": batch}
    connection.execute(
        sql.SQL(
            "WITH old AS (SELECT id, key, payload, row_number() OVER same AS nth"
            " FROM recordgate.dead_letters WHERE kind = 'import' AND type = %(type)s"
            " WINDOW same AS (PARTITION BY key, payload ORDER BY id)),"
            " new AS (SELECT *, row_number() OVER same AS nth FROM import_letters"
            " WINDOW same AS (PARTITION BY key, payload ORDER BY row)),"
            " again AS (UPDATE recordgate.dead_letters d SET batch = %(batch)s, line = new.row & "
            "{},"
            " code = new.code, reasons = new.reasons, attempts = d.attempts + 1, updated_at = now()"
            " FROM old JOIN new ON old.payload = new.payload AND old.nth = new.nth"
            " AND old.key IS NOT DISTINCT FROM new.key WHERE d.id = old.id RETURNING new.row)"
            " DELETE FROM import_letters WHERE row IN (SELECT row FROM again)"
        ).format(LINE_MASK),
        given,
    )
    _drop_cured(connection, staging, type_name, batch, keys)


def _knows_letters(connection: Connection, type_name: str) -> bool:
    known = connection.execute(
        "SELECT EXISTS (SELECT FROM recordgate.dead_letters WHERE kind = 'import' AND type = %s)",
        (type_name,),
    ).fetchone()
    return bool(known and known[0])


def _drop_cured(
    connection: Connection, staging: Staging, type_name: str, batch: str, keys: sql.Composable
) -> None:
    connection.execute(
        sql.SQL(
            "DELETE FROM recordgate.dead_letters d WHERE d.kind = 'import' AND d.type = %(type)s"
            " AND d.batch IS DISTINCT FROM %(batch)s AND d.key IN (SELECT {} FROM {} l)"
        ).format(keys, staging.staged),
        {"type": type_name, "batch": batch},
    )


def _keys(staging: Staging, key: list[str]) -> sql.Composable:
    columns = staging.all(key)
    assert columns is not None
    return sql_key([sql.SQL("l.{}").format(c) for c in columns])


def _payload(staging: Staging, columns: list[sql.Identifier]) -> sql.Composable:
    """{"values": {property: text}} with every value cut so that the whole is bounded."""
    most = max(SHOWN, _PAYLOAD // max(1, len(staging.columns)))
    names = sql.SQL(", ").join(sql.Literal(m.property.name) for m in staging.columns)
    values = sql.SQL(", ").join(
        sql.SQL("left(l.{}::text, {})").format(c, sql.Literal(most)) for c in columns
    )
    long = sql.SQL(" OR ").join(
        sql.SQL("coalesce(char_length(l.{}::text) > {}, false)").format(c, sql.Literal(most))
        for c in columns
    )
    return sql.SQL(
        "jsonb_build_object('values', jsonb_object(ARRAY[{}]::text[], ARRAY[{}]::text[]), 'cut', "
        "{})"
    ).format(names, values, long)


def _loose_payload(staging: Staging, columns: list[sql.Identifier]) -> sql.Composable:
    """Return the payload of a row as `_payload` does, or the raw text of a row that could not be
    split. A NUL that was replaced counts as a cut, since the row is no longer what the file
    said."""
    return sql.SQL(
        "CASE WHEN l.raw IS NOT NULL THEN jsonb_build_object('raw', l.raw)"
        " WHEN l.faults @> {} THEN {} || {}::jsonb ELSE {} END"
    ).format(
        sql.Literal(f'[{{"code": "{Reject.NUL_BYTE.value}"}}]'),
        _payload(staging, columns),
        sql.Literal('{"cut": true}'),
        _payload(staging, columns),
    )
