"""What every change source promises, whatever it reads. A source joins by a row in SOURCES."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import psycopg
import pytest

from stores.contract.model import Contract
from sync.changes import ChangeOp, ChangeSource, Event, Progress
from sync.sources.pgoutput import PgOutputSource
from tests.change_tables import (
    CONTRACT,
    TABLES,
    changes,
    progress,
    publish,
    read,
    read_to,
    record_type,
    transactions,
    wal_end,
)
from tests.debezium_stage import connector

INS, UPD, DEL, TRUNC = ChangeOp.INSERT, ChangeOp.UPDATE, ChangeOp.DELETE, ChangeOp.TRUNCATE


@contextmanager
def pgoutput(
    url: str, contract: Contract, request: pytest.FixtureRequest
) -> Iterator[Callable[[], ChangeSource]]:
    with psycopg.connect(url, autocommit=True) as conn:
        publish(conn, "conformance", contract, "other")
    slot = f"c_{psycopg.conninfo.conninfo_to_dict(url)['dbname']}"
    yield lambda: PgOutputSource(url, contract, slot=slot, publication="conformance")


@contextmanager
def debezium(
    url: str, contract: Contract, request: pytest.FixtureRequest
) -> Iterator[Callable[[], ChangeSource]]:
    broker, connect = request.getfixturevalue("kafka"), request.getfixturevalue("connect")
    with connector(url, contract, broker, connect, "other") as make:
        yield make


Maker: TypeAlias = Callable[
    [str, Contract, pytest.FixtureRequest], AbstractContextManager[Callable[[], ChangeSource]]
]
"""From canonical's URL and a contract, whose tables and `other` are there: makes what the source
needs, gives a maker of sources that all continue one position, and cleans up."""
SOURCES: dict[str, Maker] = {
    "pgoutput": pgoutput,
    "debezium": debezium,
}
ON_SERVERS = {"debezium"}
NAMES = [
    pytest.param(name, marks=pytest.mark.servers) if name in ON_SERVERS else name
    for name in SOURCES
]


@dataclass
class Stage:
    """Canonical with its tables, and the source under test, not opened yet."""

    url: str
    conn: psycopg.Connection[Any]
    make: Callable[[], ChangeSource]

    def execute(self, *statements: str) -> None:
        """Each statement in a transaction of its own."""
        for statement in statements:
            self.conn.execute(statement.encode())

    def see(self, *statements: str) -> list[Event]:
        """The events of a new source for `statements`."""
        return asyncio.run(self._see(*statements))

    async def _see(self, *statements: str) -> list[Event]:
        source = self.make()
        await source.open(None)
        try:
            self.execute(*statements)
            return await read_to(source, wal_end(self.conn))
        finally:
            await source.close()


@pytest.fixture(params=NAMES)
def stage(request: pytest.FixtureRequest, database: str) -> Iterator[Stage]:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(TABLES)
        with SOURCES[request.param](database, CONTRACT, request) as make:
            yield Stage(database, conn, make)


def told(events: list[Event]) -> list[tuple[str, ChangeOp, dict[str, Any], dict[str, Any]]]:
    return [(c.table, c.op, dict(c.new), dict(c.old)) for c in changes(events)]


def test_each_change_carries_its_tracked_columns_and_no_others(stage: Stage) -> None:
    seen = stage.see(
        "INSERT INTO country VALUES ('FR', 'France')",
        "INSERT INTO city (id, name, country, population) VALUES (1, 'Paris', 'FR', 2), (2, 'x', NULL, 1)",
        "UPDATE city SET population = 3 WHERE id = 1",
        "DELETE FROM city WHERE id = 2",
    )
    assert told(seen) == [
        ("country", INS, {"iso": "FR"}, {}),
        ("city", INS, {"id": "1", "country": "FR"}, {}),
        ("city", INS, {"id": "2", "country": None}, {}),
        ("city", UPD, {"id": "1", "country": "FR"}, {"id": "1", "country": "FR"}),
        ("city", DEL, {}, {"id": "2", "country": None}),
    ]
    assert len(transactions(seen)) == 4
    assert all(c.schema == "public" for c in changes(seen))


def test_transactions_come_in_the_order_of_their_commits(stage: Stage) -> None:
    async def run() -> list[Event]:
        source = stage.make()
        await source.open(None)
        with psycopg.connect(stage.url) as first, psycopg.connect(stage.url) as second:
            first.execute("INSERT INTO country VALUES ('A1')")
            second.execute("INSERT INTO country VALUES ('B1')")
            first.execute("INSERT INTO country VALUES ('A2')")
            second.execute("INSERT INTO country VALUES ('B2')")
            second.commit()
            first.commit()
        seen = await read_to(source, wal_end(stage.conn))
        await source.close()
        return seen

    seen = transactions(asyncio.run(run()))
    assert [[c.new["iso"] for c in t.changes] for t in seen] == [["B1", "B2"], ["A1", "A2"]]
    assert 0 < seen[0].lsn < seen[1].lsn
    assert seen[0].commit_time <= seen[1].commit_time
    assert len({t.xid for t in seen}) == 2


def test_the_transaction_id_is_that_of_the_row(stage: Stage) -> None:
    seen = transactions(stage.see("INSERT INTO country VALUES ('FR')"))
    row = stage.conn.execute("SELECT xmin::text::bigint FROM country").fetchone()
    assert row is not None
    assert [t.xid for t in seen] in ([row[0]], [None])


def test_what_was_rolled_back_never_comes(stage: Stage) -> None:
    seen = stage.see(
        "BEGIN; INSERT INTO country VALUES ('XX'); ROLLBACK",
        "BEGIN; INSERT INTO country VALUES ('A'); SAVEPOINT s; INSERT INTO country VALUES ('B');"
        " SAVEPOINT t; INSERT INTO country VALUES ('C'); ROLLBACK TO s; INSERT INTO country VALUES ('D');"
        " SAVEPOINT u; INSERT INTO country VALUES ('E'); RELEASE u; COMMIT",
    )
    assert [c.new["iso"] for c in changes(seen)] == ["A", "D", "E"]
    assert len(transactions(seen)) == 1


def test_a_changed_key_tells_the_old_and_the_new_one(stage: Stage) -> None:
    seen = stage.see(
        "INSERT INTO country VALUES ('FR')",
        "INSERT INTO shop VALUES (1, NULL, 'x')",
        "UPDATE country SET iso = 'FX'",
        "UPDATE shop SET id = 7",
    )
    by_key = {
        (c.table, c.new.get("iso") or c.new.get("id"), c.old.get("iso") or c.old.get("id"))
        for c in changes(seen)
        if c.old
    }
    assert by_key == {("country", "FX", "FR"), ("shop", "7", "1")}


def test_a_moved_foreign_key_tells_both_parents_where_the_identity_is_full(stage: Stage) -> None:
    seen = stage.see(
        "INSERT INTO country VALUES ('FR'), ('BE')",
        "INSERT INTO city (id, country) VALUES (1, 'FR')",
        "UPDATE city SET country = 'BE'",
        "UPDATE city SET country = NULL",
    )
    moves = [(c.old["country"], c.new["country"]) for c in changes(seen) if c.op is UPD]
    assert moves == [("FR", "BE"), ("BE", None)]


def test_with_the_default_identity_the_old_parent_is_absent_and_never_null(stage: Stage) -> None:
    seen = stage.see(
        "INSERT INTO city (id) VALUES (1), (2)",
        "INSERT INTO shop VALUES (5, 1, 'x')",
        "UPDATE shop SET city = 2",
        "UPDATE shop SET id = 6",
        "DELETE FROM shop",
    )
    shop = [(c.op, dict(c.new), dict(c.old)) for c in changes(seen) if c.table == "shop"]
    assert shop == [
        (INS, {"id": "5", "city": "1"}, {}),
        (UPD, {"id": "5", "city": "2"}, {}),
        (UPD, {"id": "6", "city": "2"}, {"id": "5"}),
        (DEL, {}, {"id": "6"}),
    ]


LONG = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 200) i)"


def test_an_unchanged_toasted_value_is_absent_or_its_old_self(stage: Stage) -> None:
    seen = stage.see(
        f"INSERT INTO page VALUES ('a', '/', {LONG}, {LONG})",
        "UPDATE page SET site = 'b'",
        "ALTER TABLE page REPLICA IDENTITY FULL",
        "UPDATE page SET body = 'short'",
    )
    inserted, moved, full = changes(seen)
    assert len(inserted.new["parent"] or "") == 6400
    assert dict(moved.new) in (
        {"site": "b", "path": "/"},
        {"site": "b", "path": "/", "parent": inserted.new["parent"]},
    )
    assert full.new["parent"] == inserted.new["parent"]


def test_a_toasted_key_is_told_with_updates_and_deletes(stage: Stage) -> None:
    key = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 80) i)"
    stage.execute("ALTER TABLE page ALTER COLUMN path SET STORAGE EXTERNAL")
    seen = stage.see(
        f"INSERT INTO page VALUES ('a', {key}, NULL, NULL)",
        "UPDATE page SET body = 'x'",
        "UPDATE page SET site = 'b'",
        "DELETE FROM page",
    )
    inserted, updated, moved, deleted = changes(seen)
    path = inserted.new["path"]
    assert path is not None
    assert len(path) == 2560
    assert (updated.new["site"], updated.new["path"]) == ("a", path)
    assert (moved.new["site"], moved.new["path"]) == ("b", path)
    assert (deleted.old["site"], deleted.old["path"]) == ("b", path)


def test_a_truncate_tells_each_of_its_tables(stage: Stage) -> None:
    seen = stage.see(
        "INSERT INTO country VALUES ('FR')",
        "TRUNCATE country CASCADE",
        "TRUNCATE page, other",
        "TRUNCATE visit",
    )
    gone = [sorted(c.table for c in t.changes) for t in transactions(seen)[1:]]
    assert gone == [["city", "country", "shop"], ["page"], ["visit"]]
    assert all(c.op is TRUNC and not c.new and not c.old for c in changes(seen)[1:])


def test_a_partitioned_table_is_one_table(stage: Stage) -> None:
    seen = stage.see(
        "INSERT INTO visit VALUES ('2024-05-01', 1, NULL), ('2025-05-01', 2, NULL)",
        "UPDATE visit SET city = NULL WHERE id = 2",
        "UPDATE visit SET day = '2025-06-01' WHERE id = 1",  # into the other partition
        "DELETE FROM visit WHERE id = 2",
    )
    assert {c.table for c in changes(seen)} == {"visit"}
    held: set[tuple[Any, Any]] = set()
    for change in changes(seen):
        if change.old:
            held.discard((change.old["id"], change.old["day"]))
        if change.new:
            held.add((change.new["id"], change.new["day"]))
    assert held == {("1", "2025-06-01")}


def test_rows_of_one_copy_all_come(stage: Stage) -> None:
    async def run() -> list[Event]:
        source = stage.make()
        await source.open(None)
        with stage.conn.cursor() as cursor, cursor.copy("COPY shop (id) FROM STDIN") as copy:
            for i in range(3000):
                copy.write_row((i,))
        seen = await read_to(source, wal_end(stage.conn))
        await source.close()
        return seen

    assert [c.new["id"] for c in changes(asyncio.run(run()))] == [str(i) for i in range(3000)]


def test_a_transaction_larger_than_memory_allows_comes_in_parts(stage: Stage) -> None:
    seen = stage.see(
        "INSERT INTO shop (id) SELECT generate_series(1, 17000)", "INSERT INTO shop VALUES (0)"
    )
    *parts, after = transactions(seen)
    assert len({t.xid for t in parts}) == 1
    assert [bool(t.lsn) for t in parts] == [False] * (len(parts) - 1) + [True]
    assert sum(len(t.changes) for t in parts) == 17000
    assert max(len(t.changes) for t in parts) <= 10000
    assert after.lsn > parts[-1].lsn


def test_tables_may_change_while_they_are_read(stage: Stage) -> None:
    seen = stage.see(
        "INSERT INTO shop VALUES (1, NULL, 'a')",
        "ALTER TABLE shop ADD COLUMN extra text DEFAULT 'e'",
        "INSERT INTO shop VALUES (2, NULL, 'b', 'c')",
        "ALTER TABLE shop DROP COLUMN name",
        "INSERT INTO shop VALUES (3, NULL, 'c')",
        "ALTER TABLE shop RENAME COLUMN extra TO more",
        "BEGIN; INSERT INTO shop VALUES (4, NULL, 'd'); ALTER TABLE shop ADD COLUMN last int;"
        " INSERT INTO shop VALUES (5, NULL, 'd', 1); COMMIT",
        "ALTER TABLE shop ALTER COLUMN id TYPE bigint",  # rewrites the table
        "INSERT INTO shop VALUES (9876543210, NULL, 'd', 1)",
        "ALTER TABLE shop DROP COLUMN city",  # a tracked one
        "INSERT INTO shop VALUES (7, 'd', 1)",
    )
    inserted = [dict(c.new) for c in changes(seen) if c.op is ChangeOp.INSERT]
    with_city = [{"id": i, "city": None} for i in ("1", "2", "3", "4", "5", "9876543210")]
    assert inserted == [*with_city, {"id": "7"}]


def test_text_comes_as_it_is(stage: Stage) -> None:
    values = ["", " ", "a,b\\c", "it's", '"', "line\nbreak\ttab", "żółć 🐘", "\\N", "NULL", "{1}"]

    async def run() -> list[Event]:
        source = stage.make()
        await source.open(None)
        for value in values:
            stage.conn.execute("INSERT INTO country VALUES (%s)", (value,))
        seen = await read_to(source, wal_end(stage.conn))
        await source.close()
        return seen

    assert [c.new["iso"] for c in changes(asyncio.run(run()))] == values


@pytest.mark.parametrize("name", NAMES)
def test_keys_are_printed_as_in_canonicals_pinned_sessions(
    name: str, database: str, request: pytest.FixtureRequest
) -> None:
    from stores.canonical.connect import connect

    kinds = {
        "at": ("timestamptz", "'2024-03-01 12:00:00.5+02'"),
        "day": ("date", "'0044-03-15 BC'"),
        "span": ("interval", "'1 day 2 hours'"),
        "raw": ("bytea", "'\\x00ff41'"),
        "ratio": ("float8", "0.1::float8 + 0.2"),
        "yes": ("boolean", "true"),
        "no": ("verdict", "false"),
        "padded": ("character(5)", "'ab'"),
        "host": ("inet", "'10.0.0.1'"),
        "host6": ("inet", "'::1'"),
        "net": ("cidr", "'10.0.0.0/8'"),
        "cost": ("numeric", "1.500"),
        "uid": ("uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"),
    }
    columns = ", ".join(f"{column} {sql_type}" for column, (sql_type, _) in kinds.items())
    values = ", ".join(value for _, value in kinds.values())
    contract = Contract("k", "k", "1", {"odd": record_type("odd", list(kinds), [])})
    with psycopg.connect(database, autocommit=True) as conn:
        dbname = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
        for setting in (
            "DateStyle = 'SQL, DMY'", "TimeZone = 'Asia/Kolkata'", "bytea_output = 'escape'",
            "extra_float_digits = 0", "IntervalStyle = 'sql_standard'",
        ):  # fmt: skip
            conn.execute(f"ALTER DATABASE {dbname} SET {setting}".encode())
        conn.execute(
            "CREATE DOMAIN answer AS boolean; CREATE DOMAIN verdict AS answer;"
            f" CREATE TABLE odd ({columns}, PRIMARY KEY ({', '.join(kinds)}));"
            " CREATE TABLE other (id int PRIMARY KEY)".encode()
        )
    with SOURCES[name](database, contract, request) as make, connect(database) as conn:
        stage = Stage(database, conn, make)
        seen = stage.see(f"INSERT INTO public.odd VALUES ({values})")
        texts = ", ".join(f"{column}::text" for column in kinds)
        row = conn.execute(f"SELECT {texts} FROM public.odd".encode()).fetchone()
        assert [tuple(c.new[column] for column in kinds) for c in changes(seen)] == [row]


def test_positions_move_past_what_does_not_matter(stage: Stage) -> None:
    seen = stage.see(
        "INSERT INTO other SELECT i, i FROM generate_series(1, 1000) i",
        "CREATE TABLE unpublished AS SELECT generate_series(1, 1000)",
    )
    assert not transactions(seen)
    assert progress(seen)


def test_progress_is_dated_by_a_moment_at_which_nothing_beyond_it_was_committed(
    stage: Stage,
) -> None:
    stop = threading.Event()
    commits: list[tuple[str, float]] = []

    def write() -> None:
        with psycopg.connect(stage.url, autocommit=True) as conn:
            i = 0
            while not stop.wait(0.002):
                i += 1
                conn.execute(
                    "SELECT set_config('synchronous_commit', %s, false)",
                    ("off" if i % 2 else "on",),
                )
                conn.execute("INSERT INTO shop VALUES (%s)", (i,))
                row = conn.execute(
                    "SELECT extract(epoch FROM clock_timestamp())::float8"
                ).fetchone()
                assert row is not None
                commits.append((str(i), row[0]))

    def enough(events: list[Event]) -> bool:
        """The first positions may come before the first change does."""
        dated = progress(events)
        return len(dated) >= 8 and sum(moment <= dated[-1].at for _, moment in commits) > 10

    async def run() -> list[Event]:
        source = stage.make()
        await source.open(None)
        writer = threading.Thread(target=write)
        writer.start()
        try:
            return await read(source, enough)
        finally:
            stop.set()
            writer.join()
            await source.close()

    seen = asyncio.run(run())
    dated = progress(seen)
    assert [p.lsn for p in dated] == sorted(p.lsn for p in dated)
    assert [p.at for p in dated] == sorted(p.at for p in dated)
    told_so_far: set[str | None] = set()
    covered = 0
    for event in seen:
        if isinstance(event, Progress):
            before = {i for i, moment in commits if moment <= event.at}
            assert before <= told_so_far, "it was dated later than a commit that had not been told"
            covered = max(covered, len(before))
        else:
            told_so_far |= {c.new["id"] for c in event.changes}
    assert covered > 10, "positions are dated while changes come"


def test_progress_never_runs_ahead_of_an_open_transaction(stage: Stage) -> None:
    async def run() -> None:
        source = stage.make()
        await source.open(None)
        with psycopg.connect(stage.url) as slow:
            slow.execute("INSERT INTO shop VALUES (1)")
            stage.execute("INSERT INTO shop VALUES (2)")
            seen = await read_to(source, wal_end(stage.conn))
            assert [c.new["id"] for c in changes(seen)] == ["2"]
            slow.commit()
        seen_later = await read(source, lambda events: bool(transactions(events)))
        late = transactions(seen_later)[0]
        assert [c.new["id"] for c in late.changes] == ["1"]
        assert late.lsn > max(e.lsn for e in seen)
        await source.close()

    asyncio.run(run())


def test_what_was_not_acknowledged_comes_again_and_what_was_does_not(stage: Stage) -> None:
    async def run() -> None:
        source = stage.make()
        start = await source.open(None)
        stage.execute("INSERT INTO shop VALUES (1)", "INSERT INTO shop VALUES (2)")
        first, second = transactions(await read_to(source, wal_end(stage.conn)))
        await source.close()

        again = stage.make()
        await again.open(start)
        seen = transactions(await read_to(again, wal_end(stage.conn)))
        assert [t.lsn for t in seen] == [first.lsn, second.lsn]
        again.acknowledge(first.lsn)
        await again.close()

        last = stage.make()
        assert await last.open(first.lsn) == first.lsn
        seen = transactions(await read_to(last, wal_end(stage.conn)))
        assert [t.lsn for t in seen] == [second.lsn]
        await last.close()

    asyncio.run(run())


def test_a_source_can_be_opened_again(stage: Stage) -> None:
    async def run() -> None:
        source = stage.make()
        start = await source.open(None)
        assert source.system
        await source.close()
        await source.close()
        assert await source.open(start, system=source.system) == start
        stage.execute("INSERT INTO shop VALUES (1)")
        assert len(transactions(await read_to(source, wal_end(stage.conn)))) == 1
        lag = await source.lag_bytes()
        assert lag is None or 0 <= lag < 1 << 26
        await source.close()

    asyncio.run(run())


def test_a_change_is_told_at_once(stage: Stage) -> None:
    """Nothing waits to fill a list: half of the commits are seen within 100 ms."""

    async def run() -> list[float]:
        source = stage.make()
        await source.open(None)
        await read_to(source, wal_end(stage.conn))
        took = []
        loop = asyncio.get_running_loop()
        for i in range(20):
            began = loop.time()
            await asyncio.to_thread(stage.execute, f"INSERT INTO shop VALUES ({i})")
            await read(source, lambda events: bool(transactions(events)))
            took.append(loop.time() - began)
        await source.close()
        return took

    assert sorted(asyncio.run(run()))[10] < 0.1


def test_replaying_the_changes_of_concurrent_writers_gives_the_tables(stage: Stage) -> None:
    """At least once, in order for each record: keys and parents end up as canonical has them."""
    stage.execute("INSERT INTO country SELECT chr(64 + i) FROM generate_series(1, 20) i")

    def write(seed: int) -> None:
        rng = random.Random(seed)
        with psycopg.connect(stage.url) as conn:
            for _ in range(60):
                try:
                    for _ in range(rng.randint(1, 4)):
                        one, two = rng.randint(1, 12), rng.randint(1, 12)
                        parent = chr(64 + rng.randint(1, 20))
                        conn.execute(
                            *rng.choice(
                                [
                                    (
                                        "INSERT INTO city (id, country) VALUES (%s, %s)"
                                        " ON CONFLICT (id) DO UPDATE SET country = excluded.country",
                                        (one, parent),
                                    ),
                                    ("UPDATE city SET country = %s WHERE id = %s", (parent, one)),
                                    ("UPDATE city SET country = NULL WHERE id = %s", (one,)),
                                    ("UPDATE city SET id = %s WHERE id = %s", (one, two)),
                                    ("DELETE FROM city WHERE id = %s", (one,)),
                                ]
                            )
                        )
                    if rng.random() < 0.2:
                        conn.rollback()
                    else:
                        conn.commit()
                except psycopg.Error:  # a deadlock, a duplicate
                    conn.rollback()

    async def run() -> list[Event]:
        source = stage.make()
        await source.open(None)
        await asyncio.gather(*(asyncio.to_thread(write, seed) for seed in range(4)))
        seen = await read_to(source, wal_end(stage.conn))
        await source.close()
        return seen

    held: dict[str | None, str | None] = {}
    for change in changes(asyncio.run(run())):
        assert change.table == "city"
        if change.old:
            held.pop(change.old["id"])
        if change.new:
            held[change.new["id"]] = change.new["country"]
    rows = stage.conn.execute("SELECT id::text, country FROM city").fetchall()
    assert held == dict(rows)
