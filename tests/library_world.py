"""A small library for tests of the gateway: a contract with a composite key, nullable and self
references, nulls everywhere, Unicode, and names that break whatever does not quote them; and its
tables with rows."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import orjson
import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from gateway.context.services import Freshness, Limits, RequestContext, Services, Viewer
from gateway.query.compiled import respond
from gateway.query.execute import ServedSchema, execute
from gateway.schema import build_schema
from stores.canonical.connect import make_pool
from stores.canonical.document_sql import documents_of_page
from stores.contract.model import (
    Contract,
    Embed,
    Expose,
    Logical,
    Masking,
    Property,
    RecordType,
    Relation,
    Scalar,
)
from stores.documents.sqlite.store import SqliteStore
from stores.protocols import Position, Write
from tests.conftest import drop_database, url_of

T = TypeVar("T")
SYSTEM = "7/5"
SECRET = b"a secret of the tests"
UNHEDGED = Freshness(wait_up_to=0.001)
"""Who may wait is answered by the store that was chosen, however slow this machine is."""

_LOGICAL = {
    Scalar.STRING: Logical.STRING, Scalar.INT: Logical.INTEGER, Scalar.BIGINT: Logical.INTEGER,
    Scalar.FLOAT: Logical.NUMBER, Scalar.DECIMAL: Logical.NUMBER, Scalar.BOOLEAN: Logical.BOOLEAN,
    Scalar.DATE: Logical.DATE, Scalar.TIMESTAMP: Logical.TIMESTAMP, Scalar.UUID: Logical.STRING,
    Scalar.BYTES: Logical.STRING, Scalar.JSON: Logical.OBJECT, Scalar.TIME: Logical.TIME,
}  # fmt: skip


def prop(name: str, scalar: Scalar, sql_type: str, column: str = "", **options: Any) -> Property:
    return Property(
        name,
        column or name,
        options.pop("graphql", name),
        _LOGICAL[scalar],
        scalar,
        sql_type,
        **options,
    )


AUTHOR = RecordType(
    "author", "odd schema; --", 'Au"thors', "Author", "author", "authors",
    (
        prop("id", Scalar.BIGINT, "bigint", required=True),
        prop("name", Scalar.STRING, "text", column='na"me', required=True),
        prop("born", Scalar.DATE, "date"),
        prop("rating", Scalar.FLOAT, "real"),
        prop("score", Scalar.DECIMAL, "numeric(10,2)", column="score $1; --"),
        prop("mentorId", Scalar.BIGINT, "bigint", column="mentor_id"),
    ),
    ("id",),
    (
        Relation("mentor", "mentor", "author", ("mentor_id",), ("id",), False, True, "pupils"),
        Relation("pupils", "pupils", "author", ("id",), ("mentor_id",), True, False, "mentor"),
        Relation("books", "books", "book", ("id",), ("author_id",), True, False, "author"),
    ),
    embeds=(Embed("mentor"),),
)  # fmt: skip
BOOK = RecordType(
    "book", "odd schema; --", "books", "Book", "book", "books",
    (
        prop("shelf", Scalar.STRING, "text", required=True),
        prop("number", Scalar.INT, "integer", column="no", required=True),
        prop("title", Scalar.STRING, "character varying(200)", required=True),
        prop("pages", Scalar.INT, "smallint", column="select"),
        prop("authorId", Scalar.BIGINT, "bigint", column="author_id"),
        prop("published", Scalar.TIMESTAMP, "timestamp with time zone"),
        prop("tags", Scalar.STRING, "text[]", array=True),
        prop("big", Scalar.BIGINT, "bigint"),
        prop("data", Scalar.JSON, "jsonb"),
        prop("cover", Scalar.BYTES, "bytea"),
        prop("uid", Scalar.UUID, "uuid"),
        prop("lent", Scalar.BOOLEAN, "boolean"),
        prop("weight", Scalar.FLOAT, "double precision"),
    ),
    ("shelf", "no"),
    (
        Relation("author", "author", "author", ("author_id",), ("id",), False, True, "books"),
        Relation(
            "reviews", "reviews", "review", ("shelf", "no"), ("book_shelf", "book_no"), True, False, "book"
        ),
    ),
    embeds=(Embed("author"),),
    expose=Expose(page_limit=500),
)  # fmt: skip
REVIEW = RecordType(
    "review", "odd schema; --", "reviews", "Review", "review", "reviews",
    (
        prop("nr", Scalar.INT, "integer", required=True),
        prop("bookShelf", Scalar.STRING, "text", column="book_shelf"),
        prop("bookNumber", Scalar.INT, "integer", column="book_no"),
        prop("stars", Scalar.INT, "integer"),
        prop("text", Scalar.STRING, "text"),
    ),
    ("nr",),
    (
        Relation(
            "book", "book", "book", ("book_shelf", "book_no"), ("shelf", "no"), False, True, "reviews"
        ),
    ),
)  # fmt: skip
PERSON = RecordType(
    "person", "odd schema; --", "staff", "Person", "person", "people",
    (
        prop("code", Scalar.STRING, "text", required=True),
        prop("team", Scalar.STRING, "text"),
        prop("salary", Scalar.INT, "integer", read_roles=("hr",)),
        prop(
            "email", Scalar.STRING, "text",
            masking=(("clerk", Masking.PARTIAL), ("auditor", Masking.HASH), ("guest", Masking.NULL)),
        ),
        prop("bossCode", Scalar.STRING, "text", column="boss_code"),
    ),
    ("code",),
    (
        Relation("boss", "boss", "person", ("boss_code",), ("code",), False, True, "reports"),
        Relation("reports", "reports", "person", ("code",), ("boss_code",), True, False, "boss"),
    ),
    row_filter=(("clerk", {"team": {"eq": "blue"}}), ("guest", {"team": {"eq": "red"}})),
)  # fmt: skip
LIBRARY = Contract(
    "library", "A library", "1.0.0",
    {t.name: t for t in (AUTHOR, BOOK, REVIEW, PERSON)},
    roles=("hr", "clerk", "auditor", "guest"),
)  # fmt: skip

TABLES = """
CREATE SCHEMA "odd schema; --";
SET search_path = "odd schema; --";
CREATE TABLE "Au""thors" (
  id bigint PRIMARY KEY, "na""me" text NOT NULL, born date, rating real, "score $1; --" numeric(10,2),
  mentor_id bigint REFERENCES "Au""thors");
