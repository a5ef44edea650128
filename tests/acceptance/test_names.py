"""No name that users choose meets a name of ours: types, tables, columns and relations are called
as every alias, keyword, field and variable that our compilers use, and all that can be done with
records is done with them."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import secrets
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pyarrow.parquet as pq
import pytest

from gateway.context.services import Limits
from stores.canonical.connect import connect
from stores.canonical.importing import ImportOptions, run_import
from stores.contract import names
from stores.contract.load import load_contract
from stores.errors import InputError
from sync.verify import verify
from tests.acceptance.gateway_rig import Rig, gateway, prepare
from tests.generated_names import generated_names, short_names
from tests.servers import remove_elasticsearch_indexes
from tests.sync_world import CONTRACT, World

T = TypeVar("T")
MORE = (
    "oid", "user", "current_user", "self", "cls", "info", "args", "kwargs", "root", "key_data", "Upper", "XYZ",
    "a b", "größe", "日本", "dot.ted", "$1", "__typename", "__proto__", "l" * 63, "ö" * 31, "-", "1", "constructor",
)  # fmt: skip
"""Reserved words, names that only a column in quotes can have, and such of the longest length."""
NOT_AN_ENUM = ("true", "false", "null")
CHUNK = 60
STEPS, GROUPS = 10, 5
"""That an order, and a groupBy, may have."""
LIMITS = Limits(max_tokens=100_000, max_aliases=10_000, max_cost=100_000_000)
SEARCHED = 8
"""Properties that are searched, facets and sorted by, each."""


@cache
def columns() -> dict[str, str]:
    """Property → column: each name as a column, and as a property where a property can have it."""
    found: dict[str, str] = {}
    taken = {"id", "id_", "wideid"}
    for number, word in enumerate(dict.fromkeys([*short_names(), *generated_names(), *MORE])):
        if word.lower() in (*names.SYSTEM_COLUMNS, "id"):
            continue
        name = word
        graphql = names.camel(name).lower()
        unfit = names.contract_name_problem(name) or names.camel(name) in names.RESERVED_FIELDS
        if unfit or graphql in NOT_AN_ENUM or {graphql, name.lower()} & taken:
            name = f"property{number}"
        taken |= {name.lower(), names.camel(name).lower()}
        found[name] = word
    return found


@cache
def aliases() -> dict[str, str]:
    """Those of `columns` that look like an alias."""
    short = {*short_names(), *MORE, "asked", "own", "canonical", "document", "place", "key", "row"}
    return {name: column for name, column in columns().items() if column in short}


@cache
def relations() -> list[str]:
    """The aliases that a relation can have as its name."""
    reserved = {*names.RESERVED_FIELDS, "id", "x0"}
    words = [*short_names(), "asked", "own", "canonical", "document", "place", "key", "doc", "row"]
    return [w for w in dict.fromkeys(words) if names.camel(w) == w and w not in reserved]


def split(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def extension(name: str, value: Any) -> dict[str, Any]:
    return {"property": name, "vendor": "recordgate", "value": value}


def key(name: str = "id") -> dict[str, Any]:
    return {"name": name, "logicalType": "integer", "primaryKey": True, "primaryKeyPosition": 1, "required": True}  # fmt: skip


def contract() -> dict[str, Any]:
    search = {"text": True, "facet": True, "sort": True, "suggest": True}
    wide = [key()]
    for number, (name, column) in enumerate(columns().items()):
        wide.append({"name": name, "physicalName": column, "logicalType": "string"})
        if number < SEARCHED or name.startswith("_"):
            wide[-1]["customProperties"] = [extension("search", search)]
    many: list[dict[str, Any]] = [key()]
    for number, name in enumerate(relations()):
        to = {"id": name, "to": "small.id", "customProperties": [extension("inverse", f"many{number}")]}  # fmt: skip
        many.append({"name": f"fk{number}", "logicalType": "integer", "relationships": [to]})
    small = [key()]
    for name, column in aliases().items():
        small.append({"name": name, "physicalName": column, "logicalType": "string"})
    child: list[dict[str, Any]] = [
        {**key("class"), "physicalName": "x"},
        {"name": "d0", "logicalType": "integer", "relationships": [
            {"id": "n0", "to": "m.id", "customProperties": [extension("inverse", "x0")]}]},
        {"name": "doc", "logicalType": "string"},
    ]  # fmt: skip
    return {
        "apiVersion": "v3.2.0", "kind": "DataContract", "id": "names", "name": "names",
        "version": "1.0.0", "status": "active",
        "schema": [
            {"name": "wide", "physicalName": "t", "properties": wide},
            {"name": "small", "physicalName": "asked", "properties": small},
            {"name": "m", "physicalName": "n0", "properties": many,
             "customProperties": [extension("plural", "ms"), extension("embed", [*relations(), "x0"])]},
            {"name": "x", "physicalName": "excluded", "properties": child,
             "customProperties": [extension("plural", "xs"), extension("embed", ["n0"])]},
        ],
    }  # fmt: skip


def rows() -> dict[str, list[dict[str, Any]]]:
    """Of each type: property → value."""
    wide = [{"id": i} | {n: f"{c} {i}" for n, c in columns().items()} for i in (1, 2, 3)]
    many = [
        {"id": i} | {f"fk{n}": 1 + (i + n) % 3 for n in range(len(relations()))} for i in (1, 2)
    ]
    child = [{"class": i, "d0": 1 + i % 2, "doc": f"doc {i}"} for i in (1, 2, 3)]
    small = [{"id": i} | {n: f"{c} {i}" for n, c in aliases().items()} for i in (1, 2, 3)]
    return {"wide": wide, "small": small, "m": many, "x": child}


def expected() -> dict[str, dict[str, Any]]:
    """type → key → document."""
    found = rows()
    small = {r["id"]: r for r in found["small"]}
    plain = {r["id"]: r for r in found["m"]}
    many = {
        i: r
        | {name: small[r[f"fk{n}"]] for n, name in enumerate(relations())}
        | {"x0": [c for c in found["x"] if c["d0"] == i]}
        for i, r in plain.items()
    }
    child = {c["class"]: c | {"n0": plain[c["d0"]]} for c in found["x"]}
    return {
        "wide": {str(r["id"]): r for r in found["wide"]},
        "small": {str(i): r for i, r in small.items()},
        "m": {str(i): r for i, r in many.items()},
        "x": {str(i): r for i, r in child.items()},
    }


def load(url: str, folder: Path, file: Path) -> None:
    """Import the rows, half of them as JSON, half as CSV; and all again, as updates."""
    loaded = load_contract(file)
    for type_name, records in rows().items():
        lines = folder / f"{type_name}.ndjson"
        lines.write_bytes(b"\n".join(orjson.dumps(r) for r in records[:1]) + b"\n")
        table = folder / f"{type_name}.csv"
        with table.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.DictWriter(opened, list(records[0]))
            writer.writeheader()
            writer.writerows(records)
        for source in (lines, table):
            report = run_import(url, loaded, type_name, [str(source)], ImportOptions())
            assert (report.rejected, report.read) == (0, 1 if source is lines else len(records))


async def answer(rig: Rig, query: str, variables: Any = None) -> dict[str, Any]:
    found = await rig.graphql(query, variables)
    assert "errors" not in found, str(found["errors"])[:2000]
    data: dict[str, Any] = found["data"]
    return data


def fields(of: dict[str, str] | None = None) -> list[tuple[str, str]]:
    """(GraphQL field, property) of the wide type."""
    return [(names.camel(n), n) for n in of or columns()]


async def lists(rig: Rig) -> None:
    wide = rows()["wide"]
    selection = " ".join(f for f, _ in fields())
    found = await answer(rig, f"{{ wides {{ totalCount nodes {{ id {selection} }} }} }}")
    assert found["wides"]["nodes"] == [
        {"id": str(r["id"])} | {f: r[n] for f, n in fields()} for r in wide
    ]
    one = await answer(rig, f'{{ wide(id: "2") {{ {selection} }} }}')
    assert one["wide"] == {f: wide[1][n] for f, n in fields()}
    for chunk in split(fields(), CHUNK):
        where = {f: {"eq": wide[1][n]} for f, n in chunk}
        where |= {"not": {"or": [{f: {"eq": "no"}} for f, _ in chunk]}}
        found = await answer(
            rig,
            "query ($where: WideFilter) { wides(filter: $where) { edges { cursor node { id } } } }",
            {"where": where},
        )
        assert [e["node"]["id"] for e in found["wides"]["edges"]] == ["2"]
    for chunk in split(fields(aliases()), STEPS):
        order = [{f: "DESC"} for f, _ in chunk]
        found = await answer(
            rig,
            "query ($order: [WideOrderBy!]) { all: wides(orderBy: $order, first: 2)"
            " { nodes { id } pageInfo { endCursor hasNextPage } } }",
            {"order": order},
        )
        assert [n["id"] for n in found["all"]["nodes"]] == ["3", "2"]
        after = found["all"]["pageInfo"]["endCursor"]
        found = await answer(
            rig,
            "query ($order: [WideOrderBy!], $after: String) {"
            " wides(orderBy: $order, first: 2, after: $after) { nodes { id } pageInfo { hasNextPage } } }",
            {"order": order, "after": after},
        )
        assert found["wides"] == {"nodes": [{"id": "1"}], "pageInfo": {"hasNextPage": False}}


async def aggregates(rig: Rig) -> None:
    wide = rows()["wide"]
    for chunk in split(fields(aliases()), GROUPS):
        group = " ".join(f for f, _ in chunk)
        query = (
            f"{{ widesAggregate(groupBy: [{', '.join(f for f, _ in chunk)}],"
            f" orderBy: [{{group: {{{chunk[0][0]}: DESC}}}}])"
            f" {{ count group {{ {group} }} }} }}"
        )
        found = (await answer(rig, query))["widesAggregate"]
        assert [g["group"] for g in found] == [{f: r[n] for f, n in chunk} for r in wide[::-1]]
    for chunk in split(fields(), CHUNK):
        every = " ".join(f for f, _ in chunk)
        query = f"{{ widesAggregate {{ min {{ {every} }} countDistinct {{ {every} }} }} }}"
        (found,) = (await answer(rig, query))["widesAggregate"]
        assert found["min"] == {f: wide[0][n] for f, n in chunk}
        assert found["countDistinct"] == {f: 3 for f, _ in chunk}


async def nested(rig: Rig) -> None:
    want = expected()
    for some in split(relations(), STEPS):
        inner = " ".join(f"{name} {{ id x asked }}" for name in some)
        found = await answer(
            rig, f'{{ m(id: "1") {{ id {inner} x0 {{ nodes {{ class doc n0 {{ id }} }} }} }} }}'
        )
        for name in some:
            target = want["m"]["1"][name]
            assert found["m"][name] == {"id": str(target["id"]), "x": target["x"], "asked": target["asked"]}  # fmt: skip
        assert [n["doc"] for n in found["m"]["x0"]["nodes"]] == [c["doc"] for c in want["m"]["1"]["x0"]]  # fmt: skip
        where = {name: {"x": {"eq": want["m"]["1"][name]["x"]}} for name in some}
        order = [{name: {"x": "ASC"}} for name in some]
        found = await answer(
            rig,
            "query ($where: MFilter, $order: [MOrderBy!]) { ms(filter: $where, orderBy: $order) { nodes { id } } }",
            {"where": where, "order": order},
        )
        assert found["ms"]["nodes"] == [{"id": "1"}]


async def searches(rig: Rig) -> None:
    marked = [n for i, n in enumerate(columns()) if i < SEARCHED or n.startswith("_")]
    for name in marked:
        field = names.camel(name)
        value = rows()["wide"][2][name]
        found = await answer(
            rig,
            'query ($where: WideFilter) { searchWides(query: "3", filter: $where,'
            f" sort: [{{{field}: DESC}}]) {{ nodes {{ id }} }} }}",
            {"where": {field: {"eq": value}}},
        )
        assert found["searchWides"]["nodes"] == [{"id": "3"}], name
    facets = ",".join(names.camel(n) for n in marked)
    response = await rig.client.get("/search/wide", params={"q": "2", "facets": facets})
    assert response.status_code == 200, response.text
    body = response.json()
    assert [hit["record"]["id"] for hit in body["hits"]] == [2]
    assert len(body["facets"]) == len(marked)


async def mutations(rig: Rig) -> None:
    record = {"id": 9} | {f: f"nine {n}" for f, n in fields()}
    selection = " ".join(f for f, _ in fields())
    made = await answer(
        rig,
        f"mutation ($r: WideInput!) {{ createWide(input: $r) {{ wide {{ id {selection} }} token }} }}",
        {"r": record},
    )
    assert made["createWide"]["wide"] == {**record, "id": "9"}
    changed = {f: f"ten {n}" for f, n in fields()}
    made = await answer(
        rig,
        f'mutation ($p: WidePatch!) {{ updateWide(id: "9", input: $p) {{ wide {{ {selection} }} }} }}',
        {"p": changed},
    )
    assert made["updateWide"]["wide"] == changed
    made = await answer(
        rig,
        f"mutation ($r: [WideInput!]!) {{ upsertWides(input: $r) {{ wides {{ {selection} }} }} }}",
        {"r": [record]},
    )
    assert made["upsertWides"]["wides"] == [{f: record[f] for f, _ in fields()}]
    made = await answer(
        rig,
        "mutation ($w: WideFilter!) { deleteWides(filter: $w, max: 1) { count } }",
        {"w": {f: {"eq": record[f]} for f, _ in fields()[:CHUNK]}},
    )
    assert made["deleteWides"]["count"] == 1


async def exports(rig: Rig) -> None:
    wanted = [{"id": r["id"]} | {f: r[n] for f, n in fields()} for r in rows()["wide"]]
    for form in ("ndjson", "csv", "parquet"):
        response = await rig.client.get("/export/wide", params={"format": form})
        assert response.status_code == 200, response.text[:500]
        if form == "ndjson":
            assert [orjson.loads(line) for line in response.content.splitlines()] == wanted
        elif form == "csv":
            read = list(csv.DictReader(response.text.splitlines()))
            assert read == [{k: str(v) for k, v in r.items()} for r in wanted]
        else:
            assert pq.read_table(io.BytesIO(response.content)).to_pylist() == wanted


def test_every_name_of_ours_may_be_a_users_name(database: str, tmp_path: Path) -> None:
    file = tmp_path / "names.odcs.yaml"
    file.write_text(json.dumps(contract()), "utf-8")

    async def main() -> None:
        async with gateway(
            database, tmp_path / "rig", contract=file, rows="", limits=LIMITS, published=False
        ) as rig:
            await asyncio.to_thread(load, database, tmp_path, file)
            await rig.publish()
            await lists(rig)
            await aggregates(rig)
            await nested(rig)
            await searches(rig)
            await mutations(rig)
            await exports(rig)
        await follows(database, tmp_path, file)

    asyncio.run(main())


@pytest.mark.servers
def test_every_name_of_ours_may_be_a_users_name_on_servers(
    database: str, tmp_path: Path, elasticsearch_url: str, mongodb_url: str
) -> None:
    """Fields of indexes and of documents: what is read by key, nested, filtered, sorted and
    counted."""
    file = tmp_path / "names.odcs.yaml"
    file.write_text(json.dumps(contract()), "utf-8")
    name = f"t{secrets.token_hex(8)}"
    search = f"{elasticsearch_url}/{name}"

    async def main() -> None:
        async with gateway(
            database, tmp_path, contract=file, rows="", limits=LIMITS, published=False,
            documents_url=f"{mongodb_url}/{name}", search_url=search,
        ) as rig:  # fmt: skip
            await asyncio.to_thread(load, database, tmp_path, file)
            await rig.publish()
            selection = " ".join(f for f, _ in fields())
            found = await rig.graphql(f'{{ wide(id: "2") {{ {selection} }} }}')
            assert found["extensions"]["recordgate"]["fields"]["wide"]["store"] == "documents"
            assert found["data"]["wide"] == {f: rows()["wide"][1][n] for f, n in fields()}
            await nested(rig)
            await searches(rig)

    try:
        asyncio.run(main())
    finally:
        remove_elasticsearch_indexes(search)


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb"])
def test_a_field_of_a_file_that_nothing_can_be_called_is_refused_by_name(
    database: str, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "shop.odcs.yaml"
    file.write_text(CONTRACT, "utf-8")
    lines = tmp_path / "product.ndjson"
    lines.write_bytes(orjson.dumps({"sku": "1", name: "x"}) + b"\n")
    loaded = load_contract(file)
    prepare(database, loaded, "SELECT 1")
    with pytest.raises(InputError, match="has a quote, a backslash or a control character"):
        run_import(database, loaded, "product", [str(lines)], ImportOptions())


async def follows(database: str, folder: Path, file: Path) -> None:
    """A worker loads and follows; what the stores hold is what was imported."""
    with connect(database) as conn:
        world = World(load_contract(file), database, folder / "world", conn)
        async with world.running():
            await world.synced()
            for type_name, documents in expected().items():
                for sink in ("search", "documents"):
                    assert await world.held(sink, type_name) == documents, (sink, type_name)
            world.sql(
                "UPDATE public.t SET x = x || '!' WHERE id = 1",
                "UPDATE public.asked SET x = x || '!' WHERE id = 2",
                "UPDATE public.excluded SET d0 = 1",
                "DELETE FROM public.n0 WHERE id = 2",
            )
            await world.synced()
            async with world.readers() as stores:
                report = await verify(world.contract, world.url, stores)
            assert report.differences == 0
            held = await world.held("documents", "x")
            assert {d["n0"]["id"] for d in held.values()} == {1}
