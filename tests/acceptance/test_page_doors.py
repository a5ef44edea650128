"""Who may open a page, and what a page is where something is turned off, closed or down. What pages
look like is tested in a browser, in test_pages.py."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.endpoints.assets import content, packed
from gateway.security.authenticate import Anonymous
from stores.errors import StoreUnavailable
from tests.acceptance.access_rig import bearer, keys_for, run, with_keys
from tests.acceptance.gateway_rig import Rig, gateway
from tests.acceptance.test_http import run as run_open

PAGE = {"accept": "text/html"}
PAGES = ("/", "/browse/person", "/browse/person/1")


def test_pages_can_be_turned_off(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        for path in (
            "/",
            "/browse/city",
            "/browse/city/1",
            "/assets/browse.js",
            "/graphiql/samples",
        ):
            assert (await rig.client.get(path, headers=PAGE)).status_code == 404, path
        assert (await rig.client.get("/graphql", headers=PAGE)).status_code == 406
        assert (await rig.client.get("/console")).status_code == 200

    run_open(database, tmp_path, go, pages=False)


def test_to_whom_the_schema_is_closed_no_page_is_open(database: str, tmp_path: Path) -> None:
    path, (key,) = keys_for(tmp_path, ("staff",))

    async def go(rig: Rig) -> None:
        for page in (*PAGES, "/browse/nothing"):
            answer = await rig.client.get(page, headers=bearer(key))
            assert answer.status_code == 403, page
            assert "salary" not in answer.text
            assert "person" not in answer.text
            assert (await rig.client.get(page)).status_code == 401
        assert (await rig.client.get("/assets/recordgate.css")).status_code == 200

    run(database, tmp_path, go, with_keys(path, introspection=frozenset({"hr"})))


def test_a_caller_can_ask_with_fewer_of_their_roles_and_never_with_more(
    database: str, tmp_path: Path
) -> None:
    path, (both, staff) = keys_for(tmp_path, ("hr", "staff"), ("staff",))

    async def go(rig: Rig) -> None:
        async def salaries(key: str | None, roles: str | None) -> tuple[int, str]:
            headers = bearer(key) if key else {}
            if roles is not None:
                headers["Recordgate-Roles"] = roles
            answer = await rig.client.post(
                "/graphql", json={"query": "{ people { nodes { salary } } }"}, headers=headers
            )
            return answer.status_code, json.dumps(answer.json().get("data"))

        assert "91000" in (await salaries(both, None))[1]
        assert "91000" in (await salaries(both, "hr"))[1]
        assert "91000" in (await salaries(both, " staff , hr "))[1]
        assert (await salaries(both, "staff"))[0] == 200
        assert "91000" not in (await salaries(both, "staff"))[1]
        for key, roles in ((staff, "hr"), (staff, "staff,hr"), (both, "root"), (None, "hr")):
            assert (await salaries(key, roles))[0] == 403, (key, roles)
        for roles in ("", " , "):
            assert (await salaries(both, roles))[0] == 400
        # What is kept for one set of roles is not given to another.
        search = "/search/person?q=&facets=salary"
        full = await rig.client.get(search, headers=bearer(both))
        assert full.status_code == 200
        less = {**bearer(both), "Recordgate-Roles": "staff", "If-None-Match": full.headers["etag"]}
        assert (await rig.client.get(search, headers=less)).status_code == 403
        assert "Recordgate-Roles" in full.headers["vary"]
        console = {**bearer(both), "Recordgate-Roles": "staff"}
        assert (await rig.client.get("/console/state", headers=bearer(both))).status_code == 200
        assert (await rig.client.get("/console/state", headers=console)).status_code == 403

    run(
        database,
        tmp_path,
        go,
        with_keys(path, operators=frozenset({"hr"}), anonymous=Anonymous.READ),
    )


def test_with_the_search_store_away_a_page_says_so_and_shows_its_records(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go(rig: Rig) -> None:
        async def down(*_: object) -> None:
            raise StoreUnavailable("the search store is not reached", store="search")

        monkeypatch.setattr(rig.services.search, "search", down)
        listed = await rig.client.get("/browse/city?name.eq=Lyon")
        assert listed.status_code == 200
        assert "2996944" in listed.text
        assert "Without counts: the search store is not reached" in listed.text
        assert 'class="trouble"' not in listed.text
        found = await rig.client.get("/browse/city?q=Lyon")
        assert found.status_code == 503
        assert 'value="Lyon"' in found.text
        home = await rig.client.get("/")
        assert home.status_code == 200
        assert "not counted: the search store is not reached" in home.text

    run_open(database, tmp_path, go)


def test_a_page_is_counted_logged_and_limited_as_graphql_is(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        assert (await rig.client.get("/browse/city/2996944")).status_code == 200
        metrics = (await rig.client.get("/metrics")).text
        assert 'code="OK",operation="browse city",store="documents"} 1.0' in metrics
        state = (await rig.client.get("/console/state")).json()
        last = state["requests"][0]
        assert (last["operation"], last["code"]) == ("browse city", "OK")
        # Whoever reads the console or the log need not see the record.
        assert last["path"] == "/browse/city/{key}"
        assert (await rig.client.get("/browse/city/")).headers["location"] == "/browse/city"
        await rig.client.get("/assets/browse.js")
        await rig.graphql('{ city(id: "no number") { name } }')
        last = (await rig.client.get("/console/state")).json()["requests"][0]
        assert (last["path"], last["status"], last["code"]) == ("/graphql", 200, "BAD_USER_INPUT")
        for host in ("[", "a b", "x'; touch y", "<b>", ""):
            odd = await rig.client.get("/", headers={"Host": host})
            assert odd.status_code == 200, host
            assert "localhost/graphql" in odd.text
        rig.services.limits = replace(rig.services.limits, max_cost=10)
        costly = await rig.client.get("/browse/city")
        assert costly.status_code == 400
        assert "LIMIT_EXCEEDED" in costly.text
        stale = await rig.client.get(
            "/browse/city?q=Lyon", headers={"Recordgate-Max-Staleness": "0ms"}
        )
        assert stale.status_code in (400, 503)

    run_open(database, tmp_path, go)


def test_an_asset_is_kept_by_its_address_and_nothing_else_is_served(
    database: str, tmp_path: Path
) -> None:
    async def go(rig: Rig) -> None:
        home = (await rig.client.get("/")).text
        address = home.split('href="/assets/')[1].split('"')[0]
        named = await rig.client.get(f"/assets/{address}")
        assert (named.status_code, named.headers["content-type"]) == (
            200,
            "text/css; charset=utf-8",
        )
        assert "immutable" in named.headers["cache-control"]
        plain = await rig.client.get(f"/assets/{address.split('?')[0]}")
        assert plain.headers["cache-control"] == "private, no-cache"
        again = {"If-None-Match": plain.headers["etag"]}
        assert (
            await rig.client.get(f"/assets/{address.split('?')[0]}", headers=again)
        ).status_code == 304
        again = {"If-None-Match": "*"}
        assert (await rig.client.get("/assets/browse.js", headers=again)).status_code == 304
        packed.cache_clear()
        for _ in range(3):
            squeezed = await rig.client.get(
                "/assets/browse.js", headers={"Accept-Encoding": "gzip"}
            )
            assert squeezed.headers["content-encoding"] == "gzip"
            assert squeezed.content == content("browse.js")[0]
        # Anybody may ask, so the work is done once.
        assert packed.cache_info().misses == 1
        for path in ("", "vendor/DIGESTS", "..%2fconsole.py", "../pages/console.html", "vendor"):
            assert (await rig.client.get(f"/assets/{path}")).status_code == 404, path

    run_open(database, tmp_path, go)


def test_each_of_many_types_is_counted(database: str, tmp_path: Path) -> None:
    kinds = "".join(_KIND.format(number=n) for n in range(55))
    contract = tmp_path / "many.odcs.yaml"
    contract.write_text(_MANY + kinds, "utf-8")

    async def go() -> None:
        async with gateway(database, tmp_path / "stores", contract=contract, rows="") as rig:
            home = (await rig.client.get("/")).text
            assert home.count("not counted") == 0
            assert home.count(">0 records<") == 55

    asyncio.run(go())


_MANY = """
apiVersion: v3.2.0
kind: DataContract
id: many
name: many
version: 1.0.0
status: active
schema:
"""
_KIND = """
  - name: kind{number}
    properties:
      - {{name: id, logicalType: string, primaryKey: true, primaryKeyPosition: 1, required: true}}
      - name: label
        logicalType: string
        customProperties: [{{property: search, vendor: recordgate, value: {{text: true}}}}]
"""