CREATE TABLE books (
  shelf text, no integer, title varchar(200) NOT NULL, "select" smallint,
  author_id bigint REFERENCES "Au""thors", published timestamptz, tags text[], big bigint, data jsonb,
  cover bytea, uid uuid, lent boolean, weight double precision, PRIMARY KEY (shelf, no));
CREATE TABLE reviews (
  nr integer PRIMARY KEY, book_shelf text, book_no integer, stars integer, text text,
  FOREIGN KEY (book_shelf, book_no) REFERENCES books);
CREATE TABLE staff (
  code text PRIMARY KEY, team text, salary integer, email text, boss_code text REFERENCES staff);
"""

NAMES = (
    "Ann", "ann", "Zoë", "Ægir", "李雷", "O'Brien", 'quo"te', "per%cent", "back\\slash", "comma, name",
    "🦉 owl", "", " ", "tab\tand\nline", "$1", "Ångström",
)  # fmt: skip


def fill(conn: psycopg.Connection[Any], seed: int = 7) -> None:
    pick = random.Random(seed)

    def maybe(value: T) -> T | None:
        return None if pick.random() < 0.3 else value

    conn.execute(TABLES.encode())
    with conn.cursor() as cursor:
        authors = [
            (
                i if i < 40 else 2**60 + 1, pick.choice(NAMES),
                maybe(date(1900 + pick.randrange(5), 1, 1)),
                maybe(pick.choice((0.1, 2.5, 1e30, float("nan")))),
                maybe(pick.choice(("1.10", "1.15", "-3.00", "99999999.99"))),
                maybe(pick.randrange(1, i)) if i > 1 else None,
            )
            for i in range(1, 41)
        ]  # fmt: skip
        cursor.executemany(b'INSERT INTO "Au""thors" VALUES (%s, %s, %s, %s, %s, %s)', authors)
        books = []
        for i in range(300):
            moment = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(
                days=pick.randrange(4), microseconds=pick.choice((0, 0, 123456))
            )
            books.append(
                (
                    pick.choice(("A", "a", "B,", "\\", "ø")), i, pick.choice(NAMES),
                    maybe(pick.randrange(5)), maybe(pick.randrange(1, 40)), maybe(moment),
                    maybe(pick.sample(["x", "y", "Ω", "a b", ","], 2)),
                    maybe(pick.choice((1, 2**53 - 1, 2**53, -(2**63), 2**63 - 1))),
                    maybe(Jsonb({"k": [i, None, "ü"]})), maybe(bytes([i % 256, 0, 255])),
                    maybe(UUID(int=pick.randrange(3))), maybe(pick.random() < 0.5),
                    maybe(pick.choice((0.1, -0.0, 1e300, float("inf"), float("nan"), 5e-324))),
                )
            )  # fmt: skip
        cursor.executemany(
            b"INSERT INTO books VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)", books
        )
        reviews = []
        for i in range(500):
            book = maybe(pick.choice(books))
            shelf, number = book[:2] if book else (None, None)
            reviews.append(
                (i, shelf, number, maybe(pick.randrange(1, 6)), maybe(pick.choice(NAMES)))
            )
        cursor.executemany(b"INSERT INTO reviews VALUES (%s, %s, %s, %s, %s)", reviews)
        cursor.executemany(
            b"INSERT INTO staff VALUES (%s, %s, %s, %s, %s)",
            [
                ("boss", "red", 900, "boss@example.org", None),
                ("ann", "blue", 100, "ann@example.org", "boss"),
                ("bob", "blue", 200, "bob@example.org", "ann"),
                ("cy", "red", 300, "cy@example.org", "ann"),
                ("di", None, 400, None, "ann"),
            ],
        )


async def load_documents(store: SqliteStore, url: str) -> None:
    """Put the documents of canonical into generation 1 of each type."""
    await store.open(LIBRARY, write=True)
    with psycopg.connect(url, options="-c TimeZone=UTC") as conn:
        for record_type in LIBRARY.types.values():
            rows = conn.execute(
                documents_of_page(LIBRARY, record_type, first=True), {"limit": 10_000}
            ).fetchall()
            await store.create_generation(record_type.name, 1)
            writes = [Write(key, 1, d if isinstance(d, bytes) else _bytes(d)) for key, d in rows]
            await store.write(record_type.name, 1, writes)
            await store.activate(record_type.name, 1)
    await store.publish(Position(SYSTEM, 1000, datetime.now(UTC).timestamp() + 3600))


def _bytes(document: Any) -> bytes:
    return document.encode() if isinstance(document, str) else orjson.dumps(document)


@dataclass
class Library:
    """The running world: `ask` runs one query and returns the whole answer."""

    url: str
    folder: Path
    schema: ServedSchema = field(default_factory=lambda: build_schema(LIBRARY))
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def start(self) -> None:
        self.pool = make_pool(self.url, 4)
        self.store = SqliteStore(self.folder / "documents.sqlite")
        self.run(self.pool.open())
        self.run(load_documents(self.store, self.url))
        self.services = Services(
            LIBRARY,
            self.pool,
            self.store,
            None,
            SYSTEM,
            SECRET,
            Limits(statement_timeout=10, document_timeout=30),  # type: ignore[arg-type]
        )
        self.conn = psycopg.connect(self.url, autocommit=True)

    def stop(self) -> None:
        self.conn.close()
        self.run(self.store.close())
        self.run(self.pool.close())
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def ask(
        self,
        query: str,
        variables: dict[str, Any] | None = None,
        *,
        roles: tuple[str, ...] = (),
        freshness: Freshness | None = None,
        explain: bool = False,
        services: Services | None = None,
    ) -> dict[str, Any]:
        """Every query is answered both by its plan, where it has one, and by ordinary execution,
        which must give the same bytes."""

        def context() -> RequestContext:
            return RequestContext(
                services or self.services,
                Viewer("someone", frozenset(roles)),
                freshness or UNHEDGED,
                explain,
            )

        compiled = self.run(respond(self.schema, context(), query, variables))
        answer: dict[str, Any] = orjson.loads(compiled.body)
        if "mutation" not in query:
            ordinary = self.run(execute(self.schema, context(), query, variables))
            assert compiled.body == orjson.dumps(ordinary)
        return answer

    def data(self, query: str, variables: dict[str, Any] | None = None, **options: Any) -> Any:
        answer = self.ask(query, variables, **options)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def codes(
        self, query: str, variables: dict[str, Any] | None = None, **options: Any
    ) -> list[str]:
        answer = self.ask(query, variables, **options)
        return [e["extensions"]["code"] for e in answer.get("errors", ())]

    def column(self, query: str) -> list[Any]:
        """The first column of an SQL query, written by hand."""
        self.conn.execute('SET search_path = "odd schema; --"')
        return [row[0] for row in self.conn.execute(query.encode()).fetchall()]


@contextmanager
def running_library(postgres: str, folder: Path) -> Iterator[Library]:
    """The world in a database of its own on the server `postgres`."""
    name = f"library_{secrets.token_hex(4)}"
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        with psycopg.connect(url_of(postgres, name), autocommit=True) as conn:
            fill(conn)
        world = Library(url_of(postgres, name), folder)
        world.start()
        try:
            yield world
        finally:
            world.stop()
    finally:
        drop_database(postgres, name)
