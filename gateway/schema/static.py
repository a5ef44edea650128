"""The parts of the schema that no contract changes, as Strawberry types: scalars, pages, facets,
errors, enums, and the roots. An extension of a product uses them as they are."""

from __future__ import annotations

import datetime
import decimal
import uuid
from enum import Enum, StrEnum
from typing import Annotated, Any, NewType

import strawberry
import strawberry.scalars
from graphql import GraphQLScalarType
from strawberry.types.scalar import ScalarDefinition

from gateway.schema import scalars
from gateway.shape.orders import Direction
from stores.query import Match

BigInt = NewType("BigInt", int)
Decimal = NewType("Decimal", str)
JSON = NewType("JSON", object)
Date = NewType("Date", str)
DateTime = NewType("DateTime", str)
LocalDateTime = NewType("LocalDateTime", str)
Time = NewType("Time", str)
UUID = NewType("UUID", str)
Bytes = NewType("Bytes", str)
Duration = NewType("Duration", str)


def _scalar(implementation: GraphQLScalarType) -> ScalarDefinition:
    return ScalarDefinition(
        name=implementation.name,
        description=implementation.description,
        specified_by_url=implementation.specified_by_url,
        serialize=None,
        parse_value=None,
        parse_literal=None,
        implementation=implementation,
    )


SCALARS: dict[object, ScalarDefinition] = {
    BigInt: _scalar(scalars.BIGINT),
    Decimal: _scalar(scalars.DECIMAL),
    JSON: _scalar(scalars.JSON),
    Date: _scalar(scalars.DATE),
    DateTime: _scalar(scalars.DATETIME),
    LocalDateTime: _scalar(scalars.LOCAL_DATETIME),
    Time: _scalar(scalars.TIME),
    UUID: _scalar(scalars.UUID),
    Bytes: _scalar(scalars.BYTES),
    Duration: _scalar(scalars.DURATION),
    # Python's own, by the same implementations; see gateway.schema.native_values.
    datetime.date: _scalar(scalars.DATE),
    datetime.datetime: _scalar(scalars.DATETIME),
    datetime.time: _scalar(scalars.TIME),
    decimal.Decimal: _scalar(scalars.DECIMAL),
    uuid.UUID: _scalar(scalars.UUID),
    strawberry.scalars.JSON: _scalar(scalars.JSON),
}
"""The scalars by their Python types, with the one implementation that record types use too."""

SearchMatchEnum = strawberry.enum(
    Match,
    name="SearchMatch",
    description=(
        "How the words of a search are compared. EXACT: as they stand. FORGIVING: misspelled ones,"
        " too. AUTO: exact; a word that no record has is forgiven, and every word where nothing is"
        " found. Quoted words are always exact."
    ),
)
DirectionEnum = strawberry.enum(
    Direction,
    name="Direction",
    description=(
        "Missing values come last in ascending and first in descending order, unless the value"
        " says otherwise."
    ),
)


@strawberry.enum(
    description="REFRESH: more records changed than can be listed; read again what you need."
)
class ChangeKind(Enum):
    CREATED = "CREATED"
    UPDATED = "UPDATED"
    DELETED = "DELETED"
    REFRESH = "REFRESH"


@strawberry.enum(
    description=(
        "What happens if some records of a call are bad: nothing is written, or the others are"
        " written."
    )
)
class OnError(StrEnum):
    ABORT = "ABORT"
    CONTINUE = "CONTINUE"


@strawberry.interface(
    description="A record. `nodeId` is unique among all types; pass it to `node`."
)
class Node:
    id: strawberry.ID
    node_id: strawberry.ID

    @classmethod
    def resolve_type(cls, value: Any, *_: Any) -> Any:
        """The name of a record's type, which `node` puts under the key that no response name is."""
        return value[""]


@strawberry.type
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.type
class Highlight:
    field: str
    fragments: list[str] = strawberry.field(
        description="Fragments of the text as HTML: matches in <em>, everything else escaped."
    )


@strawberry.type
class FacetBucket:
    value: JSON | None
    count: BigInt


@strawberry.type
class Facet:
    field: str
    buckets: list[FacetBucket]
    others: BigInt = strawberry.field(
        description="How often the values that are not in `buckets` are held by records found."
    )


@strawberry.type
class FacetRange:
    low: JSON | None = strawberry.field(description="Where it begins; null: with the least.")
    high: JSON | None = strawberry.field(description="What it is below; null: to the greatest.")
    count: BigInt


@strawberry.type
class FacetRanges:
    field: str
    ranges: list[FacetRange]


@strawberry.type
class SearchSuggestion:
    text: str
    id: strawberry.ID = strawberry.field(description="Of the first record that has the text.")
    count: BigInt = strawberry.field(description="How many records have it.")


@strawberry.type
class ForgivenWord:
    word: str = strawberry.field(description="As it stands in the query.")
    near: list[str] = strawberry.field(
        description="Words near it that were looked for instead, the likeliest first."
    )


@strawberry.type
class RowError:
    index: int = strawberry.field(description="The record's place in the input, from 0.")
    code: str
    message: str
    field: str | None


TYPES: tuple[Any, ...] = (
    PageInfo,
    Highlight,
    FacetBucket,
    Facet,
    FacetRange,
    FacetRanges,
    SearchSuggestion,
    ForgivenWord,
    RowError,
)
ENUMS: tuple[Any, ...] = (DirectionEnum, ChangeKind, OnError, SearchMatchEnum)

NodeId = Annotated[strawberry.ID, strawberry.argument(description="A `nodeId`.")]
