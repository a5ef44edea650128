"""Words of a Tantivy index near one that was typed, by looking spellings up in its dictionary."""

from __future__ import annotations

from collections.abc import Iterator

import tantivy

from stores.search.near import Near, alphabet, one_edit, ranked

_TERMS = 200
"""Words that are looked at for one beginning."""


def near_words(searcher: tantivy.Searcher, field: str, token: str, limit: int) -> list[Near]:
    """Return words of the index near `token`, the likeliest first: those one edit away, and where
    there are none and `limit` is two, those two edits away. Not all of these: with two mistakes
    before the last letters a word is only found by its distance, not ranked by more."""
    letters = alphabet(token)
    found = ranked(token, _one_away(searcher, field, token, letters), 1)
    if found or limit < 2:
        return found
    head = token[: max(len(token) // 2, len(token) - 3)]
    beginnings = [b for b in dict.fromkeys((head, *one_edit(head, letters))) if len(b) >= 3]
    return ranked(
        token,
        (
            pair
            for beginning in beginnings
            for pair in searcher.terms_with_prefix(field, beginning, limit=_TERMS)
        ),
        limit,
    )


def _one_away(
    searcher: tantivy.Searcher, field: str, token: str, letters: str
) -> Iterator[tuple[str, int]]:
    for word in dict.fromkeys(one_edit(token, letters)):
        if word and (held := searcher.doc_freq(field, word)):
            yield word, held
