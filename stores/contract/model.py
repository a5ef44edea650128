"""The contract as the rest of recordgate sees it: resolved, immutable, with every name decided.

`stores.contract.load` makes it from an ODCS file that the linter has passed; nothing here reads
files. A *property* is a field of a record; its `name` is the contract's and the key in documents,
its `column` the name in Postgres, its `graphql` the camelCase name callers see.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stores.contract.collect import Collect

from stores.contract.promises import Objective, Rule


class Logical(StrEnum):
    """The logical types of ODCS that recordgate stores."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"
    TIME = "time"
    OBJECT = "object"
    ARRAY = "array"


class Scalar(StrEnum):
    """The form of a value in JSON, which decides its GraphQL type and its form in every store.

    | scalar    | Postgres                      | JSON                            |
    | STRING    | text, varchar, char, uuid, …  | string                          |
    | INT       | smallint, integer             | number                          |
    | BIGINT    | bigint                        | number (GraphQL: string > 2^53) |
    | FLOAT     | real, double precision        | number                          |
    | DECIMAL   | numeric                       | string, digits as stored        |
    | BOOLEAN   | boolean                       | true, false                     |
    | DATE      | date                          | "YYYY-MM-DD"                    |
    | TIMESTAMP | timestamptz                   | ISO 8601 in UTC, "+00:00"       |
    | DATETIME  | timestamp                     | ISO 8601 without zone           |
    | TIME      | time                          | "HH:MM:SS[.ffffff]"             |
    | UUID      | uuid                          | string                          |
    | BYTES     | bytea                         | base64                          |
    | JSON      | jsonb                         | itself                          |
    """

    STRING = "string"
    INT = "int"
    BIGINT = "bigint"
    FLOAT = "float"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"
    DATETIME = "datetime"
    TIME = "time"
    UUID = "uuid"
    BYTES = "bytes"
    JSON = "json"


class Masking(StrEnum):
    """The value that a role sees in place of one it may not see."""

    NULL = "null"
    HASH = "hash"
    PARTIAL = "partial"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """A property's part in search; everything is off when the contract says nothing.

    `analyzer` is "standard" (words, lower case, accents folded), "keyword" (the whole value) or a
    language's English name ("french": standard plus its stemmer and stop words).
    """

    text: bool = False
    analyzer: str = "standard"
    boost: float = 1.0
    facet: bool = False
    sort: bool = False
    suggest: bool = False
    forgive: bool = True
    """True where misspelled words of at least `forgive_from` characters find it."""
    forgive_from: int = 3

    @property
    def any(self) -> bool:
        return self.text or self.facet or self.sort or self.suggest


@dataclass(frozen=True, slots=True)
class Property:
    """A field of a record. Bounds are inclusive; None means no bound."""

    name: str
    column: str
    graphql: str
    logical: Logical
    scalar: Scalar
    sql_type: str
    """The full Postgres type, as `format_type` prints it: `numeric(10,2)`, `text[]`, …"""
    array: bool = False
    required: bool = False
    unique: bool = False
    enum: tuple[str, ...] = ()
    pattern: str | None = None
    min_length: int | None = None
    max_length: int | None = None
    minimum: str | None = None
    maximum: str | None = None
    exclusive_minimum: str | None = None
    exclusive_maximum: str | None = None
    multiple_of: str | None = None
    generated: bool = False
    """Computed by Postgres (attached tables): read, never written."""
    description: str = ""
    search: SearchOptions = field(default_factory=SearchOptions)
    masking: tuple[tuple[str, Masking], ...] = ()
    partial: tuple[int, int] = (1, 0)
    """Characters, first and last, that the mask `partial` shows."""
    read_roles: tuple[str, ...] | None = None
    """Roles that may see the property; None: everybody."""

    @property
    def restricted(self) -> bool:
        """True where somebody may not see the plain value."""
        return self.read_roles is not None or bool(self.masking)


@dataclass(frozen=True, slots=True)
class Relation:
    """One direction of a foreign key. The other direction is the relation named `inverse` of
    `target`.

    `columns[i]` of this type equals `target_columns[i]` of the target (column names). A to-one
    relation holds the foreign key (`owner` True), its inverse is to-many, or to-one where the
    foreign key is unique.
    """

    name: str
    graphql: str
    target: str
    columns: tuple[str, ...]
    target_columns: tuple[str, ...]
    many: bool
    owner: bool
    inverse: str
    required: bool = False
    """A to-one relation that always has a target: its columns are required."""


@dataclass(frozen=True, slots=True)
class ForeignRelation:
    """A relation to a record of another product: no foreign key, nullable always, followed by
    federated gateways."""

    name: str
    """Its name, in GraphQL too."""
    graphql: str
    """The GraphQL type there."""
    type: str
    property: str
    contract: str
    """The address of the other product's contract."""
    column: str
    """The column here that holds the other record's key."""


@dataclass(frozen=True, slots=True)
class Embed:
    """A relation whose records are inside the document, with what is embedded in them in turn."""

    relation: str
    embeds: tuple[Embed, ...] = ()


