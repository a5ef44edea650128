"""The record of each batch in recordgate.import_batches: what it is, how far it came, what it did.

    staging → staged → merging → done | refused | failed

A batch that died in `staging` is begun again; one that died in `staged` or `merging` goes on from
its staging tables, if they still hold every row (a crash of Postgres empties unlogged tables).
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from stores.canonical.driver_errors import of_own_tables
from stores.canonical.importing.columns import Matched
from stores.canonical.importing.connection import Connection
from stores.canonical.importing.options import ImportOptions, ImportReport, Source
from stores.canonical.importing.staging import SCHEMA, Staging, drop
from stores.errors import ConflictError, InputError

_UNFINISHED = ("staging", "staged", "merging")


def fingerprint(type_name: str, files: Sequence[Source], options: ImportOptions) -> str | None:
    """Return a fingerprint of the command and its files, or None if one of them is standard
    input."""
    parts: list[object] = [
        type_name,
        options.mode.value,
        options.format,
        sorted(options.columns.items()),
        sorted((column, sorted(texts)) for column, texts in options.nulls.items()),
        options.delimiter,
    ]
    for file in files:
        if file == "-":
            return None
        path = Path(file).resolve()
        try:
            found = path.stat()
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}") from None
        parts.append([str(path), found.st_size, found.st_mtime_ns])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def new_id(type_name: str) -> str:
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    return f"{type_name[:100]}-{now}-{secrets.token_hex(3)}"


def table_name(batch: str) -> str:
    """A name for the staging tables that any batch id, however long or odd, leads to."""
    return "import_" + hashlib.sha256(batch.encode()).hexdigest()[:16]


def lock_type(connection: Connection, schema: str, table: str, wait: float) -> None:
    """Hold the type until the connection ends; raises ConflictError where another import does."""
    _lock(connection, f"recordgate.import:{schema}.{table}", f"into {table}", wait)


def lock_batch(connection: Connection, batch: str, wait: float) -> None:
    """Hold the batch id, of whatever type; after the type, so that two never wait for each
    other."""
    _lock(connection, f"recordgate.batch:{batch}", f"of the batch {batch}", wait)


def _lock(connection: Connection, name: str, what: str, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        row = connection.execute(
            "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (name,)
        ).fetchone()
        if row and row[0]:
            return
        if time.monotonic() >= deadline:
            raise ConflictError(f"another import {what} is running", hint="wait until it ends")
        time.sleep(0.1)


def find(connection: Connection, batch: str | None, print_: str | None) -> dict[str, Any] | None:
    """Return the batch with the given id or, without an id, the unfinished batch of the same
    files."""
    cursor = connection.cursor(row_factory=dict_row)
    with of_own_tables():
        if batch is not None:
            if not 0 < len(batch) <= 200 or not batch.isprintable():
                raise InputError("a batch id is 1 to 200 printable characters")
            query = "SELECT * FROM recordgate.import_batches WHERE id = %s"
            return cursor.execute(query, (batch,)).fetchone()
        return cursor.execute(
            "SELECT * FROM recordgate.import_batches WHERE fingerprint = %s AND state = ANY(%s)"
            " ORDER BY started_at DESC LIMIT 1",
            (print_, list(_UNFINISHED)),
        ).fetchone()


def earlier_report(record: dict[str, Any]) -> ImportReport:
    """The report of a batch that is done."""
    return ImportReport(
        batch=record["id"],
        type=record["type"],
        mode=record["mode"],
        state=record["state"],
        read=record["rows"] or 0,
        inserted=record["inserted"] or 0,
        updated=record["updated"] or 0,
        unchanged=record["unchanged"] or 0,
        deleted=record["deleted"] or 0,
        rejected=record["rejected"] or 0,
        reasons=dict((record["options"] or {}).get("reasons", {})),
        repeated=True,
        gate=list((record["options"] or {}).get("gate", [])),
    )


def _person() -> str:
    """Return the name of the account that runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


