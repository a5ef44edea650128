"""Tombstones are removed after some days, a page at a time, without holding anybody up.

A tombstone is deleted under its own version (`external_gte`), so a record that was written again in
the meantime stays.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import orjson

from stores.errors import StoreError
from stores.search.elasticsearch.bulk import document_id
from stores.search.elasticsearch.fields import KEY, TOMBSTONE
from stores.search.elasticsearch.generations import write_alias
from stores.search.elasticsearch.http import Http, path

EVERY = 3600.0
"""Seconds between two looks at an index."""
PAGE = 5_000


class Purge:
    def __init__(self, keep_seconds: float, every: float = EVERY) -> None:
        self._keep, self._every = keep_seconds, every
        self._due: dict[str, float] = {}

    async def some(self, http: Http, indexes: Sequence[str]) -> None:
        """Remove a page of expired tombstones from one index that is due. A failure only postpones
        it."""
        now = time.monotonic()
        for name in indexes:
            if self._due.setdefault(name, now + self._every) <= now:
                try:
                    more = await self._page(http, name)
                except StoreError:
                    more = False
                self._due[name] = now if more else now + self._every
                return

    async def _page(self, http: Http, name: str) -> bool:
        """Delete a page of old tombstones; return whether there are more."""
        answer = await http.send(
            "POST",
            path(name, "_search"),
            {
                "query": {"range": {TOMBSTONE: {"lt": int(time.time() - self._keep)}}},
                "size": PAGE,
                "version": True,
                "track_total_hits": False,
                "_source": [KEY],
            },
        )
        hits = answer.body["hits"]["hits"]
        if hits:
            lines = [
                orjson.dumps(
                    {
                        "delete": {
                            "_id": document_id(h["_source"][KEY]),
                            "version": h["_version"],
                            "version_type": "external_gte",
                        }
                    }
                )
                for h in hits
            ]
            await http.send(
                "POST",
                path(write_alias(name), "_bulk"),
                b"\n".join(lines) + b"\n",
                params={"filter_path": "errors", "require_alias": "true"},
                content_type="application/x-ndjson",
            )
        return len(hits) == PAGE
