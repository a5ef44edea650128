"""What `doctor` says of Kafka, Kafka Connect and the connector, well and in every way that they can
be wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition

from compose.local import servers
from compose.local.process import free_port
from stores.errors import StoreUnavailable
from sync.sources.debezium import (
    Inspected,
    KafkaLocation,
    apply_connector,
    connector_config,
    inspect,
)
from sync.sources.debezium.connect_api import ConnectApi
from sync.sources.debezium.registration import on_the_network
from tests.acceptance.test_debezium import KafkaWorld, command, world  # noqa: F401
from tests.faults.test_debezium_faults import MYSQL
from tests.servers import fresh_folder, unless_it_cannot_be_had

pytestmark = pytest.mark.servers
PLUGIN = {"class": "io.debezium.connector.postgresql.PostgresConnector", "version": "3.7.0.Final"}


def seen(world: KafkaWorld, **instead: str) -> dict[str, Inspected]:  # noqa: F811
    """The findings by name; `instead`: parameters of the URL."""
    head, _, query = world.changes.partition("?")
    given = dict(part.split("=", 1) for part in query.split("&"))
    url = f"{head}?{'&'.join(f'{k}={v}' for k, v in (given | instead).items())}"
    return {s.name: s for s in inspect(url, world.contract, world.url)}


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(300):
        if condition():
            return
        threading.Event().wait(0.1)
    raise AssertionError("it did not come true within 30 s")


def test_doctor_says_that_all_is_well_or_what_to_run(world: KafkaWorld) -> None:  # noqa: F811
    before = seen(world)
    assert before["kafka"].ok
    assert before["kafka"].saw.startswith("Kafka 4.")
    assert "Debezium 3." in before["kafka connect"].saw
    assert not before["connector"].ok
    assert "recordgate apply" in before["connector"].hint
    assert command(world, "apply", "--yes").returncode == 0
    world.sql("INSERT INTO public.countries (iso, name) VALUES ('zz', 'Zett')")
    wait_for(lambda: seen(world)["topics"].saw.startswith("1 of "))
    told = command(world, "doctor", "--json")
    checks = {c["name"]: c for c in json.loads(told.stdout)["checks"]}
    for name in ("kafka", "topics", "consumer group", "kafka connect", "connector", "slot"):
        assert checks[name]["ok"], checks[name]
    slot = KafkaLocation.parse(world.changes).slot
    assert checks["slot"]["saw"].startswith(slot), "the connector's, not the worker's"


def test_a_connector_that_failed_or_was_changed_or_is_of_others_is_named(
    world: KafkaWorld,  # noqa: F811
) -> None:
    apply_connector(world.changes, world.contract, world.url)
    location = KafkaLocation.parse(world.changes)
    api = ConnectApi(location.connect, location.connector)
    config = connector_config(world.contract, on_the_network(world.url), location)
    api.put_config({**config, "skipped.operations": "t"})
    changed = seen(world)["connector"]
    assert "skipped.operations" in changed.saw
    assert "recordgate apply" in changed.hint
    api.put_config({**config, "publication.name": "nothing"})
    api.restart(everything=True)
    wait_for(lambda: api.status().state == "FAILED")
    failed = seen(world)["connector"]
    assert "has failed: " in failed.saw
    assert "Publication" in failed.saw
    assert "\n" not in failed.saw
    assert failed.hint
    other = seen(world, topic_prefix="somebody")["connector"]
    assert not other.ok
    assert "connector=NAME" in other.hint
    assert api.config() == {**config, "publication.name": "nothing", "name": api.connector}


def test_topics_and_offsets_that_are_not_ours_are_named(
    world: KafkaWorld,  # noqa: F811
    kafka: str,
) -> None:
    apply_connector(world.changes, world.contract, world.url)
    world.sql("INSERT INTO public.countries (iso, name) VALUES ('zz', 'Zett')")
    wait_for(lambda: seen(world)["topics"].saw.startswith("1 of "))
    location = KafkaLocation.parse(world.changes)
    topic = f"{location.topic_prefix}.public.countries"
    producer = KafkaProducer(bootstrap_servers=kafka)
    for value, said in ((MYSQL, "mysql"), (b"not json", "not JSON")):
        producer.send(topic, value)
        producer.flush()
        wrong = seen(world)["topics"]
        assert not wrong.ok
        assert topic in wrong.saw
        assert said in wrong.saw
        assert "topic_prefix" in wrong.hint
    producer.close()
    consumer = KafkaConsumer(bootstrap_servers=kafka, group_id="somebody")
    consumer.commit({TopicPartition(topic, 0): OffsetAndMetadata(1, "theirs", -1)})
    consumer.close(autocommit=False)
    group = seen(world, group="somebody")["consumer group"]
    assert not group.ok
    assert "group=NAME" in group.hint


def test_servers_that_are_away_are_named(world: KafkaWorld) -> None:  # noqa: F811
    nobody = f"127.0.0.1:{free_port()}"
    url = world.changes.replace(KafkaLocation.parse(world.changes).bootstrap[0], nobody)
    connect_url = quote(KafkaLocation.parse(world.changes).connect, safe="")
    assert connect_url in url
    url = url.replace(connect_url, quote(f"http://{nobody}", safe=""))
    [kafka, connect] = inspect(url, world.contract, world.url)
    assert (kafka.ok, connect.ok) == (False, False)
    assert "Kafka is not reachable" in kafka.saw
    assert "Kafka Connect is not reachable" in connect.saw
    assert kafka.hint
    assert connect.hint


@contextmanager
def answering(answers: Callable[[str, str], tuple[int, Any]]) -> Iterator[str]:
    """A server in place of Kafka Connect: (method, path) → status and body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = answers(self.command, self.path)
            self.rfile.read(int(self.headers.get("content-length") or 0))
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(code)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_PUT = do_POST = do_DELETE = do_GET

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_what_kafka_connect_answers_is_told(world: KafkaWorld) -> None:  # noqa: F811
    version: dict[str, Any] = {"version": "4.3.1"}

    def connect_seen(plugins: Any, root: tuple[int, Any] = (200, version)) -> Inspected:
        def answers(_: str, path: str) -> tuple[int, Any]:
            return root if path == "/" else (200, plugins)

        with answering(answers) as url:
            return seen(world, connect=url)["kafka connect"]

    lacking = connect_seen([{"class": "org.apache.kafka.connect.file.FileStreamSource"}])
    assert "no Debezium connector" in lacking.saw
    assert "plugin.path" in lacking.hint
    old = connect_seen([{**PLUGIN, "version": "1.9.7.Final"}])
    assert "1.9.7.Final is too old" in old.saw
    broken = connect_seen([], (500, {"error_code": 500, "message": "Request timed out\nstack"}))
    assert "answers 500" in broken.saw
    assert "Request timed out" in broken.saw
    assert "stack" not in broken.saw
    proxy = connect_seen([], (502, b"<html>bad gateway</html>"))
    assert "answers 502" in proxy.saw
    assert "<html>" not in proxy.saw
    page = connect_seen(b"<html>another server</html>", (200, b"<html>"))
    assert not page.ok


