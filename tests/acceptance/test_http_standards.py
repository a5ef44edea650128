"""Conditional requests, compression, trace context and the access log, as their standards have
them."""

from __future__ import annotations

import asyncio
import gzip
import io
import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import psycopg
import pytest
import zstandard
from starlette.applications import Starlette

from gateway.http import access_log
from gateway.http.access_log import AccessLog
from gateway.http.compression import coding
from gateway.http.trace_context import read_parent
from tests.acceptance.gateway_rig import Rig, gateway

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def run(database: str, folder: Path, go: Callable[[Rig], Awaitable[None]]) -> None:
    async def main() -> None:
        async with gateway(database, folder) as rig:
            await go(rig)

    asyncio.run(main())


@pytest.mark.parametrize(
    "url",
    [
        "/search/city?q=paris",
        "/suggest/city?q=par",
        '/graphql?query={city(id:"2988507"){name}}',
        '/graphql?query={searchCities(query:"paris"){totalCount}}',
        "/graphql?query={cities{nodes{name}}}",
        '/graphql?query={cities{totalCount} city(id:"2988507"){name}}',
    ],
)
def test_what_has_not_moved_is_not_sent_again(database: str, tmp_path: Path, url: str) -> None:
    async def go(rig: Rig) -> None:
        first = await rig.client.get(url)
        assert first.status_code == 200, first.text
        tag = first.headers["etag"]
        assert first.headers["cache-control"] == "private, no-cache"
        again = await rig.client.get(url, headers={"If-None-Match": tag})
        assert again.status_code == 304
        assert again.content == b""
        assert again.headers["etag"] == tag
        other = await rig.client.get(url + "%20", headers={"If-None-Match": tag})
        if "cities{" not in url:
            assert other.status_code == 200
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute("UPDATE cities SET name = 'Paris!', population = 1")
        await rig.publish()
        await asyncio.sleep(0.15)  # a position is kept for some milliseconds
        moved = await rig.client.get(url, headers={"If-None-Match": tag})
        assert moved.status_code == 200
        assert moved.headers["etag"] != tag

    run(database, tmp_path, go)


def test_a_store_too_stale_for_the_request_is_not_called_unchanged(
    database: str, tmp_path: Path
) -> None:
    async def go(rig: Rig) -> None:
        tag = (await rig.client.get("/search/city?q=paris")).headers["etag"]
        await asyncio.sleep(0.3)
        headers = {"If-None-Match": tag, "Recordgate-Max-Staleness": "100ms"}
        stale = await rig.client.get("/search/city?q=paris", headers=headers)
        assert stale.status_code == 503
        assert stale.json()["code"] == "STALE"

    run(database, tmp_path, go)


def test_what_a_query_asks_of_freshness_is_not_answered_from_a_stores_tag(
    database: str, tmp_path: Path
) -> None:
    async def go(rig: Rig) -> None:
        fresh = 'query @freshness(maxStaleness: "300ms") { city(id: "2988507") { name } }'
        plain = fresh.replace('@freshness(maxStaleness: "300ms") ', "")
        await rig.publish()
        answers = [await rig.client.get("/graphql", params={"query": q}) for q in (fresh, plain)]
        tags = [answer.headers["etag"][:4] for answer in answers]
        assert tags == ['W/"c', 'W/"d']

    run(database, tmp_path, go)


