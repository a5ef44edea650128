"""How fast changes come from Kafka, against a bare loop of kafka-python that only counts the same
messages.

200,000 inserted rows of 10 columns through Debezium's connector (with all columns in its messages,
and with our configuration, which keeps the tracked ones), read again and again from the first
offset, both readers in turn; the best of each counts. Needs the servers of `compose/local`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import psycopg
from kafka import KafkaConsumer, TopicPartition

from benchmarks.change_source import INSERT, PUBLICATION, ROWS, TABLE, contract
from compose.local import servers
from compose.local.process import free_port
from recordgate.embedded import EmbeddedPostgres
from sync.changes import Transaction
from sync.sources.debezium import DebeziumSource, KafkaLocation, connector_config, register
from sync.sources.debezium.registration import on_the_network

ROUNDS = 3


def changes_url(broker: str, connect: str, name: str, group: str) -> str:
    return (
        f"kafka://{broker}/?topic_prefix={name}&group={group}&connector={name}&slot={name}"
        f"&connect={connect}"
    )


async def source_seconds(url: str, changes: str, at: int) -> float:
    """Reading from `at`, where the group's offsets are."""
    source = DebeziumSource(changes, contract(), url, publication=PUBLICATION)
    await source.open(at)
    seen = 0
    began = time.perf_counter()
    async for events in source.events():
        for event in events:
            if isinstance(event, Transaction):
                seen += len(event.changes)
        if seen >= ROWS:
            break
    took = time.perf_counter() - began
    await source.close()
    assert seen == ROWS
    return took


def counting_seconds(broker: str, name: str) -> float:
    """The same topic with the same settings, every message thrown away unread."""
    consumer = KafkaConsumer(
        bootstrap_servers=broker,
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_poll_records=2000,
        max_partition_fetch_bytes=8 << 20,
    )
    topic = TopicPartition(f"{name}.public.item", 0)
    consumer.assign([topic])
    consumer.seek_to_beginning(topic)
    consumer.position(topic)
    seen = 0
    began = time.perf_counter()
    while seen < ROWS:
        for records in consumer.poll(timeout_ms=100).values():
            for _ in records:
                seen += 1
    took = time.perf_counter() - began
    consumer.close()
    return took


def run() -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        base.chmod(0o711)
        port = str(free_port())
        settings = {
            "listen_addresses": "127.0.0.1", "port": port, "fsync": "off", "max_wal_size": "4GB",
        }  # fmt: skip
        kafka, broker = servers.start_kafka(base / "kafka")
        connector, connect = servers.start_connect(base / "connect", broker)
        try:
            with EmbeddedPostgres(base / "postgres", settings) as server:
                measure(on_the_network(f"{server.url}&port={port}"), broker, connect)
                server.release()
                server.wait_stopped()
        finally:
            connector.kill()
            kafka.kill()


def measure(url: str, broker: str, connect: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(TABLE)
        starts = {}
        for name, overrides in (
            ("tracked", {}),
            ("whole", {"column.include.list": "public[.]item[.].*"}),
        ):
            location = KafkaLocation.parse(changes_url(broker, connect, name, "g"))
            config = connector_config(contract(), url, location, publication=PUBLICATION)
            register(connect, {**config, **overrides}, name)
            starts[name] = asyncio.run(groups(url, broker, connect, name))
        conn.execute(INSERT)
    print(f"{'messages':12}{'bytes each':>12}{'counted/s':>12}{'changes/s':>12}{'ratio':>8}")
    for name, at in starts.items():
        size = wait_arrived(broker, name)
        counted, read = [], []
        for i in range(ROUNDS):
            counted.append(counting_seconds(broker, name))
            changes = changes_url(broker, connect, name, f"g{i}")
            read.append(asyncio.run(source_seconds(url, changes, at)))
        bare, ours = ROWS / min(counted), ROWS / min(read)
        print(f"{name:12}{size:>12,.0f}{bare:>12,.0f}{ours:>12,.0f}{ours / bare:>8.2f}")


async def groups(url: str, broker: str, connect: str, name: str) -> int:
    """Make the offsets of one group a round, all before the rows: the latest start of them."""
    starts = []
    for i in range(ROUNDS):
        changes = changes_url(broker, connect, name, f"g{i}")
        source = DebeziumSource(changes, contract(), url, publication=PUBLICATION)
        starts.append(await source.open(None))
        await source.close()
    return max(starts)


def wait_arrived(broker: str, name: str) -> float:
    """Wait until all rows are in Kafka: the mean size of their messages."""
    consumer = KafkaConsumer(bootstrap_servers=broker, enable_auto_commit=False)
    topic = TopicPartition(f"{name}.public.item", 0)
    while (consumer.partitions_for_topic(topic.topic) is None) or (
        consumer.end_offsets([topic])[topic] < ROWS
    ):
        time.sleep(0.5)
    consumer.assign([topic])
    consumer.seek(topic, ROWS // 2)
    sizes = [len(r.value) for rs in consumer.poll(timeout_ms=5000).values() for r in rs]
    consumer.close()
    return sum(sizes) / len(sizes)
