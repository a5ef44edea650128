"""Values at the ends of their types: shown, asked for, counted and found alike through every store,
and none of them costs more than its own field."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.gateway_rig import Rig, gateway
from tests.servers import remove_elasticsearch_indexes

CONTRACT = """
apiVersion: v3.2.0
kind: DataContract
id: odd
name: odd
version: 1.0.0
status: active
schema:
  - name: thing
    physicalName: things
    properties:
      - {name: nr, logicalType: integer, physicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
      - name: size
        logicalType: number
        customProperties: [{property: search, vendor: recordgate, value: {facet: true, sort: true}}]
      - name: price
        logicalType: number
        physicalType: numeric(8,2)
        required: true
        customProperties: [{property: search, vendor: recordgate, value: {facet: true, sort: true}}]
      - {name: exact, logicalType: number, physicalType: numeric}
      - {name: single, logicalType: number, physicalType: real}
      - {name: sizes, logicalType: array, items: {name: x, logicalType: number}}
      - {name: grid, logicalType: array, physicalType: "integer[]", required: true, items: {name: x, logicalType: integer, physicalType: integer}}
      - {name: extra, logicalType: object}
      - name: day
        logicalType: date
        customProperties: [{property: search, vendor: recordgate, value: {facet: true, sort: true}}]
      - name: moment
        logicalType: timestamp
        customProperties: [{property: search, vendor: recordgate, value: {facet: true, sort: true}}]
      - name: local
        logicalType: timestamp
        logicalTypeOptions: {timezone: false}
        customProperties: [{property: search, vendor: recordgate, value: {facet: true, sort: true}}]
      - {name: clock, logicalType: time}
      - {name: days, logicalType: array, items: {name: x, logicalType: date}}
      - name: title
        logicalType: string
        customProperties: [{property: search, vendor: recordgate, value: {text: true}}]
  - name: era
    physicalName: eras
    properties:
      - {name: begin, logicalType: date, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: till, logicalType: timestamp, primaryKey: true, primaryKeyPosition: 2, required: true}
      - {name: name, logicalType: string}
"""
ROWS = """
INSERT INTO things (nr, size, price, exact, single, sizes, grid, extra, day, moment, local, clock, days, title) VALUES
 (1, 'NaN', 'NaN', 'NaN', 'NaN', '{NaN,1.5}', '{1,2}', '{"a": 1}', 'infinity', 'infinity', '-infinity', '24:00', '{infinity,0044-03-15 BC}', 'odd one'),
 (2, 'Infinity', 1.5, 'Infinity', 3e38, '{Infinity,-Infinity}', '{{1,2},{3,4}}', '{"a": 1e400}', '0044-03-15 BC', '0044-03-15 12:00+00 BC', '0044-03-15 12:00 BC', '12:00', NULL, 'odd two'),
 (3, '-Infinity', 2.5, '-1e400', 3e38, NULL, '{}', '[1e400, "x"]', '12000-01-01', '294276-12-31 23:59:59.999999+00', '294276-12-31 23:59:59.999999', NULL, NULL, 'odd three'),
 (4, NULL, 2.5, NULL, NULL, NULL, '{7}', NULL, NULL, NULL, NULL, NULL, NULL, 'odd four'),
 (5, 1.5, 9.5, 1.10, 1.5, '{1}', '{2}', '"text"', '2024-05-01', '2024-05-01 12:00+00', '2024-05-01 12:00', '08:30', '{2024-05-01}', 'odd five');
INSERT INTO eras VALUES ('0044-03-15 BC', 'infinity', 'rome'), ('2000-01-01', '12000-01-01 00:00+00', 'now');
"""


def served(
    database: str, folder: Path, go: Callable[[Rig], Awaitable[None]], **stores: str
) -> None:
    (folder / "odd.odcs.yaml").write_text(CONTRACT)

    async def main() -> None:
        async with gateway(
            database, folder, contract=folder / "odd.odcs.yaml", rows=ROWS, **stores
        ) as rig:
            await go(rig)

    asyncio.run(main())


async def numbers(rig: Rig, filter_: str) -> dict[str, list[int]]:
    """Which things meet the filter, by the door."""
    listed = await rig.graphql(f"{{ things(filter: {filter_}) {{ nodes {{ nr }} }} }}")
    found = await rig.graphql(
        f'{{ searchThings(query: "odd", filter: {filter_}) {{ nodes {{ nr }} }} }}'
    )
    assert "errors" not in listed, listed
    doors = {"list": sorted(n["nr"] for n in listed["data"]["things"]["nodes"])}
    if not any(name in filter_ for name in NOT_SEARCHED):
        assert "errors" not in found, found
        doors["search"] = sorted(n["nr"] for n in found["data"]["searchThings"]["nodes"])
    return doors


NOT_SEARCHED = ("exact:", '{eq: "294276')
"""What a search refuses: a decimal without bounds, and a moment beyond those that it tells
apart."""


ASKED: list[tuple[str, list[int]]] = [
    ('{day: {eq: "infinity"}}', [1]),
    ('{day: {eq: "0044-03-15 BC"}}', [2]),
    ('{day: {gt: "9999-12-31"}}', [1, 3]),
    ('{day: {lt: "0001-01-01"}}', [2]),
    ('{day: {in: ["12000-01-01", "2024-05-01"]}}', [3, 5]),
    ('{day: {neq: "infinity"}}', [2, 3, 5]),
    ('{moment: {eq: "infinity"}}', [1]),
    ('{moment: {eq: "0044-03-15T14:00:00+02:00 BC"}}', [2]),
    ('{moment: {eq: "294276-12-31T23:59:59.999999Z"}}', [3]),
    ('{moment: {gt: "9999-12-31T23:00:00-05:00"}}', [1, 3]),
    ('{moment: {lt: "0001-01-01T00:30:00+01:00"}}', [2]),
    ('{local: {lte: "0044-03-15T12:00:00 BC"}}', [1, 2]),
    ('{clock: {gt: "23:59:59"}}', [1]),
    ('{clock: {eq: "24:00:00"}}', [1]),
    ('{days: {contains: "0044-03-15 BC"}}', [1]),
    ("{size: {isNull: true}}", [1, 2, 3, 4]),
    ("{size: {gt: 0}}", [5]),
    ("{size: {neq: 3}}", [5]),
    ('{price: {eq: "NaN"}}', [1]),
    ('{price: {gt: "2.5"}}', [1, 5]),
    ('{exact: {eq: "Infinity"}}', [2]),
    ("{grid: {contains: 3}}", [2]),
]


@pytest.mark.parametrize("stores", ["embedded", pytest.param("servers", marks=pytest.mark.servers)])
def test_what_is_shown_can_be_asked_for(
    database: str, tmp_path: Path, stores: str, request: pytest.FixtureRequest
) -> None:
    more = {}
    name = f"t{secrets.token_hex(8)}"
    if stores == "servers":
        more = {
            "documents_url": f"{request.getfixturevalue('mongodb_url')}/{name}",
            "search_url": f"{request.getfixturevalue('elasticsearch_url')}/{name}",
        }

    async def go(rig: Rig) -> None:
        for filter_, expected in ASKED:
            found = await numbers(rig, filter_)
            assert found == dict.fromkeys(found, expected), filter_

    try:
        served(database, tmp_path, go, **more)
    finally:
        if "search_url" in more:
            remove_elasticsearch_indexes(more["search_url"])


SHOWN: dict[int, dict[str, Any]] = {
    1: {
        "size": None, "price": "NaN", "exact": "NaN", "sizes": [None, 1.5], "grid": [1, 2], "day": "infinity",
        "moment": "infinity", "local": "-infinity", "clock": "24:00:00", "days": ["infinity", "0044-03-15 BC"],
    },
    2: {
        "size": None, "price": "1.50", "exact": "Infinity", "sizes": [None, None], "grid": [1, 2, 3, 4],
        "day": "0044-03-15 BC", "moment": "0044-03-15T12:00:00+00:00 BC", "local": "0044-03-15T12:00:00 BC",
    },
    3: {"size": None, "grid": [], "day": "12000-01-01", "moment": "294276-12-31T23:59:59.999999+00:00"},
}  # fmt: skip


def test_odd_values_are_shown_alike_by_every_door_and_cost_no_page(
    database: str, tmp_path: Path
) -> None:
    fields = "nr size price exact sizes grid day moment local clock days"

    async def go(rig: Rig) -> None:
        listed = await rig.graphql(f"{{ things {{ nodes {{ {fields} }} }} }}")
        one_by_one = [await rig.graphql(f'{{ thing(id: "{n}") {{ {fields} }} }}') for n in SHOWN]
        found = await rig.graphql(f'{{ searchThings(query: "odd") {{ nodes {{ {fields} }} }} }}')
        ordinary = await rig.graphql(f"{{ things {{ nodes {{ {fields} extra }} }} }}")
        answers = (listed, found, ordinary, *one_by_one)
        assert not [a for a in answers if "errors" in a]
        doors = [
            listed["data"]["things"]["nodes"],
            found["data"]["searchThings"]["nodes"],
            ordinary["data"]["things"]["nodes"],
            [a["data"]["thing"] for a in one_by_one],
        ]
        for records in doors:
            by_number = {r["nr"]: r for r in records}
            for number, expected in SHOWN.items():
                assert {k: by_number[number][k] for k in expected} == expected
        # The number that no double holds comes with all its digits.
        raw = (
            await rig.client.post("/graphql", json={"query": "{ things { nodes { nr extra } } }"})
        ).text
        assert '"extra":{"a":1' + "0" * 400 + "}" in raw.replace(" ", "")
        hit = await rig.client.get("/search/thing?q=odd")
        assert hit.status_code == 200
        assert "1" + "0" * 400 in hit.text

    served(database, tmp_path, go)


def test_infinite_and_far_keys_are_read_written_and_paged(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        page = await rig.graphql("{ eras { edges { cursor node { id begin till } } } }")
        edges = page["data"]["eras"]["edges"]
        ids = [e["node"]["id"] for e in edges]
        assert [e["node"]["till"] for e in edges] == ["infinity", "12000-01-01T00:00:00+00:00"]
        for id_, name in zip(ids, ("rome", "now"), strict=True):
            read = await rig.graphql("query($id: ID!) { era(id: $id) { name } }", {"id": id_})
            assert read["data"] == {"era": {"name": name}}
        for order in ("[{till: DESC}]", "[{begin: ASC}]"):
            first = await rig.graphql(
                f"{{ eras(first: 1, orderBy: {order}) {{ pageInfo {{ endCursor }} nodes {{ id }} }} }}"
            )
            cursor = first["data"]["eras"]["pageInfo"]["endCursor"]
            rest = await rig.graphql(
                f'{{ eras(after: "{cursor}", orderBy: {order}) {{ nodes {{ id }} }} }}'
            )
            assert "errors" not in rest, rest
            seen = [n["id"] for x in (first, rest) for n in x["data"]["eras"]["nodes"]]
            assert sorted(seen) == sorted(ids)
        made = await rig.graphql(
            'mutation { createThing(input: {nr: 9, price: "NaN", grid: [], day: "0001-12-31 BC", moment: "-infinity",'
            ' local: "12000-02-29T23:00:00", clock: "24:00", days: ["2024-01-01", "infinity"]})'
            " { thing { price day moment local clock days } }"
            ' upsertEras(input: [{begin: "infinity", till: "0044-03-15T12:00:00Z BC", name: "x"}]) { eras { id begin till } } }'
        )
        assert "errors" not in made, made
        assert made["data"]["createThing"]["thing"] == {
            "price": "NaN", "day": "0001-12-31 BC", "moment": "-infinity", "local": "12000-02-29T23:00:00",
            "clock": "24:00:00", "days": ["2024-01-01", "infinity"],
        }  # fmt: skip
        (era,) = made["data"]["upsertEras"]["eras"]
        assert (era["begin"], era["till"]) == ("infinity", "0044-03-15T12:00:00+00:00 BC")
        gone = await rig.graphql(
            "mutation($id: ID!) { deleteEra(id: $id) { deleted } }", {"id": era["id"]}
        )
        assert gone["data"] == {"deleteEra": {"deleted": True}}

    served(database, tmp_path, go)


def test_words_and_other_notations_are_no_values_at_the_doors_of_json(
    database: str, tmp_path: Path
) -> None:
    refused = [
        ("day", ["today", "yesterday", "epoch", "J2451187", "2024-5-1", "20240501", "2024-05-01 12:00:00"]),
        ("moment", ["now", "2024-05-01T12:00:00", "2024-05-01", "May 1 2024"]),
        ("local", ["2024-05-01T12:00:00Z", "now"]),
        ("clock", ["allballs", "now", "1 PM"]),
        ("price", ["0x1F", "1_000", "nan", "inf"]),
    ]  # fmt: skip

    async def go(rig: Rig) -> None:
        for name, texts in refused:
            for text in texts:
                asked = await rig.graphql(
                    f'{{ things(filter: {{{name}: {{eq: "{text}"}}}}) {{ nodes {{ nr }} }} }}'
                )
                assert asked["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT", (name, text)
                given = f'{name}: "{text}"' + ("" if name == "price" else ', price: "1"')
                put = await rig.graphql(
                    f"mutation {{ createThing(input: {{nr: 99, grid: [], {given}}}) {{ thing {{ nr }} }} }}"
                )
                assert put["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT", (name, text)

    served(database, tmp_path, go)


AGGREGATED = """
INSERT INTO things (nr, size, price, exact, single, grid) VALUES
 (11, 1.7e308, 1, '1e400', 3e38, '{}'), (12, 1.7e308, 1, '1e400', 3e38, '{}'), (13, -1e-320, 1, NULL, NULL, '{}')
"""


def test_what_is_missing_is_missing_in_aggregates_and_what_does_not_fit_costs_its_field_only(
    database: str, tmp_path: Path
) -> None:
    async def go(rig: Rig) -> None:
        groups = await rig.graphql(
            "{ thingsAggregate(groupBy: [size]) { count group { size } } "
            " all: thingsAggregate { count countDistinct { size } sum { size single } avg { size } min { size } max { size }"
            " percentile(fraction: 0.5) { size } } }"
        )
        assert "errors" not in groups, groups
        by_size = {g["group"]["size"]: g["count"] for g in groups["data"]["thingsAggregate"]}
        assert by_size == {None: 4, 1.5: 1}
        (whole,) = groups["data"]["all"]
        assert whole["count"] == 5
        assert whole["countDistinct"] == {"size": 1}
        for function in ("sum", "avg", "min", "max", "percentile"):
            assert whole[function]["size"] == 1.5, function
        assert whole["sum"]["single"] == pytest.approx(6e38)
        facets = await rig.graphql(
            '{ searchThings(query: "odd", facets: [size, day, price])'
            " { facets { field buckets { value count } } } }"
        )
        shown = {
            f["field"].lower(): {b["value"]: b["count"] for b in f["buckets"]}
            for f in facets["data"]["searchThings"]["facets"]
        }
        assert shown["size"] == {1.5: 1}
        assert shown["price"] == {"NaN": 1, "1.50": 1, "2.50": 2, "9.50": 1}
        assert shown["day"] == {
            "infinity": 1,
            "0044-03-15 BC": 1,
            "12000-01-01": 1,
            "2024-05-01": 1,
        }

        with psycopg.connect(rig.url, autocommit=True) as conn:
            conn.execute(AGGREGATED.encode())
        large = await rig.graphql(
            "{ thingsAggregate(filter: {nr: {gt: 10}}) { count sum { size exact } avg { size } max { size }"
            " percentile(fraction: 0.9) { exact } } }"
        )
        (one,) = large["data"]["thingsAggregate"]
        assert one["count"] == 3
        assert one["sum"]["size"] is None
        assert one["sum"]["exact"] == "2" + "0" * 400
        assert one["avg"]["size"] == pytest.approx(1.7e308 / 3 * 2)
        assert one["max"]["size"] == 1.7e308
        paths = {tuple(e["path"][2:]): e["extensions"]["code"] for e in large["errors"]}
        assert paths == {("sum", "size"): "OUT_OF_RANGE", ("percentile", "exact"): "OUT_OF_RANGE"}
        fits = await rig.graphql(
            "{ thingsAggregate(filter: {nr: {in: [5, 11, 13]}}) { sum { size } avg { size } } }"
        )
        (two,) = fits["data"]["thingsAggregate"]
        assert two["sum"]["size"] == pytest.approx(1.7e308)
        assert two["avg"]["size"] == pytest.approx(1.7e308 / 3)

    served(database, tmp_path, go)
