"""Decodes Debezium's messages, as the JSON converter writes them with or without a schema. Pure.

A reader is made for each table: it decodes into structs that have the tracked columns only, so the
rest of a message is skipped and never becomes an object. Formats: Debezium's documentation, "Data
change events" and "Transaction metadata" of the Postgres connector.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET

from sync.changes import NOTHING, Change, ChangeOp
from sync.sources.debezium import texts
from sync.sources.debezium.tables import TableForm
from sync.sources.debezium.texts import UNAVAILABLE, ColumnType, Modes, Text, text_of

CONNECTOR = "postgresql"
OLD_KEY, NEW_KEY = "__debezium.oldkey", "__debezium.newkey"
Headers: TypeAlias = Sequence[tuple[str, bytes]]


class Poison(ValueError):
    """A message that is no change of ours, with the reason; it is set aside."""


class AnotherDatabase(Poison):
    """The message is a change of another database's table of the same name. Nothing else of its
    topic can be believed then, nor the transactions that are told beside it."""

    def __init__(self, database: str) -> None:
        super().__init__(f"changes of the database {database[:63]!r}")
        self.database = database


class Source(msgspec.Struct, gc=False):
    """The source block of an envelope. Each table has a struct like it whose first four fields
    accept its own names only."""

    connector: str
    db: str
    schema: str
    table: str
    ts_ms: int = 0
    txId: int | None = None
    lsn: int | None = None
    snapshot: Any = None


class TransactionPart(msgspec.Struct, gc=False):
    """The place of a change in its transaction, from 1 on. The transaction is `Source.txId`."""

    total_order: int


class Count(msgspec.Struct, gc=False):
    data_collection: str
    event_count: int


class TransactionMark(msgspec.Struct, gc=False):
    """A message of the transaction topic. Of an END, `id` ends with the end of the commit
    record."""

    status: str
    id: str
    ts_ms: int = 0
    data_collections: list[Count] | None = None


class _WithSchema(msgspec.Struct, gc=False):
    payload: msgspec.Raw
    schema: msgspec.Raw = msgspec.Raw(b"null")


class Read(msgspec.Struct, gc=False):
    """A message, read. `part` is its place in a transaction, None where the connector does not
    tell. `moved` is "from" or "to" where the message is one half of a changed key."""

    change: Change
    source: Source
    part: TransactionPart | None
    moved: str = ""

    @property
    def snapshot(self) -> bool:
        """Return whether the row was read from the table, not from the WAL."""
        return self.source.snapshot not in (None, False, "false")

    @property
    def whole_snapshot(self) -> bool:
        """Return whether the row is part of a snapshot of all tables, which the connector takes
        after losing its offset."""
        return self.snapshot and self.source.snapshot != "incremental"


@dataclass(frozen=True, slots=True)
class End:
    """A transaction is complete once `counts` changes of the tables have come."""

    xid: int
    lsn: int
    commit_time: float
    counts: Mapping[str, int]


_decode_mark = msgspec.json.Decoder(TransactionMark).decode
_decode_wrapped = msgspec.json.Decoder(_WithSchema).decode
_decode_any = msgspec.json.Decoder().decode


def read_transaction(value: bytes) -> End | None:
    """Return the END in a message of the transaction topic, or None for a BEGIN. Raise Poison."""
    try:
        mark = _decode_mark(unwrapped(value)[0])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Poison(f"not transaction metadata: {error}") from None
    if mark.status != "END":
        return None
    xid, colon, lsn = mark.id.partition(":")
    if not colon or not xid.isdigit() or not lsn.isdigit():
        raise Poison("a transaction id does not come from the Postgres connector")
    counts = {c.data_collection: c.event_count for c in mark.data_collections or ()}
    return End(int(xid), int(lsn), mark.ts_ms / 1000, counts)


_HEAD = re.compile(rb'\s*\{\s*"(?:schema|payload)"\s*:')


def unwrapped(value: bytes) -> tuple[bytes | msgspec.Raw, bytes]:
    """The payload of a message, and its schema as it stands there, empty where it has none."""
    if value.startswith((b'{"before":', b'{"status":', b'{"after":')) or not _HEAD.match(value):
        return value, b""
    found = _decode_wrapped(value)
    schema = bytes(found.schema)
    return found.payload, b"" if schema == b"null" else schema


class TableReader:
    """Reads the messages of one table's topic."""

    def __init__(self, form: TableForm, modes: Modes, databases: frozenset[str]) -> None:
        """`databases`: the names of the one database whose changes are taken (see
        `names_of_database`)."""
        self.form = form
        self._databases = databases
        self.wrapped = False
        """The last message had a schema: the next one will too."""
        self._modes = modes
        self._columns = [c for c in form.tracked if c in form.types]
        row: Any = msgspec.defstruct(
            "Row",
            [(f"f{i}", Any, UNSET) for i in range(len(self._columns))],
            rename={f"f{i}": column for i, column in enumerate(self._columns)},
            gc=False,
        )
        source: Any = msgspec.defstruct(
            "Source",
            [
                ("connector", Literal[CONNECTOR]),
                ("db", Literal[tuple(sorted(databases))]),
                ("schema", Literal[form.schema]),
                ("table", Literal[form.table]),
                ("ts_ms", int, 0),
                ("txId", int | None, None),
                ("lsn", int | None, None),
                ("snapshot", Any, None),
            ],
            gc=False,
        )
        envelope: Any = msgspec.defstruct(
            "Envelope",
            [
                ("op", str),
                ("source", source),
                ("before", row | None, None),
                ("after", row | None, None),
                ("transaction", TransactionPart | None, None),
            ],
            gc=False,
        )
        self.decode = msgspec.json.Decoder(envelope).decode
        """A message without schema to its struct; raises msgspec.DecodeError."""
        self.row = row_function(self._columns, form.types, modes)
        """A row's struct to its texts."""
        self._decode_key = msgspec.json.Decoder(row).decode
        # Types as a schema that came with a message says them; the last schema is the usual one.
        self._schema = b""
        self._schema_row = self.row

    def read(self, value: bytes, headers: Headers) -> Read:
        """Raises Poison, AnotherDatabase."""
        try:
            payload, schema = unwrapped(value)
            found = self.decode(payload)
            row = self.row if not schema else self._row_of(schema)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _poison(value, error, self._databases) from None
        self.wrapped = bool(schema)
        try:
            return self._change(found, found.source, row, headers)
        except Poison:
            raise
        except (ValueError, TypeError, KeyError, OverflowError, ArithmeticError) as error:
            raise Poison(f"a value that does not fit its column's type: {error}") from None

    def _change(
        self,
        found: Any,
        source: Source,
        row: Callable[[Any], dict[str, str | None]],
        headers: Headers,
    ) -> Read:
        op, form = found.op, self.form
        if op == "t":
            return Read(
                Change(form.schema, form.table, ChangeOp.TRUNCATE), source, found.transaction
            )
        if op == "d":
            if found.before is None:
                raise Poison("a delete without the row before")
            change = Change(
                form.schema, form.table, ChangeOp.DELETE, NOTHING, self._believed(row(found.before))
            )
            moved = "from" if headers and _header(headers, NEW_KEY) is not None else ""
            return Read(change, source, found.transaction, moved)
        if found.after is None or op not in ("c", "u", "r"):
            raise Poison(f"an operation {op[:20]!r} that is unknown or has no row")
        new = row(found.after)
        old: Mapping[str, str | None] = NOTHING
        kind = ChangeOp.UPDATE if op == "u" else ChangeOp.INSERT
        if found.before is not None:
            before = row(found.before)
            if len(new) < len(self._columns):
                # What was not sent did not change: it is what it was.
                sent = new
                new = {**before}
                new.update(sent)
                new = {k: v for k, v in new.items() if v is not None or k in sent}
            old = self._believed(before)
        moved = ""
        if headers and op == "c":
            key = _header(headers, OLD_KEY)
            if key is not None:
                moved, kind = "to", ChangeOp.UPDATE
                old = self._key(key, row)
        return Read(
            Change(form.schema, form.table, kind, new, old), source, found.transaction, moved
        )

    def _key(
        self, header: bytes, row: Callable[[Any], dict[str, str | None]]
    ) -> dict[str, str | None]:
        try:
            found = row(self._decode_key(unwrapped(header)[0]))
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Poison(f"the header {OLD_KEY} is not a key") from None
        return {name: value for name, value in found.items() if name in self.form.key}

    def _believed(self, before: dict[str, str | None]) -> dict[str, str | None]:
        """Return the row without the columns that were not in the WAL, which the connector pads."""
        old = self.form.old
        if old is None:
            return before
        return {name: value for name, value in before.items() if name in old}

    def _row_of(self, schema: bytes) -> Callable[[Any], dict[str, str | None]]:
        if schema != self._schema:
            forms = schema_texts(_decode_any(schema), self._columns, self.form.types, self._modes)
            self._schema_row = row_function(self._columns, self.form.types, self._modes, forms)
            self._schema = schema
        return self._schema_row


