"""The Elasticsearch search store: an index per type and generation behind an alias
(elasticsearch_generations), writes by bulk under external versions (elasticsearch_bulk), reads
of the active generation.

What was acknowledged is on the server's disk (translog); `publish` makes it visible by a refresh of
the indexes that were written to, then records the position.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

import orjson

from stores.contract.model import Contract
from stores.errors import RecordgateError, StoreRefused
from stores.protocols import (
    SEARCH,
    Capability,
    Generation,
    Health,
    Position,
    Stored,
    Verdict,
    Write,
)
from stores.query import EVERYTHING, Filter, Match, SearchQuery, SearchResult, Suggestion
from stores.recent import Recent
from stores.roles import StoreRole
from stores.search.elasticsearch import bulk as elasticsearch_bulk
from stores.search.elasticsearch import tombstones as elasticsearch_tombstones
from stores.search.elasticsearch.documents import DocumentBuilder
from stores.search.elasticsearch.errors import (
    KIND,
    generation_gone,
    kind_of_error,
    refused,
    translate,
    unavailable,
)
from stores.search.elasticsearch.fields import DOCUMENT, KEY, analyzer_name
from stores.search.elasticsearch.generations import LIVE, Generations, Index, write_alias
from stores.search.elasticsearch.http import Http, path
from stores.search.elasticsearch.near import known_body, near_body, near_words, unknown
from stores.search.elasticsearch.search import Search
from stores.search.elasticsearch.suggest import Suggest
from stores.search.elasticsearch.url import Address, parse
from stores.search.fields import Field, Level, levels
from stores.search.filter_plan import CannotFilter, plan
from stores.search.held import Held, held_level

HEALTH_SECONDS = 1.8
SCAN_PAGE = 1_000
SLICE = 500
"""Writes of one request, unless they are large."""
IN_FLIGHT = 3
"""Slices of one call that are made, sent or waited for at once."""
CHECK_SECONDS = 2.0
"""The shortest time between two looks at whether the indexes that readers see are as they were
left."""
KNOWN_WORDS = 10_000
_SWAPS = 3
"""The number of times that a read begins again because the generation changed under it."""

T = TypeVar("T")


def from_url(url: str, data_dir: Path) -> ElasticsearchStore:
    """See elasticsearch_url; nothing is kept in data_dir."""
    return ElasticsearchStore(parse(url))


class ElasticsearchStore:
    """SearchStore on a cluster; see the module for what it promises."""

    kind = KIND
    role = StoreRole.SEARCH
    capabilities = SEARCH | {Capability.SHARED}

    def __init__(self, address: Address) -> None:
        self._address = address
        self._http: Http | None = None
        self._generations: Generations | None = None
        self._writing = False
        self._levels: dict[str, Level] = {}
        self._targets: dict[tuple[str, int], tuple[Index, DocumentBuilder]] = {}
        self._dirty: dict[str, int] = {}
        self._active: dict[str, Index] = {}
        self._held: dict[str, tuple[Index, Held]] = {}
        self._left: dict[str, str] = {}
        """Type → the index that is its active generation, as this process has left it or found it.
        """
        self._checked = 0.0
        self._indexed_words: Recent[tuple[str, str], bool] = Recent(KNOWN_WORDS)
        self._purge = elasticsearch_tombstones.Purge(address.tombstone_seconds)

    # Opening -----------------------------------------------------------------------------------

    async def open(self, contract: Contract, *, write: bool) -> None:
        http = Http(self._address)
        try:
            await http.server_version(self._address.timeout)
            generations = Generations(http, self._address, contract)
            await generations.claim(write=write)
            if write:
                await generations.allow_long_patterns()
        except BaseException:
            await http.close()
            raise
        self._http, self._generations, self._writing = http, generations, write
        self._levels = {name: levels(contract, t) for name, t in contract.types.items()}

    async def close(self) -> None:
        http, self._http, self._generations = self._http, None, None
        self._targets.clear()
        self._dirty.clear()
        self._active.clear()
        self._held.clear()
        self._left.clear()
        if http is not None:
            await http.close()

    def _open(self) -> tuple[Http, Generations]:
        if self._http is None or self._generations is None:
            raise unavailable("not open")
        return self._http, self._generations

    def _open_to_write(self) -> tuple[Http, Generations]:
        found = self._open()
        if not self._writing:
            raise refused("not open for writing", hint="only the worker opens a store for writing")
        return found

    def _level(self, type_name: str) -> Level:
        found = self._levels.get(type_name)
        if found is None:
            raise refused(f"the contract has no type {type_name!r}")
        return found

    async def health(self) -> Health:
        version = ""
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                http, generations = self._open()
                version = await http.server_version(HEALTH_SECONDS)
                answer = await http.send(
                    "GET",
                    path("_cluster", "health", f"{generations.books}*"),
                    params={"timeout": "1s", "expand_wildcards": "all"},
                    seconds=HEALTH_SECONDS,
                    allow=(408,),
                )
        except RecordgateError as error:
            return Health(False, version, error.message, error.hint)
        except TimeoutError:
            return Health(False, version, f"{KIND}: no answer in two seconds")
        if answer.body.get("status") == "red":
            return Health(
                False,
                version,
                f"{KIND}: an index has missing shards",
                "see GET /_cluster/allocation/explain; `recordgate reload` rebuilds a lost index",
            )
        return Health(True, version)

    async def take_charge(self, term: int) -> None:
        _, generations = self._open_to_write()
        await generations.take_charge(term)

    # Generations -------------------------------------------------------------------------------

    async def generations(self, type_name: str) -> list[Generation]:
        _, generations = self._open()
        found = await generations.all(type_name)
        for index in found:
            if index.active:
                self._left[type_name] = index.name
        return [Generation(i.number, i.state, i.shape) for i in found]

    async def create_generation(self, type_name: str, number: int) -> None:
        _, generations = self._open_to_write()
        await generations.create(type_name, number, self._level(type_name))

    async def activate(self, type_name: str, number: int) -> None:
        _, generations = self._open_to_write()
        self._level(type_name)
        await generations.activate(type_name, number)
        self._left[type_name] = generations.index(type_name, number)

    async def drop_generation(self, type_name: str, number: int) -> None:
        _, generations = self._open_to_write()
        await generations.drop(type_name, number)
        self._targets.pop((type_name, number), None)
        self._dirty.pop(generations.index(type_name, number), None)

    # Writing -----------------------------------------------------------------------------------

    async def write(
        self, type_name: str, generation: int, writes: Sequence[Write]
    ) -> list[Verdict]:
        self._open_to_write()
        index, builder = await self._target(type_name, generation)
        if writes:
            self._dirty[index.name] = index.shards
        slots = asyncio.Semaphore(IN_FLIGHT)

        async def carry(part: Sequence[Write]) -> list[Verdict]:
            async with slots:
                return await self._send(index, builder, part)

        # While the server works on one slice, the next one is made and sent.
        parts = [writes[start : start + SLICE] for start in range(0, len(writes), SLICE)]
        done = await asyncio.gather(*map(carry, parts), return_exceptions=True)
        found: list[Verdict] = []
        for verdicts in done:
            if isinstance(verdicts, BaseException):
                self._forget([index.name])
                self._dirty.pop(index.name, None)
                raise verdicts
            found += verdicts
        return found

    async def _send(
        self, index: Index, builder: DocumentBuilder, writes: Sequence[Write]
    ) -> list[Verdict]:
        http, _ = self._open()
        items, found = await asyncio.to_thread(elasticsearch_bulk.items_of, builder, writes)
        for part in elasticsearch_bulk.bodies(items):
            verdicts = await elasticsearch_bulk.send(
                http, write_alias(index.name), part, self._address.write_timeout
            )
            for item, verdict in zip(part, verdicts, strict=True):
                found[item.place] = verdict
        return [v for v in found if v is not None]

    async def _target(self, type_name: str, generation: int) -> tuple[Index, DocumentBuilder]:
        target = self._targets.get((type_name, generation))
        if target is None:
            level = self._level(type_name)
            _, generations = self._open()
            index = await generations.find(type_name, generation)
            target = index, DocumentBuilder(held_level(level, index.marks))
            self._targets[type_name, generation] = target
        return target

    async def publish(self, position: Position | None) -> None:
        http, generations = self._open_to_write()
        dirty = dict(self._dirty)
        if dirty:
            await self._refresh(http, dirty)
            for name in dirty:
                self._dirty.pop(name, None)
        if time.monotonic() - self._checked > CHECK_SECONDS:
            gone = await generations.not_as_left(self._left)
            if gone:
                self._forget(gone)
                raise generation_gone(", ".join(gone))
            self._checked = time.monotonic()
        if position is not None:
            await generations.set_position(position)
        await self._purge.some(http, [i.name for i, _ in self._targets.values()])

    def _forget(self, names: Collection[str]) -> None:
        """Forget the indexes, which fail. The failure is told once: the listener asks for the
        generations, which shows what is there still, and loads the rest."""
        self._left = {t: name for t, name in self._left.items() if name not in names}
        self._targets.clear()

    async def _refresh(self, http: Http, dirty: dict[str, int]) -> None:
        answer = await http.send(
            "POST",
            path(",".join(dirty), "_refresh"),
            seconds=self._address.write_timeout,
            allow=(400, 404),
        )
        if answer.status in (400, 404):
            # What was not published is sent again, to those that are there, which makes them dirty
            # again.
            self._forget(dirty)
            self._dirty.clear()
            raise generation_gone(", ".join(dirty))
        shards = answer.body["_shards"]
        if shards["failed"] or shards["successful"] < sum(dirty.values()):
            raise unavailable("an index has missing shards", retry_after=1.0)

    async def position(self) -> Position | None:
        _, generations = self._open()
        return await generations.position()

    # Reading -----------------------------------------------------------------------------------

    async def _read_active(self, type_name: str, work: Callable[[Http, Index], Awaitable[T]]) -> T:
        """`work` with the active generation. Whether it still was is asked while the work is done:
        a search goes to the index itself, whose mapping we know, and not to what an alias may
        become."""
        http, generations = self._open()
        self._level(type_name)
        for _ in range(_SWAPS):
            index = self._active.get(type_name)
            if index is None:
                name = await generations.active_name(type_name)
                index = await generations.active(type_name, name)
                self._active[type_name] = index
            name, done = await asyncio.gather(
                generations.active_name(type_name), _settled(work(http, index))
            )
            if name != index.name or isinstance(done, _Gone):
                self._active.pop(type_name, None)
                continue
            if isinstance(done, BaseException):
                raise done
            return done
        raise unavailable(f"the active generation of {type_name} keeps changing", retry_after=1.0)

    async def _search(
        self, http: Http, index: Index, body: dict[str, Any], preference: str = "recordgate"
    ) -> dict[str, Any]:
        """Requests of one `preference` go to one copy of a shard: scores of two copies differ a
        little."""
        answer = await http.send(
            "POST",
            path(index.name, "_search"),
            body,
            params={"allow_partial_search_results": "false", "preference": preference},
            allow=(404,),
        )
        if answer.status == 404:
            raise _Gone
        found: dict[str, Any] = answer.body
        if found.get("timed_out"):
            raise unavailable(f"the search took longer than {self._address.timeout:g} seconds")
        return found

    async def _searches(
        self,
        http: Http,
        index: Index,
        body: dict[str, Any],
        other: dict[str, Any],
        preference: str,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Do two searches in one request; the first one's errors are raised."""
        header = orjson.dumps({"preference": preference, "allow_partial_search_results": False})
        lines = [header, orjson.dumps(body), header, orjson.dumps(other), b""]
        answer = await http.send(
            "POST",
            path(index.name, "_msearch"),
            b"\n".join(lines),
            content_type="application/x-ndjson",
            allow=(404,),
        )
        if answer.status == 404:
            raise _Gone
        first, second = answer.body["responses"]
        for found in (first, second):
            status = int(found.get("status", 200))
            if status == 404:
                raise _Gone
            if status >= 300:
                raise translate(status, kind_of_error(found), http.node)
            if found.get("timed_out"):
                raise unavailable(f"the search took longer than {self._address.timeout:g} seconds")
        return first, second

    async def search(self, query: SearchQuery) -> SearchResult:
        level = self._level(query.type)

        async def work(http: Http, index: Index) -> SearchResult:
            search = Search(level, query, self._held_by(index, level))
            stop_words = await self._stop_words(http, index, search)
            return await self._found(http, index, search, stop_words)

        return await self._read_active(query.type, work)

    async def _found(
        self, http: Http, index: Index, search: Search, stop_words: dict[str, set[str]]
    ) -> SearchResult:
        """Search, and once more where a word turns out to be one to forgive."""
        query = search.query
        every = search.forgivable(stop_words)
        forgiven = every
        if query.match is not Match.FORGIVING or not every:
            body = search.body(stop_words, index.shards, self._address.timeout)
            if body is None:
                return search.nothing()
            forgiven = frozenset()
            # Where rows are hidden, which words there are is not told by what is forgiven.
            if every and query.rows == EVERYTHING:
                known = known_body(search.fields, search.phrases, every)
                answer, counted = await self._searches(http, index, body, known, search.preference)
                forgiven = unknown(counted)
            else:
                answer = await self._search(http, index, body, search.preference)
            result = search.result(answer)
            forgiven = forgiven or (frozenset() if result.total else every)
            if not forgiven:
                return result
        result = await self._forgiving(http, index, search, stop_words, forgiven)
        if not result.total and forgiven != every:
            result = await self._forgiving(http, index, search, stop_words, every)
        return result

    async def _forgiving(
        self,
        http: Http,
        index: Index,
        search: Search,
        stop_words: dict[str, set[str]],
        forgiven: frozenset[str],
    ) -> SearchResult:
        words = sorted(forgiven)
        asked = near_body(search.fields, words)
        near = near_words(search.fields, words, await self._search(http, index, asked))
        body = search.body(stop_words, index.shards, self._address.timeout, forgiven, near)
        if body is None:
            return search.nothing()
        return search.result(await self._search(http, index, body, search.preference), forgiven)

    def _held_by(self, index: Index, level: Level) -> Held:
        held = self._held.get(level.record_type.name)
        if held is None or held[0] is not index:
            held = self._held[level.record_type.name] = index, Held(KIND, level, index.marks)
        return held[1]

    async def _stop_words(self, http: Http, index: Index, search: Search) -> dict[str, set[str]]:
        """Return the query's stop words for each language searched. The server is asked once, and
        the answer kept."""
        found: dict[str, set[str]] = {}
        words = list(dict.fromkeys(w for p in search.phrases for w in p.words))
        for field in search.analyzers():
            name = field.prop.search.analyzer
            unknown = [w for w in words if (name, w) not in self._indexed_words]
            if unknown:
                indexed = await _indexed_words(http, index, field, unknown)
                for word in unknown:
                    self._indexed_words.keep((name, word), word in indexed)
            found[name] = {w for w in words if not self._indexed_words.get((name, w))}
        return found

    async def suggest(
        self, type_name: str, text: str, first: int, properties: tuple[str, ...] | None = None
    ) -> list[Suggestion]:
        level = self._level(type_name)

        async def work(http: Http, index: Index) -> list[Suggestion]:
            suggest = Suggest(self._held_by(index, level), text, first, properties)
            body = suggest.body(index.shards, self._address.timeout)
            return [] if body is None else suggest.result(await self._search(http, index, body))

        return await self._read_active(type_name, work)

    def can_filter(self, type_name: str, filter: Filter) -> str:
        try:
            plan(self._level(type_name), filter)
        except CannotFilter as error:
            return str(error)
        except StoreRefused as error:
            return error.message
        return ""

    # Verify ------------------------------------------------------------------------------------

    async def scan(
        self, type_name: str, generation: int, after: str | None, limit: int
    ) -> list[Stored]:
        index = await self._index(type_name, generation)
        found: list[Stored] = []
        while len(found) < limit:
            size = min(SCAN_PAGE, limit - len(found))
            hits = await self._page(index, LIVE, [DOCUMENT], after, size)
            found += [
                Stored(str(h["sort"][0]), int(h["_version"]), h["_source"][DOCUMENT].encode())
                for h in hits
            ]
            if len(hits) < size:
                break
            after = found[-1].key
        return found

    async def _index(self, type_name: str, generation: int) -> Index:
        _, generations = self._open()
        return await generations.find(type_name, generation)

    async def _page(
        self, index: Index, query: dict[str, Any], source: Any, after: str | None, size: int
    ) -> list[dict[str, Any]]:
        """Return up to `size` hits by key, with their versions."""
        http, _ = self._open()
        body: dict[str, Any] = {
            "query": query,
            "size": size,
            "sort": [{KEY: "asc"}],
            "version": True,
            "track_total_hits": False,
            "_source": source,
        }
        if after is not None:
            body["search_after"] = [after]
        try:
            found: list[dict[str, Any]] = (await self._search(http, index, body))["hits"]["hits"]
        except _Gone:
            raise generation_gone(index.name) from None
        return found

    async def newer(self, type_name: str, generation: int, version: int) -> list[str]:
        """The server searches for no versions: every record is looked at."""
        index = await self._index(type_name, generation)
        found: list[str] = []
        after: str | None = None
        while hits := await self._page(index, {"match_all": {}}, False, after, SCAN_PAGE):
            found += [str(h["sort"][0]) for h in hits if int(h["_version"]) > version]
            after = str(hits[-1]["sort"][0])
        return found

    async def count(self, type_name: str, generation: int) -> int:
        http, generations = self._open()
        index = await generations.find(type_name, generation)
        answer = await http.send("POST", path(index.name, "_count"), {"query": LIVE}, allow=(404,))
        if answer.status == 404:
            raise generation_gone(index.name)
        if answer.body["_shards"]["failed"]:
            raise unavailable("an index has missing shards", retry_after=1.0)
        return int(answer.body["count"])


class _Gone(Exception):
    """The index that was searched is not there any more."""


async def _settled(work: Awaitable[T]) -> T | _Gone | RecordgateError:
    try:
        return await work
    except (_Gone, RecordgateError) as error:
        return error


async def _indexed_words(http: Http, index: Index, field: Field, words: list[str]) -> set[str]:
    """The words of which the field's analyzer leaves something. Offsets count UTF-16 units, with
    one between two texts."""
    answer = await http.send(
        "POST",
        path(index.name, "_analyze"),
        {"analyzer": analyzer_name(field), "text": words},
        allow=(404,),
    )
    if answer.status == 404:
        raise _Gone
    starts = [int(t["start_offset"]) for t in answer.body["tokens"]]
    indexed: set[str] = set()
    begin = 0
    for word in words:
        end = begin + len(word.encode("utf-16-le")) // 2
        if any(begin <= s < end for s in starts):
            indexed.add(word)
        begin = end + 1
    return indexed
