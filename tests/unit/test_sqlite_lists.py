"""The indexes of lists in the SQLite store: made for data that is there already, replaced where
they are of another form, and never in the way of reading and writing."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from stores.contract.model import Route
from stores.documents.sqlite.store import SqliteStore
from stores.errors import StoreRefused, TooMuchWork
from stores.protocols import Position, Write
from stores.query import EVERYTHING, Compare, ListQuery, Op, Order, Statistics
from tests.conformance.store_backends import held, run
from tests.conformance.store_contract import AUTHOR, CONTRACT, author, put

KEY = Order("id")
INDEXED = replace(
    CONTRACT,
    types=CONTRACT.types | {"author": replace(AUTHOR, route=Route(index=(("name",), ("born",))))},
)
WANTED = {("id",), ("name", "id"), ("born", "id")}


def file(folder: Path) -> Path:
    return folder / "documents.sqlite"


async def filled(folder: Path, writes: Iterable[Write]) -> SqliteStore:
    store = SqliteStore(file(folder))
    await store.open(INDEXED, write=True)
    await store.create_generation("author", 1)
    await store.write("author", 1, list(writes))
    await store.publish(Position("7/1", 9, 1.0))
    await store.activate("author", 1)
    return store


def authors(count: int) -> list[Write]:
    return [put(f"a{n:04}", n + 1, author(f"a{n:04}", f"name {n}")) for n in range(count)]


async def indexed(store: SqliteStore) -> Statistics:
    """What is known once the indexes are there."""
    for _ in range(200):
        found = await store.statistics("author")
        if {names for names, _ in found.indexes} == WANTED and found.rows is not None:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(await store.statistics("author"))


def as_an_older_version_left_it(folder: Path) -> None:
    with closing(sqlite3.connect(file(folder))) as connection:
        names = [
            n for (n,) in connection.execute("SELECT name FROM sqlite_master") if "_list_" in n
        ]
        assert len(names) == len(WANTED)
        for name in names:
            connection.execute(f"DROP INDEX {name}")
        for table in ("list_rows", "sqlite_stat1"):
            connection.execute(f"DROP TABLE {table}")
        connection.commit()


def test_a_folder_of_an_older_version_gets_its_indexes_while_it_is_used(tmp_path: Path) -> None:
    async def story() -> None:
        store = await filled(tmp_path, authors(50))
        before = await held(store)
        await store.close()
        as_an_older_version_left_it(tmp_path)
        store, reader = SqliteStore(file(tmp_path)), SqliteStore(file(tmp_path))
        await store.open(INDEXED, write=True)
        await reader.open(INDEXED, write=False)
        # It is written and read at once, whether they are there yet or not.
        await store.write("author", 1, [put("b", 100, author("b", "b"))])
        page = ListQuery("author", EVERYTHING, (KEY,), 3)
        assert len((await reader.page(page)).documents) == 3
        await store.publish(Position("7/1", 10, 2.0))
        found = await indexed(store)
        assert found.rows in (50, 51)
        assert {n for n, _ in (await reader.statistics("author")).indexes} == WANTED
        by_name = ListQuery("author", EVERYTHING, (Order("name"), KEY), 3, index=("name", "id"))
        assert len((await reader.page(by_name)).documents) == 3
        assert await held(store) == before | {"b": 100}
        await reader.close()
        await store.close()

    run(story())


def test_a_table_that_has_grown_is_looked_at_soon(tmp_path: Path) -> None:
    """A first import into an empty type: a list must not take it for empty for a minute."""

    async def story() -> None:
        store = await filled(tmp_path, ())
        assert (await store.statistics("author")).rows == 0
        await store.write("author", 1, authors(1_500))
        await store.publish(None)
        for _ in range(40):
            if (await store.statistics("author")).rows == 1_500:
                break
            await asyncio.sleep(0.1)
            await store.publish(None)
        else:
            raise AssertionError(await store.statistics("author"))
        await store.close()

    run(story())


def test_an_index_that_the_contract_no_longer_has_is_dropped(tmp_path: Path) -> None:
    async def story() -> None:
        await (await filled(tmp_path, authors(2))).close()
        with closing(sqlite3.connect(file(tmp_path))) as connection:
            connection.execute("CREATE INDEX records_1_list_0123456789ab ON records_1 (version)")
        store = SqliteStore(file(tmp_path))
        await store.open(INDEXED, write=True)
        assert store._indexing is not None
        await asyncio.wait_for(store._indexing, 20)
        await store.close()
        with closing(sqlite3.connect(file(tmp_path))) as connection:
            names = [n for (n,) in connection.execute("SELECT name FROM sqlite_master")]
        assert "records_1_list_0123456789ab" not in names
        assert "records_1_tombstones" in names

    run(story())


def test_a_list_by_an_index_that_is_not_there_is_refused_and_one_that_takes_long_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        store = await filled(tmp_path, authors(200))
        by_blurb = ListQuery("author", EVERYTHING, (KEY,), 1, index=("name", "born"))
        with pytest.raises(StoreRefused, match="index"):
            await store.page(by_blurb)
        monkeypatch.setattr("stores.documents.sqlite.list_reads.STEPS", 1)
        long = ListQuery("author", Compare("name", Op.CONTAINS, "?"), (KEY,), 1, seconds=0.0)
        with pytest.raises(TooMuchWork):
            await store.page(long)
        # The connection is as it was.
        assert len((await store.page(replace(long, filter=EVERYTHING, seconds=9.0))).documents) == 1
        assert await store.get("author", ["a0001"])
        await store.close()

    run(story())


def test_a_page_after_a_cursor_begins_in_its_index(tmp_path: Path) -> None:
    """However deep the page, no record before it is read, and none is sorted."""
    from stores.documents.sqlite import lists

    async def story() -> None:
        await (await filled(tmp_path, authors(3))).close()

    run(story())
    with closing(sqlite3.connect(file(tmp_path))) as connection:
        for order, cursor in (
            ((Order("born"), KEY), ("2000-01-01", "a0001")),
            ((Order("born", True), Order("id", True)), (None, "a0001")),
            ((Order("born", nulls_first=True), KEY), ("0044-03-15 BC", "a0001")),
        ):
            query = ListQuery("author", EVERYTHING, order, 5, after=cursor, index=("born", "id"))
            made = lists.ListStatements(INDEXED, INDEXED.types["author"], 1, query)
            statements = [*made.pages(), *made.before()]
            assert len(statements) >= 3
            for text, given in statements:
                plan = connection.execute(f"EXPLAIN QUERY PLAN {text}", (*given, 5)).fetchall()
                (step,) = (row[3] for row in plan)
                assert step.startswith("SEARCH records_1 USING INDEX"), (text, plan)
