"""Completions of what somebody is typing, from the properties that the contract marks `suggest`."""

from __future__ import annotations

import re
from typing import Any

from stores import json_numbers
from stores.errors import LimitError
from stores.query import Suggestion
from stores.search.elasticsearch.fields import DOCUMENT, KEY
from stores.search.elasticsearch.folding import composed, fold
from stores.search.elasticsearch.search import NOT_TOMBSTONE
from stores.search.fields import Field
from stores.search.held import Held

MAX_FIRST = 50
MAX_CHARACTERS = 200


class Suggest:
    """The request for up to `first` distinct values that begin with `text`, ignoring case and
    accents. Values of most records come first, then alphabetical order. `key` is that of the
    first record with the value, `score` the number of records. An empty text suggests nothing."""

    def __init__(
        self, held: Held, text: str, first: int, properties: tuple[str, ...] | None
    ) -> None:
        """Raises InputError, LimitError, NotLoaded."""
        if not 0 <= first <= MAX_FIRST:
            raise LimitError(f"first is at most {MAX_FIRST} suggestions")
        self._prefix = fold(composed(text.lstrip()))
        if len(self._prefix) > MAX_CHARACTERS:
            raise LimitError(f"the text has more than {MAX_CHARACTERS} characters")
        self._first = first
        self.fields = held.completed(properties, counted=True)

    def body(self, shards: int, seconds: float) -> dict[str, Any] | None:
        """Return the body of the request, or None if nothing can be suggested."""
        fields = self.fields
        if not self._prefix or not self._first or not fields:
            return None
        return {
            "query": {
                "bool": {
                    "must_not": [NOT_TOMBSTONE],
                    "should": [{"prefix": {f.whole: self._prefix}} for f in fields],
                    "minimum_should_match": 1,
                }
            },
            "size": 0,
            "track_total_hits": False,
            "timeout": f"{int(seconds * 1000)}ms",
            "aggs": {
                str(place): {
                    "terms": {
                        "field": f.whole,
                        "include": _literal(self._prefix) + "(.|\n)*",
                        "size": self._first,
                        "shard_size": self._first if shards == 1 else self._first * 20 + 200,
                        "order": [{"_count": "desc"}, {"_key": "asc"}],
                    },
                    "aggs": {
                        "one": {
                            "top_hits": {"size": 1, "sort": [{KEY: "asc"}], "_source": [DOCUMENT]}
                        }
                    },
                }
                for place, f in enumerate(fields)
            },
        }

    def result(self, answer: dict[str, Any]) -> list[Suggestion]:
        found: dict[str, Suggestion] = {}
        counted = [
            (-int(bucket["doc_count"]), str(bucket["key"]), field, bucket)
            for place, field in enumerate(self.fields)
            for bucket in answer["aggregations"][str(place)]["buckets"]
        ]
        for count, term, field, bucket in sorted(counted, key=lambda c: c[:2]):
            if term not in found and len(found) < self._first:
                (hit,) = bucket["one"]["hits"]["hits"]
                text = _original(hit["_source"][DOCUMENT], field, term)
                found[term] = Suggestion(text, str(hit["sort"][0]), float(-count))
        return sorted(found.values(), key=lambda s: (-s.score, s.text))


def _original(document: str, field: Field, term: str) -> str:
    """The value as it is written, of the first record that has it."""
    value = json_numbers.loads(document).get(field.prop.name)
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and fold(composed(text)) == term:
            return text
    return term


def _literal(text: str) -> str:
    """A Lucene regular expression for exactly `text`."""
    return re.sub(r"([^\w\s])", r"\\\1", text)
