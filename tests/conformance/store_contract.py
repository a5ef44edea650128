"""The contract of the stores' conformance suite: every kind of value, a composite key, embedded and
to-many relations, and every option of search. And records for it."""

from __future__ import annotations

from typing import Any

import orjson

from stores.contract.model import (
    Contract,
    Embed,
    Logical,
    Property,
    RecordType,
    Relation,
    Scalar,
    SearchOptions,
)
from stores.protocols import Write

_LOGICAL = {
    Scalar.INT: Logical.INTEGER, Scalar.BIGINT: Logical.INTEGER, Scalar.FLOAT: Logical.NUMBER,
    Scalar.DECIMAL: Logical.NUMBER, Scalar.BOOLEAN: Logical.BOOLEAN, Scalar.DATE: Logical.DATE,
    Scalar.TIMESTAMP: Logical.TIMESTAMP, Scalar.DATETIME: Logical.TIMESTAMP,
    Scalar.TIME: Logical.TIME, Scalar.JSON: Logical.OBJECT,
}  # fmt: skip
_SQL = {
    Scalar.STRING: "text", Scalar.INT: "integer", Scalar.BIGINT: "bigint",
    Scalar.FLOAT: "double precision", Scalar.DECIMAL: "numeric(12,2)", Scalar.BOOLEAN: "boolean",
    Scalar.DATE: "date", Scalar.TIMESTAMP: "timestamp with time zone",
    Scalar.DATETIME: "timestamp without time zone", Scalar.TIME: "time without time zone",
    Scalar.UUID: "uuid", Scalar.JSON: "jsonb",
}  # fmt: skip


def prop(name: str, scalar: Scalar = Scalar.STRING, **options: Any) -> Property:
    array = bool(options.get("array"))
    sql_type = options.pop("sql_type", _SQL[scalar]) + ("[]" if array else "")
    logical = Logical.ARRAY if array else _LOGICAL.get(scalar, Logical.STRING)
    return Property(name, name.lower(), name, logical, scalar, sql_type, **options)


def record_type(
    name: str, properties: tuple[Property, ...], key: tuple[str, ...], **more: Any
) -> RecordType:
    return RecordType(
        name, "public", f"{name}s", name.capitalize(), name, f"{name}s", properties, key, **more
    )


SEARCHED = SearchOptions(text=True)
FACET = SearchOptions(facet=True)
SORTED = SearchOptions(sort=True, facet=True)

AUTHOR = record_type(
    "author",
    (
        prop("id"),
        prop("name", search=SearchOptions(text=True, suggest=True, sort=True)),
        prop("born", Scalar.DATE, search=SORTED),
    ),
    ("id",),
    relations=(Relation("books", "books", "book", ("id",), ("author",), True, False, "writer"),),
)
BOOK = record_type(
    "book",
    (
        prop("id", Scalar.INT),
        prop(
            "title",
            max_length=200,
            search=SearchOptions(text=True, boost=4, suggest=True, sort=True),
        ),
        prop("aliases", array=True, search=SEARCHED),
        prop("blurb", search=SearchOptions(text=True, analyzer="english")),
        prop("isbn", search=SearchOptions(text=True, analyzer="keyword")),
        prop("author"),
        prop("language", max_length=8, search=FACET),
        prop("tags", array=True, search=FACET),
        prop("marks", Scalar.INT, array=True),
        prop("pages", Scalar.INT, search=SearchOptions(sort=True, facet=True)),
        prop("copies", Scalar.BIGINT),
        prop("rating", Scalar.FLOAT, search=SORTED),
        prop("price", Scalar.DECIMAL, search=SORTED),
        prop("weight", Scalar.DECIMAL, sql_type="numeric"),
        prop("printed", Scalar.BOOLEAN, search=SearchOptions(sort=True, facet=True)),
        prop("lent", Scalar.BOOLEAN),
        prop("published", Scalar.DATE, search=SORTED),
        prop("added", Scalar.TIMESTAMP),
        prop("opens", Scalar.TIME),
        prop("uid", Scalar.UUID),
        prop("extra", Scalar.JSON),
    ),
    ("id",),
    relations=(Relation("writer", "writer", "author", ("author",), ("id",), False, True, "books"),),
    embeds=(Embed("writer"),),
)
SHELF = record_type(
    "shelf",
    (
        prop("room"),
        prop("place", Scalar.INT),
        prop("book", Scalar.INT),
    ),
    ("room", "place"),
    relations=(
        Relation("holds", "holds", "book", ("book",), ("id",), False, True, "shelves"),
        Relation("shelves", "shelves", "shelf", (), (), True, False, "holds"),
    )[:1],
)
CONTRACT = Contract("conformance", "Conformance", "1", {t.name: t for t in (AUTHOR, BOOK, SHELF)})
OTHER_CONTRACT = Contract("another", "Another", "1", CONTRACT.types)


def document(**values: Any) -> bytes:
    """A JSON document as canonical prints it."""
    return orjson.dumps(values)


def author(key: str, name: str | None = None, **values: Any) -> bytes:
    return document(**({"id": key, "name": name, "born": None} | values))


def book(number: int, **values: Any) -> bytes:
    """A book with null for everything that is not given."""
    return document(
        **({p.name: None for p in BOOK.properties} | {"id": number, "writer": None} | values)
    )


def put(key: str, version: int, body: bytes | None = None) -> Write:
    """A write of an author, unless `body` is another document."""
    return Write(key, version, author(key, f"v{version}") if body is None else body)


def delete(key: str, version: int) -> Write:
    return Write(key, version, None)