def begin(
    connection: Connection,
    batch: str,
    type_name: str,
    files: Sequence[Source],
    options: ImportOptions,
    print_: str | None,
    columns: Sequence[Matched],
) -> None:
    """Write down that the batch is being staged, before any table of it exists."""
    connection.execute(
        "INSERT INTO recordgate.import_batches (id, type, mode, file, fingerprint, state,"
        " staging_table, options) VALUES (%(id)s, %(type)s, %(mode)s, %(file)s, %(print)s,"
        " 'staging', %(table)s, %(options)s) ON CONFLICT (id) DO UPDATE SET mode ="
        " excluded.mode, file = excluded.file, fingerprint = excluded.fingerprint, state ="
        " 'staging', options = excluded.options, staging_table = excluded.staging_table, rows ="
        " 0, error = NULL, started_at = now(), finished_at = NULL",
        {
            "id": batch,
            "type": type_name,
            "mode": options.mode.value,
            "file": ", ".join(str(f) for f in files)[:2000],
            "print": print_ or "",
            "table": table_name(batch),
            "options": Jsonb(
                {
                    "columns": [[m.index, m.header, m.property.name] for m in columns],
                    "files": [str(f) for f in files],
                    "dry_run": options.dry_run,
                    **({} if options.gate else {"no_gate": True, "no_gate_by": _person()}),
                }
            ),
        },
    )


def staged(connection: Connection, batch: str, rows: int) -> None:
    _set(connection, batch, state="staged", rows=rows)


def merging(connection: Connection, batch: str) -> None:
    _set(connection, batch, state="merging")


def finish(connection: Connection, report: ImportReport) -> None:
    """Write the outcome; in the merge's own transaction where rows were changed."""
    connection.execute(
        "UPDATE recordgate.import_batches SET state = %(state)s, rows = %(read)s, inserted ="
        " %(inserted)s, updated = %(updated)s, unchanged = %(unchanged)s, deleted = %(deleted)s,"
        " rejected = %(rejected)s, error = nullif(%(problem)s, ''), finished_at ="
        " clock_timestamp(), options = options || jsonb_build_object('reasons',"
        " %(reasons)s::jsonb, 'gate', %(gate)s::jsonb) WHERE id = %(batch)s",
        {
            "state": report.state,
            "read": report.read,
            "inserted": report.inserted,
            "updated": report.updated,
            "unchanged": report.unchanged,
            "deleted": report.deleted,
            "rejected": report.rejected,
            "problem": report.problem,
            "reasons": Jsonb(report.reasons),
            "gate": Jsonb(report.gate),
            "batch": report.batch,
        },
    )


def forget(connection: Connection, batch: str) -> None:
    """Leave no trace of a dry run."""
    connection.execute("DELETE FROM recordgate.import_batches WHERE id = %s", (batch,))


def unlock(connection: Connection) -> None:
    """Release every advisory lock of the session."""
    connection.execute("SELECT pg_advisory_unlock_all()")


def failed(connection: Connection, batch: str, problem: str) -> None:
    """The batch ended by an error of its own, which the same command would meet again."""
    _set(connection, batch, state="failed", error=problem[:1000])
    drop(connection, table_name(batch))


def _set(connection: Connection, batch: str, **values: object) -> None:
    assignments = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in values
    )
    connection.execute(
        sql.SQL("UPDATE recordgate.import_batches SET {} WHERE id = {}").format(
            assignments, sql.Placeholder("batch")
        ),
        {**values, "batch": batch},
    )


def rows_still_there(connection: Connection, staging: Staging, rows: int) -> bool:
    """Return whether the staging tables hold every row that was staged."""
    try:
        found = connection.execute(
            sql.SQL(
                "SELECT (SELECT count(*) FROM {loose}) + (SELECT count(*) FROM {staged} s"
                " WHERE NOT EXISTS (SELECT FROM {loose} l WHERE l.row = s.row))"
            ).format(loose=staging.loose, staged=staging.staged)
        ).fetchone()
    except psycopg.errors.UndefinedTable:
        return False
    return found is not None and found[0] == rows


def sweep(connection: Connection, type_name: str, keep: str | None) -> None:
    """Give up the unfinished batches of a type, whose lock we hold, except `keep`; drop tables that
    finished batches left behind."""
    rows = connection.execute(
        "SELECT id, staging_table, state FROM recordgate.import_batches b"
        " WHERE type = %(type)s AND id IS DISTINCT FROM %(keep)s AND staging_table IS NOT NULL"
        " AND (state = ANY(%(unfinished)s) OR staging_table IN (SELECT c.relname::text FROM"
        " pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %(schema)s"
        " AND c.relname LIKE 'import\\_%%'))",
        {"type": type_name, "keep": keep, "unfinished": list(_UNFINISHED), "schema": SCHEMA},
    ).fetchall()
    for batch, table, state in rows:
        with suppress(psycopg.errors.UndefinedTable):
            drop(connection, table)
        if state in _UNFINISHED:
            _set(
                connection,
                batch,
                state="failed",
                error="abandoned: another import of the type started",
            )