@dataclass(frozen=True, slots=True)
class Expose:
    """The operations that the gateway offers of a type. `operations` holds some of: get list
    aggregate search create upsert update delete deleteMany export."""

    operations: frozenset[str] = frozenset(
        {
            "get", "list", "aggregate", "search", "create", "upsert", "update", "delete",
            "deleteMany", "export",
        }
    )  # fmt: skip
    page_limit: int = 1000
    roles: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """operation → the roles that may; an operation that is not here is for all."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The vocabulary of a type's searches. `synonyms` are groups of words, or of several words,
    that mean the same; `stop_words` are words that are not searched for."""

    synonyms: tuple[tuple[str, ...], ...] = ()
    stop_words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BoostBy:
    """The property whose greater numbers or later days rank a type's hits higher, by at most
    `weight`; a word that matches exactly has at least 1."""

    property: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Route:
    """The order in which stores are asked for what several can answer. `prefer`: their names, the
    first is asked first; empty: the default. `index`: property names of each index that lists are
    to be served by. `max_staleness`: seconds, how old an answer may be that the preference alone
    sends to a store; None: as old as the store is."""

    prefer: tuple[str, ...] = ()
    index: tuple[tuple[str, ...], ...] = ()
    max_staleness: float | None = None


@dataclass(frozen=True, slots=True)
class KeptChanges:
    """The history that is kept of a type's changes: `keep` seconds, and so many of them at most."""

    keep: float = 7 * 86400.0
    most: int = 1_000_000


@dataclass(frozen=True)
class RecordType:
    """A record type: one table, one GraphQL type, one collection in each store."""

    name: str
    """The schema object's name in the contract; what commands take as TYPE."""
    schema: str
    table: str
    graphql: str
    """PascalCase type name, `City`; `single` and `plural` are the field names `city`, `cities`."""
    single: str
    plural: str
    properties: tuple[Property, ...]
    key: tuple[str, ...]
    """Columns of the primary key, in order."""
    relations: tuple[Relation, ...] = ()
    embeds: tuple[Embed, ...] = ()
    unique_together: tuple[tuple[str, ...], ...] = ()
    expose: Expose = field(default_factory=Expose)
    row_filter: tuple[tuple[str, Any], ...] = ()
    """role → filter, in the form of a GraphQL filter with property names."""
    generations: int = 2
    vocabulary: Vocabulary = Vocabulary()
    boost_by: BoostBy | None = None
    route: Route = Route()
    description: str = ""
    foreign: tuple[ForeignRelation, ...] = ()
    rules: tuple[Rule, ...] = ()
    gate: str = ""
    """The severity of rules at which an import that breaks one is refused; empty: it is not."""
    collect: Collect | None = None
    """The source of its records, where recordgate collects them; otherwise None."""
    changes: KeptChanges | None = None
    """The history of its changes for those who follow it; None: none is kept."""

    @cached_property
    def by_name(self) -> dict[str, Property]:
        return {p.name: p for p in self.properties}

    @cached_property
    def by_column(self) -> dict[str, Property]:
        return {p.column: p for p in self.properties}

    @cached_property
    def by_graphql(self) -> dict[str, Property]:
        return {p.graphql: p for p in self.properties}

    @cached_property
    def relation_by_name(self) -> dict[str, Relation]:
        return {r.name: r for r in self.relations}

    @cached_property
    def relation_by_graphql(self) -> dict[str, Relation]:
        return {r.graphql: r for r in self.relations}

    @cached_property
    def key_properties(self) -> tuple[Property, ...]:
        return tuple(self.by_column[c] for c in self.key)

    @property
    def searchable(self) -> bool:
        return any(p.search.text for p in self.properties)


@dataclass(frozen=True)
class Contract:
    """A whole contract: its types by name, in the contract's order."""

    id: str
    name: str
    version: str
    types: dict[str, RecordType]
    roles: tuple[str, ...] = ()
    read_only_roles: tuple[str, ...] = ()
    """Roles whose `access` is "read": they write nothing."""
    sla: dict[str, float] = field(default_factory=dict)
    """SLA property → seconds (freshness, latency), normalised."""
    objectives: tuple[Objective, ...] = ()
    source: str = ""
    description: str = ""
    """The product's purpose: the contract's `description.purpose`."""
    owner: str = ""
    """The one who answers for it: the contract's team, else its domain."""
    managed: bool = True
    """True: our DDL makes the tables. False: attached to tables that are there already."""

    @cached_property
    def slug(self) -> str:
        """`id` as a name for slots, publications and indexes: [a-z0-9_], at most 40 characters."""
        text = "".join(c if c.isascii() and c.isalnum() else "_" for c in self.id.lower())
        return text[:40].strip("_") or "contract"

    @cached_property
    def followed(self) -> dict[str, RecordType]:
        """The types whose changes are kept, by name."""
        return {name: t for name, t in self.types.items() if t.changes is not None}

    @cached_property
    def collected(self) -> dict[str, RecordType]:
        """The types that are collected from a source, by name."""
        return {name: t for name, t in self.types.items() if t.collect is not None}

    def type(self, name: str) -> RecordType | None:
        """Return the type by its contract name, table name or GraphQL name; letter case counts
        only if needed to decide."""
        found = self.types.get(name)
        if found:
            return found
        for t in self.types.values():
            if name in (t.table, t.single, t.plural):
                return t
        lowered = name.lower()
        for t in self.types.values():
            if lowered in (t.name.lower(), t.table.lower(), t.single.lower(), t.plural.lower()):
                return t
        return None
