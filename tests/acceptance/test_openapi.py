"""The OpenAPI document is exact: whatever an endpoint answers has a status that the document names
for it, and a body as the document says. A strict fuzzer finds no other; what it found stands here
as plain requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import jsonschema

from gateway.context.services import Limits
from gateway.security.access import Access
from gateway.security.authenticate import Anonymous
from gateway.security.callers import Callers
from stores.contract.model import Contract
from stores.errors import StoreUnavailable
from tests.acceptance.access_rig import bearer, keys_for, run, with_keys
from tests.acceptance.gateway_rig import Rig
from tests.acceptance.test_http import run as run_open

LONG = "x" * 2000
NUL = "\0"


def problem_of(openapi: dict[str, Any], answer: httpx.Response) -> str:
    """What of an answer the document does not say; empty where it says all."""
    request = answer.request
    operation = openapi["paths"].get(request.url.path, {}).get(request.method.lower())
    if operation is None:
        return "" if answer.status_code in (404, 405) else "is not described"
    said = operation["responses"].get(str(answer.status_code))
    if said is None:
        return f"{answer.status_code} is not described"
    if answer.status_code == 304:
        return "" if not answer.content else "has a body"
    kind = answer.headers["content-type"].partition(";")[0]
    if kind not in said["content"]:
        return f"{kind} is not described for {answer.status_code}"
    schema = said["content"][kind].get("schema")
    if schema is not None:
        whole = {"components": openapi["components"], **schema}
        try:
            jsonschema.validate(answer.json(), whole, jsonschema.Draft202012Validator)
        except jsonschema.ValidationError as error:
            return f"{error.json_path}: {error.message[:200]}"
    return ""


async def checked(rig: Rig, openapi: dict[str, Any], method: str, path: str, **more: Any) -> int:
    answer = await rig.client.request(method, path, **more)
    problem = problem_of(openapi, answer)
    assert not problem, f"{method} {path} {more}: {problem}"
    return answer.status_code


def test_every_answer_of_the_open_gateway_is_described(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        openapi = (await rig.client.get("/openapi.json")).json()
        for schema in openapi["components"]["schemas"].values():
            jsonschema.Draft202012Validator.check_schema(schema)
        city = "/search/city"
        answer = await rig.client.get(city, params={"q": "paris", "facets": "countryCode"})
        tag = {"If-None-Match": answer.headers["etag"]}
        export = await rig.client.get("/export/city")
        place = export.headers["content-location"]
        snapshot = {"snapshot": place.partition("snapshot=")[2]}
        seen: set[int] = set()
        for method, path, more in [
            ("GET", city, {}),
            ("GET", city, {"params": {"q": "paris", "facets": "countryCode"}}),
            ("GET", city, {"params": {"q": "paris", "facets": "countryCode"}, "headers": tag}),
            ("GET", city, {"params": {"q": "pari", "highlight": "name", "suggestions": "1"}}),
            ("GET", city, {"params": {"filter": '{"country": {"continent": {"eq": "EU"}}}'}}),
            ("GET", city, {"params": {"first": "-1"}}),
            ("GET", city, {"params": {"first": "100000"}}),
            ("GET", city, {"params": {"q": NUL}}),
            ("GET", city, {"params": {"filter": "{"}}),
            ("GET", city, {"params": {"after": "x"}}),
            ("GET", city, {"params": {"nothing": LONG}}),
            ("GET", city, {"headers": {"Recordgate-Token": "x"}}),
            ("GET", city, {"headers": {"Recordgate-Max-Staleness": "0ms"}}),
            ("GET", city, {"headers": {"Recordgate-Roles": "x"}}),
            ("GET", city, {"headers": {"Recordgate-Roles": ""}}),
            ("GET", city, {"headers": {"Authorization": "Digest x"}}),
            ("POST", city, {"json": {"q": "lyon", "first": 2.0, "facets": ["countryCode"]}}),
            ("POST", city, {"json": {"filter": {}}}),
            ("POST", city, {"json": []}),
            ("POST", city, {"content": b"{", "headers": {"content-type": "application/json"}}),
            ("POST", city, {"content": b"q=1"}),
            ("POST", city, {"json": {"q": "x" * 3000}}),
            ("PUT", city, {}),
            ("GET", "/suggest/city", {"params": {"q": "par"}}),
            ("GET", "/suggest/city", {"params": {"q": "par", "first": "51"}}),
            ("GET", "/suggest/country", {"params": {"q": NUL}}),
            ("GET", "/export/city", {}),
            ("GET", "/export/city", {"params": {"format": "csv", "fields": "name,population"}}),
            ("GET", "/export/city", {"params": {"format": "parquet"}}),
            ("GET", "/export/city", {"params": {"format": "xml"}}),
            ("GET", "/export/city", {"params": {"fields": ""}}),
            ("GET", "/export/city", {"params": {"spreadsheet": "1"}}),
            ("GET", "/export/city", {"params": {"snapshot": "x"}}),
            ("GET", "/export/city", {"params": {"after": "x"}}),
            ("GET", "/export/city", {"params": {"manifest": "1"}}),
            ("GET", "/export/city", {"params": {**snapshot, "manifest": "1"}}),
            ("GET", "/export/city", {"params": snapshot, "headers": {"Range": "bytes=0-9"}}),
            ("GET", "/export/city", {"params": snapshot, "headers": {"Range": "bytes=999999-"}}),
            ("GET", "/product", {}),
            ("GET", "/contract", {}),
            ("GET", "/contract", {"params": {"role": "x"}}),
            ("GET", "/contract", {"headers": {"If-None-Match": "*"}}),
            ("PUT", "/product", {}),
            ("GET", "/health/live", {}),
            ("GET", "/health/ready", {}),
            ("DELETE", "/health/ready", {}),
        ]:  # fmt: skip
            seen.add(await checked(rig, openapi, method, path, **more))
        assert seen == {200, 206, 304, 400, 401, 403, 404, 405, 413, 415, 416, 503}

    run_open(database, tmp_path, go, limits=Limits(max_body_bytes=2000))


def test_what_a_role_sees_less_of_is_described_as_well(database: str, tmp_path: Path) -> None:
    path, (staff,) = keys_for(tmp_path, ("staff",))
    plain = with_keys(path, anonymous=Anonymous.NO)

    def slow(contract: Contract) -> Access:
        return Access(plain(contract).authenticator, Callers(0.001, 8))

    async def go(rig: Rig) -> None:
        key = bearer(staff)
        openapi = (await rig.client.get("/openapi.json", headers=key)).json()
        assert openapi["paths"]["/health/live"]["get"]["security"] == []
        person = "/search/person"
        assert await checked(rig, openapi, "GET", person, headers=key) == 200
        assert await checked(rig, openapi, "GET", person) == 401
        hidden = {"facets": "salary"}
        assert await checked(rig, openapi, "GET", person, headers=key, params=hidden) == 403
        narrowed = {**key, "Recordgate-Roles": "staff"}
        assert await checked(rig, openapi, "GET", person, headers=narrowed) == 200

        async def down(*_: object) -> None:
            raise StoreUnavailable("the search store is not reached", store="search")

        rig.services.search.search = down  # type: ignore[method-assign]
        assert await checked(rig, openapi, "GET", person, headers=key) == 503
        found = {await checked(rig, openapi, "GET", person, headers=key) for _ in range(9)}
        assert 429 in found

    run(database, tmp_path, go, slow)
