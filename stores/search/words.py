"""Says where the words of a query are looked for, and which of them may be misspelled."""

from __future__ import annotations

from collections.abc import Sequence

from stores.errors import InputError
from stores.search.edit_distance import allowed
from stores.search.fields import Field
from stores.search.query_text import Phrase


def typed_words(phrases: Sequence[Phrase]) -> list[Phrase]:
    """Return what was typed, without what has synonyms."""
    return [p for q in phrases if not q.synonyms for p in q.as_typed()]


def looked_in(fields: Sequence[Field], phrase: Phrase) -> list[Field]:
    """Return the properties in which a phrase is looked for. Raises InputError for a name that is
    none of `fields`."""
    if not phrase.name:
        return list(fields)
    found = [f for f in fields if phrase.name in (f.prop.graphql, f.prop.name)]
    if not found:
        names = ", ".join(f.prop.graphql for f in fields)
        raise InputError(
            f"{phrase.name[:60]} is not a property that is searched", hint=f"one of {names}"
        )
    return found


def edits(field: Field, token: str) -> int:
    """The edits that are forgiven in a word of a property."""
    if field.whole_text or not field.prop.search.forgive:
        return 0
    return allowed(token, field.prop.search.forgive_from)