def row_function(
    columns: Sequence[str],
    types: Mapping[str, ColumnType],
    modes: Modes,
    forms: Mapping[str, Text] | None = None,
) -> Callable[[Any], dict[str, str | None]]:
    """A generated function from a row's struct to the texts of its columns; what was not sent is
    left out. Nothing of the table gets into its source but the `repr` of column names. `forms`
    are used instead of what the type asks for."""
    forms = forms or {}
    scope: dict[str, Any] = {"UNSET": UNSET, "UNAVAILABLE": UNAVAILABLE}
    lines = ["def row(r):", " d = {}"]
    for i, column in enumerate(columns):
        kind = types[column]
        text = forms.get(column) or text_of(kind, modes)
        scope[f"t{i}"] = text
        lines.append(f" v = r.f{i}")
        if text is texts.plain:
            lines += [
                " c = v.__class__",
                f" if c is int: d[{column!r}] = int_text(v)",
                " elif c is str:",
                f"  if v not in UNAVAILABLE: d[{column!r}] = v",
                f" elif v is None: d[{column!r}] = None",
                f" elif v is not UNSET: d[{column!r}] = t{i}(v)",
            ]
        else:
            lines += [
                f" if v is None: d[{column!r}] = None",
                " elif v is not UNSET and not (v.__class__ is str and v in UNAVAILABLE):",
                f"  d[{column!r}] = t{i}(v)",
            ]
    scope["int_text"] = int.__repr__
    exec(
        compile("\n".join([*lines, " return d"]), f"<row of {len(columns)} columns>", "exec"), scope
    )
    return scope["row"]  # type: ignore[no-any-return]


