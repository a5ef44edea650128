"""Completions of what somebody is typing, from the properties that the contract marks `suggest`."""

from __future__ import annotations

from collections.abc import Sequence

import tantivy
from tantivy import Query

from stores import json_numbers
from stores.errors import LimitError
from stores.query import Suggestion
from stores.search.fields import Field
from stores.search.tantivy.analyzers import fold
from stores.search.tantivy.fields import DOCUMENT, KEY

MAX_FIRST = 50
MAX_CHARACTERS = 200


def suggest(
    searcher: tantivy.Searcher,
    schema: tantivy.Schema,
    fields: Sequence[Field],
    text: str,
    first: int,
) -> list[Suggestion]:
    """Return up to `first` distinct values that begin with `text`, ignoring case and accents.
    Values of most records come first, then alphabetical order. `key` is that of the first
    record with the value, `score` the number of records. An empty text suggests nothing."""
    if not 0 <= first <= MAX_FIRST:
        raise LimitError(f"first is at most {MAX_FIRST} suggestions")
    prefix = fold(text.lstrip())
    if len(prefix) > MAX_CHARACTERS:
        raise LimitError(f"the text has more than {MAX_CHARACTERS} characters")
    if not prefix or not first:
        return []
    counted: list[tuple[int, str, Field]] = []
    for field in fields:
        # Twice as many as asked: a term may be held by deleted records alone until its segment
        # merges.
        for term, count in searcher.terms_with_prefix(field.whole, prefix, limit=first * 2):
            counted.append((-int(count), term, field))
    counted.sort(key=lambda c: c[:2])
    found: dict[str, Suggestion] = {}
    for _, term, field in counted:
        if len(found) >= first:
            break
        if term in found:
            continue
        query = Query.term_query(schema, field.whole, term, "basic")
        result = searcher.search(query, limit=1, order_by_field=KEY, order=tantivy.Order.Asc)
        if result.hits:
            stored = searcher.doc(result.hits[0][1])
            original = _original(bytes(stored.get_first(DOCUMENT) or b"{}"), field, term)
            key = str(stored.get_first(KEY))
            hits = result.count or 1  # type: ignore[attr-defined]
            found[term] = Suggestion(original, key, float(hits))
    return sorted(found.values(), key=lambda s: (-s.score, s.text))


def _original(document: bytes, field: Field, term: str) -> str:
    value = json_numbers.loads(document).get(field.prop.name)
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and fold(text) == term:
            return text
    return term
