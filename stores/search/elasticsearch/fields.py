"""The mapping and analyzers of a record type's index.

| field | holds                                                          |
| `k`   | the record's key, for the order of ties                        |
| `d`   | the document's bytes, as a string that is not looked into      |
| `t`   | only in the tombstone of a deleted record: when it was deleted |
| `n`   | the paths of what is null                                      |

and the fields of each property (see fields). The version is Elasticsearch's own, of type external.
"""

from __future__ import annotations

from typing import Any

from stores.search.fields import Field, Level, suggest_fields, text_fields, whole_fields
from stores.search.twins import Kind

KEY, DOCUMENT, TOMBSTONE, NULLS = "k", "d", "t", "n"
PRESENCE = "recordgate_presence"
"""A similarity that counts only how rare a word is: for lists of texts, whose length says nothing.
"""

_TYPES = {Kind.TEXT: "keyword", Kind.INT: "long", Kind.FLOAT: "double", Kind.BOOL: "boolean"}


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
    """Return an upper bound of the mapping's fields and paths, for the index's limit."""
    return len(mapping(level)) + 100
