"""From a record type to the mapping of its index.

| field    | holds                                                                               |
| `k`      | the record's key, for the order of ties                                             |
| `d`      | the document's bytes, as a string that is not looked into                           |
| `t`      | only in the tombstone of a deleted record: when it was deleted                      |
| `n`      | the paths of what is null                                                           |
| `PATH:v` | the value's twin (see tantivy_values): filters; facets and orders where asked for   |
| `PATH:t` | the text, analyzed                                                                  |
| `PATH:w` | the whole text in lower case without accents: a match of all of it ranks first, and |
|          | completions are made of it                                                          |

PATH is a property's name, for embedded to-one relations with the relations' names before it:
`country/name`. The version is Elasticsearch's own, of type external.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stores.contract.model import Contract, Embed, Property, RecordType
from stores.search.tantivy_values import Kind, kind_of

KEY, DOCUMENT, TOMBSTONE, NULLS = "k", "d", "t", "n"
WHOLE_CHARACTERS = 200
"""A longer text is found by its words only, and is no completion."""
PRESENCE = "recordgate_presence"
"""A similarity that counts only how rare a word is: for lists of texts, whose length says nothing."""

_TYPES = {Kind.TEXT: "keyword", Kind.INT: "long", Kind.FLOAT: "double", Kind.BOOL: "boolean"}


@dataclass(frozen=True, slots=True)
class Field:
    """A property of the record or of an embedded to-one relation, and its fields in the index."""

    path: str
    prop: Property
    kind: Kind | None

    @property
    def valued(self) -> bool:
        """Lists of texts that are searched are found by their words, and by a value only where they are
        a facet: it would cost more than the rest of the record."""
        long_list = self.prop.array and self.prop.search.text and not self.prop.search.facet
        return self.kind is not None and not long_list

    @property
    def column(self) -> bool:
        """Whether facets and orders can be made of the value."""
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


# What an index has --------------------------------------------------------------------------------
# An index is made by one contract and may be read or written by the next one, until the reload that
# the change asks for is done. So its mapping says what it has, by these marks.


def value_mark(field: Field) -> str:
    return f"{field.value}:{field.kind}:{'column' if field.column else 'terms'}"


def text_mark(field: Field) -> str:
    return f"{field.text}:{field.prop.search.analyzer}"


def whole_mark(field: Field) -> str:
    return field.whole


def suggest_mark(field: Field) -> str:
    return f"{field.whole}:suggest"


def marks(level: Level) -> set[str]:
    found: set[str] = set()
    for sub in level.walk():
        found.add(sub.path)
        found.update(f.path for f in sub.fields)
        found.update(value_mark(f) for f in sub.fields if f.valued)
    found.update(text_mark(f) for f in text_fields(level))
    found.update(whole_mark(f) for f in whole_fields(level))
    found.update(suggest_mark(f) for f in suggest_fields(level))
    return found


def mapping(level: Level) -> dict[str, Any]:
    """The `properties` of the index."""
    found: dict[str, Any] = {
        KEY: {"type": "keyword"},
        DOCUMENT: {"type": "object", "enabled": False},
        TOMBSTONE: {"type": "long"},
        NULLS: {"type": "keyword", "doc_values": False},
    }
    for field in (f for sub in level.walk() for f in sub.fields if f.valued):
        assert field.kind is not None
        found[field.value] = {"type": _TYPES[field.kind], "doc_values": field.column}
    for field in text_fields(level):
        if field.whole_text:
            found[field.text] = {"type": "keyword", "doc_values": False}
        else:
            found[field.text] = {"type": "text", "analyzer": analyzer_name(field)}
            if field.prop.array:
                found[field.text] |= {"norms": False, "similarity": PRESENCE}
    suggested = suggest_fields(level)
    for field in whole_fields(level):
        found[field.whole] = {"type": "keyword", "doc_values": field in suggested}
    return found


def analyzer_name(field: Field) -> str:
    return f"recordgate_{field.prop.search.analyzer}"


def analysis(level: Level) -> dict[str, Any]:
    """The analyzers that the mapping names, of what every Elasticsearch has."""
    filters: dict[str, Any] = {}
    analyzers: dict[str, Any] = {}
    for field in text_fields(level):
        name = field.prop.search.analyzer
        if name == "keyword":
            continue
        chain = ["lowercase"]
        if name != "standard":
            filters[f"recordgate_stop_{name}"] = {"type": "stop", "stopwords": f"_{name}_"}
            filters[f"recordgate_stem_{name}"] = {"type": "stemmer", "language": name}
            chain += [f"recordgate_stop_{name}", f"recordgate_stem_{name}"]
        analyzers[analyzer_name(field)] = {
            "type": "custom",
            "tokenizer": "standard",
            "filter": [*chain, "asciifolding"],
        }
    return {"filter": filters, "analyzer": analyzers}


def field_count(level: Level) -> int:
    """More than the fields and paths of the mapping, for the index's limit of them."""
    return len(mapping(level)) + 100
