"""The Tantivy query of a filter's plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tantivy
from tantivy import FieldType, Occur, Query

from stores.patterns import RUST
from stores.search.fields import Field
from stores.search.filter_plan import (
    All,
    Both,
    Either,
    Missing,
    Node,
    OneOf,
    Part,
    Range,
    Regular,
    Without,
)
from stores.search.tantivy.fields import KEY, VALUES, boolean_term, null_term, terms
from stores.search.twins import Kind

ANYTHING = "(?s:.*)"
_CHUNK = 12
"""Characters of a bound per automaton; Tantivy allows 1,000 states for each."""

_FIELD_TYPES = {Kind.INT: FieldType.Integer, Kind.FLOAT: FieldType.Float}


def query(node: Node, schema: tantivy.Schema) -> Query:
    """The Tantivy query of a plan. Scores are meaningless."""
    match node:
        case All():
            return Query.all_query()
        case Both(parts=()):
            return Query.all_query()
        case Either(parts=()):
            return Query.empty_query()
        case Both(parts=parts):
            return every([query(p, schema) for p in parts])
        case Either(parts=parts):
            return any_of([query(p, schema) for p in parts])
        case Without(part=part, excluded=excluded):
            return Query.boolean_query(
                [(Occur.Must, query(part, schema)), (Occur.MustNot, query(excluded, schema))]
            )
        case Missing(path=path):
            return missing(schema, path)
        case OneOf(field=field, values=values):
            return one_of(schema, field, values)
        case Range(field=field, bound=bound, above=above, inclusive=inclusive):
            return beyond(schema, field, bound, above=above, inclusive=inclusive)
        case Part(field=field, text=text, start=start, end=end):
            name, prefix = terms(field)
            before, after = "" if start else ANYTHING, "" if end else ANYTHING
            return Query.regex_query(
                schema, name, f"{literal(prefix)}{before}{literal(text)}{after}"
            )
        case Regular(field=field, pattern=pattern):
            name, prefix = terms(field)
            written = RUST.whole(pattern, ANYTHING, ANYTHING)
            return Query.regex_query(schema, name, literal(prefix) + written)


def every(parts: Sequence[Query]) -> Query:
    if len(parts) == 1:
        return parts[0]
    return Query.boolean_query([(Occur.Must, p) for p in parts])


def any_of(parts: Sequence[Query]) -> Query:
    if len(parts) == 1:
        return parts[0]
    return Query.boolean_query([(Occur.Should, p) for p in parts])


def without(part: Query, excluded: Query) -> Query:
    return Query.boolean_query([(Occur.Must, part), (Occur.MustNot, excluded)])


def missing(schema: tantivy.Schema, path: str) -> Query:
    return Query.term_query(schema, VALUES, null_term(path), "basic")


def one_of(schema: tantivy.Schema, field: Field, values: Sequence[Any]) -> Query:
    if field.kind in _FIELD_TYPES:
        # Numbers have a column and no postings: half the cost of indexing, and quick to look
        # through.
        kind = _FIELD_TYPES[field.kind]
        return any_of(
            [Query.range_query(schema, field.value, kind, v, v) for v in dict.fromkeys(values)]
        )
    name, prefix = terms(field)
    texts = [prefix + (boolean_term(v) if isinstance(v, bool) else v) for v in values]
    if len(texts) == 1:
        return Query.term_query(schema, name, texts[0], "basic")
    return Query.term_set_query(schema, name, texts)


def beyond(
    schema: tantivy.Schema, field: Field, bound: Any, *, above: bool, inclusive: bool
) -> Query:
    """Values greater than `bound` (less, where not `above`), in the order of their kind."""
    if field.kind in _FIELD_TYPES:
        low, high = (bound, None) if above else (None, bound)
        return Query.range_query(
            schema,
            field.value,
            _FIELD_TYPES[field.kind],
            low,
            high,
            include_lower=inclusive or not above,
            include_upper=inclusive or above,
        )
    if field.kind is Kind.BOOL:
        wanted = [v for v in (False, True) if (v > bound if above else v < bound)]
        if inclusive:
            wanted.append(bound)
        return one_of(schema, field, wanted) if wanted else Query.empty_query()
    name, prefix = terms(field)
    return text_beyond(schema, name, prefix, bound, above=above, inclusive=inclusive)


def text_beyond(
    schema: tantivy.Schema, name: str, prefix: str, bound: str, *, above: bool, inclusive: bool
) -> Query:
    """Terms that begin with `prefix` and go on with a text above or below `bound`."""
    patterns = greater_patterns(bound) if above else less_patterns(bound)
    if inclusive:
        patterns = [*patterns, literal(bound)]
    if not patterns:
        return Query.empty_query()
    return any_of([Query.regex_query(schema, name, literal(prefix) + p) for p in patterns])


def after_key(schema: tantivy.Schema, key: str) -> Query:
    return text_beyond(schema, KEY, "", key, above=True, inclusive=False)


# Text ranges --------------------------------------------------------------------------------------
# Tantivy has ranges of numbers only. An order of texts by code points, which is that of their UTF-8
# bytes, is a regular expression: equal up to a place, beyond there, anything after.

_LAST = 0x10FFFF


def literal(text: str) -> str:
    """A regular expression for exactly `text`."""
    return "".join(c if c.isascii() and c.isalnum() else f"\\x{{{ord(c):X}}}" for c in text)


def _class(low: int, high: int) -> str:
    """Code points from low to high but surrogates, which no text holds; "" for none."""
    parts = [
        (a, b)
        for a, b in ((max(low, 0), min(high, 0xD7FF)), (max(low, 0xE000), min(high, _LAST)))
        if a <= b
    ]
    return "[" + "".join(f"\\x{{{a:X}}}-\\x{{{b:X}}}" for a, b in parts) + "]" if parts else ""


def _chunked(bound: str, beyond_at: Callable[[str], str], end: str) -> list[str]:
    """Expressions for texts that leave `bound` at some place through `beyond_at(character)`, or
    that are `bound` and then `end` ("" for none)."""
    patterns: list[str] = []
    for start in range(0, len(bound), _CHUNK):
        head = bound[:start]
        nested = ""
        for char in reversed(bound[start : start + _CHUNK]):
            ways = [beyond_at(char)] if beyond_at(char) else []
            if nested:
                ways.append(literal(char) + nested)
            nested = f"(?:{'|'.join(ways)})" if ways else ""
        if nested:
            patterns.append(literal(head) + nested)
    if end:
        patterns.append(literal(bound) + end)
    return patterns


def greater_patterns(bound: str) -> list[str]:
    def higher(char: str) -> str:
        found = _class(ord(char) + 1, _LAST)
        return f"{found}(?s:.*)" if found else ""

    return _chunked(bound, higher, "(?s:.+)")


def less_patterns(bound: str) -> list[str]:
    """Proper beginnings of `bound` are less than it, too."""

    def lower(char: str) -> str:
        found = _class(0, ord(char) - 1)
        return f"(?:{found}(?s:.*))?" if found else "(?:)"

    return _chunked(bound, lower, "")
