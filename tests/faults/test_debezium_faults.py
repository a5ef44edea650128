"""The source on Kafka when things break: lost slots, topics made again, poison, killed servers."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewPartitions

from compose.local import servers
from compose.local.process import free_port
from recordgate.embedded import postmaster
from stores.errors import GapError, RecordgateError, SetupError, StoreUnavailable
from sync.changes import ChangeSource, Event
from sync.sources.debezium import DebeziumSource, KafkaLocation, connector_config, register
from sync.sources.debezium.connect_api import ConnectApi
from sync.sources.debezium.consumer import SetAside
from sync.sources.debezium.registration import on_the_network
from tests.change_tables import (
    CONTRACT,
    TABLES,
    changes,
    eventually,
    position,
    publish,
    read,
    read_to,
    stream_of,
    transactions,
    wal_end,
)
from tests.debezium_stage import PUBLICATION, connector, remove, source_url

pytestmark = pytest.mark.servers


@dataclass
class Stage:
    url: str
    broker: str
    connect: str
    conn: psycopg.Connection[Any]
    make: Callable[[], ChangeSource]

    @property
    def name(self) -> str:
        """Prefix, group, slot and connector."""
        source = self.make()
        assert isinstance(source, DebeziumSource)
        return source._location.group

    def insert(self, *ids: int) -> None:
        for i in ids:
            self.conn.execute("INSERT INTO shop VALUES (%s)", (i,))

    def topic(self, table: str) -> str:
        return f"{self.name}.public.{table}"


@pytest.fixture
def stage(database: str, kafka: str, connect: str) -> Iterator[Stage]:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(TABLES)
        with connector(database, CONTRACT, kafka, connect) as make:
            yield Stage(database, kafka, connect, conn, make)


def ids(events: list[Event]) -> list[str | None]:
    return [c.new.get("id") for c in changes(events)]


async def durable(stage: Stage, source: ChangeSource, *inserted: int) -> int:
    """Insert, read and acknowledge; the position."""
    stage.insert(*inserted)
    seen = await read_to(source, wal_end(stage.conn))
    assert ids(seen) == [str(i) for i in inserted]
    source.acknowledge(position(seen))
    return position(seen)


async def drop_slot(stage: Stage) -> None:
    """Once its connector, which has been stopped, lets go of it."""
    for _ in range(200):
        with suppress(psycopg.errors.ObjectInUse):
            stage.conn.execute("SELECT pg_drop_replication_slot(%s)", (stage.name,))
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the slot is still in use")


def test_a_dropped_slot_is_a_gap_and_a_reset_begins_anew(stage: Stage) -> None:
    async def run() -> None:
        source = stage.make()
        await source.open(None)
        at = await durable(stage, source, 1)
        await source.close()
        api = ConnectApi(stage.connect, stage.name)
        api._call("PUT", f"{api._path}/stop")
        await eventually(lambda: api.status().state == "STOPPED")
        await drop_slot(stage)
        stage.insert(2)
        with pytest.raises(GapError, match="slot"):
            await source.open(at)
        # The connector finds out as well, and does not go on as if nothing had happened.
        api.resume()
        await eventually(lambda: api.status().state == "FAILED", patience=20)
        with pytest.raises(GapError, match="no longer available"):
            await source.open(at)
        await source.reset()
        start = await source.open(None)
        assert start > at
        stage.insert(3)
        assert "3" in ids(await read_to(source, wal_end(stage.conn)))
        await source.close()

    asyncio.run(run())


def test_a_slot_that_goes_while_it_is_read_is_told(stage: Stage) -> None:
    async def run() -> None:
        source = stage.make()
        await source.open(None)
        ConnectApi(stage.connect, stage.name).delete()
        await drop_slot(stage)
        with pytest.raises(GapError, match="slot"):
            await read(source, lambda events: False)
        await source.close()

    asyncio.run(run())


def test_a_connector_that_failed_for_a_reason_that_has_passed_is_started_again(
    stage: Stage,
) -> None:
    async def run() -> None:
        source = stage.make()
        await source.open(None)
        at = await durable(stage, source, 1)
        await source.close()
        api = ConnectApi(stage.connect, stage.name)
        stage.conn.execute(f"ALTER PUBLICATION {PUBLICATION} RENAME TO away")
        api.restart(everything=True)
        await eventually(lambda: api.status().state == "FAILED", patience=30)
        stage.conn.execute(f"ALTER PUBLICATION away RENAME TO {PUBLICATION}")
        stage.insert(2)
        with pytest.raises(StoreUnavailable, match="has failed"):
            await source.open(at)
        async with asyncio.timeout(60):
            while True:
                with suppress(StoreUnavailable):
                    await source.open(at)
                    break
                await asyncio.sleep(0.5)
        assert ids(await read_to(source, wal_end(stage.conn))) == ["2"]
        await source.close()

    asyncio.run(run())


def test_a_topic_that_was_made_again_is_a_gap(stage: Stage) -> None:
    async def run() -> None:
        source = stage.make()
        await source.open(None)
        at = await durable(stage, source, 1, 2)
        await source.close()
        admin = KafkaAdminClient(bootstrap_servers=stage.broker)
        admin.delete_topics([stage.topic("shop")])
        await asyncio.sleep(0.5)
        admin.close()
        with pytest.raises(GapError, match="was deleted"):
            await source.open(at)
        ConnectApi(stage.connect, stage.name).restart(everything=True)
        stage.insert(*range(3, 9))  # more than there were
        other = DebeziumSource(
            source_url(stage.broker, stage.connect, stage.name, group="other"),
            CONTRACT,
            stage.url,
            publication=PUBLICATION,
        )
        await other.open(None)
        stage.insert(9)
        assert "9" in ids(await read_to(other, wal_end(stage.conn)))
        await other.close()
        with pytest.raises(GapError, match="created again"):
            await source.open(at)
        await source.reset()
        await source.open(None)
        stage.insert(10)
        assert "10" in ids(await read_to(source, wal_end(stage.conn)))
        await source.close()

    asyncio.run(run())


def test_partitions_that_a_topic_is_given_are_read(database: str, kafka: str, connect: str) -> None:
    """While it is read, and where the next reader finds them."""
    # The producer looks for new partitions every five minutes of its own accord.
    hurried = {"producer.override.metadata.max.age.ms": "500"}
    with (
        psycopg.connect(database, autocommit=True) as conn,
        closing(KafkaAdminClient(bootstrap_servers=kafka)) as admin,
    ):
        conn.execute(TABLES)
        with connector(database, CONTRACT, kafka, connect, **hurried) as make:
            stage = Stage(database, kafka, connect, conn, make)
            topic = stage.topic("shop")

            async def run() -> None:
                source = make()
                await source.open(None)
                await durable(stage, source, 1, 2)
                admin.create_partitions({topic: NewPartitions(3)})
                await asyncio.sleep(1.5)
                stage.insert(*range(10, 40))
                seen = await read_to(source, wal_end(conn))
                assert ids(seen) == [str(i) for i in range(10, 40)]
                source.acknowledge(position(seen))
                await source.close()
                admin.create_partitions({topic: NewPartitions(6)})
                await asyncio.sleep(1.5)
                stage.insert(*range(50, 80))
                await source.open(position(seen))
                seen = await read_to(source, wal_end(conn))
                assert set(map(str, range(50, 80))) <= set(ids(seen))
                await source.close()

            asyncio.run(run())
            ends = KafkaConsumer(bootstrap_servers=kafka)
            counts = ends.end_offsets([TopicPartition(topic, n) for n in range(6)])
            ends.close()
            assert sum(1 for n in counts.values() if n) > 3, "the new partitions were not used"


def test_records_that_expired_unread_are_a_gap(stage: Stage) -> None:
    async def run() -> None:
        source = stage.make()
        await source.open(None)
        at = await durable(stage, source, 1)
        await source.close()
        reader = stage.make()
        await reader.open(at)
        stage.insert(2, 3)
        await read_to(reader, wal_end(stage.conn))
        await reader.close()
        admin = KafkaAdminClient(bootstrap_servers=stage.broker)
        admin.delete_records({TopicPartition(stage.topic("shop"), 0): 3})
        admin.close()
        with pytest.raises(GapError, match="no longer has"):
            await source.open(at)
        await source.close()

    asyncio.run(run())


def test_a_group_without_offsets_another_database_and_a_future_position_are_gaps(
    stage: Stage,
) -> None:
    async def run() -> None:
        source = stage.make()
        with pytest.raises(GapError, match="no offsets"):
            await source.open(wal_end(stage.conn))
        start = await source.open(None)
        await source.close()
        with pytest.raises(GapError, match="not the database"):
            await source.open(start, system="1/1")
        with pytest.raises(GapError, match="beyond the end"):
            await source.open(1 << 50)
        await source.open(start, system=source.system)
        await source.close()

    asyncio.run(run())


def test_a_topic_of_another_database_is_refused_and_named(stage: Stage) -> None:
    """A connector of another database writes under the same prefix: neither its rows nor the ends
    of its transactions are ours."""

    async def run() -> None:
        source = stage.make()
        await source.open(None)
        at = await durable(stage, source, 1)
        with closing(KafkaConsumer(bootstrap_servers=stage.broker)) as consumer:
            ours = TopicPartition(stage.topic("shop"), 0)
            consumer.assign([ours])
            consumer.seek(ours, 0)
            ((record,),) = consumer.poll(timeout_ms=10_000).values()
        theirs = json.loads(record.value)
        theirs["source"]["db"] = "warehouse"
        producer = KafkaProducer(bootstrap_servers=stage.broker)
        producer.send(stage.topic("shop"), json.dumps(theirs).encode())
        producer.flush()
        producer.close()
        for _ in range(2):  # nothing is taken, and the next start finds it again
            with pytest.raises(SetupError, match=r"shop holds changes of the database 'warehouse'"):
                await read(source, lambda events: False)
            await source.close()
            await source.open(at)
        await source.close()

    asyncio.run(run())


MYSQL = b'{"before":null,"after":{"id":1},"op":"c","source":{"connector":"mysql","db":"x","table":"shop"}}'


def test_poison_is_set_aside_with_its_place_and_the_rest_goes_on(stage: Stage) -> None:
    aside: list[SetAside] = []

    async def keep(messages: Any) -> None:
        aside.extend(messages)

    async def run() -> None:
        source = stage.make()
        assert isinstance(source, DebeziumSource)
        source._on_poison = keep
        await source.open(None)
        await durable(stage, source, 1)
        producer = KafkaProducer(bootstrap_servers=stage.broker)
        wrong = (b"not json", MYSQL, b"{}", b'"text"', b"\xff\xfe", b'{"op":"c"}', b"[1]")
        for value in wrong:
            producer.send(stage.topic("shop"), value)
        producer.send(f"{stage.name}.transaction", b'{"status":"END","id":"x"}')
        producer.flush()
        producer.close()
        stage.insert(2)
        seen = await read(source, lambda events: "2" in ids(events) and len(aside) > len(wrong))
        assert ids(seen) == ["2"]
        await source.close()

    asyncio.run(run())
    assert [(a.topic, a.offset) for a in aside if a.topic == stage.topic("shop")] == [
        (stage.topic("shop"), offset) for offset in range(1, 8)
    ]
    assert "not JSON" in aside[0].reason
    assert "mysql" in aside[1].reason
    assert all(a.reason for a in aside)


def test_a_busy_consumer_bounds_what_is_read_ahead(stage: Stage) -> None:
    async def run() -> None:
        source = stage.make()
        await source.open(None)
        stage.conn.execute("INSERT INTO shop SELECT generate_series(1, 60000)")
        seen: list[Event] = []
        async with asyncio.timeout(60), stream_of(source) as stream:
            async for events in stream:
                seen += events
                await asyncio.sleep(0.05)
                assert isinstance(source, DebeziumSource)
                assert len(source._batches) <= 4
                if any(t.lsn for t in transactions(seen)):
                    break
        assert ids(seen) == [str(i) for i in range(1, 60001)]
        await source.close()

    asyncio.run(run())


def test_a_first_start_leaves_out_an_import_that_the_connector_is_still_telling(
    stage: Stage,
) -> None:
    async def run() -> None:
        stage.conn.execute("INSERT INTO shop SELECT generate_series(1, 60000)")
        source = stage.make()
        start = await source.open(None)
        stage.insert(70_000)
        seen = await read_to(source, wal_end(stage.conn))
        assert ids(seen) == ["70000"]
        assert all(t.lsn > start for t in transactions(seen))
        await source.close()

    asyncio.run(run())


def test_what_cannot_be_reached_or_is_not_set_up_is_said(stage: Stage) -> None:
    def problem(url: str) -> RecordgateError:
        async def run() -> RecordgateError:
            source = DebeziumSource(url, CONTRACT, stage.url, publication=PUBLICATION)
            try:
                await source.open(wal_end(stage.conn))
            except RecordgateError as error:
                return error
            finally:
                await source.close()
            raise AssertionError("it opened")

        return asyncio.run(run())

    nobody = f"127.0.0.1:{free_port()}"
    away = problem(source_url(nobody, stage.connect, stage.name))
    assert isinstance(away, StoreUnavailable)
    assert "Kafka" in away.message
    missing = problem(source_url(stage.broker, stage.connect, stage.name, connector="nothing"))
    assert isinstance(missing, SetupError)
    assert "apply" in missing.hint
    config = connector_config(
        CONTRACT, on_the_network(stage.url), KafkaLocation.parse(source_url("b:1", "", "x"))
    )
    with pytest.raises(StoreUnavailable, match="Kafka Connect is not reachable"):
        register(f"http://{nobody}", config, "x")
    with pytest.raises(SetupError, match="did not create"):
        register(stage.connect, config, stage.name)
    with pytest.raises(SetupError, match=r"refuses|has failed"):
        register(stage.connect, {**config, "database.password": "wrong"}, f"{stage.name}x")
    remove(stage.broker, stage.connect, f"{stage.name}x")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_is_lost_when_every_server_is_killed_in_mid_stream(
    own_server: Callable[..., str],
) -> None:
    """Postgres, Kafka Connect and the broker by kill -9, one after the other, while rows are
    written."""
    port = free_port()
    url = own_server(
        listen_addresses="127.0.0.1", port=str(port), fsync="off", full_page_writes="off"
    )
    url = on_the_network(url)
    stop = threading.Event()

    def write() -> None:
        rng = random.Random(1)
        while not stop.is_set():
            with suppress(psycopg.Error), psycopg.connect(url, autocommit=True) as conn:
                while not stop.is_set():
                    i = rng.randint(1, 200)
                    conn.execute(
                        *rng.choice(
                            [
                                (
                                    "INSERT INTO shop VALUES (%s) ON CONFLICT (id) DO UPDATE"
                                    " SET name = 'x'",
                                    (i,),
                                ),
                                ("DELETE FROM shop WHERE id = %s", (i,)),
                                (
                                    "UPDATE shop SET id = id + 500 WHERE id = %s"
                                    " AND NOT EXISTS (SELECT FROM shop WHERE id = %s + 500)",
                                    (i, i),
                                ),
                                ("DELETE FROM shop WHERE id = 500 + %s", (i,)),
                            ]
                        )
                    )
                    time.sleep(0.002)
            time.sleep(0.1)

    held: set[str | None] = set()

    def follow(events: list[Event]) -> None:
        for change in changes(events):
            if change.old:
                held.discard(change.old["id"])
            if change.new:
                held.add(change.new["id"])

    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="recordgate-test-")))
        kafka, broker = servers.start_kafka(base / "kafka")
        stack.callback(lambda: kafka.kill())
        connect_process, connect = servers.start_connect(base / "connect", broker)
        stack.callback(lambda: connect_process.kill())
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(TABLES)
            publish(conn, PUBLICATION, CONTRACT)
            data = Path(conn.execute("SHOW data_directory").fetchall()[0][0])
        changes_url = source_url(broker, connect, "k")
        config = connector_config(
            CONTRACT, url, KafkaLocation.parse(changes_url), publication=PUBLICATION
        )
        register(connect, config, "k")

        def kill(what: str) -> None:
            nonlocal kafka, connect_process
            if what == "postgres":
                pid = postmaster.running(data)
                assert pid is not None
                os.kill(pid, signal.SIGKILL)  # its supervisor starts it again
            elif what == "connect":
                connect_process.kill()
                rest = int(connect.rpartition(":")[2])
                connect_process, _ = servers.start_connect(base / "connect", broker, port=rest)
            else:
                kafka.kill()
                kafka, _ = servers.start_kafka(base / "kafka")

        async def run() -> None:
            source = DebeziumSource(changes_url, CONTRACT, url, publication=PUBLICATION)
            at = await source.open(None)
            writer = threading.Thread(target=write)
            writer.start()

            async def read_on(until: Callable[[], bool]) -> None:
                nonlocal at
                while not until():
                    try:
                        async with asyncio.timeout(1), stream_of(source) as stream:
                            async for events in stream:
                                follow(events)
                                at = max(at, position(events))
                                source.acknowledge(at)
                                if until():
                                    return
                    except TimeoutError:
                        continue
                    except StoreUnavailable:
                        with suppress(StoreUnavailable):
                            await source.open(at)
                        await asyncio.sleep(0.2)

            try:
                for what in ("postgres", "connect", "kafka"):
                    killing = asyncio.create_task(asyncio.to_thread(kill, what))
                    await read_on(killing.done)
                    await killing
            finally:
                stop.set()
                await asyncio.to_thread(writer.join)
            with psycopg.connect(url, autocommit=True) as conn:
                target = wal_end(conn)
                rows = {row[0] for row in conn.execute("SELECT id::text FROM shop")}
            async with asyncio.timeout(240):
                await read_on(lambda: at >= target)
            assert held == rows
            await source.close()

        asyncio.run(run())
