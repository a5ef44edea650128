"""Records what the gateway answers to some thousand queries, and compares a recording with what it
answers now: a change of how queries are run, and not of what they mean, leaves every byte as it
was.

    python -m tests.recorded record FILE
    python -m tests.recorded compare FILE

Every operation, by every route, for every role, on the embedded stores; on Elasticsearch and
MongoDB, too, where RECORDGATE_TEST_ELASTICSEARCH_URL and RECORDGATE_TEST_MONGODB_URL name them.
What differs between two runs of the same code is put aside: positions, ages, tokens, references of
errors, row versions.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from gateway.context.services import RequestContext, Viewer
from gateway.query.compiled import respond
from gateway.query.execute import execute
from gateway.shape.names import field_of
from tests.acceptance.access_rig import bearer, keys_for, with_keys
from tests.acceptance.gateway_rig import Rig, gateway
from tests.acceptance.matrix_doors import Ask, asks
from tests.acceptance.matrix_world import CONTRACT as MATRIX
from tests.acceptance.matrix_world import statements
from tests.acceptance.test_compiled_path import SPLICED, VARIABLES
from tests.acceptance.test_differential import CONTRACT as DIFFERENTIAL
from tests.acceptance.test_differential import STRONG, filled
from tests.acceptance.test_matrix import ROLES
from tests.conftest import FAST, url_of
from tests.differential.queries import Maker
from tests.differential.rows import VALUES
from tests.library_world import LIBRARY, UNHEDGED, running_library
from tests.servers import remove_elasticsearch_indexes

UNHEDGED_HEADERS = {"Recordgate-Wait-Up-To": "1ms"}
EXPLAIN = {"Recordgate-Explain": "1"}
SEED = 11
EACH = int(os.environ.get("RECORDGATE_RECORDED_EACH", "100"))
"""Generated queries of each kind."""
MATRIX_SHARE = int(os.environ.get("RECORDGATE_RECORDED_SHARE", "6"))
"""One in so many of the matrix' requests is sent."""
LIBRARY_ROLES: tuple[tuple[str, ...], ...] = ((), ("hr",), ("clerk",), ("auditor", "guest"))
HEADERS = ("content-type", "allow", "vary", "cache-control", "recordgate-store", "link")

_VOLATILE = [
    (re.compile(pattern), with_)
    for pattern, with_ in (
        (r'"watermark":\s*"[^"]*"', '"watermark":"…"'),
        (r'"stalenessMs":\s*[0-9.]+', '"stalenessMs":0'),
        (r'"(reference|requestId|token|version)":\s*"[^"]*"', r'"\1":"…"'),
        (r'"behindMs":\s*[0-9.]+', '"behindMs":0'),
        (r", by \d+ ms", ", by 0 ms"),
        (r"(snapshot=[0-9a-f]{32}-)[0-9a-f]{16}", r"\1…"),
        (r"at most [0-9.]+ (ms|s|min|h) old", "at most … old"),
        (r"watermark [0-9A-F]+/[0-9A-F]+", "watermark …"),
        (r'nonce="[^"]*"', 'nonce="…"'),
        (r"t[0-9a-f]{16}", "t…"),
    )
]
_SKIPPED_PATHS = ("/metrics", "/console/state")

Recording = dict[str, str]


def settled(text: str) -> str:
    """`text` without what differs between two runs."""
    for pattern, with_ in _VOLATILE:
        text = pattern.sub(with_, text)
    return text


async def asked(rig: Rig, ask: Ask, headers: Mapping[str, str]) -> str:
    """The answer's status, the headers that matter, and its body."""
    given = {**UNHEDGED_HEADERS, **headers, **(ask.headers or {})}
    if ask.method == "GET":
        answer = await rig.client.get(ask.path, params=ask.params, headers=given)
    else:
        answer = await rig.client.post(ask.path, json=ask.body, headers=given)
    shown = [f"{h}: {answer.headers[h]}" for h in HEADERS if h in answer.headers]
    tagged = ["etag"] if "etag" in answer.headers else []
    body = answer.content
    text = body.hex() if body.startswith(b"PAR1") else body.decode("utf-8", "surrogateescape")
    return settled("\n".join([str(answer.status_code), *shown, *tagged, text]))


