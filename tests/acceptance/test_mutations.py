"""Mutations: one transaction each, a token that is good for reading the write, errors that name the
property, caps that hold, and nothing changed where something is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import psycopg

from gateway.context.tokens import read_token, sign_token
from tests.acceptance.gateway_rig import SECRET, Rig, gateway

GERMANY = '{iso: "DE", iso3: "DEU", name: "Germany", continent: "EU"}'


def code(answer: dict[str, Any]) -> str:
    found: str = answer["errors"][0]["extensions"]["code"]
    return found


def test_records_are_created_changed_and_deleted(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        made = await rig.graphql(
            "mutation { createCountry(input: " + GERMANY + ") { token country { x: name "
            "capital cities { totalCount } } } }"
        )
        assert made["data"]["createCountry"]["country"] == {
            "x": "Germany", "capital": None, "cities": {"totalCount": 0},
        }  # fmt: skip
        several = await rig.graphql(
            "mutation($rows: [CountryInput!]!) { createCountries(input: $rows) { countries { iso languages } } }",
            {
                "rows": [
                    {"iso": "IT", "iso3": "ITA", "name": "Italy", "continent": "EU", "languages": ["it", None]},
                    {"iso": "ES", "iso3": "ESP", "name": "Spain", "continent": "EU"},
                ]
            },
        )  # fmt: skip
        assert several["data"]["createCountries"]["countries"] == [
            {"iso": "IT", "languages": ["it", None]},
            {"iso": "ES", "languages": None},
        ]
        changed = await rig.graphql(
            'mutation { updateCountry(id: "DE", input: {capital: "Berlin", areaKm2: "357021.50"}) '
            "{ country { name capital areaKm2 } } }"
        )
        assert changed["data"]["updateCountry"]["country"] == {
            "name": "Germany", "capital": "Berlin", "areaKm2": "357021.50",
        }  # fmt: skip
        cleared = await rig.graphql(
            'mutation { updateCountry(id: "DE", input: {capital: null}) { country { capital areaKm2 } } }'
        )
        assert cleared["data"]["updateCountry"]["country"] == {
            "capital": None,
            "areaKm2": "357021.50",
        }
        gone = await rig.graphql(
            'mutation { a: deleteCountry(id: "DE") { deleted country { name } } '
            'b: deleteCountry(id: "DE") { deleted country { name } } }'
        )
        assert gone["data"] == {
            "a": {"deleted": True, "country": {"name": "Germany"}},
            "b": {"deleted": False, "country": None},
        }
        nobody = await rig.graphql(
            'mutation { updateCountry(id: "XX", input: {capital: "x"}) { country { name } } }'
        )
        assert nobody["data"]["updateCountry"] == {"country": None}

    run(database, tmp_path, go)


def test_an_unchanged_upsert_touches_nothing(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        upsert = "mutation { upsertCountries(input: [" + GERMANY + "]) { countries { name } } }"
        await rig.graphql(upsert)
        before = place(database)
        again = await rig.graphql(upsert)
        assert again["data"]["upsertCountries"]["countries"] == [{"name": "Germany"}]
        assert place(database) == before
        changed = await rig.graphql(upsert.replace('"Germany"', '"Allemagne"'))
        assert changed["data"]["upsertCountries"]["countries"] == [{"name": "Allemagne"}]
        assert place(database) != before
        twice = await rig.graphql(
            "mutation { upsertCountries(input: [" + GERMANY + GERMANY + "]) { token } }"
        )
        assert code(twice) == "BAD_USER_INPUT"

    run(database, tmp_path, go)


def test_a_broken_rule_names_its_property_and_changes_nothing(
    database: str, tmp_path: Path
) -> None:
    cases = [
        ('createCountry(input: {iso: "FR", iso3: "XXX", name: "x", continent: "EU"}) { token }', "iso"),
        ('createCountry(input: {iso: "XX", iso3: "FRA", name: "x", continent: "EU"}) { token }', "iso3"),
        ('createCountry(input: {iso: "xx", iso3: "XXX", name: "x", continent: "EU"}) { token }', "iso"),
        ('createCountry(input: {iso: "XX", iso3: "XXX", name: "x", continent: "??"}) { token }', "continent"),
        ('updateCity(id: "2996944", input: {countryCode: "ZZ"}) { token }', "countryCode"),
        ('updateCity(id: "2996944", input: {population: -1}) { token }', "population"),
        ('updateCity(id: "2996944", input: {name: ""}) { token }', "name"),
        ('deleteCountry(id: "FR") { token }', "countryCode"),
    ]  # fmt: skip

    async def go(rig: Rig) -> None:
        before = snapshot(database)
        for text, field in cases:
            answer = await rig.graphql("mutation { it: " + text + " }")
            assert answer["data"] == {"it": None}, text
            assert code(answer) == "CONSTRAINT_VIOLATION", (text, answer)
            assert answer["errors"][0]["extensions"]["field"] == field, text
            if field == "countryCode":  # a foreign key: which side it breaks on
                side = "still reference the record" if "delete" in text else "does not exist"
                assert answer["errors"][0]["message"].endswith(side), text
        for text in (
            'updateCity(id: "2996944", input: {name: null}) { token }',
            'updateCity(id: "x", input: {name: "x"}) { token }',
            'deleteCity(id: "9999999999999999999999") { token }',
        ):
            answer = await rig.graphql("mutation { it: " + text + " }")
            assert code(answer) == "BAD_USER_INPUT", text
        # One bad record of several: none is there.
        answer = await rig.graphql(
            "mutation { createCountries(input: ["
            + GERMANY
            + ', {iso: "FR", iso3: "XXX", name: "x", '
            'continent: "EU"}]) { token } }'
        )
        assert code(answer) == "CONSTRAINT_VIOLATION"
        assert snapshot(database) == before
        # Each field of an operation stands for itself.
        answer = await rig.graphql(
            'mutation { good: updateCity(id: "2996944", input: {name: "Lugdunum"}) { city { name } } '
            'bad: deleteCountry(id: "FR") { token } }'
        )
        assert answer["data"] == {"good": {"city": {"name": "Lugdunum"}}, "bad": None}

    run(database, tmp_path, go)


def test_delete_by_filter_keeps_to_its_cap(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        before = snapshot(database)
        for args, expected in (
            ("filter: {}, max: 10", "BAD_USER_INPUT"),
            ("filter: {and: []}, max: 10", "BAD_USER_INPUT"),
            ("filter: {not: {or: []}}, max: 10", "BAD_USER_INPUT"),
            ("filter: {and: [{}]}, max: 10", "BAD_USER_INPUT"),
            ("filter: {name: {}, population: {}}, max: 10", "BAD_USER_INPUT"),
            ("filter: {not: {name: {in: []}}}, max: 10", "BAD_USER_INPUT"),
            ("filter: {geonameid: {isNull: false}}, max: 10", "BAD_USER_INPUT"),
            ('filter: {name: {contains: ""}}, max: 10', "BAD_USER_INPUT"),
            ("filter: {name: {eq: null}}, max: 10", "BAD_USER_INPUT"),
            ('filter: {name: {eq: "Paris"}}, max: 1', "LIMIT_EXCEEDED"),
            ('filter: {name: {eq: "Paris"}}, max: 0', "BAD_USER_INPUT"),
            ('filter: {name: {eq: "Paris"}}, max: 1000000', "LIMIT_EXCEEDED"),
        ):
            answer = await rig.graphql(f"mutation {{ deleteCities({args}) {{ count }} }}")
            assert code(answer) == expected, args
            assert snapshot(database) == before, args
        # Nor does a version that is left out mean any version.
        answer = await rig.graphql(
            'mutation ($v: String) { updateCity(id: "2988507", input: {name: "x"}, ifVersion: $v) { token }'
            ' deleteCity(id: "2988507", ifVersion: $v) { token } }'
        )
        assert {e["extensions"]["code"] for e in answer["errors"]} == {"BAD_USER_INPUT"}
        assert snapshot(database) == before
        several = "mutation ($x: String, $y: Int) { deleteCities(filter: {or: [{name: {eq: $x}}]"
        for more in ("", ", population: {gte: 0, lte: $y}"):
            answer = await rig.graphql(several + more + "}, max: 100) { count } }")
            assert code(answer) == "BAD_USER_INPUT"
            assert snapshot(database) == before
        answer = await rig.graphql(
            'mutation { deleteCities(filter: {country: {iso: {eq: "FR"}}}, max: 2) { count token } }'
        )
        assert answer["data"]["deleteCities"]["count"] == 2
        assert len(snapshot(database)) == len(before) - 2

    run(database, tmp_path, go)


READ = '{ city(id: "2996944") { name } }'


def test_a_token_reads_the_write_and_staleness_is_told(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        answer = await rig.client.post(
            "/graphql",
            json={"query": 'mutation { updateCity(id: "2996944", input: {name: "L"}) { token } }'},
        )
        token = answer.headers["recordgate-token"]
        body = answer.json()
        assert token == body["data"]["updateCity"]["token"]
        assert token == body["extensions"]["recordgate"]["token"]
        # The stores have not seen it: without the token the old is read, with it canonical answers.
        old = await rig.graphql(READ)
        assert old["data"]["city"]["name"] == "Lyon"
        route = old["extensions"]["recordgate"]["fields"]["city"]
        assert route["store"] == "documents"
        assert route["generation"] == 1
        assert route["watermark"]
        for headers in ({"Recordgate-Token": token}, {"Recordgate-Max-Staleness": "0s"}):
            new = await rig.graphql(READ, headers=headers)
            assert new["data"]["city"]["name"] == "L"
            assert new["extensions"]["recordgate"]["fields"]["city"]["store"] == "canonical"
        by_directive = await rig.graphql(
            "query($t: String) @freshness(after: $t) " + READ, {"t": token}
        )
        assert by_directive["data"]["city"]["name"] == "L"
        # Nothing but search can answer a search: it says by how much it is behind.
        late = await rig.graphql(
            '{ searchCities(query: "l") { totalCount } }', headers={"Recordgate-Token": token}
        )
        assert code(late) == "STALE"
        assert late["errors"][0]["extensions"]["behindMs"] > 0
        # Waiting helps, as soon as the store has it.
        waiting = asyncio.ensure_future(
            rig.graphql(READ, headers={"Recordgate-Token": token, "Recordgate-Wait-Up-To": "10s"})
        )
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await rig.publish()
        seen = await waiting
        assert seen["data"]["city"]["name"] == "L"
        assert seen["extensions"]["recordgate"]["fields"]["city"]["store"] == "documents"

    run(database, tmp_path, go)


def test_a_token_of_another_database_is_refused(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        good = sign_token(rig.services.system, 1, SECRET)
        assert read_token(good, rig.services.system, SECRET).lsn == 1
        for token in (
            sign_token("1/1", 1, SECRET), sign_token(rig.services.system, 1, b"x" * 32), good[:-1], "é"
        ):  # fmt: skip
            answer = await rig.graphql(
                "query($t: String) @freshness(after: $t) " + READ, {"t": token}
            )
            assert code(answer) == "BAD_USER_INPUT"
            assert "data" not in answer

    run(database, tmp_path, go)


def place(database: str) -> Any:
    """Where the row's version lies and who wrote it: a touched row has another."""
    with psycopg.connect(database) as conn:
        return conn.execute("SELECT xmin, ctid FROM countries WHERE iso = 'DE'").fetchone()


