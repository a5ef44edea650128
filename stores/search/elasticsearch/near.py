"""Finds which words of a query an Elasticsearch index has, and the words near those it has not."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stores.search.edit_distance import allowed
from stores.search.elasticsearch.filters import Query, any_of
from stores.search.elasticsearch.folding import fold
from stores.search.fields import Field
from stores.search.near import MOST_WORDS, Near, ranked
from stores.search.query_text import Phrase
from stores.search.words import edits, looked_in, typed_words


@dataclass(frozen=True, slots=True)
class NearWords:
    """`found`: by field name and word, what the word is in the index's form, and the words near it.
    `records`: how many the index has."""

    found: Mapping[tuple[str, str], tuple[str, list[Near]]] = field(default_factory=dict)
    records: int = 0


def forgivable(
    fields: Sequence[Field],
    phrases: Sequence[Phrase],
    stop_words: Mapping[str, Collection[str]],
) -> frozenset[str]:
    """Return the words that may be misspelled in one of `fields`."""
    return frozenset(
        word
        for phrase in typed_words(phrases)
        if (word := phrase.forgivable)
        and any(
            edits(f, fold(word)) and word not in stop_words.get(f.prop.search.analyzer, ())
            for f in looked_in(fields, phrase)
        )
    )


def known_body(fields: Sequence[Field], phrases: Sequence[Phrase], words: Collection[str]) -> Any:
    """Return the search that counts the records of each of `words`, whatever the filter is."""
    filters: dict[str, Query] = {}
    for phrase in typed_words(phrases):
        word = phrase.forgivable
        if word not in words:
            continue
        ways: list[Query] = []
        for found in looked_in(fields, phrase):
            if not found.whole_text:
                ways.append({"match": {found.text: {"query": word, "operator": "and"}}})
                if phrase.beginning:
                    ways.append({"prefix": {found.text: {"value": fold(word)}}})
        filters[word] = any_of(ways)
    return {
        "size": 0,
        "track_total_hits": False,
        "query": {"match_all": {}},
        "aggs": {"words": {"filters": {"filters": filters}}},
    }


def unknown(answer: Mapping[str, Any]) -> frozenset[str]:
    """Return the words without a record, from the answer to `known_body`."""
    buckets = answer["aggregations"]["words"]["buckets"]
    return frozenset(word for word, bucket in buckets.items() if not bucket["doc_count"])


def near_body(fields: Sequence[Field], words: Sequence[str]) -> Any:
    return {
        "size": 0,
        "track_total_hits": True,
        "query": {"match_all": {}},
        "suggest": {
            f"{place}:{number}": {
                "text": word,
                "term": {
                    "field": found.text,
                    "suggest_mode": "always",
                    "max_edits": allowed(fold(word)),
                    "prefix_length": 0,
                    "min_word_length": 3,
                    "size": MOST_WORDS,
                },
            }
            for place, found in enumerate(fields)
            for number, word in enumerate(words)
            if edits(found, fold(word))
        },
    }


def near_words(
    fields: Sequence[Field], words: Sequence[str], answer: Mapping[str, Any]
) -> NearWords:
    """Return what the answer to `near_body` says."""
    found: dict[tuple[str, str], tuple[str, list[Near]]] = {}
    for name, entries in answer.get("suggest", {}).items():
        place, _, number = name.partition(":")
        looked_at, word = fields[int(place)], words[int(number)]
        if len(entries) != 1:
            continue  # the index cuts the word further
        token = str(entries[0]["text"])
        pairs = [(str(o["text"]), int(o["freq"])) for o in entries[0]["options"]]
        near = ranked(token, pairs, edits(looked_at, token))
        if near:
            found[looked_at.text, word] = token, near
    return NearWords(found, int(answer["hits"]["total"]["value"]))