def test_a_rebalance_is_waited_out_and_an_error_is_not_taken_for_a_missing_connector() -> None:
    asked: list[str] = []

    def answers(method: str, path: str) -> tuple[int, Any]:
        asked.append(f"{method} {path}")
        if len(asked) < 3:
            return 409, {"error_code": 409, "message": "a rebalance is in progress"}
        if len(asked) < 4:
            said = "Request cannot be completed because a rebalance is expected"
            return 500, {"error_code": 500, "message": said}
        return 200, {"connector.class": "x"}

    with answering(answers) as url:
        assert ConnectApi(url, "ours").config() == {"connector.class": "x"}
    assert asked == ["GET /connectors/ours/config"] * 4
    with (
        answering(lambda *_: (500, {"message": "no"})) as url,
        pytest.raises(StoreUnavailable, match="500"),
    ):
        ConnectApi(url, "ours").config()


def test_a_wrong_password_of_kafka_is_told_without_showing_it(world: KafkaWorld) -> None:  # noqa: F811
    jaas = (
        "org.apache.kafka.common.security.plain.PlainLoginModule required"
        ' username="broker" password="b" user_broker="b" user_reader="right";'
    )
    with fresh_folder("sasl") as folder, unless_it_cannot_be_had():
        broker, address = servers.start_kafka(Path(folder), jaas=jaas)
        try:
            query = world.changes.partition("?")[2]

            def looked(password: str) -> dict[str, Inspected]:
                url = f"kafka://reader:{password}@{address}/?security=SASL_PLAINTEXT&{query}"
                return {s.name: s for s in inspect(url, world.contract, world.url)}

            right = looked("right")
            assert right["kafka"].ok
            assert right["topics"].saw.startswith("0 of ")
            wrong = looked("s3cret")
            assert "refuses SASL_PLAINTEXT" in wrong["kafka"].saw
            assert "password" in wrong["kafka"].hint
            assert "s3cret" not in str(wrong)
        finally:
            broker.stop()
