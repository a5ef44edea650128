"""What is given and says nothing, or twice, is refused: nobody gets more than was asked for, and
nothing is passed over in silence."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from gateway.schema.scalars import BIGINT
from tests.acceptance.gateway_rig import gateway

FRENCH = quote(json.dumps({"countryCode": {"eq": "FR"}}))
ANY = quote(json.dumps({"population": {"gte": 0}}))

REFUSED = {
    "a filter twice in a search": f"/search/city?filter={FRENCH}&filter={ANY}",
    "a filter twice in an export": f"/export/city?filter={FRENCH}&filter={ANY}",
    "fields twice": "/export/city?fields=name&fields=geonameid",
    "fields that name nothing": "/export/city?fields=",
    "fields of commas": "/export/city?fields=,,",
    "a switch that is neither on nor off": "/export/city?format=csv&spreadsheet=yes",
    "no manifest and no none": "/export/city?manifest=maybe",
    "suggestions that are neither": "/search/city?q=paris&suggestions=yes",
    "a size with two minuses": "/search/city?first=--5",
    "a size of another script": "/search/city?first=" + quote("٣"),
    "a size with two minuses in suggestions": "/suggest/city?q=p&first=--5",
    "a filter of suggestions": f"/suggest/city?q=p&filter={FRENCH}",
    "a text twice in suggestions": "/suggest/city?q=p&q=l",
    "a query twice": "/graphql?query={__typename}&query={__typename}",
    "variables twice": "/graphql?query={__typename}&variables={}&variables={}",
}
ANSWERED = (
    "/export/city?fields=name&format=csv&spreadsheet=1",
    "/export/city?fields=name&format=csv&spreadsheet=false",
    "/search/city?q=paris&suggestions=true&first=1",
    "/graphql?query={__typename}&page=2",
)


def test_what_says_nothing_or_says_it_twice_is_refused(database: str, tmp_path: Path) -> None:
    async def go() -> None:
        async with gateway(database, tmp_path) as rig:
            for name, url in REFUSED.items():
                answer = await rig.client.get(url)
                assert (answer.status_code, answer.json()["code"]) == (400, "BAD_USER_INPUT"), name
            for url in ANSWERED:
                assert (await rig.client.get(url)).status_code == 200, url
            body = await rig.client.post("/search/city", json={"first": "--5"})
            assert body.json()["code"] == "BAD_USER_INPUT"

    asyncio.run(go())


def test_an_idempotency_key_without_a_value_is_no_leave_to_do_without(
    database: str, tmp_path: Path
) -> None:
    async def go() -> None:
        async with gateway(database, tmp_path) as rig:

            async def rename(more: str, variables: dict[str, str | None]) -> str:
                text = 'mutation($key: String) { updateCity(id: "2988507", input: {name: "Lutetia"}'
                text = text if variables or "$key" in more else text.replace("($key: String)", "")
                answer = await rig.graphql(f"{text}{more}) {{ token }} }}", variables)
                errors = answer.get("errors") or [{"extensions": {"code": "OK"}}]
                return str(errors[0]["extensions"]["code"])

            assert await rename(", idempotencyKey: $key", {}) == "BAD_USER_INPUT"
            assert await rename(", idempotencyKey: $key", {"key": None}) == "BAD_USER_INPUT"
            assert await rename(", idempotencyKey: null", {}) == "BAD_USER_INPUT"
            assert await rename(', idempotencyKey: ""', {}) == "BAD_USER_INPUT"
            found = await rig.graphql(
                'query @freshness(maxStaleness: "0s") { city(id: "2988507") { name } }'
            )
            assert found["data"]["city"]["name"] == "Paris"
            assert await rename(", idempotencyKey: $key", {"key": "k"}) == "OK"
            assert await rename("", {}) == "OK"

    asyncio.run(go())


def test_an_empty_token_is_no_token(database: str, tmp_path: Path) -> None:
    async def go() -> None:
        async with gateway(database, tmp_path) as rig:
            query = '{ city(id: "2988507") { name } }'
            for answer in (
                await rig.graphql(f'query @freshness(after: "") {query}'),
                await rig.graphql(query, headers={"Recordgate-Token": ""}),
            ):
                assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
            assert "errors" not in await rig.graphql(f"query @freshness(after: null) {query}")

    asyncio.run(go())


@pytest.mark.parametrize("text", [" 1", "1 ", "1_0", "+1", "١", "0x1", "1.0", "1e3", "", "-", "²"])
def test_a_text_is_a_big_integer_only_where_json_would_read_one(text: str) -> None:
    with pytest.raises(Exception, match="BigInt must be"):
        BIGINT.parse_value(text)


def test_a_big_integer_is_taken_as_a_number_and_as_a_text() -> None:
    given = (0, "0", "-0", -5, "-5", "9223372036854775807", 3.0)
    assert [BIGINT.parse_value(v) for v in given] == [0, 0, 0, -5, -5, 2**63 - 1, 3]
