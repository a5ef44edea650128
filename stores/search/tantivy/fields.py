"""The Tantivy schema of a record type's index.

| field         | holds                                                                            |
| `_key`        | the record's key; stored, and a column for the order of ties                     |
| `_version`    | the version written; stored                                                      |
| `_document`   | the document's bytes; stored                                                     |
| `_values`     | a term for each text and boolean: PATH NUL value; and for what is null: PATH SOH |

and the fields of each property (see fields). A value is a column, or a term of `_values`: texts
share one field because each field costs every commit a quarter millisecond.
"""

from __future__ import annotations

import tantivy

from stores.search.fields import Field, Level, text_fields, whole_fields
from stores.search.tantivy.analyzers import FOLDED, analyzer, analyzer_name, folder
from stores.search.twins import Kind

KEY, VERSION, DOCUMENT, VALUES = "_key", "_version", "_document", "_values"


def in_values(field: Field) -> bool:
    """Return whether the value is a term of `_values`."""
    return field.valued and (field.kind is Kind.BOOL or not field.column)


def terms(field: Field) -> tuple[str, str]:
    """The field in which terms of the value are found, and what stands before the value there."""
    return (VALUES, f"{field.path}\0") if in_values(field) else (field.value, "")


def null_term(path: str) -> str:
    """The term of `_values` that says that a property or relation is null."""
    return f"{path}\x01"


def boolean_term(value: bool) -> str:
    return "true" if value else "false"


def build_schema(level: Level) -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field(KEY, stored=True, fast=True, tokenizer_name="raw", index_option="basic")
    builder.add_integer_field(VERSION, stored=True)
    builder.add_bytes_field(DOCUMENT, stored=True)
    builder.add_text_field(VALUES, tokenizer_name="raw", index_option="basic")
    for field in (f for sub in level.walk() for f in sub.fields if f.column):
        match field.kind:
            case Kind.TEXT:
                builder.add_text_field(
                    field.value, fast=True, tokenizer_name="raw", index_option="basic"
                )
            case Kind.INT:
                builder.add_integer_field(field.value, fast=True)
            case Kind.FLOAT:
                builder.add_float_field(field.value, fast=True)
            case Kind.BOOL:
                builder.add_boolean_field(field.value, fast=True)
    for field in text_fields(level):
        builder.add_text_field(field.text, tokenizer_name=analyzer_name(field.prop.search.analyzer))
    for field in whole_fields(level):
        builder.add_text_field(field.whole, tokenizer_name=FOLDED, index_option="basic")
    return builder.build()


def register_analyzers(index: tantivy.Index, level: Level) -> None:
    for field in text_fields(level):
        name = field.prop.search.analyzer
        if name != "keyword":
            index.register_tokenizer(analyzer_name(name), analyzer(name))
    index.register_tokenizer(FOLDED, folder())