_TIME_UNITS = {
    "io.debezium.time.Timestamp": "connect",
    "org.apache.kafka.connect.data.Timestamp": "connect",
    "io.debezium.time.MicroTimestamp": "microseconds",
    "io.debezium.time.NanoTimestamp": "nanoseconds",
    "io.debezium.time.Time": "connect",
    "org.apache.kafka.connect.data.Time": "connect",
    "io.debezium.time.MicroTime": "microseconds",
    "io.debezium.time.NanoTime": "nanoseconds",
}
_DECIMAL = "org.apache.kafka.connect.data.Decimal"


def schema_texts(
    schema: Any, columns: Iterable[str], types: Mapping[str, ColumnType], modes: Modes
) -> dict[str, Text]:
    """Return the text functions of columns whose type a message's own schema tells more exactly."""
    try:
        fields = {f["field"]: f for f in schema["fields"]}
        row = fields.get("after") or fields["before"]
        described = {f["field"]: f for f in row["fields"]}
    except (KeyError, TypeError):
        raise Poison("the schema of a message is not an envelope's") from None
    found: dict[str, Text] = {}
    for column in columns:
        field, kind = described.get(column), types[column]
        if field is None:
            continue
        name = field.get("name") or ""
        if name in _TIME_UNITS:
            found[column] = text_of(kind, replace(modes, time=_TIME_UNITS[name]))
        elif name == _DECIMAL:
            scale = int(field.get("parameters", {}).get("scale", 0))
            numeric = ColumnType(kind.oid, ((1000 << 16) | (scale & 0x7FF)) + 4)
            found[column] = text_of(numeric, replace(modes, decimal="precise"))
        elif kind.oid == texts.NUMERIC and field.get("type") in ("string", "double"):
            decimal = "string" if field["type"] == "string" else "double"
            found[column] = text_of(kind, replace(modes, decimal=decimal))
        elif kind.oid == texts.BYTEA and field.get("type") == "bytes":
            found[column] = text_of(kind, replace(modes, binary="bytes"))
    return found


def _header(headers: Headers, name: str) -> bytes | None:
    for header, value in headers:
        if header == name:
            return value
    return None


def _poison(value: bytes, error: Exception, databases: frozenset[str]) -> Poison:
    """Return why a message is not a change of our table."""
    try:
        found = _decode_any(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Poison("not JSON")
    if isinstance(found, dict):
        found = found.get("payload", found)
    if isinstance(found, dict) and "source" in found and "op" in found:
        source = found["source"] if isinstance(found["source"], dict) else {}
        connector = source.get("connector")
        if connector not in (None, CONNECTOR):
            return Poison(f"an envelope of the connector {str(connector)[:40]!r}")
        if connector and source.get("db") not in (None, *databases):
            return AnotherDatabase(str(source["db"]))
        if "`$.source.table`" in str(error) or "`$.source.schema`" in str(error):
            return Poison("a change of a table other than the topic's")
        return Poison(f"not an envelope of the connector: {error}")
    return Poison("JSON that is not a change envelope")


def payload_text(value: bytes, limit: int = 2000) -> str:
    """Return the beginning of a message that is set aside, as text or in base64, for people."""
    try:
        return value[:limit].decode("utf-8", errors="strict")
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(value[:limit]).decode()
