"""Mutations: each root field is one transaction in canonical, and its answer carries a token with
which a later query sees the write.

What is returned is read by the ordinary compiler inside the same transaction. A viewer with a row
filter can neither change a record that the filter hides nor leave one behind that it would hide.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeAlias, cast

import psycopg
from graphql import GraphQLObjectType, GraphQLResolveInfo, get_named_type
from psycopg import AsyncConnection, AsyncRawCursor, sql

from gateway.compiler import Compiler, Statement
from gateway.compiler.conditions import TRUE
from gateway.compiler.json_text import decode
from gateway.context.freshness import report
from gateway.context.services import RequestContext, Services
from gateway.context.tokens import sign_token
from gateway.query.records import RecordRef
from gateway.shape.filters import parse_filter, row_filter
from gateway.shape.refusals import as_seen
from gateway.shape.selection import selected_below
from gateway.shape.shapes import Id, RecordShape
from gateway.shape.shaping import Shaper
from gateway.shape.simplify import simplified
from gateway.shape.visibility import Visibility
from gateway.write import rows as mutation_rows
from gateway.write import sql as mutation_sql
from gateway.write.idempotency import Idempotency, idempotency
from gateway.write.input import (
    read_key,
    read_many,
    read_max,
    read_values,
    read_version,
    require_given,
    require_keys,
)
from gateway.write.order import parents_first
from gateway.write.rows import BadRow, Row, is_of_a_row, refusal, write_each
from stores.canonical.connect import TIMELINE
from stores.canonical.driver_errors import STORE, translate
from stores.contract.model import RecordType
from stores.errors import (
    ConflictError,
    ForbiddenError,
    InputError,
    LimitError,
    RecordgateError,
    StoreUnavailable,
)
from stores.keys import decode_key, encode_key
from stores.query import EVERYTHING, Or

log = logging.getLogger("gateway")

Connection: TypeAlias = "AsyncConnection[Any]"
Key: TypeAlias = "tuple[str, ...]"

Record: TypeAlias = "dict[str, Any]"
"""A record once for each place in the answer that shows it, by that place's response name; None
there where the record does not exist or is hidden."""

CONTINUE = "CONTINUE"
"""`onError` of a call with several records: write the good ones."""

COMMIT_POSITION = f"SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn, {TIMELINE}".encode()


@dataclass(slots=True)
class Written:
    """The outcome of one mutation. `keys` and `records` are in the order asked for. `count`:
    records deleted."""

    keys: list[Key] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    count: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    token: str = ""

    def kept(self) -> dict[str, Any]:
        return {
            "keys": self.keys,
            "records": self.records,
            "count": self.count,
            "errors": self.errors,
        }

    @classmethod
    def again(cls, kept: Mapping[str, Any]) -> Written:
        keys = [tuple(k) for k in kept["keys"]]
        return cls(keys, kept["records"], kept["count"], kept["errors"])


@dataclass(slots=True)
class Writer:
    """One mutation field on one record type. `shapes`: what is selected of the record, by the
    response name of the place that shows it."""

    services: Services
    visibility: Visibility
    record_type: RecordType
    shapes: Mapping[str, RecordShape] = field(default_factory=dict)
    idempotency: Idempotency | None = None

    async def run(self, operation: str, args: dict[str, Any]) -> Written:
        """Carry out `operation`. Raises InputError, LimitError, ForbiddenError, ConstraintError,
        ConflictError, StoreError; then nothing is changed."""
        if operation not in _OPERATIONS:
            raise InputError("no such mutation")
        work = await _OPERATIONS[operation](self, args)
        return await self._transact(work)

    async def _transact(self, work: Callable[[Connection], Awaitable[Written]]) -> Written:
        services = self.services
        async with services.pool.connection() as conn:
            done = False
            try:
                async with conn.transaction():
                    written = await self._once(conn, work)
                    done = True
            except psycopg.Error as error:
                if done and conn.closed:
                    raise StoreUnavailable(
                        "canonical was lost while the write was committed: whether it was made is "
                        "not known",
                        store=STORE,
                        hint=(
                            "read the record before writing again; with an idempotencyKey a "
                            "write can be sent again"
                        ),
                    ) from None
                raise self._understood(error) from None
            try:
                row = await (await conn.execute(COMMIT_POSITION)).fetchone()
            except psycopg.Error as error:
                raise StoreUnavailable(
                    "the write was made, but canonical was lost before its position could be read",
                    store=STORE,
                    hint="read the record before writing again",
                ) from error
        assert row is not None
        written.token = sign_token(
            services.pool.systems.get(conn, services.system),
            int(row[0]),
            services.token_secret,
            timeline=int(row[1]),
        )
        return written

    def _understood(self, error: psycopg.Error) -> RecordgateError:
        """The driver's error as ours, of which the viewer is told no more than they may see."""
        found = translate(error, self.services.contract)
        seen = as_seen(found, self.visibility)
        if seen is not found:
            log.info("a caller is not told why a record is refused: %s", found.message)
        return seen

    async def _once(
        self, conn: Connection, work: Callable[[Connection], Awaitable[Written]]
    ) -> Written:
        """`work`, or what came of it when it was asked for with the same idempotency key before."""
        if self.idempotency is None:
            return await work(conn)
        kept = await self.idempotency.claim(conn)
        if kept is not None:
            return Written.again(kept)
        written = await work(conn)
        await self.idempotency.keep(conn, written.kept())
        return written

    # Operations --------------------------------------------------------------------------------

    async def create(self, args: dict[str, Any]) -> Callable[[Connection], Awaitable[Written]]:
        values = read_values(self.record_type, args.get("input"), self.visibility)

        async def work(conn: Connection) -> Written:
            return await self._visible(conn, await self._insert(conn, [(0, values)]))

        return work

    async def create_many(self, args: dict[str, Any]) -> Callable[[Connection], Awaitable[Written]]:
        rows, bad = read_many(self.record_type, args.get("input"), self.visibility)

        def one(values: mutation_sql.Values) -> tuple[sql.Composed, list[Any]]:
            parameters = mutation_sql.parameters(self.record_type, values)
            return mutation_sql.insert(self.record_type, list(values)), parameters

        async def work(conn: Connection) -> Written:
            keys = await self._several(conn, args, rows, bad, self._insert, one)
            found = [self._decoded(k) if isinstance(k, str) else k for k in keys]
            written = await self._visible(conn, found)
            written.errors = _told(bad)
            return written

        return work

    async def upsert_many(self, args: dict[str, Any]) -> Callable[[Connection], Awaitable[Written]]:
        rows, bad = read_many(self.record_type, args.get("input"), self.visibility)
        keys = require_keys(self.record_type, [values for _, values in rows])
        by_place = {index: key for (index, _), key in zip(rows, keys, strict=True)}

        def one(values: mutation_sql.Values) -> tuple[sql.Composed, list[Any]]:
            parameters = mutation_sql.parameters(self.record_type, values)
            return mutation_sql.upsert(self.record_type, list(values)), parameters

        async def work(conn: Connection) -> Written:
            await self._require_changeable(conn, keys)
            await self._several(conn, args, rows, bad, self._upsert, one)
            refused = {row.index for row in bad}
            written = await self._visible(
                conn, [key for index, key in by_place.items() if index not in refused]
            )
            written.errors = _told(bad)
            return written

        return work

    async def _several(
        self,
        conn: Connection,
        args: Mapping[str, Any],
        rows: Sequence[Row],
        bad: list[BadRow],
        together: Callable[[Connection, Sequence[Row]], Awaitable[list[Key]]],
        one: mutation_rows.Statement,
    ) -> list[Any]:
        """Write `rows` in few statements, or one by one where there is a bad one; then it is added
        to `bad`. What was returned of each is in the order of the input. Where the call does not go
        on, an error lists all bad ones."""
        rows, circular = parents_first(self.record_type, rows)
        written: list[tuple[int, Any]]
        try:
            async with conn.transaction():
                if circular:
                    await conn.execute(mutation_sql.DEFERRED)
                keys = await together(conn, rows)
                if circular:
                    await conn.execute(mutation_sql.IMMEDIATE)
            written = [(index, key) for (index, _), key in zip(rows, keys, strict=False)]
        except psycopg.Error as failed:
            error = self._understood(failed)
            if not is_of_a_row(error):
                raise
            written, more = await write_each(conn, rows, one, self._understood)
            bad += more
            bad.sort(key=lambda row: row.index)
        if bad and args.get("onError") != CONTINUE:
            raise refusal(bad, len(args["input"]), self.record_type.plural)
        return [key for _, key in sorted(written, key=itemgetter(0))]

    async def _insert(self, conn: Connection, rows: Sequence[Row]) -> list[Key]:
        keys: list[Key] = []
        async with conn.pipeline(), conn.cursor() as cursor:
            for alike in _alike([values for _, values in rows]):
                await cursor.executemany(
                    mutation_sql.insert(self.record_type, list(alike[0])),
                    [mutation_sql.parameters(self.record_type, r) for r in alike],
                    returning=True,
                )
                while True:
                    row = await cursor.fetchone()
                    assert row is not None
                    keys.append(self._decoded(row[0]))
                    if not cursor.nextset():
                        break
        return keys

    async def _upsert(self, conn: Connection, rows: Sequence[Row]) -> list[Key]:
        async with conn.pipeline(), conn.cursor() as cursor:
            for alike in _alike([values for _, values in rows]):
                await cursor.executemany(
                    mutation_sql.upsert(self.record_type, list(alike[0])),
                    [mutation_sql.parameters(self.record_type, r) for r in alike],
                )
        return []

    async def update(self, args: dict[str, Any]) -> Callable[[Connection], Awaitable[Written]]:
        key, values = read_key(self.record_type, args.get("id"))
        patch = read_values(self.record_type, args.get("input"), self.visibility)
        version = read_version(args)

        async def work(conn: Connection) -> Written:
            seen = await self._seen(conn, [key])
            await self._require_version(conn, values, version, seen=seen)
            if not seen:
                return Written()
            if not patch:
                return await self._visible(conn, [key])
            cursor = await conn.execute(
                mutation_sql.update(self.record_type, list(patch)),
                [*mutation_sql.parameters(self.record_type, patch), *values],
            )
            row = await cursor.fetchone()
            if row is None:
                return Written()
            return await self._visible(conn, [self._decoded(row[0])])

        return work

    async def delete(self, args: dict[str, Any]) -> Callable[[Connection], Awaitable[Written]]:
        key, values = read_key(self.record_type, args.get("id"))
        version = read_version(args)

        async def work(conn: Connection) -> Written:
            seen = await self._seen(conn, [key])
            await self._require_version(conn, values, version, seen=seen)
            if not seen:
                return Written()
            records = await self._records(conn, [key])
            cursor = await conn.execute(mutation_sql.delete(self.record_type), values)
            return Written([key], records, cursor.rowcount)

        return work

    async def delete_many(self, args: dict[str, Any]) -> Callable[[Connection], Awaitable[Written]]:
        most = read_max(args.get("max"))
        asked = parse_filter(self.record_type, args.get("filter"), self.visibility)
        if simplified(self.services.contract, self.record_type, asked) == EVERYTHING:
            raise InputError(
                f"the filter matches all {self.record_type.plural} and would delete everything",
                hint="use `recordgate import --mode replace` to empty a type",
            )
        compiler = self._compiler()
        alias = compiler.binder.alias()
        conditions = compiler.conditions.visible(self.record_type, alias)
        conditions += compiler.conditions.filter(self.record_type, asked, alias)
        statement = compiler.binder.statement(
            mutation_sql.delete_where(self.record_type, alias, conditions or [TRUE], most)
        )

        async def work(conn: Connection) -> Written:
            async with AsyncRawCursor(conn) as cursor:
                await cursor.execute(statement.text.encode(), statement.filled({}))
                row = await cursor.fetchone()
            assert row is not None
            matched, count = row
            if matched > most:
                raise LimitError(
                    f"the filter matches more than {most} {self.record_type.plural}; none is "
                    "deleted",
                    hint="narrow the filter, or raise max",
                )
            return Written(count=count)

        return work

    # Reading -----------------------------------------------------------------------------------

    def _compiler(self) -> Compiler:
        return Compiler(
            self.services.contract,
            lambda t: row_filter(t, self.visibility),
            self.services.mask_key,
        )

    async def _records(self, conn: Connection, keys: Sequence[Key]) -> list[Record]:
        """The records that the viewer sees of `keys`, in their order."""
        records: list[Record] = [{} for _ in keys]
        for place, shape in self.shapes.items():
            found = await self._found(conn, shape, keys)
            for record, key in zip(records, keys, strict=True):
                record[place] = found.get(encode_key(key))
        return records

    async def _found(
        self, conn: Connection, shape: RecordShape, keys: Sequence[Key], *, all_rows: bool = False
    ) -> dict[str, Any]:
        """The records of `keys` that the viewer sees (that exist, with `all_rows`), by key text."""
        if not keys:
            return {}
        compiler = (
            Compiler(self.services.contract, lambda _: EVERYTHING) if all_rows else self._compiler()
        )
        found: dict[str, Any] = decode(await _value(conn, compiler.several(shape, keys)))
        return found

    async def _visible(self, conn: Connection, keys: Sequence[Key]) -> Written:
        """The records as written. Raises ForbiddenError where the viewer may not see one of
        them."""
        if not await self._seen(conn, keys):
            raise ForbiddenError(f"you may not write these {self.record_type.plural}")
        return Written(list(keys), await self._records(conn, keys))

    async def _seen(self, conn: Connection, keys: Sequence[Key]) -> bool:
        """Return whether the viewer's row filter lets all of `keys` be seen."""
        if row_filter(self.record_type, self.visibility) == EVERYTHING:
            return True
        plain = RecordShape(self.record_type, (Id("id"),))
        return len(await self._found(conn, plain, keys)) == len(set(keys))

    async def _require_version(
        self, conn: Connection, key: Sequence[Any], version: str | None, *, seen: bool
    ) -> None:
        """Lock the record and refuse where it has not `version` any more. Raises ConflictError."""
        if version is None:
            return
        row = None
        if seen:
            statement = mutation_sql.version(self.record_type)
            row = await (await conn.execute(statement, list(key))).fetchone()
        if row is None:
            raise ConflictError(f"the {self.record_type.single} no longer exists")
        if row[0] != version:
            raise ConflictError(
                f"the {self.record_type.single} was changed after it was read",
                hint="read it again, and retry with its new version",
            )

    async def _require_changeable(self, conn: Connection, keys: Sequence[Key]) -> None:
        """Refuse where one of the records is there, but hidden by the viewer's row filter."""
        rows = row_filter(self.record_type, self.visibility)
        if rows == EVERYTHING:
            return
        if rows == Or(()):
            raise ForbiddenError(f"you may not write these {self.record_type.plural}")
        plain = RecordShape(self.record_type, (Id("id"),))
        seen = await self._found(conn, plain, keys)
        there = await self._found(conn, plain, keys, all_rows=True)
        if there.keys() - seen.keys():
            raise ForbiddenError(f"you may not write these {self.record_type.plural}")

    def _decoded(self, key: str) -> Key:
        texts = decode_key(key, len(self.record_type.key))
        assert texts is not None
        return texts


