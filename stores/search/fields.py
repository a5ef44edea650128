"""The fields that a search index holds for a record type: one decision for every search store.

PATH is a property's name, for embedded to-one relations with the relations' names before it:
`country/name`. Of a property an index may have

| field    | holds                                                                                 |
| `PATH:v` | the value's twin (see twins): filters; a column where facets or orders are made of it |
| `PATH:t` | the text, analyzed                                                                    |
| `PATH:w` | the whole text in lower case without accents: a match of all of it ranks first, and   |
|          | completions are made of it                                                            |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from stores.contract.model import Contract, Embed, Property, RecordType, Scalar
from stores.search.twins import Kind, kind_of

WHOLE_CHARACTERS = 200
"""A longer text is found by its words only, and is no completion."""


class Kept(StrEnum):
    """The form in which an index keeps a value."""

    COLUMN = "column"
    """Filters, facets and orders are made of it."""
    TERMS = "terms"
    """Filters are made of it."""
    NOT = "not"


@dataclass(frozen=True, slots=True)
class Field:
    """A property of the record or of an embedded to-one relation, and its fields in the index."""

    path: str
    prop: Property
    kind: Kind | None
    kept: Kept | None = None
    """The form in which a generation keeps the value, which another contract may have made (see
    held); None: the form that the contract asks for."""

    @property
    def valued(self) -> bool:
        """Lists of texts that are searched (the hundred names of a city) are found by their
        words, and by a value only where they are a facet: it would cost more than the rest of
        the record."""
        if self.kept is not None:
            return self.kept is not Kept.NOT
        long_list = self.prop.array and self.prop.search.text and not self.prop.search.facet
        return self.kind is not None and not long_list

    @property
    def column(self) -> bool:
        """Return whether facets and orders can be made of the value."""
        if self.kept is not None:
            return self.kept is Kept.COLUMN
        search = self.prop.search
        return self.valued and (self.kind in (Kind.INT, Kind.FLOAT) or search.facet or search.sort)

    @property
    def whole_text(self) -> bool:
        """Searched as one whole value, not by words."""
        return self.prop.search.analyzer == "keyword"

    @property
    def value(self) -> str:
        return f"{self.path}:v"

    @property
    def text(self) -> str:
        return f"{self.path}:t"

    @property
    def whole(self) -> str:
        return f"{self.path}:w"


@dataclass(frozen=True, slots=True)
class Level:
    """The properties of a record or of an embedded record, and what is embedded in it."""

    path: str
    record_type: RecordType
    fields: tuple[Field, ...]
    relations: tuple[tuple[str, Level], ...]

    def find(self, relations: tuple[str, ...]) -> Level | None:
        level: Level | None = self
        for name in relations:
            level = dict(level.relations).get(name) if level else None
        return level

    def field(self, name: str) -> Field | None:
        return next((f for f in self.fields if f.prop.name == name), None)

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
    fields = tuple(Field(prefix + p.name, p, kind_of(p)) for p in record_type.properties)
    relations = []
    for embed in embeds:
        relation = record_type.relation_by_name[embed.relation]
        if not relation.many:
            target = contract.types[relation.target]
            level = _level(contract, target, embed.embeds, prefix + relation.name)
            relations.append((relation.name, level))
    return Level(path, record_type, fields, tuple(relations))


def text_fields(level: Level) -> list[Field]:
    """The properties of the record itself that full-text search looks in."""
    return [f for f in level.fields if f.prop.search.text and f.kind is Kind.TEXT]


def suggest_fields(level: Level) -> list[Field]:
    """The properties of the record itself that completions are made of."""
    return [f for f in level.fields if f.prop.search.suggest and f.kind is Kind.TEXT]


def whole_fields(level: Level) -> list[Field]:
    """The properties of the record itself whose whole text is known, too."""
    words = [f for f in text_fields(level) if not f.whole_text]
    return list(dict.fromkeys([*words, *suggest_fields(level)]))


def null_paths(level: Level) -> list[str]:
    """All that is null where the record of the level is: itself, its properties, what it embeds."""
    return [p for sub in level.walk() for p in (sub.path, *(f.path for f in sub.fields))]


# What an index has --------------------------------------------------------------------------------
# An index is made by one contract and may be read or written by the next one, until the reload that
# the change asks for is done. So it says what it has, by these marks; `held` reads them.


def null_mark(path: str) -> str:
    return path


def value_mark(field: Field, kept: Kept | None = None) -> str:
    kept = kept or (Kept.COLUMN if field.column else Kept.TERMS)
    return f"{field.value}:{field.kind}:{kept}"


def form_mark(field: Field) -> str:
    """Return the mark of the field with the form of its values: a date and a moment have twins of
    one kind, and are not to be compared."""
    scalar = field.prop.scalar
    form = "integer" if scalar in (Scalar.INT, Scalar.BIGINT) else scalar.value
    return f"{form_prefix(field)}{form}{'[]' if field.prop.array else ''}"


def form_prefix(field: Field) -> str:
    return f"{field.path}:s:"


def text_mark(field: Field, analyzer: str | None = None) -> str:
    return f"{field.text}:{analyzer or field.prop.search.analyzer}"


def whole_mark(field: Field) -> str:
    return field.whole


def suggest_mark(field: Field) -> str:
    return f"{field.whole}:suggest"


def marks(level: Level) -> set[str]:
    found: set[str] = set()
    for sub in level.walk():
        found.add(null_mark(sub.path))
        found.update(null_mark(f.path) for f in sub.fields)
        found.update(value_mark(f) for f in sub.fields if f.valued)
        found.update(form_mark(f) for f in sub.fields if f.valued)
    found.update(text_mark(f) for f in text_fields(level))
    found.update(whole_mark(f) for f in whole_fields(level))
    found.update(suggest_mark(f) for f in suggest_fields(level))
    return found
