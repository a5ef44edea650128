"""A gateway whose contract is newer than what the stores hold: everything that was answered before
is answered still, and only what is new waits for its load."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.gateway_rig import GEONAMES, Rig, gateway

NAME = "      - name: capital\n        logicalType: string\n"
MOTTO = """      - name: motto
        logicalType: string
        customProperties:
          - {property: search, vendor: recordgate, value: {text: true, facet: true, sort: true, suggest: true}}
"""
NEW_TYPE = """  - name: river
    physicalName: rivers
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
      - name: name
        logicalType: string
        customProperties:
          - {property: search, vendor: recordgate, value: {text: true}}
"""
EMBED = "      - {property: plural, vendor: recordgate, value: countries}\n"
ROWS = """
UPDATE countries SET motto = 'Liberté' WHERE iso = 'FR';
INSERT INTO rivers VALUES (1, 'Seine');
"""


def newer(folder: Path) -> Path:
    """Countries with a motto that is searched and with their cities inside, cities by another
    analyzer; and rivers."""
    text = GEONAMES.read_text("utf-8")
    for old, new in (
        (NAME, MOTTO + NAME),
        (EMBED, EMBED + "      - {property: embed, vendor: recordgate, value: [cities]}\n"),
        ("{text: true, boost: 4, suggest: true, sort: true}", "{text: true, analyzer: french, suggest: true, sort: true}"),
    ):  # fmt: skip
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    file = folder / "newer.odcs.yaml"
    file.write_text(text + NEW_TYPE, "utf-8")
    return file


def test_a_gateway_with_a_newer_contract_answers_all_that_it_did_before(
    database: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with gateway(database, tmp_path):
            pass
        async with gateway(
            database, tmp_path, contract=newer(tmp_path), rows=ROWS, published=False
        ) as rig:
            await searches(rig)
            await key_reads(rig)
            await what_is_new_waits(rig)
            await searches(rig)
            await rig.publish(generation=2)
            await asyncio.sleep(0.2)
            found = await rig.graphql(
                '{ searchCountries(query: "liberté", facets: ["motto"]) { nodes { iso }'
                " facets { field buckets { value count } } } }"
            )
            assert found["data"]["searchCountries"] == {
                "nodes": [{"iso": "FR"}],
                "facets": [{"field": "motto", "buckets": [{"value": "Liberté", "count": 1}]}],
            }

    asyncio.run(main())


async def searches(rig: Rig) -> None:
    found = await rig.graphql(
        '{ searchCountries(query: "france", facets: ["continent"], sort: [{population: DESC}],'
        ' filter: {continent: {eq: "EU"}}) { edges { node { iso motto cities { totalCount } }'
        " highlights { field } } facets { field } suggestions }"
        ' searchCities(query: "pari") { nodes { name country { name } } } }'
    )
    assert "errors" not in found, found
    (edge,) = found["data"]["searchCountries"]["edges"]
    # The records are canonical's, for the index holds them in the form of before.
    assert edge["node"] == {"iso": "FR", "motto": "Liberté", "cities": {"totalCount": 2}}
    assert edge["highlights"] == [{"field": "name"}]
    names = [n["name"] for n in found["data"]["searchCities"]["nodes"]]
    assert names == ["Paris", "Paris"]
    answer = await rig.client.get(
        "/search/country", params={"q": "france", "facets": "continent", "suggestions": "true"}
    )
    assert answer.status_code == 200, answer.text
    (hit,) = answer.json()["hits"]
    assert hit["record"]["name"] == "France"
    # Not null: Postgres has a motto, and this answer does not know it.
    assert not {"motto", "cities"} & hit["record"].keys()
    suggested = await rig.client.get("/suggest/country", params={"q": "fr"})
    assert [s["text"] for s in suggested.json()["suggestions"]] == ["France"]


async def key_reads(rig: Rig) -> None:
    found = await rig.graphql(
        '{ country(id: "FR") { motto cities { nodes { name } } } city(id: "2988507") { name } }'
    )
    assert found["data"]["country"] == {
        "motto": "Liberté",
        "cities": {"nodes": [{"name": "Paris"}, {"name": "Lyon"}]},
    }
    routes = found["extensions"]["recordgate"]["fields"]
    for name in ("country", "city"):  # a city has its country inside
        assert routes[name]["store"] == "canonical"
        assert "loaded by another contract" in routes[name]["reason"]


async def what_is_new_waits(rig: Rig) -> None:
    """More often than a breaker bears failures: it is no failure of the store."""
    for _ in range(3):
        for asked in (
            'searchCountries(query: "", facets: ["motto"]) { totalCount }',
            'searchCountries(query: "", sort: [{motto: ASC}]) { totalCount }',
            'searchCountries(query: "", filter: {motto: {isNull: true}}) { totalCount }',
            'searchRivers(query: "seine") { totalCount }',
        ):
            error = await refused(rig, asked)
            assert "loaded" in error["message"], error
            assert error["extensions"]["code"] == "STORE_UNAVAILABLE", error
    answer = await rig.client.get("/search/country", params={"facets": "motto"})
    assert (answer.status_code, answer.json()["code"]) == (503, "STORE_UNAVAILABLE")
    assert "motto" in answer.json()["detail"]
    assert answer.headers["retry-after"]
    found = await rig.graphql('{ river(id: "1") { name } rivers { totalCount } }')
    assert found["data"] == {"river": {"name": "Seine"}, "rivers": {"totalCount": 1}}


async def refused(rig: Rig, asked: str) -> dict[str, Any]:
    found = await rig.graphql(f"{{ {asked} }}")
    assert "errors" in found, found
    error: dict[str, Any] = found["errors"][0]
    return error


DDL = {
    "retyped": "ALTER TABLE cities ALTER population TYPE text USING population::text",
    "dropped": "ALTER TABLE cities DROP COLUMN population",
    "renamed": "ALTER TABLE cities RENAME TO towns",
}


@pytest.mark.parametrize("what", DDL)
def test_what_does_not_fit_canonical_any_more_is_unavailable_and_the_rest_is_answered(
    database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """The tables have changed under a gateway whose contract is of before."""

    async def main() -> None:
        async with gateway(database, tmp_path) as rig:
            with psycopg.connect(database) as conn:
                for (name,) in conn.execute(
                    "SELECT conname FROM pg_constraint WHERE contype = 'c'"
                    " AND conrelid = 'cities'::regclass AND conname LIKE '%population%'"
                ).fetchall():
                    conn.execute(f'ALTER TABLE cities DROP CONSTRAINT "{name}"'.encode())
                conn.execute(DDL[what].encode())
            for asked in (
                "cities(filter: {population: {gte: 5}}) { nodes { name population } }",
                "citiesAggregate(filter: {population: {gte: 5}}) { count }",
            ):
                error = await refused(rig, asked)
                assert error["extensions"]["code"] == "STORE_UNAVAILABLE", error
                assert error["extensions"]["store"] == "postgres"
                assert error["extensions"]["reference"] in caplog.text
            found = await rig.graphql(
                '{ city(id: "2988507") { population } countries { totalCount }'
                ' searchCities(query: "lyon") { totalCount } }'
            )
            assert found["data"] == {
                "city": {"population": 2138551},
                "countries": {"totalCount": 2},
                "searchCities": {"totalCount": 1},
            }

    asyncio.run(main())
    named = {"retyped": "operator does not exist", "dropped": "population", "renamed": "cities"}
    assert named[what] in caplog.text  # whoever runs it reads which
