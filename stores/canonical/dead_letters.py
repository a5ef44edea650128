"""Rows and documents that were set aside: list, show, replay, discard.

A row of an import is tried again by the way it came, as an import of its own; a document that a
sink refused goes back to that sink's backlog; a change that a source could not read is only kept to
be seen.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import class_row

from stores.canonical import importing
from stores.canonical.connect import Connection, connect
from stores.canonical.driver_errors import translate
from stores.canonical.importing import ImportOptions, Mode, RowLimit
from stores.contract.model import Contract
from stores.errors import InputError

KINDS = ("import", "sink", "source")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """`payload` of an import: {"values": {property: text}, "cut": bool} or {"raw": text}."""

    id: int
    kind: str
    type: str | None
    sink: str | None
    batch: str | None
    key: str | None
    line: int | None
    code: str
    reasons: Any
    payload: Any
    version: int | None
    attempts: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Selection:
    """A selection of dead letters; None selects any. With no `ids`, the other attributes alone
    select."""

    ids: tuple[int, ...] = ()
    kind: str | None = None
    type: str | None = None
    sink: str | None = None
    batch: str | None = None


@dataclass(slots=True)
class Replayed:
    """`cured` rows were taken, `queued` keys are tried again by the worker; `still_bad` were set
    aside once more; `impossible`: id → why it cannot be replayed."""

    cured: list[int] = field(default_factory=list)
    queued: list[int] = field(default_factory=list)
    still_bad: list[int] = field(default_factory=list)
    impossible: dict[int, str] = field(default_factory=dict)


_WHERE = """
 WHERE (cardinality(%(ids)s::bigint[]) = 0 OR id = ANY(%(ids)s::bigint[]))
   AND (%(kind)s::text IS NULL OR kind = %(kind)s) AND (%(type)s::text IS NULL OR type = %(type)s)
   AND (%(sink)s::text IS NULL OR sink = %(sink)s) AND (%(batch)s::text IS NULL OR batch =
     %(batch)s)
"""

_QUEUE = """
WITH gone AS (DELETE FROM recordgate.dead_letters WHERE id = ANY(%s) AND kind = 'sink'
              RETURNING id, sink, type, key),
     queued AS (INSERT INTO recordgate.backlog (sink, type, key, lsn)
                SELECT sink, type, key, pg_current_wal_insert_lsn() FROM gone
                ON CONFLICT (sink, type, key) DO UPDATE SET lsn = greatest(backlog.lsn,
                  excluded.lsn))
