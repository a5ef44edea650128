"""Whatever store answers a query, the answer is canonical's: generated queries, each asked of the
store that the planner picks and of canonical alone.

`make differential` asks thousands, of a seed that it prints; RECORDGATE_DIFFERENTIAL_SEED and
RECORDGATE_DIFFERENTIAL_QUERIES choose both. A query that fails prints itself.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest

from stores.search.twins import TWIN_BYTES
from tests.acceptance.gateway_rig import Rig, gateway
from tests.differential.queries import PLACE, Maker
from tests.differential.rows import VALUES, fill
from tests.servers import remove_elasticsearch_indexes

CONTRACT = Path(__file__).parents[1] / "differential" / "contract.odcs.yaml"
QUERIES = int(os.environ.get("RECORDGATE_DIFFERENTIAL_QUERIES", "150"))
SEED = os.environ.get("RECORDGATE_DIFFERENTIAL_SEED", "1")
OLD = {"Recordgate-Max-Staleness": "1h"}
"""Lists may then come from another store."""
STRONG = {"Recordgate-Max-Staleness": "0"}
"""No store is that fresh but canonical."""


def a_seed() -> int:
    seed = secrets.randbelow(10**9) if SEED == "random" else int(SEED)
    print(f"RECORDGATE_DIFFERENTIAL_SEED={seed} RECORDGATE_DIFFERENTIAL_QUERIES={QUERIES}")
    return seed


async def filled(rig: Rig, seed: int) -> Maker:
    """Rows in canonical and in the stores, and a maker of queries over them."""
    with psycopg.connect(rig.url) as conn:
        fill(conn, seed)
    await rig.publish()
    keys: dict[str, list[str]] = {}
    for record_type in rig.services.contract.types.values():
        ids: list[str] = []
        after = None
        while True:
            answer = await rig.graphql(
                f"query ($after: String) {{ all: {record_type.plural}(first: 1000, after: $after)"
                " { nodes { id } pageInfo { hasNextPage endCursor } } }",
                {"after": after},
            )
            page = answer["data"]["all"]
            ids += [n["id"] for n in page["nodes"]]
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                break
        keys[record_type.name] = ids
    return Maker(rig.services.contract, VALUES, keys, random.Random(seed))


def meaning(answer: dict[str, Any]) -> Any:
    """What an answer says, without who said it."""
    codes = [(e["extensions"]["code"], e.get("path")) for e in answer.get("errors", ())]
    return answer.get("data"), codes


def stores_of(answer: dict[str, Any]) -> set[str]:
    fields = answer.get("extensions", {}).get("recordgate", {}).get("fields", {})
    return {f["store"] for f in fields.values()}


async def reads_agree(rig: Rig, maker: Maker, count: int) -> Counter[str]:
    seen: Counter[str] = Counter()
    for number in range(count):
        query, variables = maker.read()
        routed = await rig.graphql(query, variables)
        strong = await rig.graphql(query, variables, STRONG)
        shown = f"\nquery {number}: {query}\nvariables: {orjson.dumps(variables).decode()}"
        assert "documents" not in stores_of(strong), shown
        assert meaning(routed) == meaning(strong), shown
        # Not only equal, but the same bytes: 1 is not 1.0.
        assert orjson.dumps(routed.get("data")) == orjson.dumps(strong.get("data")), shown
        for store in stores_of(routed):
            seen[store] += 1
        seen["found"] += bool((routed.get("data") or {}).get("found"))
    return seen


async def pages_agree(rig: Rig, maker: Maker, count: int) -> Counter[str]:
    """Lists of both routes are the same bytes, also where one goes on at a cursor of the other."""
    seen: Counter[str] = Counter()
    for number in range(count):
        query, size = maker.page()
        cursors: list[str] = []
        if number % 4 == 0:
            await count_agrees(rig, maker.count(), seen)
        for turn in range(3):
            given = size
            if turn:
                if not cursors:
                    break
                edge = maker.chance.choice(cursors)
                given = f"{size}, {maker.chance.choice(('after', 'before'))}: {orjson.dumps(edge).decode()}"
            asked = query.replace(PLACE, given)
            both = [(await rig.graphql(asked, {}, headers)) for headers in (OLD, STRONG)]
            shown = f"\nlist {number}: {asked}"
            routed, strong = both
            assert stores_of(strong) <= {"canonical"}, shown
            assert meaning(routed) == meaning(strong), shown
            assert orjson.dumps(routed.get("data")) == orjson.dumps(strong.get("data")), shown
            for store in stores_of(routed):
                seen[store] += 1
            found = (maker.chance.choice(both).get("data") or {}).get("found") or {"edges": []}
            cursors = [e["cursor"] for e in found["edges"]]
            seen["some"] += bool(cursors)
    return seen


async def count_agrees(rig: Rig, query: str, seen: Counter[str]) -> None:
    both = [await rig.graphql(query, {}, headers) for headers in (OLD, STRONG)]
    assert meaning(both[0]) == meaning(both[1]), query
    assert orjson.dumps(both[0].get("data")) == orjson.dumps(both[1].get("data")), query
    for store in stores_of(both[0]):
        seen[f"counts of {store}"] += 1


async def searches_agree(rig: Rig, maker: Maker, count: int) -> Counter[str]:
    seen: Counter[str] = Counter()
    for number in range(count):
        ours, theirs, variables = maker.search()
        searched = await rig.graphql(ours, {k: variables[k] for k in ("filter", "sort")})
        listed = await rig.graphql(theirs, {k: variables[k] for k in ("filter", "around", "order")})
        shown = f"\nquery {number}: {ours}\nvariables: {orjson.dumps(variables).decode()}"
        if "errors" in searched:
            codes = {e["extensions"]["code"] for e in searched["errors"]}
            assert codes == {"BAD_USER_INPUT"}, shown + str(searched)
            message = searched["errors"][0]["message"]
            assert "errors" in listed or "search cannot apply it" in message, shown + message
            seen["refused"] += 1
            continue
        assert "errors" not in listed, shown + str(listed)
        found, expected = searched["data"]["found"], listed["data"]["found"]
        assert found["totalCount"] == expected["totalCount"], shown
        ids = [n["id"] for n in found["nodes"]]
        wanted = [n["id"] for n in expected["nodes"]]
        assert sorted(ids) == sorted(wanted), shown
        if variables["sort"]:
            # Records that are equal in the order come by their key: as text there, as numbers here.
            assert_same_order(ids, wanted, await order_of(rig, variables, theirs), shown)
        counted = {
            g["group"]["value"]: g["count"]
            for g in listed["data"]["counted"]
            if g["group"]["value"] is not None and not is_long(g["group"]["value"])
        }
        (facet,) = found["facets"]
        buckets = {b["value"]: b["count"] for b in facet["buckets"]}
        assert len(buckets) == min(len(counted), 10), shown
        assert buckets.items() <= counted.items(), shown + f"\n{buckets}\n{counted}"
        assert sorted(buckets.values()) == sorted(counted.values())[-10:], shown
        seen["some" if ids else "none"] += 1
    return seen


async def order_of(rig: Rig, variables: dict[str, Any], theirs: str) -> dict[str, bytes]:
    """By id: the values that the order is about, as canonical shows them."""
    names = [next(iter(step)) for step in variables["order"]]
    fields = " ".join(f"v{i}: {n}" for i, n in enumerate(names))
    query = theirs.replace("nodes { id }", f"nodes {{ id {fields} }}")
    answer = await rig.graphql(query, {k: variables[k] for k in ("filter", "around", "order")})
    nodes = answer["data"]["found"]["nodes"]
    ends: tuple[str, ...] = ()
    if rig.services.search.kind == "elasticsearch" and "copies" in names:
        # It sorts the least and the greatest long with what is missing (docs/reference/stores.md).
        names = names[: names.index("copies") + 1]
        ends = (str(-(2**63)), str(2**63 - 1))
    rows = {n["id"]: [n[f"v{i}"] for i in range(len(names))] for n in nodes}
    rows = {key: [None if v in ends else v for v in values] for key, values in rows.items()}
    return {key: orjson.dumps(values) for key, values in rows.items()}


def is_long(value: Any) -> bool:
    """Whether a text is too long to be a value of a facet."""
    return isinstance(value, str) and len(value.encode()) > TWIN_BYTES


def assert_same_order(
    ids: list[str], wanted: list[str], values: dict[str, bytes], shown: str
) -> None:
    assert [values[i] for i in ids] == [values[i] for i in wanted], shown


def run(
    database: str, folder: Path, documents: str, search: str
) -> tuple[Counter[str], Counter[str], Counter[str]]:
    seed = a_seed()

    async def go() -> tuple[Counter[str], Counter[str], Counter[str]]:
        async with gateway(
            database,
            folder,
            contract=CONTRACT,
            rows="SELECT 1",
            published=False,
            documents_url=documents,
            search_url=search,
        ) as rig:
            maker = await filled(rig, seed)
            reads = await reads_agree(rig, maker, QUERIES)
            searches = await searches_agree(rig, maker, QUERIES)
            pages = await pages_agree(rig, maker, QUERIES)
            return reads, searches, pages

    reads, searches, pages = asyncio.run(go())
    print(f"reads {dict(reads)} searches {dict(searches)} lists {dict(pages)}")
    assert reads["documents"] > QUERIES * 0.2, reads
    assert reads["found"] > QUERIES * 0.5, reads
    assert searches["some"] > QUERIES * 0.3, searches
    return reads, searches, pages


def test_embedded_stores_answer_what_canonical_answers(database: str, tmp_path: Path) -> None:
    run(database, tmp_path, "sqlite:", "tantivy:")


@pytest.mark.servers
def test_servers_answer_what_canonical_answers(
    database: str, tmp_path: Path, elasticsearch_url: str, mongodb_url: str
) -> None:
    name = f"t{secrets.token_hex(8)}"
    search = f"{elasticsearch_url}/{name}"
    try:
        run(database, tmp_path, f"{mongodb_url}/{name}", search)
    finally:
        remove_elasticsearch_indexes(search)