def snapshot(database: str) -> list[Any]:
    with psycopg.connect(database) as conn:
        return conn.execute(
            "SELECT 'c', iso::text, name FROM countries UNION ALL"
            " SELECT 'p', geonameid::text, name || population FROM cities ORDER BY 1, 2"
        ).fetchall()


def run(database: str, folder: Path, go: Any) -> None:
    async def main() -> None:
        async with gateway(database, folder) as rig:
            await go(rig)

    asyncio.run(main())


EVERY_TYPE = Path(__file__).parent / "every_type.odcs.yaml"
PERSON = {
    "teamId": 1,
    "id": "0f8fad5b-d9cb-469f-a165-70867728950e", "plain": "ünï 'x' \"y\" \\ %s $1", "short": "ab", "fixed": "abc",
    "coloned": "it's", "picture": "AAECAw==", "small": -32768, "medium": 95, "large": "9223372036854775807",
    "unsigned": "18446744073709551615", "float4": 0.5, "float8": 1.5, "price": "12345678.95",
    "exact": "123456789012345678901234567890.123456789", "flag": False, "born": "1999-12-31",
    "seen": "2024-05-01T12:00:00+02:00", "seenMillis": "2024-05-01T10:00:00.123Z",
    "local": "2024-05-01T12:00:00", "opens": "08:30:00", "extra": {"a": [1, None, {"b": "c"}]},
    "tags": ["red", "it's"], "scores": [3, 1, 2], "anything": [{"x": 1}, {"y": [2]}], "rank": "50%",
}  # fmt: skip