# The worlds ------------------------------------------------------------------------------------


async def of_matrix(database: str, folder: Path, **stores: str) -> AsyncIterator[tuple[str, str]]:
    """Every door for every set of roles: one in MATRIX_SHARE requests, others for each set."""
    path, made = keys_for(folder, *ROLES)
    texts = dict(zip(ROLES, made, strict=True))
    async with gateway(
        database,
        folder,
        contract=MATRIX,
        rows=statements(),
        access=with_keys(path),
        **stores,  # type: ignore[arg-type]
    ) as rig:
        every = [
            a
            for a in asks(rig.services.contract)
            if a.path not in _SKIPPED_PATHS and (a.params or {}).get("format") != "parquet"
        ]
        for offset, roles in enumerate(ROLES):
            for number in range(offset % MATRIX_SHARE, len(every), MATRIX_SHARE):
                ask = every[number]
                headers = bearer(texts[roles])
                name = f"matrix {'+'.join(roles)} {number} {ask.door} {ask.path} {ask.body or ask.params}"
                yield name, await asked(rig, ask, headers)


def lists(maker: Maker) -> Iterator[tuple[str, dict[str, Any]]]:
    """Lists and aggregates, two in a query now and then."""
    while True:
        parts = []
        for alias in ("found", "also")[: maker.chance.choice((1, 1, 2))]:
            record_type = maker.chance.choice(list(maker.contract.types.values()))
            if maker.maybe(0.3):
                names = [
                    field_of(record_type, p)
                    for p in record_type.properties
                    if not p.array and p.scalar.value not in ("json", "bytes")
                ]
                group = maker.chance.choice(names)
                parts.append(
                    f"{alias}: {record_type.plural}Aggregate(groupBy: [{group}], first: 5)"
                    f" {{ count group {{ {group} }} }}"
                )
            else:
                below = maker.connection(record_type, 1)
                parts.append(
                    f"{alias}: {record_type.plural}{maker.page_arguments(record_type)} {below}"
                )
        yield "{ " + " ".join(parts) + " }", {}


async def of_differential(
    database: str, folder: Path, **stores: str
) -> AsyncIterator[tuple[str, str]]:
    """Generated key reads, lists, aggregates and searches, of what the planner picks and of
    canonical alone."""
    async with gateway(
        database,
        folder,
        contract=DIFFERENTIAL,
        rows="SELECT 1",
        published=False,
        **stores,  # type: ignore[arg-type]
    ) as rig:
        maker = await filled(rig, SEED)
        listed = lists(maker)
        for number in range(EACH):
            ours, theirs, variables = maker.search()
            several: list[tuple[str, str, dict[str, Any]]] = [
                ("read", *maker.read()),
                ("list", *next(listed)),
                ("search", ours, {k: variables[k] for k in ("filter", "sort")}),
                ("listed", theirs, {k: variables[k] for k in ("filter", "around", "order")}),
            ]
            for kind, query, given in several:
                ask = Ask(kind, "POST", "/graphql", {"query": query, "variables": given})
                ways: dict[str, Mapping[str, str]] = {"": {}, "strong": STRONG}
                if number % 3 == 0:
                    ways["explain"] = EXPLAIN
                for way, headers in ways.items():
                    shown = f"differential {kind} {number} {way} {query} {json.dumps(given)}"
                    yield shown, await asked(rig, ask, headers)
                by_get = Ask(
                    kind, "GET", "/graphql", params={"query": query, "variables": json.dumps(given)}
                )
                if number % 5 == 0 and len(query) < 3000:
                    yield f"differential GET {kind} {number}", await asked(rig, by_get, {})