def test_a_partial_answer_carries_no_tag(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        many = " ".join(
            f'a{i}: city(id: "2988507") {{ id name timezone population latitude longitude alternateNames }}'
            for i in range(25)
        )
        query = "{ " + many + ' searchCities(query: "paris") { totalCount } }'
        await rig.services.search.close()
        answer = await rig.client.get("/graphql", params={"query": query})
        assert answer.status_code == 200
        assert answer.json()["errors"]
        assert answer.content.index(b'"errors"') > 2000
        assert "etag" not in answer.headers

    run(database, tmp_path, go)


def test_a_store_that_has_not_moved_is_not_asked_again(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        tag = (await rig.client.get("/search/city?q=paris")).headers["etag"]
        asked = rig.services.search.search

        async def never(query: object) -> None:
            raise AssertionError("the store was asked")

        rig.services.search.search = never  # type: ignore[assignment]
        again = await rig.client.get("/search/city?q=paris", headers={"If-None-Match": tag})
        rig.services.search.search = asked  # type: ignore[method-assign]
        assert again.status_code == 304

    run(database, tmp_path, go)


def test_errors_carry_no_tag(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        for url in ("/graphql?query={nothing}", "/search/nothing?q=a", "/search/city?first=-1"):
            answer = await rig.client.get(url)
            assert "etag" not in answer.headers
            assert answer.headers["cache-control"] == "no-store"

    run(database, tmp_path, go)


def test_long_answers_are_compressed_as_the_caller_takes_it(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        async def raw(accepted: str, path: str = "/schema.graphql") -> tuple[str, bytes]:
            request = rig.client.build_request("GET", path, headers={"accept-encoding": accepted})
            answer = await rig.client.send(request, stream=True)
            body = b"".join([part async for part in answer.aiter_raw()])
            if "content-length" in answer.headers:
                assert int(answer.headers["content-length"]) == len(body)
            return answer.headers.get("content-encoding", ""), body

        _, plain = await raw("identity")
        how, body = await raw("gzip, deflate, br, zstd")
        assert (how, zstandard.ZstdDecompressor().decompress(body)) == ("zstd", plain)
        how, body = await raw("gzip, zstd;q=0")
        assert (how, gzip.decompress(body)) == ("gzip", plain)
        assert (await raw("br"))[0] == ""
        assert (await raw("gzip", "/health/live"))[0] == ""
        assert (await raw("gzip", "/export/city"))[0] == ""

    run(database, tmp_path, go)


def test_the_coding_is_what_the_header_allows() -> None:
    assert coding("gzip;q=0.5, zstd;q=0.0") == "gzip"
    assert coding("GZIP") == "gzip"
    assert coding("identity") == ""
    assert coding("*") == ""


def test_a_request_belongs_to_the_trace_that_it_names(
    database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def go(rig: Rig) -> None:
        headers = {"traceparent": PARENT}
        answer = await rig.client.get("/search/nothing", headers=headers)
        assert answer.json()["traceId"] == TRACE
        assert re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-01", answer.headers["traceresponse"])
        plain = await rig.client.get("/search/nothing")
        assert "traceId" not in plain.json()
        assert "traceresponse" not in plain.headers
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute("ALTER TABLE cities RENAME COLUMN admin1 TO admin9")
        with caplog.at_level(logging.ERROR):
            await rig.client.post(
                "/graphql", json={"query": "{cities{nodes{admin1}}}"}, headers=headers
            )
        assert f"of trace {TRACE}" in caplog.text

    run(database, tmp_path, go)


@pytest.mark.parametrize(
    "header",
    [
        "", "00", f"ff-{TRACE}-b7ad6b7169203331-01", f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01", f"{PARENT}-more", PARENT.upper(), f"{PARENT}\n",
    ],
)  # fmt: skip
def test_a_trace_that_is_not_valid_is_passed_over(header: str) -> None:
    assert read_parent(header.encode()) == ("", "")


def test_the_access_log_has_a_line_of_json_for_each_request_and_no_values(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_log, "EVERY", 0.01)
    out = io.BytesIO()

    async def go(rig: Rig) -> None:
        app: Starlette = rig.client._transport.app  # type: ignore[attr-defined]
        guard = next(m for m in app.user_middleware if "log" in m.kwargs)
        guard.kwargs["log"] = AccessLog(out)
        app.middleware_stack = app.build_middleware_stack()
        await rig.graphql('{ city(id: "2988507") { name } }', headers={"traceparent": PARENT})
        await rig.graphql('{ city(id: "2988507") { secretword } }')
        await rig.client.get("/search/city?q=secretword")
        await rig.client.get("/health/live")
        await asyncio.sleep(0.2)

    run(database, tmp_path, go)
    assert b"secretword" not in out.getvalue()
    first, second, third = map(orjson.loads, out.getvalue().splitlines())
    assert first["operation"] == "query"
    assert first["stores"] == ["documents"]
    assert (first["status"], first["code"], first["traceId"]) == (200, "OK", TRACE)
    assert first["ms"] > 0
    assert second["code"] == "BAD_USER_INPUT"
    assert (third["operation"], third["stores"]) == ("search city", ["search"])