_OPERATIONS = {
    "create": Writer.create,
    "createMany": Writer.create_many,
    "upsert": Writer.upsert_many,
    "update": Writer.update,
    "delete": Writer.delete,
    "deleteMany": Writer.delete_many,
}


def _alike(rows: Sequence[mutation_sql.Values]) -> list[list[mutation_sql.Values]]:
    """Runs of rows that give the same properties, so that one statement serves each run."""
    return [list(run) for _, run in groupby(rows, key=list)]


def _told(bad: Sequence[BadRow]) -> list[dict[str, Any]]:
    return [row.told() for row in bad]


async def _value(conn: Connection, statement: Statement) -> bytes:
    """The one JSON value that a compiled statement gives, in the transaction of `conn`."""
    async with AsyncRawCursor(conn) as cursor:
        await cursor.execute(statement.text.encode(), statement.filled({}))
        result = cursor.pgresult
        value = result.get_value(0, 0) if result is not None and result.ntuples else None
    return value or b"null"


async def resolve_mutation(
    info: GraphQLResolveInfo[Any], record_type: RecordType, operation: str, args: dict[str, Any]
) -> dict[str, Any]:
    """The payload of one mutation field, by field name, with a RecordRef for each record: it holds
    what was read of it inside the transaction."""
    context: RequestContext = info.context
    services = context.services
    visibility = Visibility(services.contract, context.viewer.roles)
    if not context.viewer.may_write:
        raise ForbiddenError("you may only read")
    visibility.require_may(record_type, "create" if operation == "createMany" else operation)
    for argument in ("filter", "ifVersion", "idempotencyKey"):
        require_given(info.field_nodes, cast("Mapping[str, Any]", info.variable_values), argument)
    payload = get_named_type(info.return_type)
    assert isinstance(payload, GraphQLObjectType)
    places = [
        s
        for s in selected_below(info, payload)
        if s.name in (record_type.single, record_type.plural)
    ]
    shaper = Shaper(visibility)
    times = len(args["input"]) if operation in ("createMany", "upsert") else 1
    shapes = {s.key: shaper.record(record_type, s.fields, times) for s in places}
    key = idempotency(
        context.viewer,
        context.idempotency_key if "idempotencyKey" not in args else args["idempotencyKey"] or "",
        info,
    )
    writer = Writer(services, visibility, record_type, shapes, key)
    written = await writer.run(operation, args)
    context.token = written.token
    context.routes[str(info.path.key)] = report("canonical", "a write")
    refs = [
        RecordRef(record_type, encode_key(key), before=before)
        for key, before in zip(written.keys, written.records, strict=True)
    ]
    answer: dict[str, Any] = {"token": written.token}
    if operation in ("createMany", "upsert"):
        answer |= {record_type.plural: refs, "errors": written.errors}
    elif operation == "deleteMany":
        answer["count"] = written.count
    else:
        answer[record_type.single] = refs[0] if refs else None
    if operation == "delete":
        answer |= {"id": str(args["id"]), "deleted": written.count > 0}
    return answer
