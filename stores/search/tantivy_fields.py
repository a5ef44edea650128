"""From a record type to the fields of its Tantivy index.

| field         | holds                                                                          |
| `_key`        | the record's key; stored, and a column for the order of ties                   |
| `_version`    | the version written; stored                                                    |
| `_document`   | the document's bytes; stored                                                   |
| `_values`     | a term for each text and boolean: PATH NUL value; and for what is null: PATH SOH |
| `PATH:value`  | numbers, and texts and booleans that are a facet or sorted by: a column        |
| `PATH:text`   | the analyzed text, for full-text search                                        |
| `PATH:whole`  | the whole text in lower case without accents: a match of all of it ranks first, |
|               | and completions are made of it                                                 |

PATH is a property's name, for embedded to-one relations with the relations' names before it:
`country/name`. Texts share one field because each field costs every commit a quarter millisecond.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import tantivy

from stores.contract.model import Contract, Embed, Property, RecordType
from stores.search.tantivy_analyzers import FOLDED, analyzer, analyzer_name, folder
from stores.search.tantivy_values import Kind, kind_of

KEY, VERSION, DOCUMENT, VALUES = "_key", "_version", "_document", "_values"
WHOLE_CHARACTERS = 200
"""A longer text is found by its words only, and is no completion."""


@dataclass(frozen=True, slots=True)
class Twin:
    """A property of the record or of an embedded to-one relation, and where its value is found."""

    path: str
    prop: Property
    kind: Kind | None

    @property
    def valued(self) -> bool:
        """Lists of texts that are searched (the hundred names of a city) are found by their words,
        and by a value only where they are a facet: it would cost more than the rest of the record."""
        long_list = self.prop.array and self.prop.search.text and not self.prop.search.facet
        return self.kind is not None and not long_list

    @property
    def column(self) -> bool:
        """Whether the value is in a column of its own, which ranges, facets and orders are made of."""
        if not self.valued:
            return False
        search = self.prop.search
        return self.kind in (Kind.INT, Kind.FLOAT) or search.facet or search.sort

    @property
    def in_values(self) -> bool:
        """Whether the value is a term of `_values`."""
        return self.valued and (self.kind is Kind.BOOL or not self.column)

    @property
    def value(self) -> str:
        return f"{self.path}:value"

    @property
    def text(self) -> str:
        return f"{self.path}:text"

    @property
    def whole(self) -> str:
        return f"{self.path}:whole"

    @property
    def terms(self) -> tuple[str, str]:
        """The field in which terms of the value are found, and what stands before the value there."""
        return (VALUES, f"{self.path}\0") if self.in_values else (self.value, "")


def null_term(path: str) -> str:
    """The term of `_values` that says that a property or relation is null."""
    return f"{path}\x01"


def boolean_term(value: bool) -> str:
    return "true" if value else "false"


@dataclass(frozen=True, slots=True)
class Level:
    """The properties of a record or of an embedded record, and what is embedded in it."""

    path: str
    record_type: RecordType
    twins: tuple[Twin, ...]
    relations: tuple[tuple[str, Level], ...]

    def find(self, relations: tuple[str, ...]) -> Level | None:
        level: Level | None = self
        for name in relations:
            level = dict(level.relations).get(name) if level else None
        return level

    def twin(self, name: str) -> Twin | None:
        return next((t for t in self.twins if t.prop.name == name), None)

    def walk(self) -> Iterator[Level]:
        yield self
        for _, level in self.relations:
            yield from level.walk()


def levels(contract: Contract, record_type: RecordType) -> Level:
    """The fields of a type's index, as a tree of levels."""
    return _level(contract, record_type, record_type.embeds, "")


def _level(
    contract: Contract, record_type: RecordType, embeds: tuple[Embed, ...], path: str
) -> Level:
    prefix = f"{path}/" if path else ""
    twins = tuple(Twin(prefix + p.name, p, kind_of(p)) for p in record_type.properties)
    relations = []
    for embed in embeds:
        relation = record_type.relation_by_name[embed.relation]
        if not relation.many:
            target = contract.types[relation.target]
            level = _level(contract, target, embed.embeds, prefix + relation.name)
            relations.append((relation.name, level))
    return Level(path, record_type, twins, tuple(relations))


def text_twins(level: Level) -> list[Twin]:
    """The properties of the record itself that full-text search looks in."""
    return [t for t in level.twins if t.prop.search.text and t.kind is Kind.TEXT]


def suggest_twins(level: Level) -> list[Twin]:
    """The properties of the record itself that completions are made of."""
    return [t for t in level.twins if t.prop.search.suggest and t.kind is Kind.TEXT]


def whole_twins(level: Level) -> list[Twin]:
    """The properties of the record itself whose whole text is known, too."""
    words = [t for t in text_twins(level) if t.prop.search.analyzer != "keyword"]
    return list(dict.fromkeys([*words, *suggest_twins(level)]))


# What an index has --------------------------------------------------------------------------------
# An index is made by one contract and may be read or written by the next one, until the reload that
# the change asks for is done. So it says what it has, by these marks.


def null_mark(path: str) -> str:
    return path


def value_mark(twin: Twin) -> str:
    return f"{twin.value}:{twin.kind}:{'column' if twin.column else 'terms'}"


def text_mark(twin: Twin) -> str:
    return f"{twin.text}:{twin.prop.search.analyzer}"


def whole_mark(twin: Twin) -> str:
    return twin.whole


def marks(level: Level) -> set[str]:
    found: set[str] = set()
    for sub in level.walk():
        found.add(null_mark(sub.path))
        found.update(null_mark(t.path) for t in sub.twins)
        found.update(value_mark(t) for t in sub.twins if t.valued)
    found.update(text_mark(t) for t in text_twins(level))
    found.update(whole_mark(t) for t in whole_twins(level))
    return found


def build_schema(level: Level) -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field(KEY, stored=True, fast=True, tokenizer_name="raw", index_option="basic")
    builder.add_integer_field(VERSION, stored=True)
    builder.add_bytes_field(DOCUMENT, stored=True)
    builder.add_text_field(VALUES, tokenizer_name="raw", index_option="basic")
    for twin in (t for sub in level.walk() for t in sub.twins if t.column):
        match twin.kind:
            case Kind.TEXT:
                builder.add_text_field(
                    twin.value, fast=True, tokenizer_name="raw", index_option="basic"
                )
            case Kind.INT:
                builder.add_integer_field(twin.value, fast=True)
            case Kind.FLOAT:
                builder.add_float_field(twin.value, fast=True)
            case Kind.BOOL:
                builder.add_boolean_field(twin.value, fast=True)
    for twin in text_twins(level):
        builder.add_text_field(twin.text, tokenizer_name=analyzer_name(twin.prop.search.analyzer))
    for twin in whole_twins(level):
        builder.add_text_field(twin.whole, tokenizer_name=FOLDED, index_option="basic")
    return builder.build()


def register_analyzers(index: tantivy.Index, level: Level) -> None:
    for twin in text_twins(level):
        name = twin.prop.search.analyzer
        if name != "keyword":
            index.register_tokenizer(analyzer_name(name), analyzer(name))
    index.register_tokenizer(FOLDED, folder())
