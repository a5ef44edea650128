"""The indexes of a contract: an index per type and generation, aliases for who reads and who
writes, and the books, an index with the position.

    PREFIX-CONTRACT                    the books; PREFIX-CONTRACT-write its alias for writes
    PREFIX-CONTRACT-TYPE               alias of the active generation, without tombstones
    PREFIX-CONTRACT-TYPE-NUMBER        the index of a generation
    PREFIX-CONTRACT-TYPE-NUMBER-write  its alias for writes: a bulk that requires one makes no index
    PREFIX-CONTRACT-TYPE-NUMBER-used   an alias that says that it has been active

`_meta.recordgate` in each mapping says whose the index is. What does not say so is somebody else's:
it is never written to and never deleted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stores.contract.model import Contract
from stores.contract.shape import search_shape
from stores.errors import FencedError, NotLoaded, StoreLost
from stores.lineage import forks_of
from stores.protocols import Position, Withheld
from stores.search.elasticsearch.errors import (
    KIND,
    index_gone,
    lost,
    refused,
    taken,
    unavailable,
)
from stores.search.elasticsearch.fields import PRESENCE, TOMBSTONE, analysis, field_count, mapping
from stores.search.elasticsearch.http import Http, path
from stores.search.elasticsearch.url import Address
from stores.search.fields import Level, marks

FORMAT = 1
"""Format version of what the store writes into indexes. Another version raises StoreLost."""
REFRESH = "1s"
"""Refresh interval of an active generation. `publish` refreshes anyway; this is for writes that
were never published."""
ADMIN_SECONDS = 30.0
MAX_REGEX = 20_000
"""Characters of a pattern as Lucene reads it: a letter without case and accents is a class of some
fifty."""
_FILTER = (
    "*.aliases,*.mappings._meta.recordgate,*.settings.index.uuid,*.settings.index.number_of_shards,"
    "*.settings.index.verified_before_close"
)
LIVE: dict[str, Any] = {"bool": {"must_not": {"exists": {"field": TOMBSTONE}}}}
"""The query that excludes tombstones."""


@dataclass(frozen=True, slots=True)
class Index:
    """The index of a generation, as the cluster has it. One that somebody has closed can neither be
    read nor written: it is retired, and of no shape that is wanted."""

    name: str
    number: int
    shape: str
    marks: frozenset[str]
    shards: int
    was_active: bool
    active: bool

    @property
    def state(self) -> str:
        if self.active:
            return "active"
        return "retired" if self.was_active else "building"


def write_alias(index: str) -> str:
    return f"{index}-write"


def used_alias(index: str) -> str:
    return f"{index}-used"


class Generations:
    def __init__(self, http: Http, address: Address, contract: Contract) -> None:
        self._http = http
        self._address = address
        self._contract = contract
        self.books = f"{address.prefix}-{contract.slug}"
        self._term: int | None = None

    # Names -------------------------------------------------------------------------------------

    def alias(self, type_name: str) -> str:
        """Return the type's alias. Name parts are lower case and have no hyphen, so that two types
        never share one."""
        if re.fullmatch(r"[a-z0-9_]{1,60}", type_name):
            return f"{self.books}-{type_name}"
        digest = hashlib.sha256(type_name.encode()).hexdigest()[:16]
        return f"{self.books}-type_{digest}"

    def index(self, type_name: str, number: int) -> str:
        return f"{self.alias(type_name)}-{number}"

    # The books ---------------------------------------------------------------------------------

    async def claim(self, *, write: bool) -> None:
        """Check that the books are this contract's; make them where there are none and `write`.
        Raises StoreLost."""
        for attempt in (1, 2):
            answer = await self._http.send("GET", path(self.books), allow=(404,))
            if answer.status == 200:
                self._check_books(answer.body)
                return
            if not write:
                return
            made = await self._http.send(
                "PUT",
                path(self.books),
                {
                    "settings": {
                        "number_of_shards": 1,
                        "auto_expand_replicas": "0-1",
                        "refresh_interval": "-1",
                    },
                    "mappings": {
                        "dynamic": False,
                        "_meta": {"recordgate": self._meta(books=True)},
                    },
                    "aliases": {write_alias(self.books): {}},
                },
                seconds=ADMIN_SECONDS,
                allow=(400,),
            )
            if made.status < 300:
                return
            if attempt == 2 or _kind(made.body) != "resource_already_exists_exception":
                raise lost(
                    f"the index {self.books} cannot be created ({_kind(made.body)})",
                    hint="choose another prefix in the URL of `search`",
                )

    def _check_books(self, body: Any) -> None:
        found = body.get(self.books) if isinstance(body, dict) else None
        meta = _meta_of(found)
        if meta is None or not meta.get("books"):
            raise self._foreign(self.books)
        self._check_meta(self.books, meta)

    def _meta(self, **more: Any) -> dict[str, Any]:
        return {"contract": self._contract.id, "format": FORMAT, **more}

    def _check_meta(self, name: str, meta: dict[str, Any]) -> None:
        if meta.get("contract") != self._contract.id:
            raise lost(
                f"the index {name} holds the data of contract {str(meta.get('contract'))[:100]!r}",
                hint="give each contract a prefix of its own in the URL of `search`",
            )
        if meta.get("format") != FORMAT:
            raise lost(
                f"the index {name} was written by another version",
                hint="delete the indexes of the prefix; the next start reloads them",
            )

    def _foreign(self, name: str) -> StoreLost:
        return taken(name)

    async def position(self) -> Position | None:
        answer = await self._http.send("GET", path(self.books, "_source", "position"), allow=(404,))
        if answer.status == 404:
            return None
        found = answer.body
        return Position(
            str(found["system"]),
            int(found["lsn"]),
            float(found["as_of"]),
            tuple(Withheld(*w) for w in found.get("withheld", ())),
            int(found.get("timeline", 0)),
            forks_of(found.get("forks")),
        )

    async def set_position(self, position: Position) -> None:
        """Raises StoreLost where the books are gone, FencedError where another worker is in
        charge."""
        await self._put(
            "position",
            {
                "system": position.system,
                "lsn": position.lsn,
                "as_of": position.as_of,
                "withheld": [[w.type_name, w.lsn, w.as_of] for w in position.withheld],
                "timeline": position.timeline,
                "forks": position.forks,
            },
        )

    async def take_charge(self, term: int) -> None:
        """The term is the version of the documents in the books: the server refuses a smaller one.
        Raises as `set_position`."""
        self._term = term
        await self.claim(write=True)
        await self._put("term", {})
        position = await self.position()
        if position is not None:
            await self.set_position(position)

    async def check_term(self) -> None:
        """Raises FencedError where another worker is in charge."""
        if self._term is not None:
            answer = await self._http.send(
                "GET",
                path(self.books, "_doc", "term"),
                params={"filter_path": "_version"},
                allow=(404,),
            )
            if answer.status == 200 and int(answer.body["_version"]) > self._term:
                raise _fenced()

    async def _put(self, name: str, body: dict[str, Any]) -> None:
        params = {"require_alias": "true"}
        if self._term is not None:
            params |= {"version": str(self._term), "version_type": "external_gte"}
        answer = await self._http.send(
            "PUT",
            path(write_alias(self.books), "_doc", name),
            body,
            params=params,
            allow=(404, 409),
        )
        if answer.status == 404:
            raise index_gone(self.books)
        if answer.status == 409:
            raise _fenced()

    # Generations -------------------------------------------------------------------------------

    async def all(self, type_name: str) -> list[Index]:
        """The generations of a type, by number. Raises StoreLost where one of their names is
        taken."""
        alias = self.alias(type_name)
        answer = await self._http.send(
            "GET",
            path(f"{alias}-*"),
            params={"expand_wildcards": "open,closed,hidden", "filter_path": _FILTER},
        )
        found = []
        for name, body in answer.body.items():
            number = name.removeprefix(f"{alias}-")
            if re.fullmatch(r"[1-9]\d{0,17}", number):
                found.append(self._read(name, int(number), body, type_name))
        return sorted(found, key=lambda i: i.number)

    def _read(self, name: str, number: int, body: Any, type_name: str) -> Index:
        meta = _meta_of(body)
        if meta is None or (meta.get("type"), meta.get("number")) != (type_name, number):
            raise self._foreign(name)
        self._check_meta(name, meta)
        closed = _closed(body)
        return Index(
            name,
            number,
            "" if closed else str(meta["shape"]),
            frozenset(meta["marks"]),
            int(body["settings"]["index"]["number_of_shards"]),
            closed or used_alias(name) in body.get("aliases", {}),
            not closed and self.alias(type_name) in body.get("aliases", {}),
        )

    async def not_as_left(self, active: Mapping[str, str]) -> list[str]:
        """Return those of `active` (type → active index) that are missing, closed, or no longer
        behind our alias."""
        answer = await self._http.send(
            "GET",
            path(f"{self.books}-*"),
            params={
                "expand_wildcards": "open,closed,hidden",
                "filter_path": "*.aliases,*.settings.index.verified_before_close",
            },
        )
        return [
            name
            for type_name, name in active.items()
            if (found := answer.body.get(name)) is None
            or _closed(found)
            or not {self.alias(type_name), write_alias(name)} <= found.get("aliases", {}).keys()
        ]

    async def find(self, type_name: str, number: int) -> Index:
        """Raises StoreRefused where there is none."""
        for index in await self.all(type_name):
            if index.number == number:
                return index
        raise refused(f"{type_name} has no generation {number}")

    async def active_name(self, type_name: str) -> str:
        """The index behind the readers' alias. Raises StoreUnavailable where there is none."""
        answer = await self._http.send("GET", path("_alias", self.alias(type_name)), allow=(404,))
        if answer.status == 404 or not answer.body:
            raise NotLoaded(
                f"{KIND}: {type_name} is not loaded yet",
                store=KIND,
                hint="wait until its first load has finished; `recordgate status` shows it",
            )
        if len(answer.body) > 1:
            raise lost(
                f"the alias {self.alias(type_name)} has several indexes",
                hint="only recordgate may create it: remove it and reload",
            )
        return str(next(iter(answer.body)))

    async def active(self, type_name: str, name: str) -> Index:
        """Return the index named `name`, to which the type's alias points. Raises StoreLost where
        it is not ours."""
        for index in await self.all(type_name):
            if index.name == name:
                return index
        raise self._foreign(self.alias(type_name))

    async def create(self, type_name: str, number: int, level: Level) -> None:
        """Create a generation's index with the settings of a load. Does nothing if it exists."""
        name = self.index(type_name, number)
        meta = self._meta(
            type=type_name,
            number=number,
            shape=search_shape(self._contract, type_name),
            marks=sorted(marks(level)),
        )
        answer = await self._http.send(
            "PUT",
            path(name),
            {
                "settings": {
                    "number_of_shards": self._address.shards,
                    "number_of_replicas": 0,
                    "refresh_interval": "-1",
                    "mapping.total_fields.limit": max(1000, field_count(level)),
                    "max_regex_length": MAX_REGEX,
                    "similarity": {PRESENCE: {"type": "BM25", "k1": 0.0, "b": 0.0}},
                    "analysis": analysis(level),
                },
                "mappings": {
                    "dynamic": "strict",
                    "_meta": {"recordgate": meta},
                    "properties": mapping(level),
                },
                "aliases": {write_alias(name): {}},
            },
            seconds=ADMIN_SECONDS,
            allow=(400,),
        )
        if answer.status == 400:
            kind = _kind(answer.body)
            if kind == "resource_already_exists_exception":
                await self.find(type_name, number)
                return
            if kind == "invalid_index_name_exception":
                raise self._foreign(name)
            raise refused(f"the index {name} cannot be created ({kind})")

    async def allow_long_patterns(self) -> None:
        """Give the generations that an earlier version made the limit that new ones have."""
        for type_name in self._contract.types:
            await self._http.send(
                "PUT",
                path(f"{self.alias(type_name)}-*", "_settings"),
                {"index": {"max_regex_length": MAX_REGEX}},
                params={"expand_wildcards": "open"},
                seconds=ADMIN_SECONDS,
                allow=(404,),
            )

    async def activate(self, type_name: str, number: int) -> None:
        """Settings of an index that is read, then the aliases in one step."""
        await self.check_term()
        everything = await self.all(type_name)
        new = next((i for i in everything if i.number == number), None)
        if new is None:
            raise refused(f"{type_name} has no generation {number}")
        replicas = self._address.replicas
        settings: dict[str, Any] = {"refresh_interval": REFRESH}
        if "-" in replicas:
            settings["auto_expand_replicas"] = replicas
        else:
            settings |= {"auto_expand_replicas": False, "number_of_replicas": int(replicas)}
        if not new.was_active:
            await self._http.send(
                "PUT", path(new.name, "_settings"), {"index": settings}, seconds=ADMIN_SECONDS
            )
        alias = self.alias(type_name)
        holders = await self._holders(alias)
        if holders - {i.name for i in everything}:
            raise self._foreign(alias)
        if holders == {new.name}:
            return
        actions: list[dict[str, Any]] = [
            {"remove": {"index": name, "alias": alias, "must_exist": True}}
            for name in sorted(holders)
        ]
        actions += [
            {"add": {"index": new.name, "alias": alias, "filter": LIVE}},
            {"add": {"index": new.name, "alias": used_alias(new.name)}},
        ]
        answer = await self._http.send(
            "POST", "/_aliases", {"actions": actions}, seconds=ADMIN_SECONDS, allow=(400, 404)
        )
        if answer.status == 400:
            raise self._foreign(alias)
        if answer.status == 404:
            raise unavailable("the alias changed at the same moment", retry_after=1.0)

    async def _holders(self, alias: str) -> set[str]:
        answer = await self._http.send("GET", path("_alias", alias), allow=(404,))
        return set(answer.body) if answer.status == 200 else set()

    async def drop(self, type_name: str, number: int) -> None:
        await self.check_term()
        index = next((i for i in await self.all(type_name) if i.number == number), None)
        if index is None:
            return
        if index.active:
            raise refused(
                f"generation {number} of {type_name} is the active one",
                hint="activate another generation first",
            )
        await self._http.send("DELETE", path(index.name), seconds=ADMIN_SECONDS, allow=(404,))


def _fenced() -> FencedError:
    return FencedError("elasticsearch: another worker has taken over")


def _meta_of(body: Any) -> dict[str, Any] | None:
    if not isinstance(body, dict):
        return None
    found = (body.get("mappings") or {}).get("_meta")
    meta = found.get("recordgate") if isinstance(found, dict) else None
    return meta if isinstance(meta, dict) else None


def _closed(body: Any) -> bool:
    settings = (body.get("settings") or {}).get("index") or {}
    return str(settings.get("verified_before_close")).lower() == "true"


def _kind(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("type", "")) if isinstance(error, dict) else ""
