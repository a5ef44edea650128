"""The steps of a history: plain data, what each does, and the script that a history is written to
and played from.

A script has a step a line, in JSON: its name, then its arguments. A statement that canonical
refuses is a part of the history: it rolls its transaction back, and no store may show anything of
it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import psycopg

from stores.canonical.connect import connect
from stores.canonical.importing import ImportOptions, Mode, RowLimit, run_import
from stores.contract.model import Contract
from stores.errors import RecordgateError
from tests.histories import reshapes
from tests.histories.faulty import switch
from tests.histories.stage import Stage, is_refusal

Step = list[Any]
REGIMES = {
    "none": "",
    "restrict": "DEFERRABLE",
    "cascade": "ON UPDATE CASCADE ON DELETE CASCADE",
    "set null": "ON UPDATE CASCADE ON DELETE SET NULL",
}
"""What the database itself does about foreign keys."""


def transaction(stage: Stage, end: str, *statements: str) -> None:
    """One transaction; `end` is commit or rollback."""
    _transaction(stage, stage.conn, end, statements)
    stage.changes += len(statements)


def writers(stage: Stage, *sessions: list[list[str]]) -> None:
    """Sessions at once; each is a list of transactions, a transaction its end and its
    statements."""

    def session(transactions: list[list[str]]) -> None:
        with connect(stage.spec.canonical) as conn:
            conn.execute("SET lock_timeout = '2s'")
            for end, *statements in transactions:
                _transaction(stage, conn, end, statements)

    threads = [threading.Thread(target=session, args=(s,)) for s in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stage.changes += sum(len(t) - 1 for s in sessions for t in s)


def bulk(stage: Stage, mode: str, type_name: str, rows: list[dict[str, Any]]) -> None:
    """A bulk import of `rows`, with properties by name."""
    file = stage.folder / "import.ndjson"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ImportOptions(Mode(mode), max_deletes=RowLimit.parse("100%"))
    try:
        run_import(stage.spec.canonical, stage.contract, type_name, [file], options)
    except RecordgateError as error:
        if error.code == "INTERNAL":
            raise
    stage.changes += len(rows)


def reshape(stage: Stage, kind: str) -> None:
    """Do something to a table itself; see `tests.histories.reshapes`."""
    for statements in reshapes.transactions(stage.one, kind):
        _transaction(stage, stage.conn, "commit", statements)
        stage.changes += len(statements)
    stage.reshaped = True


def foreign_keys(stage: Stage, regime: str) -> None:
    """Change what the database does about foreign keys. Rows that are there are not checked."""
    _transaction(stage, stage.conn, "commit", list(_regime(stage.contract, regime)))


def store(stage: Stage, sink: str, fault: str | None) -> None:
    switch(stage.folder, sink, fault)


def worker(stage: Stage, what: str) -> None:
    """start, stop (cleanly), kill, pause (SIGSTOP), or cut: canonical ends all the worker's
    connections."""
    if what == "start":
        stage.start()
    elif what == "stop":
        stage.stop()
    elif what == "kill":
        stage.kill()
    elif what == "pause" and stage.worker and not stage.worker.paused:
        stage.worker.pause()
    elif what == "cut":
        stage.conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND application_name LIKE 'recordgate%'"
        )


def ask(stage: Stage, action: str, type_name: str, sink: str | None) -> None:
    """Ask the worker for a reload or a rollback, and do not wait for it."""
    stage.conn.execute(
        "INSERT INTO recordgate.sync_requests (action, type, sink) VALUES (%s, %s, %s)",
        (action, type_name, sink),
    )


def gap(stage: Stage) -> None:
    """The worker is stopped and its slot dropped: whatever is written before it starts again is
    never told."""
    stage.stop()
    stage.conn.execute(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
        " WHERE database = current_database()"
    )


def sleep(stage: Stage, milliseconds: int) -> None:
    time.sleep(milliseconds / 1000)


def settle(stage: Stage) -> None:
    """Wait for the stores and compare; then the history goes on."""
    stage.settle()


STEPS: dict[str, Callable[..., None]] = {
    f.__name__: f
    for f in (
        transaction,
        writers,
        bulk,
        reshape,
        foreign_keys,
        store,
        worker,
        ask,
        gap,
        sleep,
        settle,
    )
}


def play(stage: Stage, step: Step) -> None:
    STEPS[step[0]](stage, *step[1:])


def play_all(stage: Stage, steps: Iterable[Step]) -> None:
    """A whole history from an empty stage, and its end. Raises Behind or Differs."""
    begin(stage)
    for step in steps:
        play(stage, step)
    stage.settle()


def begin(stage: Stage) -> None:
    """Empty; no foreign keys but where the history asks for them."""
    foreign_keys(stage, "none")
    stage.sql(*reshapes.restored(stage.one))
    stage.reset()


def write_script(file: Path, steps: Sequence[Step], *comments: str) -> None:
    lines = [f"# {line}" for comment in comments for line in comment.splitlines()]
    lines += [json.dumps(step, ensure_ascii=False) for step in steps]
    file.write_text("\n".join(lines) + "\n", "utf-8")


def read_script(file: Path) -> list[Step]:
    lines = file.read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip() and not line.startswith("#")]


def shorten(steps: list[Step], fails: Callable[[list[Step]], bool], seconds: float) -> list[Step]:
    """Leave steps out, halves first, then one by one, as long as what is left fails and time is
    left. No step needs another one, so that any part of a history is a history."""
    deadline = time.monotonic() + seconds
    size = max(1, len(steps) // 2)
    while size:
        start = 0
        while start < len(steps):
            if time.monotonic() > deadline:
                return steps
            rest = steps[:start] + steps[start + size :]
            if fails(rest):
                steps = rest
            else:
                start += size
        size //= 2
    return steps


def _transaction(
    stage: Stage, conn: psycopg.Connection[Any], end: str, statements: Sequence[str]
) -> None:
    try:
        conn.execute("BEGIN")
        for statement in statements:
            conn.execute(statement.encode())
        conn.execute(end.encode())
    except psycopg.Error as error:
        if not is_refusal(error):
            raise
        conn.execute("ROLLBACK")
        stage.refused += 1


def _regime(contract: Contract, regime: str) -> Iterable[str]:
    rules = REGIMES[regime]
    for record_type in contract.types.values():
        table = f"{record_type.schema}.{record_type.table}"
        for relation in record_type.relations:
            if not relation.owner:
                continue
            name = f"history_{relation.name}"
            yield f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}"
            if rules:
                target = contract.types[relation.target]
                yield (
                    f"ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY ({', '.join(relation.columns)})"
                    f" REFERENCES {target.schema}.{target.table} ({', '.join(relation.target_columns)})"
                    f" {rules} NOT VALID"
                )
