"""Debezium's messages as they stand in topics, with and without a schema, become changes or are
refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.errors import SetupError
from sync.changes import ChangeOp
from sync.sources.debezium.connect_api import failure
from sync.sources.debezium.connector import connector_config, shown
from sync.sources.debezium.envelope import (
    AnotherDatabase,
    End,
    Poison,
    Read,
    TableReader,
    read_transaction,
)
from sync.sources.debezium.location import KafkaLocation
from sync.sources.debezium.places import Checkpoint
from sync.sources.debezium.source import topic
from sync.sources.debezium.tables import TableForm
from sync.sources.debezium.texts import PLACEHOLDER, ColumnType, Modes
from tests.change_tables import CONTRACT

TEXT, INT, DAY = ColumnType(25), ColumnType(23), ColumnType(1082)
TYPES = {"id": INT, "parent": TEXT, "day": DAY}
FULL = TableForm("public", "shop", ("id",), ("id", "parent", "day"), TYPES, None)
DEFAULT = TableForm("public", "shop", ("id",), ("id", "parent", "day"), TYPES, frozenset(("id",)))


def envelope(op: str, before: Any = None, after: Any = None, **more: Any) -> bytes:
    source = {
        "version": "3.7.0.Final", "connector": "postgresql", "name": "p", "ts_ms": 5000, "db": "x",
        "schema": "public", "table": "shop", "txId": 7, "lsn": 99, "xmin": None, "snapshot": None,
    }  # fmt: skip
    source.update(more.pop("source", {}))
    transaction = {"id": "7:99", "total_order": 1, "data_collection_order": 1}
    return json.dumps(
        {"before": before, "after": after, "source": source, "transaction": transaction, "op": op}
        | more
    ).encode()


def read(value: bytes, *headers: tuple[str, bytes], form: TableForm = FULL) -> Read:
    return TableReader(form, Modes(), frozenset("x")).read(value, headers)


ROW = {"id": 1, "parent": "a", "name": "not tracked", "day": 19723}
TEXTS = {"id": "1", "parent": "a", "day": "2024-01-01"}


@pytest.mark.parametrize(
    ("op", "kind"), [("c", ChangeOp.INSERT), ("u", ChangeOp.UPDATE), ("r", ChangeOp.INSERT)]
)
def test_a_row_carries_its_tracked_columns(op: str, kind: ChangeOp) -> None:
    change = read(envelope(op, None, ROW)).change
    assert (change.op, dict(change.new), dict(change.old)) == (kind, TEXTS, {})


def test_an_old_row_is_believed_as_far_as_the_replica_identity_goes() -> None:
    padded = {"id": 1, "parent": "", "day": 0}
    assert dict(read(envelope("d", padded), form=DEFAULT).change.old) == {"id": "1"}
    assert dict(read(envelope("d", ROW)).change.old) == TEXTS
    assert dict(read(envelope("d", ROW | {"parent": None})).change.old)["parent"] is None


def test_a_value_that_was_not_sent_is_absent_or_its_old_self() -> None:
    after = ROW | {"parent": PLACEHOLDER}
    assert "parent" not in read(envelope("u", None, after)).change.new
    assert read(envelope("u", ROW, after)).change.new["parent"] == "a"


def test_a_column_that_is_gone_is_absent() -> None:
    assert dict(read(envelope("c", None, {"id": 1})).change.new) == {"id": "1"}


def test_a_changed_key_is_told_by_its_headers() -> None:
    gone = read(envelope("d", ROW), ("__debezium.newkey", b'{"id":2}'))
    made = read(envelope("c", None, ROW | {"id": 2}), ("__debezium.oldkey", b'{"id":1}'))
    assert (gone.moved, gone.change.op) == ("from", ChangeOp.DELETE)
    assert (made.moved, made.change.op, dict(made.change.old)) == (
        "to",
        ChangeOp.UPDATE,
        {"id": "1"},
    )


def test_a_truncate_has_no_rows() -> None:
    change = read(envelope("t")).change
    assert (change.op, change.new, change.old) == (ChangeOp.TRUNCATE, {}, {})


def test_a_snapshot_is_known_and_has_no_transaction() -> None:
    whole = read(envelope("r", None, ROW, transaction=None, source={"snapshot": "first"}))
    assert whole.whole_snapshot
    piece = read(envelope("r", None, ROW, transaction=None, source={"snapshot": "incremental"}))
    assert piece.snapshot
    assert not piece.whole_snapshot
    assert not read(envelope("c", None, ROW, source={"snapshot": "false"})).snapshot


def test_a_schema_tells_how_its_values_are_written() -> None:
    fields = [
        {"field": "id", "type": "int32"},
        {"field": "parent", "type": "string"},
        {"field": "day", "type": "int64", "name": "org.apache.kafka.connect.data.Timestamp"},
    ]
    types = {**TYPES, "day": ColumnType(1114)}
    form = TableForm("public", "shop", ("id",), ("id", "parent", "day"), types, None)
    schema = {"type": "struct", "fields": [{"field": "after", "fields": fields}]}
    payload = json.loads(envelope("c", None, ROW | {"day": 1_704_067_200_500}))
    for message in ({"schema": schema, "payload": payload}, {"payload": payload, "schema": schema}):
        change = read(json.dumps(message).encode(), form=form).change
        assert change.new["day"] == "2024-01-01 00:00:00.5"
    assert read(json.dumps({"schema": None, "payload": payload | {"after": ROW}}).encode()).change


@pytest.mark.parametrize(
    "value",
    [
        b"", b"{", b"null", b"1", b"[]", b'"x"', b"\xff", b"{}", b'{"schema":{},"payload":{}}',
        b'{"schema":{},"payload":null}', b'{"op":"c","source":{"connector":"postgresql"}}',
        envelope("c"), envelope("d"), envelope("x", None, ROW), envelope("m"),
        envelope("c", None, ROW, source={"connector": "mysql"}),
        envelope("c", None, ROW, source={"table": "elsewhere"}),
        envelope("c", None, ROW | {"id": {"a": 1}}), envelope("c", None, ROW | {"day": "soon"}),
        envelope("c", None, [1]), envelope("c", None, ROW, transaction={"total_order": "x"}),
        envelope("c", None, ROW | {"day": 1.5}), envelope("c", None, ROW | {"id": 2.5}),
    ],
)  # fmt: skip
def test_what_is_no_change_of_ours_is_refused_with_a_reason(value: bytes) -> None:
    with pytest.raises(Poison) as caught:
        read(value)
    assert str(caught.value)


def test_a_change_of_another_database_is_told_apart_and_named() -> None:
    for message in (
        envelope("c", None, ROW, source={"db": "warehouse"}),
        envelope("c", None, ROW, source={"db": "warehouse", "table": "elsewhere"}),
        json.dumps(
            {"payload": json.loads(envelope("d", ROW, source={"db": "warehouse"}))}
        ).encode(),
    ):
        with pytest.raises(AnotherDatabase, match="the database 'warehouse'"):
            read(message)
    with pytest.raises(Poison) as caught:
        read(envelope("c", None, ROW, source={"db": "x", "table": "elsewhere"}))
    assert not isinstance(caught.value, AnotherDatabase)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_garbage_is_refused_and_nothing_else_is_raised(value: bytes) -> None:
    for message in (value, b'{"schema":' + value, envelope("c", None, ROW)[: len(value)]):
        with pytest.raises(Poison):
            read(message)
        with pytest.raises(Poison):
            read_transaction(message)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
        max_leaves=6,
    )
)
def test_any_value_in_a_column_is_read_or_refused(value: Any) -> None:
    for column in TYPES:
        try:
            found = read(envelope("c", None, ROW | {column: value})).change.new
        except Poison:
            continue
        assert found.get(column) is None or isinstance(found[column], str)


def test_an_end_says_where_the_commit_ends_and_what_there_was() -> None:
    end = read_transaction(
        b'{"status":"END","id":"1507:4074013152","event_count":3,"ts_ms":1500,"data_collections":'
        b'[{"data_collection":"public.shop","event_count":3}]}'
    )
    assert end == End(1507, 4074013152, 1.5, {"public.shop": 3})
    begin = b'{"status":"BEGIN","id":"7:1","event_count":null,"data_collections":null,"ts_ms":1}'
    assert read_transaction(begin) is None


def test_topics_are_named_as_the_connector_names_them() -> None:
    assert topic("p", "public", "shop") == "p.public.shop"
    assert topic("p", "Mixed case", "Zürich/1") == "p.Mixed_case.Z_rich_1"


def test_the_url_is_read_and_a_wrong_one_is_refused_without_showing_it() -> None:
    found = KafkaLocation.parse(
        "kafka://u:s%40cret@a:1,b/?topic_prefix=p&group=g&connect=http://c:8083/&slot=s"
    )
    assert found.bootstrap == ("a:1", "b:9092")
    assert (found.password, found.security, found.connect) == (
        "s@cret",
        "SASL_SSL",
        "http://c:8083",
    )
    for wrong in (
        "kafka://u:s3cret@a:1/?group=g", "kafka://u:s3cret@/?topic_prefix=p&group=g",
        "kafka://u:s3cret@a:x/?topic_prefix=p&group=g", "kafka://a/s3cret?topic_prefix=p&group=g",
        "kafka://a:1/?topic_prefix=p&group=g&other=s3cret", "kafka://a/?topic_prefix=p&group=g&group=s3cret",
        "kafka://a/?topic_prefix=p&group=g&security=s3cret", "kafka://a/?topic_prefix=p&group=g&time=s3cret",
        "kafka://a/?topic_prefix=p&group=g&connect=s3cret", "kafka://a/?topic_prefix=p&group=g&security=SSL&password_file=/s3cret",
    ):  # fmt: skip
        with pytest.raises(SetupError) as caught:
            KafkaLocation.parse(wrong)
        assert "s3cret" not in str(caught.value)


def test_the_connector_gets_the_tracked_columns_and_its_secret_is_not_shown() -> None:
    location = KafkaLocation.parse("kafka://a:1/?topic_prefix=p&group=g")
    config = connector_config(CONTRACT, "postgresql://u:s3cret@db:5433/x", location)
    assert config["database.port"] == "5433"
    assert "public[.]city[.]country" in config["column.include.list"].split(",")
    assert "population" not in config["column.include.list"]
    assert config["slot.name"] != "recordgate_changes"
    assert config["database.password"] == "s3cret"
    assert "s3cret" not in json.dumps(shown(config))
    with pytest.raises(SetupError, match="not a socket"):
        connector_config(CONTRACT, "postgresql://u:p@/x?host=/tmp/s", location)


def test_a_failure_is_said_in_one_line() -> None:
    trace = (
        "org.apache.kafka.connect.errors.ConnectException: outer\n\tat a.b(C.java:1)\n"
        "Caused by: org.postgresql.util.PSQLException: FATAL: no such role\n\t... 9 more"
    )
    assert failure(trace) == "FATAL: no such role"
    assert failure("")


def test_a_place_survives_its_text_and_a_strangers_text_is_no_place() -> None:
    place = Checkpoint("id", "1/2", 3, ("abcdef",))
    assert Checkpoint.parse(place.text()) == place
    assert len(Checkpoint("id", "1/2", 3, ("abcdef",) * 5000).text()) < 4096
    for text in (None, "", "x", "{}", "[]", '{"topic":1}', "null"):
        assert Checkpoint.parse(text) is None
