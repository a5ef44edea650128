"""Role × field × door: a value that a role may not see leaves by no door, in no byte of any answer, and in no log; what
it may see it sees by every door, in the form that the contract says. One command: make matrix."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as parquet
import pytest

from gateway.context.change_tokens import ChangePosition, digest, write_position
from gateway.context.plan_cache import PlanCache
from gateway.export.endpoint import view_of
from gateway.export.rows import Export
from gateway.shape.visibility import Form, Visibility
from stores.canonical.connect import TIMELINE
from stores.canonical.kept_changes import compare_all
from stores.contract.model import RecordType
from stores.query import EVERYTHING
from tests.acceptance.access_rig import keys_for, with_keys
from tests.acceptance.gateway_rig import SECRET, Rig, gateway
from tests.acceptance.matrix_doors import Ask, Watch, asks, fields, graphql, upper
from tests.acceptance.matrix_world import (
    CONTRACT,
    Sight,
    all_texts,
    hashed,
    rows,
    statements,
)
from tests.servers import remove_elasticsearch_indexes

ROLES = [
    (), ("guest",), ("outsider",), ("auditor",), ("clerk",), ("clerk", "guest"), ("admin",),
]  # fmt: skip
EVERY = ("admin", "clerk", "auditor", "guest", "outsider")
AT_ONCE = 16
LISTS = frozenset(("list", "filter", "order", "nested"))
OLD = {"Recordgate-Max-Staleness": "1h"}
"""Whatever list a store can answer may then come from it."""
NOBODYS = {row["nobody"] for row in rows()["patient"]}
"""Values of the property that no role may read."""


@dataclass
class Matrix:
    """One world, asked by one caller of each set of roles."""

    rig: Rig
    keys: dict[tuple[str, ...], str]
    log: pytest.LogCaptureFixture
    asked: Counter[str] = field(default_factory=Counter)
    shown: dict[str, set[str]] = field(default_factory=dict)
    narrowed: bool = False
    """Ask with the key of every role, narrowed by a header."""
    always: dict[str, str] = field(default_factory=dict)
    """Headers of each request."""
    lists: Counter[str] = field(default_factory=Counter)
    """By store: answers of lists."""

    async def send(self, roles: tuple[str, ...], ask: Ask) -> httpx.Response:
        key = self.keys[EVERY if self.narrowed else roles]
        headers = {"Authorization": f"Bearer {key}"} | self.always | (ask.headers or {})
        if self.narrowed:
            headers["Recordgate-Roles"] = ", ".join(roles)
        if ask.method == "GET":
            return await self.rig.client.get(ask.path, params=ask.params, headers=headers)
        return await self.rig.client.post(ask.path, json=ask.body, headers=headers)

    async def graphql(self, roles: tuple[str, ...], query: str) -> Any:
        found = (await self.send(roles, graphql("", query))).json()
        assert "errors" not in found, (roles, query, found["errors"])
        return found["data"]

    # Nothing leaves ----------------------------------------------------------------------------

    async def nothing_hidden_leaves(
        self, roles: tuple[str, ...], doors: frozenset[str] | None = None
    ) -> None:
        sight = Sight(frozenset(roles))
        watch, everything = Watch(sight.secrets()), Watch(all_texts())
        chosen = [
            ask for ask in asks(self.rig.services.contract) if doors is None or ask.door in doors
        ]
        # Only a few exports run at once; the rest would be refused.
        alone = [[ask] for ask in chosen if ask.door == "export"]
        rest = [ask for ask in chosen if ask.door != "export"]
        for several in [*alone, *(rest[i : i + AT_ONCE] for i in range(0, len(rest), AT_ONCE))]:
            self.log.clear()
            answers = await asyncio.gather(*(self.send(roles, ask) for ask in several))
            logged = watch.found(self.log.text.encode())
            assert not logged, (roles, several, logged, self.log.text)
            for ask, answer in zip(several, answers, strict=True):
                self._check(ask, answer, sight, watch, everything)

    def _check(
        self, ask: Ask, answer: httpx.Response, sight: Sight, watch: Watch, everything: Watch
    ) -> None:
        content = self._content(ask, answer)
        shown = content[:600]
        leaked = watch.found(content)
        if leaked:
            # What the caller has said itself may come back to it.
            leaked -= watch.found(json.dumps([ask.body, ask.params]).encode())
        assert not leaked, (sight.roles, ask, leaked, shown)
        assert answer.status_code < 500, (sight.roles, ask, shown)
        if ask.property is not None and sight.form(*ask.property) != "plain":
            assert self._code(answer) == "FORBIDDEN", (sight.roles, ask, shown)
        self.asked[ask.door] += 1
        if ask.door in LISTS and answer.is_success:
            said = answer.json().get("extensions", {}).get("recordgate", {})
            self.lists.update(f["store"] for f in said.get("fields", {}).values())
        if "admin" in sight.roles:
            shown_here = everything.found(content)
            if ask.door == "page":
                # A page says again what its address asks for.
                shown_here -= everything.found(json.dumps(ask.params).encode())
            self.shown.setdefault(ask.door, set()).update(shown_here)

    @staticmethod
    def _content(ask: Ask, answer: httpx.Response) -> bytes:
        """The answer's bytes and headers; of Parquet what its columns hold, too."""
        content = answer.content + repr(answer.headers).encode()
        if (ask.params or {}).get("format") == "parquet" and answer.is_success:
            table = parquet.read_table(io.BytesIO(answer.content))
            content += json.dumps(table.to_pylist(), default=str).encode()
        return content

    @staticmethod
    def _code(answer: httpx.Response) -> str:
        found = answer.json() if answer.headers["content-type"].count("json") else {}
        if "errors" in found:
            return str(found["errors"][0]["extensions"]["code"])
        return str(found.get("code", "OK"))

    # What may be seen is seen, in its form -----------------------------------------------------

    async def what_is_shown_is_right(self, roles: tuple[str, ...]) -> None:
        contract = self.rig.services.contract
        for t in contract.types.values():
            if t.name == "visit" and not set(roles) & {"admin", "clerk", "auditor"}:
                continue
            wanted = self._wanted(t, roles)
            by_door = await self._by_door(t, roles, list(wanted))
            for door, found in by_door.items():
                assert found == wanted, (roles, t.name, door)

    def _wanted(self, t: RecordType, roles: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        """The visible rows by key, each value in its form."""
        sight = Sight(frozenset(roles))
        return {
            row[t.key_properties[0].name]: {
                name: _in_form(row[name], sight.form(t.name, name), name) for name in row
            }
            for row in sight.rows(t.name)
        }

    async def _by_door(
        self, t: RecordType, roles: tuple[str, ...], keys: list[str]
    ) -> dict[str, dict[str, dict[str, Any]]]:
        key = t.key_properties[0].name
        shown = fields(t)

        def keyed(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
            names = [p.name for p in t.properties]
            return {r[key]: {n: r[n] for n in names} for r in records if r is not None}

        one_by_one = [
            (await self.graphql(roles, f'{{ it: {t.single}(id: "{k}") {{ {shown} }} }}'))["it"]
            for k in (row[key] for row in rows()[t.name])
        ]
        listed = await self.graphql(
            roles, f"{{ it: {t.plural}(first: 100) {{ totalCount nodes {{ {shown} }} }} }}"
        )
        counted = await self.graphql(roles, f"{{ it: {t.plural}Aggregate {{ count }} }}")
        searched = await self.graphql(
            roles,
            f'{{ it: search{upper(t.plural)}(query: "", first: 100) {{ totalCount nodes {{ {shown} }} }} }}',
        )
        rest = (
            await self.send(roles, Ask("", "GET", f"/search/{t.name}", params={"first": "100"}))
        ).json()
        export = await self.send(roles, Ask("", "GET", f"/export/{t.name}"))
        for total in (
            listed["it"]["totalCount"],
            counted["it"][0]["count"],
            searched["it"]["totalCount"],
            rest["total"],
        ):
            assert total == len(keys), (roles, t.name)
        if len(keys) < len(rows()[t.name]):
            # By a score one could tell how many rows have a word.
            assert {h["score"] for h in rest["hits"]} <= {None}, (roles, t.name)
        return {
            "get": keyed(one_by_one),
            "list": keyed(listed["it"]["nodes"]),
            "search": keyed(searched["it"]["nodes"]),
            "REST search": keyed([h["record"] for h in rest["hits"]]),
            "export": keyed([json.loads(line) for line in export.text.splitlines()]),
        }


def _in_form(value: Any, form: str, name: str) -> Any:
    if value is None or form == "plain":
        return value
    if form == "hash":
        return hashed(value, SECRET)
    if form == "partial":
        return f"***{value[-2:]}" if name == "phone" else f"{value[0]}***"
    return None


Work = Callable[[Matrix], Awaitable[None]]


def run(
    database: str, folder: Path, log: pytest.LogCaptureFixture, work: Work, **stores: Any
) -> None:
    path, made = keys_for(folder, *ROLES, EVERY)
    texts = dict(zip([*ROLES, EVERY], made, strict=True))

    async def go() -> None:
        async with gateway(
            database, folder, contract=CONTRACT, rows=statements(), access=with_keys(path), **stores
        ) as rig:
            matrix = Matrix(rig, texts, log)
            log.set_level(logging.DEBUG)
            # As `configure_logging` has them; the first two are the test's own client.
            for noisy in ("httpx", "httpcore", "elastic_transport", "pymongo", "asyncio"):
                log.set_level(logging.WARNING, noisy)
            await work(matrix)
            print(f"{sum(matrix.asked.values())} requests: {dict(matrix.asked)}")

    asyncio.run(go())


async def keep_changes(matrix: Matrix) -> None:
    """Does what a worker does with the types that are followed: begins with no record, and then
    looks at all."""
    lineage = (await _one(matrix, f"SELECT {TIMELINE}"))[0]
    for followed in matrix.rig.services.followed.values():
        async with matrix.rig.services.pool.connection() as conn:
            await conn.execute(
                "INSERT INTO recordgate.change_state VALUES (%s, 7, %s, 0, 'epoch', %s, '0/1')"
                " ON CONFLICT DO NOTHING",
                (followed.type.name, followed.shape, lineage),
            )
            await conn.execute(compare_all(followed))


async def _one(matrix: Matrix, query: str) -> Any:
    async with matrix.rig.services.pool.connection() as conn:
        return await (await conn.execute(query.encode())).fetchone()


async def changes_are_right(matrix: Matrix) -> None:
    """Every record that a follower may see comes, in its form; then it goes, and nothing comes of
    the others."""
    services = matrix.rig.services
    await keep_changes(matrix)
    (lineage,) = await _one(matrix, f"SELECT {TIMELINE}")
    ahead: dict[tuple[Any, ...], str] = {}
    for again in (False, True):
        if again:
            async with services.pool.connection() as conn:
                await conn.execute(b"TRUNCATE public.patients, public.wards, public.visits")
            await keep_changes(matrix)
        for roles in ROLES:
            watch = Watch(Sight(frozenset(roles)).secrets())
            visibility = Visibility(services.contract, frozenset(roles))
            for t in services.contract.types.values():
                export = Export(t, visibility=visibility, followed=services.followed[t.name])
                view = view_of(services, export)
                begin = ChangePosition(digest(services.system), view, lineage, 7, 0, 0)
                after = ahead.get((roles, t.name)) or write_position(begin, SECRET)
                ask = Ask("changes", "GET", f"/changes/{t.name}", params={"after": after})
                answer = await matrix.send(roles, ask)
                content = answer.content + repr(answer.headers).encode()
                assert not watch.found(content), (roles, t.name, content[:600])
                matrix.asked["changes"] += 1
                if not visibility.may(t, "export"):
                    assert answer.status_code == 403
                    continue
                *changes, last = map(json.loads, answer.text.splitlines())
                ahead[roles, t.name] = last["next"]
                wanted, key = matrix._wanted(t, roles), t.key_properties[0].name
                assert {c["op"] for c in changes} <= {"delete" if again else "upsert"}
                assert {c["record"][key] for c in changes} == wanted.keys(), (roles, t.name)
                if not again:
                    assert {c["record"][key]: c["record"] for c in changes} == wanted
                if roles == ("admin",):
                    matrix.shown.setdefault("changes", set()).update(
                        Watch(all_texts()).found(content)
                    )


async def whole(matrix: Matrix) -> None:
    await keep_changes(matrix)
    for roles in ROLES:
        await matrix.what_is_shown_is_right(roles)
        await matrix.nothing_hidden_leaves(roles)
    await changes_are_right(matrix)
    # The watch is not blind: whoever may see all does, by each door that gives values.
    everything = all_texts() - NOBODYS
    assert set().union(*matrix.shown.values()) == everything
    for door in (
        "get", "node", "entities", "list", "search", "export", "mutation", "page", "changes",
    ):  # fmt: skip
        assert matrix.shown[door] == everything, door
    for door in ("nested", "group", "facet", "suggest", "highlight", "order", "sort", "aggregate"):
        assert len(matrix.shown[door]) > 5, door


async def of_narrowed(matrix: Matrix) -> None:
    """A caller who has every role, and asks with some of them, sees what those see."""
    matrix.narrowed = True
    doors = frozenset(("get", "list", "search", "facet", "page", "descriptions"))
    await matrix.what_is_shown_is_right(("clerk",))
    await matrix.nothing_hidden_leaves(("clerk",), doors)


async def of_stores(matrix: Matrix) -> None:
    """The doors that a store other than canonical stands behind."""
    doors = frozenset(
        ("get", "node", "nested", "search", "suggest", "facet", "sort", "highlight", "explain")
    )
    for roles in ((), ("clerk",), ("auditor",), ("admin",)):
        await matrix.what_is_shown_is_right(roles)
        await matrix.nothing_hidden_leaves(roles, doors)
    for door in ("get", "search"):
        assert matrix.shown[door] == all_texts() - NOBODYS, door


async def of_lists(matrix: Matrix) -> None:
    """The doors of lists, whatever a store can answer of them sent to it."""
    matrix.always = OLD
    for roles in (("auditor",), ("clerk", "guest"), ("admin",)):
        await matrix.what_is_shown_is_right(roles)
        await matrix.nothing_hidden_leaves(roles, LISTS - {"filter"})
    assert matrix.shown["list"] == all_texts() - NOBODYS
    await matrix.nothing_hidden_leaves(("auditor",), frozenset({"filter"}))
    assert matrix.lists["documents"] > 50, matrix.lists


def test_matrix_on_lists_of_documents(
    database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(database, tmp_path, caplog, of_lists)


@pytest.mark.timeout(1800)
def test_matrix_on_embedded_stores(
    database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(database, tmp_path, caplog, whole)


@pytest.mark.servers
@pytest.mark.timeout(1800)
def test_matrix_on_servers(
    database: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    elasticsearch_url: str,
    mongodb_url: str,
) -> None:
    name = f"t{secrets.token_hex(8)}"
    search = f"{elasticsearch_url}/{name}"
    documents = f"{mongodb_url}/{name}"
    try:
        run(database, tmp_path, caplog, of_stores, documents_url=documents, search_url=search)
    finally:
        remove_elasticsearch_indexes(search)


def test_roles_that_a_caller_lays_aside_show_nothing(
    database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(database, tmp_path, caplog, of_narrowed)


def _unguarded(_visibility: Any, _record_type: Any, query: Any) -> Any:
    return query


HOLES: dict[str, tuple[str, str, Any]] = {
    "rows of all": ("list", "gateway.query.records.row_filter", lambda *_: EVERYTHING),
    "lists of all": (
        "list",
        "gateway.shape.visibility.Visibility.row_filters",
        lambda *_: None,
    ),
    "hits of all": ("search", "gateway.search.search.guarded", _unguarded),
    "hits without masks": ("search", "gateway.search.endpoint.masked", lambda _, value, *__: value),
    "all is plain": ("order", "gateway.shape.visibility.Visibility.form", lambda *_: Form.PLAIN),
}


def test_matrix_notices_holes(
    database: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work(matrix: Matrix) -> None:
        matrix.always = OLD
        for door, place, with_ in HOLES.values():
            doors = frozenset({door})
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(place, with_)
                with pytest.raises(AssertionError):
                    await matrix.nothing_hidden_leaves(("clerk",), doors)
            matrix.rig.services.plans = PlanCache()

    run(database, tmp_path, caplog, work)