def of_library(postgres: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Names that break whatever does not quote them, by roles, both ways, with the statements that
    are sent."""
    with running_library(postgres, folder) as library:

        def both(query: str, variables: Any, roles: tuple[str, ...]) -> Iterator[tuple[str, str]]:
            for explain in (False, True):

                def context(explain: bool = explain) -> RequestContext:
                    viewer = Viewer("someone", frozenset(roles))
                    return RequestContext(library.services, viewer, UNHEDGED, explain)

                name = f"library {'+'.join(roles)} {explain} {query} {variables}"
                compiled = library.run(respond(library.schema, context(), query, variables))
                yield name, settled(compiled.body.decode())
                ordinary = library.run(execute(library.schema, context(), query, variables))
                yield "ordinary " + name, settled(json.dumps(ordinary))

        for query, several in VARIABLES:
            for variables in several:
                yield from both(query, variables, ())
        for query in SPLICED:
            for roles in LIBRARY_ROLES:
                yield from both(query, None, roles)
        keys = {
            t.name: [n["id"] for n in library.data(f"{{ all: {t.plural} {{ nodes {{ id }} }} }}", roles=("hr",))["all"]["nodes"]]
            for t in LIBRARY.types.values()
        }  # fmt: skip
        maker = Maker(LIBRARY, VALUES, keys, random.Random(SEED))
        listed = lists(maker)
        for number in range(EACH):
            roles = LIBRARY_ROLES[number % len(LIBRARY_ROLES)]
            yield from both(*maker.read(), roles)
            yield from both(*next(listed), roles)


# The recording ---------------------------------------------------------------------------------


async def recorded(postgres: str, folder: Path) -> Recording:
    found: Recording = {}

    def note(prefix: str, name: str, answer: str) -> None:
        key = f"{prefix} {name}"
        while key in found:
            key += " again"
        found[key] = answer

    stacks: dict[str, dict[str, str]] = {"embedded": {}}
    named = (
        os.environ.get("RECORDGATE_TEST_ELASTICSEARCH_URL"),
        os.environ.get("RECORDGATE_TEST_MONGODB_URL"),
    )
    if all(named):
        search = str(named[0]).replace("http", "elasticsearch", 1)
        stacks["servers"] = {"search_url": search, "documents_url": str(named[1]).rstrip("/")}
    for prefix, stores in stacks.items():
        for world in (of_matrix, of_differential):
            name = f"t{secrets.token_hex(8)}"
            there = {k: f"{v}/{name}" for k, v in stores.items()}
            with psycopg.connect(postgres, autocommit=True) as conn:
                conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            own = folder / name
            own.mkdir()
            try:
                async for asked_, answer in world(url_of(postgres, name), own, **there):
                    note(prefix, asked_, answer)
            finally:
                if there:
                    remove_elasticsearch_indexes(there["search_url"])
                    from pymongo import MongoClient

                    with MongoClient[dict[str, object]](stores["documents_url"]) as client:
                        client.drop_database(name)
            print(f"{prefix}: {len(found)} answers", flush=True)
    return found


def record() -> Recording:
    from recordgate.embedded import EmbeddedPostgres

    folder = Path(tempfile.mkdtemp(prefix="recordgate-recorded-"))
    folder.chmod(0o711)
    server = EmbeddedPostgres(folder / "postgres", FAST)
    try:
        postgres = server.start()
        found = asyncio.run(recorded(postgres, folder))
        library = folder / "library"
        library.mkdir()
        for name, answer in of_library(postgres, library):
            key = f"library {name}"
            while key in found:
                key += " again"
            found[key] = answer
        return found
    finally:
        server.release()
        server.wait_stopped()
        server.remove()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    what, file = sys.argv[1:]
    found = record()
    print(f"{len(found)} answers")
    if what == "record":
        with gzip.open(file, "wt", encoding="utf-8", errors="surrogateescape") as out:
            json.dump(found, out)
        return 0
    with gzip.open(file, "rt", encoding="utf-8", errors="surrogateescape") as old:
        before: Recording = {k: settled(v) for k, v in json.load(old).items()}
    different = [k for k in before | found if before.get(k) != found.get(k)]
    for key in different[:20]:
        print(
            f"\n{key[:500]}\n  was {before.get(key, '')[:1500]}\n  is  {found.get(key, '')[:1500]}"
        )
    print(f"{len(different)} of {len(before)} answers differ")
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
