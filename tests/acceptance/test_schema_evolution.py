"""A contract that changes while records are written and read: `plan` says what each store needs,
no reader sees an error, the worker outlives the DDL, and afterwards every document has its new
form."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recordgate.cli.app import build
from stores.canonical.apply import apply_plan
from stores.canonical.plan import make_plan
from stores.contract.load import load_contract
from stores.query import SearchQuery
from tests.servers import remove_elasticsearch_indexes
from tests.sync_world import CONTRACT, SINKS, World, fill, shop

Documents = Mapping[str, Mapping[str, dict[str, Any]]]


@dataclass(frozen=True)
class Case:
    """`new` in place of `old` in the contract; `also` is written once the tables are changed;
    `reloaded`: the types of whose documents the form changes; `expect` changes what the oracle says
    of the old contract."""

    old: str
    new: str
    reloaded: set[str]
    expect: Callable[[World, Documents], None]
    also: tuple[str, ...] = ()
    steps: list[str] = field(default_factory=list)


def countries_in(documents: Documents) -> Iterator[dict[str, Any]]:
    yield from documents["country"].values()
    for region in documents["region"].values():
        yield from region["countries"]
    yield from (c["country"] for c in documents["city"].values() if c["country"])


def products_in(documents: Documents) -> Iterator[dict[str, Any]]:
    yield from documents["product"].values()
    yield from (x["product"] for x in lines_in(documents) if x.get("product"))


def lines_in(documents: Documents) -> Iterator[dict[str, Any]]:
    yield from documents["line"].values()
    for order in documents["order"].values():
        yield from order["lines"]


def added(world: World, documents: Documents) -> None:
    found = {r["iso"]: r["area"] for r in world.rows("SELECT iso, area FROM public.countries")}
    for country in countries_in(documents):
        country["area"] = found[country["iso"]]


def renamed(world: World, documents: Documents) -> None:
    for country in countries_in(documents):
        country["title"] = country.pop("name")


def dropped(world: World, documents: Documents) -> None:
    for product in products_in(documents):
        del product["price"]


def retyped(world: World, documents: Documents) -> None:
    for line in lines_in(documents):
        line["quantity"] = None if line["quantity"] is None else str(line["quantity"])


def related(world: World, documents: Documents) -> None:
    for line in documents["line"].values():
        product = documents["product"].get(line["sku"])
        line["product"] = None if product is None else dict(product)


COUNTRY_NAME = "- {name: name, logicalType: string}\n      - name: regionCode"
CASES = {
    "add": Case(
        COUNTRY_NAME,
        COUNTRY_NAME.replace("string}\n", "string}\n      - {name: area, logicalType: integer}\n"),
        {"country", "region", "city"},
        added,
        ("UPDATE public.countries SET area = length(name)",),
        ["add_column"],
    ),
    "rename": Case(
        COUNTRY_NAME,
        COUNTRY_NAME.replace("name: name", "name: title, physicalName: name"),
        {"country", "region", "city"},
        renamed,
    ),
    "drop": Case(
        '      - {name: price, logicalType: number, physicalType: "numeric(10,2)"}\n',
        "",
        {"product", "order"},
        dropped,
        steps=["drop_column"],
    ),
    "retype": Case(
        "{name: quantity, logicalType: integer}",
        "{name: quantity, logicalType: string}",
        {"line", "order"},
        retyped,
        steps=["alter_type"],
    ),
    "relation": Case(
        "    physicalName: lines\n",
        "    physicalName: lines\n"
        "    customProperties: [{property: embed, vendor: recordgate, value: [product]}]\n",
        {"line"},
        related,
    ),
}


@pytest.fixture
def world(database: str, tmp_path: Path) -> Iterator[World]:
    with shop(database, tmp_path) as found:
        fill(found, orders=300)
        yield found


def planned(world: World, *command: str) -> dict[str, Any]:
    environment = {
        "RECORDGATE_CONTRACT": str(world.folder / "shop.odcs.yaml"),
        "RECORDGATE_POSTGRES": world.url,
        "RECORDGATE_DATA_DIR": str(world.folder),
    }
    done = CliRunner().invoke(build(), [*command, "--json"], env=environment)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def read(worlds: list[World], sinks: tuple[str, ...], done: asyncio.Event) -> None:
    """As gateways do, one with each contract: every record is there at every moment."""
    keys = ["shop\\\\\\,1,1", "shop\\\\\\,2,2"]
    while not done.is_set():
        for world in worlds:
            async with world.readers(sinks) as stores:
                for _ in range(20):
                    if "documents" in stores:
                        held = await stores["documents"].get("order", keys)  # type: ignore[attr-defined]
                        assert len(held) == 2
                    if "search" in stores:
                        query = SearchQuery("region", "Region")
                        hits = await stores["search"].search(query)  # type: ignore[attr-defined]
                        assert hits.total == 4
                    await asyncio.sleep(0.002)


async def write(world: World, done: asyncio.Event) -> None:
    turn = 0
    while not done.is_set():
        world.sql(
            f"UPDATE public.orders SET note = '{turn}' WHERE number % 50 = {turn % 50}",
            f"UPDATE public.countries SET name = 'Country {turn}' WHERE iso = 'c{1 + turn % 9}'",
            f"DELETE FROM public.lines WHERE id = {10 + turn}",
        )
        turn += 1
        await asyncio.sleep(0.01)


def changes_seen_by_nobody(world: World, case: Case, sinks: tuple[str, ...]) -> None:
    async def main() -> None:
        async with world.running(sinks=sinks):
            await world.synced(sinks)
            file = world.folder / "shop.odcs.yaml"
            assert CONTRACT.count(case.old) == 1
            file.write_text(CONTRACT.replace(case.old, case.new))
            new = World(load_contract(file), world.url, world.folder, world.conn, world.stores)
            done = asyncio.Event()
            tasks = [
                asyncio.create_task(write(world, done)),
                asyncio.create_task(read([world, new], sinks, done)),
            ]
            await asyncio.sleep(0.3)
            # The worker with the old contract runs, and changes flow.
            found = planned(world, "plan")
            assert [s["kind"] for s in found["steps"]] == case.steps
            assert {(n["sink"], n["type"], n["what"]) for n in found["stores"]} == {
                (sink, name, "reload") for sink in sinks for name in case.reloaded
            }
            plan = make_plan(world.conn, new.contract)
            apply_plan(world.conn, new.contract, plan, allow_destructive=True)
            world.sql(*case.also)
            await asyncio.sleep(0.5)
        async with new.running(sinks=sinks):
            await new.synced(sinks)
            done.set()
            await asyncio.gather(*tasks)
            await rebuilt(new, case, sinks)
            await new.synced(sinks)
        expected = new.oracle() if case.steps != ["drop_column"] else without_price(new)
        case.expect(new, expected)
        for sink in sinks:
            for name in new.contract.types:
                assert await new.held(sink, name) == expected[name], (sink, name)
        assert planned(new, "plan")["stores"] == []

    asyncio.run(main())


async def rebuilt(world: World, case: Case, sinks: tuple[str, ...]) -> None:
    """Wait until what changed its form, and nothing else, has a later generation: the second; the
    third where the worker with the old contract had loaded what an altered column made it miss."""

    def right(sink: str, name: str) -> set[int]:
        if name not in case.reloaded:
            return {1}
        return {2, 3} if "alter_type" in case.steps else {2}

    expected = {(sink, name): right(sink, name) for sink in sinks for name in world.contract.types}
    for _ in range(60):
        if not planned(world, "plan")["stores"]:
            break
        await asyncio.sleep(0.5)
    rows = world.rows(
        "SELECT sink, type, number FROM recordgate.generations WHERE state = 'active'"
    )
    numbers = {(r["sink"], r["type"]): r["number"] for r in rows}
    assert numbers.keys() == expected.keys()
    assert all(number in expected[place] for place, number in numbers.items()), numbers


def without_price(world: World) -> dict[str, dict[str, Any]]:
    """The oracle asks for the column that is gone."""
    world.sql("ALTER TABLE public.products ADD COLUMN price numeric")
    found = world.oracle()
    world.sql("ALTER TABLE public.products DROP COLUMN price")
    return found


@pytest.mark.parametrize("name", CASES)
def test_a_change_of_the_contract_under_writes_and_reads(world: World, name: str) -> None:
    changes_seen_by_nobody(world, CASES[name], SINKS)


@pytest.mark.servers
def test_a_property_is_added_in_elasticsearch(world: World, elasticsearch_url: str) -> None:
    place = f"{elasticsearch_url}/t{secrets.token_hex(8)}"
    world.stores = {"search": place}
    try:
        changes_seen_by_nobody(world, CASES["add"], ("search",))
    finally:
        remove_elasticsearch_indexes(place)
