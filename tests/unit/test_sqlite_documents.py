"""How the SQLite store keeps its promises cheaply, and what it does when the disk says no."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stores import local_state
from stores.documents.sqlite import store as sqlite_store
from stores.documents.sqlite import tables as sqlite_tables
from stores.documents.sqlite.store import SqliteStore
from stores.errors import StoreUnavailable
from stores.protocols import Outcome, Position, Write
from tests.conformance.store_backends import held, run
from tests.conformance.store_contract import BOOK, CONTRACT, SHELF, author, book, put


def explained(statement: str, arguments: tuple[Any, ...]) -> str:
    connection = sqlite3.connect(":memory:")
    for record_type in (BOOK, SHELF):
        for made in sqlite_tables.create_statements(record_type, 1 if record_type is BOOK else 2):
            connection.execute(made)
    rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", arguments).fetchall()
    return "\n".join(str(r[3]) for r in rows)


def test_children_are_read_from_their_index_in_order() -> None:
    for record_type, number, names in ((BOOK, 1, ("author",)), (SHELF, 2, ("book",))):
        plan = explained(sqlite_tables.children(record_type, number, names), ("x", 5))
        assert f"USING INDEX records_{number}_children_0" in plan
        assert "B-TREE" not in plan, "the children are sorted, not read in order"
        assert "children_0" in explained(sqlite_tables.count_children(number, names), ("x",))


def test_keys_and_counts_are_read_from_indexes() -> None:
    assert "SEARCH" in explained(sqlite_tables.get_one(1), ("x",))
    assert "SEARCH t" in explained(sqlite_tables.get_many(1), ("[]",))
    assert "TEMP" not in explained(sqlite_tables.scan(1, first=False), ("x", 5))
    plan = explained(sqlite_tables.count(1), ()).splitlines()
    scans = [line for line in plan if "records_1" in line]
    assert len(scans) == 2
    assert all(" INDEX " in line for line in scans), "the documents' pages are read to count them"


def test_an_open_that_fails_halfway_keeps_no_later_one_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is locked by a tool of somebody else's for longer than an open waits."""
    connect = local_state.connect
    monkeypatch.setattr(local_state, "connect", partial(connect, busy_seconds=0.1))

    async def story() -> None:
        first = SqliteStore(tmp_path / "documents.sqlite")
        await first.open(CONTRACT, write=True)
        await first.close()
        with closing(sqlite3.connect(tmp_path / "documents.sqlite")) as other:
            other.isolation_level = None
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="locked"):
                await first.open(CONTRACT, write=True)
        await first.open(CONTRACT, write=True)
        await first.close()

    run(story())


def test_a_long_load_without_a_publish_keeps_the_log_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "COMMIT_BYTES", 200_000)

    async def story() -> None:
        store = SqliteStore(tmp_path / "documents.sqlite")
        await store.open(CONTRACT, write=True)
        await store.create_generation("author", 1)
        for batch in range(40):
            keys = [f"{batch:02}-{n:03}" for n in range(50)]
            await store.write("author", 1, [put(k, 1, author(k, "x" * 1000)) for k in keys])
        log = (tmp_path / "documents.sqlite-wal").stat().st_size
        assert log < 8_000_000, "about twice SQLite's checkpoint size"
        assert await store.position() is None
        await store.close()

    run(story())


def test_a_full_disk_is_told_and_nothing_is_lost_in_silence(tmp_path: Path) -> None:
    async def story() -> None:
        store = SqliteStore(tmp_path / "documents.sqlite")
        await store.open(CONTRACT, write=True)
        await store.create_generation("author", 1)
        await store.write("author", 1, [put("published", 1)])
        await store.publish(Position("s", 1, 1.0))
        await store.write("author", 1, [put("unpublished", 2)])
        writer = store._metadata.writer
        assert writer
        pages = writer.execute("PRAGMA page_count").fetchone()[0]
        writer.execute(f"PRAGMA max_page_count={pages + 5}")
        big = [put(f"k{n}", 3, author(f"k{n}", "x" * 5000)) for n in range(50)]
        with pytest.raises(StoreUnavailable) as full:
            await store.write("author", 1, big)
        assert "disk" in full.value.message
        assert full.value.hint
        # "unpublished" went with it, so its position must not be claimed.
        with pytest.raises(StoreUnavailable):
            await store.publish(Position("s", 2, 2.0))
        position = await store.position()
        assert position
        assert position.lsn == 1
        writer.execute("PRAGMA max_page_count=1000000")
        verdicts = await store.write("author", 1, [put("unpublished", 2), *big])
        assert {v.outcome for v in verdicts} == {Outcome.APPLIED}
        await store.publish(Position("s", 2, 2.0))
        assert len(await held(store)) == 52
        await store.close()

    run(story())


def test_a_document_that_only_sqlite_cannot_take_is_refused_alone(tmp_path: Path) -> None:
    """Its JSON functions stop at a depth that other readers pass."""
    deep = b'{"id": 2, "author": "a", "extra": ' + b"[" * 1500 + b"]" * 1500 + b"}"

    async def story() -> None:
        store = SqliteStore(tmp_path / "documents.sqlite")
        await store.open(CONTRACT, write=True)
        await store.create_generation("book", 1)
        writes = [Write("1", 1, book(1)), Write("2", 1, deep), Write("3", 1, book(3))]
        verdicts = await store.write("book", 1, writes)
        assert [v.outcome for v in verdicts] == [Outcome.APPLIED, Outcome.REJECT, Outcome.APPLIED]
        await store.publish(None)
        assert await held(store, "book") == {"1": 1, "3": 1}
        await store.close()

    run(story())