SELECT id FROM gone ORDER BY id
"""


def _parameters(selection: Selection) -> dict[str, Any]:
    return {
        "ids": list(selection.ids),
        "kind": selection.kind,
        "type": selection.type,
        "sink": selection.sink,
        "batch": selection.batch,
    }


def find(connection: Connection, selection: Selection, limit: int) -> list[DeadLetter]:
    """Return up to `limit` dead letters, oldest first."""
    cursor = connection.cursor(row_factory=class_row(DeadLetter))
    table = "recordgate.dead_letters"
    query = f"SELECT * FROM {table} {_WHERE} ORDER BY id LIMIT %(limit)s"  # noqa: S608
    try:
        return cursor.execute(query, {**_parameters(selection), "limit": limit}).fetchall()
    except psycopg.Error as error:
        raise translate(error) from None


def count(connection: Connection, selection: Selection) -> int:
    query = f"SELECT count(*) FROM recordgate.dead_letters {_WHERE}"  # noqa: S608
    try:
        row = connection.execute(query, _parameters(selection)).fetchone()
    except psycopg.Error as error:
        raise translate(error) from None
    return row[0] if row else 0


def discard(connection: Connection, selection: Selection) -> int:
    """Delete them for good, and return how many there were. Raises InputError for a selection of
    everything."""
    if selection == Selection():
        raise InputError("no dead letters are selected", hint="name ids, or a batch")
    query = f"DELETE FROM recordgate.dead_letters {_WHERE}"  # noqa: S608
    try:
        return connection.execute(query, _parameters(selection)).rowcount
    except psycopg.Error as error:
        raise translate(error) from None


def replay(url: str, contract: Contract, selection: Selection, limit: int = 100_000) -> Replayed:
    """Try up to `limit` dead letters again. A crash in between leaves them where they are, and
    replaying a row that was taken changes nothing."""
    done = Replayed()
    with connect(url) as connection:
        dead_letters = find(connection, selection, limit)
        done.impossible = dict.fromkeys(
            set(selection.ids) - {d.id for d in dead_letters}, "there is no such dead letter"
        )
        sinks = [d.id for d in dead_letters if d.kind == "sink"]
        if sinks:
            done.queued = _queue(connection, sinks)
        modes = _modes(
            connection, [d.batch for d in dead_letters if d.kind == "import" and d.batch]
        )
        groups: dict[tuple[str, Mode, tuple[str, ...]], list[DeadLetter]] = {}
        for letter in dead_letters:
            if letter.kind == "sink":
                continue
            problem = _impossible(letter, contract)
            if problem:
                done.impossible[letter.id] = problem
                continue
            mode = modes.get(letter.batch or "", Mode.UPSERT)
            columns = tuple(letter.payload["values"])
            groups.setdefault((str(letter.type), mode, columns), []).append(letter)
        for (type_name, mode, _), group in groups.items():
            _import_again(url, connection, contract, type_name, mode, group, done)
    return done


def _queue(connection: Connection, ids: Sequence[int]) -> list[int]:
    try:
        return [row[0] for row in connection.execute(_QUEUE, (list(ids),)).fetchall()]
    except psycopg.Error as error:
        raise translate(error) from None


def _modes(connection: Connection, ids: Sequence[str]) -> dict[str, Mode]:
    """Batch → the mode in which its rows are tried again. Of replace only the row is left to do."""
    rows = connection.execute(
        "SELECT id, mode FROM recordgate.import_batches WHERE id = ANY(%s)", (list(set(ids)),)
    ).fetchall()
    return {i: Mode.UPSERT if mode == Mode.REPLACE else Mode(mode) for i, mode in rows}


def _impossible(letter: DeadLetter, contract: Contract) -> str:
    """Return why the letter cannot be replayed, or an empty string where it can."""
    if letter.kind != "import":
        return (
            "an unreadable change cannot be replayed; `recordgate verify --repair` repairs its"
            " record"
        )
    if letter.type is None or contract.type(letter.type) is None:
        return "the type is no longer in the contract"
    if not isinstance(letter.payload, dict) or "values" not in letter.payload:
        return "the row could not be split into columns; correct the file and import it again"
    if letter.payload.get("cut"):
        return (
            "the row was too large or had a NUL character, so only a part of it is kept; import"
            " it from its file"
        )
    return ""


def _has_value(letter: DeadLetter) -> bool:
    return any(value is not None for value in letter.payload["values"].values())


def _csv_line(values: Iterable[str | None]) -> str:
    """Return `values` as a line of CSV. A missing value is an empty cell, an empty text a quoted
    one."""
    cells = ("" if v is None else '"' + v.replace('"', '""') + '"' for v in values)
    return ",".join(cells) + "\n"


def _import_again(
    url: str,
    connection: Connection,
    contract: Contract,
    type_name: str,
    mode: Mode,
    dead_letters: Sequence[DeadLetter],
    done: Replayed,
) -> None:
    """Letters with the same columns, as one import: of CSV, whose cells are the texts that a letter
    keeps."""
    # A row without any value is skipped by CSV, and its key is still missing.
    done.still_bad += sorted(d.id for d in dead_letters if not _has_value(d))
    dead_letters = [d for d in dead_letters if _has_value(d)]
    if not dead_letters:
        return
    with tempfile.TemporaryDirectory(prefix="recordgate-replay-") as folder:
        file = Path(folder) / "rows.csv"
        lines = [_csv_line(dead_letters[0].payload["values"])]
        lines += [_csv_line(d.payload["values"].values()) for d in dead_letters]
        file.write_text("".join(lines), "utf-8", newline="")
        options = ImportOptions(mode=mode, max_rejects=RowLimit.parse("100%"))
        report = importing.run_import(url, contract, type_name, [file], options)
    ids = [d.id for d in dead_letters]
    connection.execute(
        "DELETE FROM recordgate.dead_letters WHERE id = ANY(%s) AND batch IS DISTINCT FROM %s",
        (ids, report.batch),
    )
    left = connection.execute(
        "SELECT id FROM recordgate.dead_letters WHERE id = ANY(%s) ORDER BY id", (ids,)
    ).fetchall()
    bad = {row[0] for row in left}
    done.still_bad += sorted(bad)
    done.cured += [i for i in ids if i not in bad]
