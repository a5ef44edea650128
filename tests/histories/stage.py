"""Where histories are played: canonical, two stores, a worker in a process of its own, and the
judge.

A `Stage` carries out steps, which are plain data (see `tests.histories.steps`), and compares what
every store holds with `tests.oracle`. One stage serves many histories: `reset` empties it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson
import psycopg

from recordgate.migrations.run import migrate
from stores.canonical.apply import apply_plan
from stores.canonical.connect import Connection, connect
from stores.canonical.plan import make_plan
from stores.contract.model import Contract
from stores.errors import StoreError, StoreRefused, StoreUnavailable
from stores.protocols import Store
from stores.registry import open_store
from tests import oracle
from tests.histories.contract import large_shop
from tests.histories.faulty import switch
from tests.histories.workers import Forked, Nursery, Spec

T = TypeVar("T")
SINKS = ("search", "documents")
EMBEDDED = {"search": "tantivy:", "documents": "sqlite:"}
PATIENCE = 60.0
NOTICED = 15.0
"""Seconds in which a worker must have noticed what tables have become, on a busy machine."""
UNEXPECTED = "unexpected failure"
"""What workers log before they go on after a failure that nobody has thought of."""


class Behind(AssertionError):
    """A store did not come to where canonical is."""


class Differs(AssertionError):
    """A store does not hold what canonical says."""

    def __init__(self, found: list[oracle.Difference]) -> None:
        self.differences = found
        more = f"\n  and {len(found) - 5} more" if len(found) > 5 else ""
        super().__init__("\n  ".join(["", *map(str, found[:5])]) + more)


@dataclass
class Stage:
    """`conn` is canonical's, in autocommit mode."""

    contract: Contract
    spec: Spec
    conn: Connection
    nursery: Nursery
    worker: Forked | None = None
    kills: int = 0
    changes: int = 0
    """Statements that were sent."""
    compared: int = 0
    """Documents."""
    reshaped: bool = False
    """Tables were changed themselves, which a worker notices a moment later."""
    refused: int = 0
    """Transactions that canonical refused."""
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _readers: dict[str, Store] = field(default_factory=dict)
    _read_to: int = 0
    """Bytes of the workers' log that were looked at."""

    @property
    def folder(self) -> Path:
        return Path(self.spec.folder)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    # Canonical -------------------------------------------------------------------------------------

    def sql(self, *statements: str) -> None:
        for statement in statements:
            self.conn.execute(statement.encode())
            self.changes += 1

    def insist(self, statement: str) -> None:
        """Again where a reader of several tables stood in the way of a statement that locks them
        all."""
        for _ in range(10):
            with suppress(psycopg.errors.DeadlockDetected):
                self.sql(statement)
                return
        self.sql(statement)

    def one(self, query: str) -> Any:
        row = self.conn.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]

    def lsn(self) -> int:
        return int(self.one("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"))

    def tables(self) -> list[str]:
        return [f"{t.schema}.{t.table}" for t in self.contract.types.values()]

    # The worker ------------------------------------------------------------------------------------

    def start(self) -> None:
        if self.worker is None:
            self.worker = self.nursery.fork(self.spec)
        elif self.worker.paused:
            self.worker.resume()

    def stop(self) -> None:
        if self.worker is not None:
            self.worker.stop()
            self.worker = None

    def kill(self) -> None:
        if self.worker is not None:
            self.worker.kill()
            self.worker = None
            self.kills += 1

    # The stores ------------------------------------------------------------------------------------

    def reader(self, sink: str) -> Store:
        """The sink's store as a reader has it; opened once."""
        if sink not in self._readers:
            store = open_store(self.spec.stores[sink], self.folder, role=sink)
            self.run(store.open(self.contract, write=False))
            self._readers[sink] = store
        return self._readers[sink]

    def forget_readers(self) -> None:
        """The next one is opened anew, as after the store's files were replaced."""
        while self._readers:
            _, store = self._readers.popitem()
            self.run(store.close())

    def position(self, sink: str) -> int:
        try:
            position = self.run(self.reader(sink).position())
        except StoreError:
            return -1
        return -1 if position is None else position.lsn

    def wait(
        self, lsn: int | None = None, sinks: tuple[str, ...] = SINKS, patience: float = PATIENCE
    ) -> None:
        """Until each sink's visible position is past `lsn`, by default past all that is
        committed."""
        target = self.lsn() if lsn is None else lsn
        deadline = time.monotonic() + patience
        for sink in sinks:
            while (at := self.position(sink)) < target:
                if time.monotonic() > deadline:
                    raise Behind(
                        f"{sink} stands at {at}, not at {target}, after {patience:.0f} s: {self.last_words()}"
                    )
                assert self.worker is not None, "nobody works"
                if not self.worker.alive:
                    raise Behind(f"the worker died: {self.last_words()}")
                time.sleep(0.005)

    def last_words(self) -> str:
        """The end of what workers have logged."""
        return (self.folder / "worker.log").read_text("utf-8", errors="replace")[-3000:]

    def nothing_unexpected(self) -> None:
        """Workers survive what nobody expected, and say so: it is a failure here."""
        log = self.folder / "worker.log"
        size = log.stat().st_size if log.exists() else 0
        if size > self._read_to:
            with log.open("rb") as file:
                file.seek(self._read_to)
                said = file.read().decode("utf-8", errors="replace")
            self._read_to = size
            if UNEXPECTED in said:
                raise Behind(f"unexpected: {said[max(0, said.index(UNEXPECTED) - 200) :][:4000]}")

    def held(self, sink: str, type_name: str, generation: int) -> dict[str, Any]:
        """Key → document of everything that a generation holds."""

        async def read() -> dict[str, Any]:
            store, found, after = self.reader(sink), {}, None
            while True:
                page = await store.scan(type_name, generation, after, 500)
                found |= {s.key: orjson.loads(s.document) for s in page}
                if len(page) < 500:
                    return found
                after = page[-1].key

        self.reader(sink)
        return self.run(read())

    def generations(self, sink: str, type_name: str) -> tuple[int, list[int]]:
        """The active one, and those kept for a rollback."""
        found = self.run(self.reader(sink).generations(type_name))
        active = [g.number for g in found if g.state == "active"]
        assert len(active) == 1, f"{sink}/{type_name}: {found}"
        return active[0], [g.number for g in found if g.state == "retired"]

    def compare(self, sinks: tuple[str, ...] = SINKS) -> list[oracle.Difference]:
        """Every whole document of every store, also of the generations kept for a rollback."""
        wanted = oracle.expected(self.conn, self.contract.types)
        return [
            difference
            for sink in sinks
            for type_name, want in wanted.items()
            for difference in self._compare(sink, type_name, want)
        ]

    def _compare(
        self, sink: str, type_name: str, want: dict[str, Any]
    ) -> Iterator[oracle.Difference]:
        for attempt in range(20):
            try:
                active, kept = self.generations(sink, type_name)
                held = {n: self.held(sink, type_name, n) for n in (active, *kept)}
                count = self.run(self.reader(sink).count(type_name, active))
                break
            except (StoreRefused, StoreUnavailable):  # a reload has dropped one under our eyes
                if attempt == 19:
                    raise
                time.sleep(0.05)
        assert count == len(held[active]), f"{sink}/{type_name} counts {count} records"
        for number, documents in held.items():
            self.compared += len(want)
            yield from oracle.differences(sink, type_name, number, want, documents)

    def settle(self, sinks: tuple[str, ...] = SINKS, patience: float = PATIENCE) -> None:
        """No faults, a worker, no more writes: every store must come to equal canonical. Raises
        Behind, Differs."""
        for sink in SINKS:
            switch(self.folder, sink, None)
        self.start()
        deadline = time.monotonic() + NOTICED
        while True:
            self.wait(sinks=sinks, patience=patience)
            self.nothing_unexpected()
            found = self.compare(sinks)
            if not (found and self.reshaped and time.monotonic() < deadline):
                break
            time.sleep(0.1)
        self.reshaped = False
        if found:
            raise Differs(found)

    def reset(self) -> None:
        """Empty, with a worker, and in step."""
        self.insist(f"TRUNCATE {', '.join(self.tables())} CASCADE")
        self.sql(
            "DELETE FROM recordgate.dead_letters",
            "DELETE FROM recordgate.sync_requests",
        )
        self.settle()

    def close(self) -> None:
        self.kill()
        self.forget_readers()
        self.nursery.close()
        self._loop.close()


@contextmanager
def stage(
    database: str,
    folder: Path,
    *,
    stores: dict[str, str] | None = None,
    changes: str = "pgoutput:",
) -> Iterator[Stage]:
    """The contract applied to an empty database, without its foreign keys: histories make their
    own. No worker yet."""
    contract = large_shop(folder)
    migrate(database)
    with connect(database) as conn:
        apply_plan(conn, contract, make_plan(conn, contract))
        for table, name in conn.execute(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'f'"
            " AND connamespace = 'public'::regnamespace"
        ).fetchall():
            conn.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"'.encode())
        spec = Spec(database, str(folder), stores or EMBEDDED, changes)
        found = Stage(contract, spec, conn, Nursery(folder))
        try:
            yield found
        finally:
            found.close()


def is_refusal(error: psycopg.Error) -> bool:
    """Whether canonical refused a statement for what it says, or for another session's sake."""
    return (error.sqlstate or "")[:2] in ("22", "23", "27", "40", "55")