def test_every_type_of_value_goes_in_and_comes_back(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        fields = " ".join(PERSON)
        made = await rig.graphql(
            f"mutation($row: PersonInput!) {{ createPerson(input: $row) {{ person {{ {fields} }} }} }}",
            {"row": PERSON},
        )
        assert "errors" not in made, made
        expected = PERSON | {
            "seen": "2024-05-01T10:00:00+00:00", "seenMillis": "2024-05-01T10:00:00.123+00:00",
        }  # fmt: skip
        assert made["data"]["createPerson"]["person"] == expected
        empty = {name: None for name in PERSON if name not in ("id", "teamId")}
        cleared = await rig.graphql(
            f"mutation($id: ID!, $row: PersonPatch!) {{ updatePerson(id: $id, input: $row) {{ person {{ {fields} }} }} }}",
            {"id": PERSON["id"], "row": empty},
        )
        assert "errors" not in cleared, cleared
        assert cleared["data"]["updatePerson"]["person"] == empty | {
            "id": PERSON["id"],
            "teamId": 1,
        }
        people = [PERSON, {**PERSON, "id": "0f8fad5b-d9cb-469f-a165-70867728950f", "tags": []}]
        put = await rig.graphql(
            f"mutation($rows: [PersonInput!]!) {{ upsertPeople(input: $rows) {{ people {{ {fields} }} }} }}",
            {"rows": people},
        )
        assert "errors" not in put, put
        assert put["data"]["upsertPeople"]["people"] == [
            expected,
            {**expected, **{k: people[1][k] for k in ("id", "tags")}},
        ]
        # A key of several columns.
        line = await rig.graphql(
            "mutation { createOrderLine(input: {orderNumber: 7, line: 2}) { orderLine { id } } "
            'updateOrderLine(id: "7,2", input: {replacesOrder: 7, replacesLine: 2}) { orderLine { id replacesLine } } '
            'a: deleteOrderLine(id: "7,2") { id deleted } b: deleteOrderLine(id: "7") { id } }'
        )
        assert line["data"] == {
            "createOrderLine": {"orderLine": {"id": "7,2"}},
            "updateOrderLine": {"orderLine": {"id": "7,2", "replacesLine": 2}},
            "a": {"id": "7,2", "deleted": True},
            "b": None,
        }

    async def main() -> None:
        async with gateway(
            database,
            tmp_path,
            contract=EVERY_TYPE,
            rows="INSERT INTO teams (id, code) VALUES (1, 'a')",
            published=False,
        ) as rig:
            await go(rig)

    asyncio.run(main())


def test_a_record_that_has_changed_is_not_written_over(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        read = '{ country(id: "FR") { version name } }'
        update = (
            "mutation ($v: String, $name: String) { updateCountry(id: \"FR\", ifVersion: $v, input: {name: $name})"
            " { country { version name } } }"
        )  # fmt: skip
        first = (await rig.graphql(read))["data"]["country"]["version"]
        changed = await rig.graphql(update, {"v": first, "name": "République"})
        second = changed["data"]["updateCountry"]["country"]["version"]
        assert second != first
        late = await rig.graphql(update, {"v": first, "name": "Gallia"})
        assert code(late) == "CONFLICT"
        delete = 'mutation ($v: String) { deleteCity(id: "4717560", ifVersion: $v) { deleted } }'
        assert code(await rig.graphql(delete, {"v": second})) == "CONFLICT"
        assert code(await rig.graphql(delete, {"v": None})) == "BAD_USER_INPUT"
        now = (await rig.graphql('{ city(id: "4717560") { version } }'))["data"]["city"]["version"]
        assert (await rig.graphql(delete, {"v": now}))["data"]["deleteCity"] == {"deleted": True}
        assert code(await rig.graphql(delete, {"v": now})) == "CONFLICT"
        # Two at once with the same version: one is done.
        both = await asyncio.gather(
            *(rig.graphql(update, {"v": second, "name": name}) for name in ("one", "two"))
        )
        assert sorted("errors" in b for b in both) == [False, True]
        assert (await rig.graphql(read))["data"]["country"]["name"] in ("one", "two")
        # Pages and nested records show the version that the key read does.
        versions = '{ city(id: "2988507") { version } cities { nodes { id version country { version } } } }'
        shown = (await rig.graphql(versions))["data"]
        nodes = {n["id"]: n for n in shown["cities"]["nodes"]}
        assert nodes["2988507"]["version"] == shown["city"]["version"]
        france = (await rig.graphql(read))["data"]["country"]["version"]
        assert nodes["2988507"]["country"]["version"] == france

    run(database, tmp_path, go)


def test_a_mutation_sent_again_with_its_key_is_done_once(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        create = "mutation { createCountry(input: " + GERMANY + ") { token country { name } } }"
        headers = {"Idempotency-Key": "a-1"}
        first = await rig.graphql(create, headers=headers)
        again = await rig.graphql(create, headers=headers)
        assert first["data"]["createCountry"]["country"] == {"name": "Germany"}
        assert again["data"]["createCountry"]["country"] == {"name": "Germany"}
        lsn = [
            read_token(a["data"]["createCountry"]["token"], rig.services.system, SECRET).lsn
            for a in (first, again)
        ]
        assert lsn[1] >= lsn[0]  # good for reading the write
        assert code(await rig.graphql(create)) == "CONSTRAINT_VIOLATION"
        other = create.replace("Germany", "Allemagne")
        assert code(await rig.graphql(other, headers=headers)) == "BAD_USER_INPUT"
        # The argument, and many at once: a deletion is told as it was each time.
        delete = 'mutation ($k: String) { deleteCountry(id: "DE", idempotencyKey: $k) { deleted country { name } } }'
        told = await asyncio.gather(*(rig.graphql(delete, {"k": "b"}) for _ in range(4)))
        for answer in told:
            assert answer["data"]["deleteCountry"] == {
                "deleted": True, "country": {"name": "Germany"},
            }  # fmt: skip
        # What failed leaves no key: the same key does it once it can be done.
        city = (
            'mutation { createCity(idempotencyKey: "c", input: {geonameid: 9, name: "Bonn", countryCode: "DE",'
            " latitude: 1, longitude: 1, population: 1}) { city { name } } }"
        )
        assert code(await rig.graphql(city)) == "CONSTRAINT_VIOLATION"
        await rig.graphql(create, headers={"Idempotency-Key": "a-2"})
        for _ in range(2):
            assert (await rig.graphql(city))["data"]["createCity"]["city"] == {"name": "Bonn"}
        # Two fields of one request are two places.
        two = "mutation { a: createCity(input: %s) { city { id } } b: createCity(input: %s) { city { id } } }"
        inputs = tuple(
            f'{{geonameid: {n}, name: "x", countryCode: "DE", latitude: 1, longitude: 1, population: 1}}'
            for n in (10, 11)
        )
        for _ in range(2):
            made = await rig.graphql(two % inputs, headers={"Idempotency-Key": "d"})
            assert [made["data"][k]["city"]["id"] for k in ("a", "b")] == ["10", "11"]
        for bad in ("", "x" * 300, "ä", "a b"):
            assert code(await rig.graphql(delete, {"k": bad})) == "BAD_USER_INPUT"
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute(
                "UPDATE recordgate.idempotency_keys SET made_at = now() - interval '25 hours'"
            )
            await rig.graphql('mutation { deleteCity(id: "1", idempotencyKey: "e") { deleted } }')
            left = conn.execute("SELECT count(*) FROM recordgate.idempotency_keys").fetchone()
        assert left == (1,)

    run(database, tmp_path, go)


def test_bad_records_among_many_are_told_by_their_index(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        def row(iso: str, **more: Any) -> dict[str, Any]:
            return {"iso": iso, "iso3": iso + "X", "name": iso, "continent": "EU"} | more

        rows = [
            row("DE"), row("FR"), row("IT", continent="XX"), row("ES", areaKm2="not a number"), row("PT"),
            row("DE", iso3="DEY"),
        ]  # fmt: skip
        for field in ("createCountries", "upsertCountries"):
            bad = [1, 2, 3, 5] if field == "createCountries" else [2, 3]
            given = rows if field == "createCountries" else rows[:5]
            query = (
                "mutation ($rows: [CountryInput!]!, $on: OnError!) { made: "
                + field
                + "(input: $rows, onError: $on)"
                " { countries { iso } errors { index code message field } } }"
            )
            refused = await rig.graphql(query, {"rows": given, "on": "ABORT"})
            assert [r["index"] for r in refused["errors"][0]["extensions"]["rows"]] == bad
            assert refused["data"] == {"made": None}
            left = await rig.graphql("{ countries { totalCount } }")
            assert left["data"]["countries"]["totalCount"] == (
                2 if field == "createCountries" else 4
            )
            went_on = (await rig.graphql(query, {"rows": given, "on": "CONTINUE"}))["data"]["made"]
            assert [e["index"] for e in went_on["errors"]] == bad
            codes = {e["index"]: (e["code"], e["field"]) for e in went_on["errors"]}
            assert codes[3][0] == "BAD_USER_INPUT"
            assert codes[2] == ("CONSTRAINT_VIOLATION", "continent")
            written = [c["iso"] for c in went_on["countries"]]
            assert written == [r["iso"] for i, r in enumerate(given) if i not in bad]

    run(database, tmp_path, go)


def test_records_of_one_call_may_refer_to_each_other_in_any_order(
    database: str, tmp_path: Path
) -> None:
    async def go(rig: Rig) -> None:
        async def put(operation: str, *teams: tuple[int, int | None], more: str = "") -> Any:
            rows = [{"id": i, "code": f"c{i}"} | ({"parentTeam": p} if p else {}) for i, p in teams]
            answer = await rig.graphql(
                f"mutation($rows: [TeamInput!]!) {{ it: {operation}(input: $rows{more})"
                " { teams { id parentTeam } errors { index code } } }",
                {"rows": rows},
            )
            assert "errors" not in answer, answer
            return answer["data"]["it"]

        def shown(*teams: tuple[int, int | None]) -> list[dict[str, Any]]:
            return [{"id": str(i), "parentTeam": p} for i, p in teams]

        child_first = [(13, 12), (12, 11), (20, None), (14, 12), (11, None), (21, 21)]
        assert (await put("createTeams", *child_first))["teams"] == shown(*child_first)
        upserted = [(33, 32), (32, 31), (11, 31), (31, None)]
        assert (await put("upsertTeams", *upserted))["teams"] == shown(*upserted)
        circle = [(41, 43), (42, 41), (43, 42), (44, 41)]
        assert (await put("createTeams", *circle))["teams"] == shown(*circle)
        # One is bad: its own child is, too, and no other.
        made = await put(
            "createTeams",
            (53, 52),
            (52, 51),
            (62, 61),
            (51, 99),
            (61, None),
            more=", onError: CONTINUE",
        )
        assert made["teams"] == shown((62, 61), (61, None))
        assert [e["index"] for e in made["errors"]] == [0, 1, 3]
        lines = "{orderNumber: 1, line: 2, replacesOrder: 1, replacesLine: 1}, {orderNumber: 1, line: 1}"
        answer = await rig.graphql(
            f"mutation {{ createOrderLines(input: [{lines}]) {{ orderLines {{ id }} }} }}"
        )
        assert answer["data"]["createOrderLines"]["orderLines"] == [{"id": "1,2"}, {"id": "1,1"}]

    async def main() -> None:
        async with gateway(
            database, tmp_path, contract=EVERY_TYPE, rows="SELECT 1", published=False
        ) as rig:
            await go(rig)

    asyncio.run(main())
