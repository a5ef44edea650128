"""What could be learned, or be done, beside the answers: from the text of running statements, from
hints, by a spreadsheet that runs what it is given, from the log, at pages that are open to
everybody."""

from __future__ import annotations

import asyncio
import csv
import io
import logging
import socket
import struct
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.compiler.masks import MaskKey, masked
from gateway.export.rows import Export, Format, Written, stream
from gateway.shape.visibility import Form, Visibility
from recordgate.access import authenticator
from recordgate.http_server import bind, serve
from recordgate.settings import Settings
from stores.canonical.connect import connect_async
from stores.contract.load import load_contract
from stores.errors import InputError
from tests.acceptance.access_rig import PEOPLE, RESTRICTED, bearer, keys_for, run, with_keys
from tests.acceptance.gateway_rig import GEONAMES, Rig, gateway, prepare

KEY = MaskKey.of(b"a secret of the tests, long enough")
RUNNING = """
SELECT coalesce(string_agg(query, ' '), '') FROM pg_stat_activity WHERE pid <> pg_backend_pid()
"""


def test_the_key_of_the_mask_is_in_no_statements_text(database: str, tmp_path: Path) -> None:
    """Everybody who may connect reads the statements of their own role's sessions, and a monitor
    those of all."""
    path = tmp_path / "hashed.odcs.yaml"
    path.write_text(RESTRICTED.read_text().replace("{staff: partial}", "{staff: hash}"))
    contract = load_contract(path)
    prepare(database, contract, PEOPLE)
    person = contract.types["person"]
    seen = Visibility(contract, frozenset({"staff"}))

    async def go(format_: Format) -> tuple[str, bytes]:
        conn = await connect_async(database)
        found = b""
        try:
            asked = Export(person, format_, visibility=seen, mask_key=KEY)
            async with aclosing(stream(conn, contract, asked, Written())) as blocks:
                async for block in blocks:
                    found += block
                    with psycopg.connect(database) as other:
                        row = other.execute(RUNNING).fetchone()
            async with await conn.execute("SHOW recordgate.mask_inner") as left:
                assert await left.fetchone() == ("",)  # it ends with its transaction
        finally:
            await conn.close()
        assert row is not None
        return str(row[0]), found

    expected = masked(person.by_name["email"], "ada.quill@example.org", Form.HASH, KEY)
    for format_ in (Format.NDJSON, Format.CSV):
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute("UPDATE people SET email = 'ada.quill@example.org'")
        text, found = asyncio.run(go(format_))
        assert "COPY" in text
        assert str(expected).encode() in found
        for half in (KEY.inner, KEY.outer):
            assert half[2:66] not in text


def test_hints_name_only_what_may_be_seen(database: str, tmp_path: Path) -> None:
    path, (staff, hr) = keys_for(tmp_path, ("staff",), ("hr",))

    async def hint(rig: Rig, url: str, key: str) -> str:
        answer = await rig.client.get(url, headers=bearer(key))
        assert answer.status_code in (400, 404), answer.text
        return str(answer.json().get("hint", ""))

    async def graphql_hint(rig: Rig, key: str) -> str:
        text = '{ searchPeople(query: "", facets: ["name"]) { totalCount } }'
        answer = await rig.graphql(text, headers=bearer(key))
        (error,) = answer["errors"]
        return str(error["message"]) + str(error["extensions"].get("hint", ""))

    async def closed(rig: Rig) -> None:
        for url in ("/search/x", "/suggest/x?q=a", "/export/x", "/search/person?facets=name"):
            assert await hint(rig, url, staff) == "", url
            assert await hint(rig, url, hr) != "", url
        assert "one of" not in await graphql_hint(rig, staff)

    run(database, tmp_path, closed, with_keys(path, introspection=frozenset({"hr"})))


def test_hints_name_no_facet_that_is_hidden(database: str, tmp_path: Path) -> None:
    path, (staff, hr) = keys_for(tmp_path, ("staff",), ("hr",))

    async def go(rig: Rig) -> None:
        answer = await rig.client.get("/search/x", headers=bearer(staff))
        assert "person" in answer.json()["hint"]
        for key, shown in ((staff, "one of none"), (hr, "one of salary, diagnosis")):
            answer = await rig.client.get("/search/person?facets=name", headers=bearer(key))
            assert answer.json()["hint"] == shown

    run(database, tmp_path, go, with_keys(path))


FORMULAS = (
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "=cmd|' /C calc'!A0",
    "＝1",
    "−1",
)
PLAIN = ("a=b", "'quoted", " =1", '"=1"', "x", "1-1")


def test_a_spreadsheet_runs_nothing_of_a_csv_that_is_made_for_it(
    database: str, tmp_path: Path
) -> None:
    rows = "INSERT INTO countries (iso, iso3, name, continent) VALUES ('FR', 'FRA', 'x', 'EU');"
    names = [*FORMULAS, *PLAIN]

    async def table(rig: Rig, more: str) -> list[list[str]]:
        answer = await rig.client.get(f"/export/city?format=csv&fields=name,latitude{more}")
        assert answer.status_code == 200, answer.text
        return list(csv.reader(io.StringIO(answer.text, newline="")))[1:]

    async def main() -> None:
        async with gateway(database, tmp_path, rows=rows, published=False) as rig:
            with psycopg.connect(rig.url) as conn:
                for number, name in enumerate(names, 1):
                    conn.execute(
                        "INSERT INTO cities (geonameid, name, country_code, latitude, longitude, population)"
                        " VALUES (%s, %s, 'FR', -1.5, 0, 0)",
                        (number, name),
                    )
            plain = await table(rig, "")
            assert [r[0] for r in plain] == names
            safe = await table(rig, "&spreadsheet=1")
            assert [r[0] for r in safe] == [
                n if n in PLAIN or n == "−1" else "'" + n for n in names
            ]
            assert {r[1] for r in safe} == {"-1.5"}  # a number stays one
            answer = await rig.client.get("/export/city?spreadsheet=1")
            assert answer.status_code == 400

    asyncio.run(main())
    contract = load_contract(GEONAMES)
    with pytest.raises(InputError):
        Export(contract.types["city"], Format.PARQUET, spreadsheet=True)


@pytest.mark.parametrize(
    ("more", "warned"),
    [
        ({"host": "0.0.0.0", "anonymous": "read"}, True),
        ({"anonymous": "read"}, True),
        ({"host": "0.0.0.0", "anonymous": "read", "operator_roles": ()}, False),
        ({}, False),
        ({"anonymous": "no"}, False),
    ],
    ids=["everywhere", "behind a proxy", "named", "this machine", "nobody"],
)
def test_operators_pages_that_are_open_to_everybody_are_said_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, more: dict[str, Any], warned: bool
) -> None:
    authenticator(Settings(data_dir=tmp_path, **more), load_contract(GEONAMES))
    assert ("operator_roles" in caplog.text) is warned


HEAD = b"POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
LEAVING = {
    "in the head": (HEAD, 0),
    "in the body": (HEAD + b'content-length: 500\r\n\r\n{"query"', 0),
    "in a body by chunks": (HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\n{\"que", 0),
    "in the body of a stream": (
        HEAD + b'accept: text/event-stream\r\ncontent-length: 500\r\n\r\n{"query"', 0,
    ),
    "in the body of a search": (
        HEAD.replace(b"/graphql", b"/search/city") + b"content-length: 500\r\n\r\n{", 0,
    ),
    "in an answer": (b"GET /export/city HTTP/1.1\r\nhost: x\r\n\r\n", 100),
    "in a stream": (
        HEAD + b'accept: text/event-stream\r\ncontent-length: 27\r\n\r\n{"query": "{ __typename }"}', 50,
    ),
    "in a handshake": (
        b"GET /graphql HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"sec-websocket-protocol: graphql-transport-ws\r\n\r\n", 50,
    ),
}  # fmt: skip
MANY = """
INSERT INTO countries (iso, iso3, name, continent) VALUES ('FR', 'FRA', 'France', 'EU');
INSERT INTO cities (geonameid, name, country_code, latitude, longitude, population)
SELECT i, repeat('x', 190), 'FR', 0, 0, i FROM generate_series(1, 20000) i;
"""


def test_a_client_that_leaves_makes_no_traceback(
    database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with gateway(database, tmp_path, rows=MANY, published=False) as rig:
            sock, stop, up = bind("127.0.0.1", 0), asyncio.Event(), asyncio.Event()
            served = asyncio.ensure_future(serve(rig.app, sock, stop, lambda _: up.set()))
            await up.wait()
            place = sock.getsockname()[:2]
            try:
                for reset in (False, True):
                    for asked, answered in LEAVING.values():
                        reader, writer = await asyncio.open_connection(*place)
                        writer.write(asked)
                        await writer.drain()
                        if answered:
                            await asyncio.wait_for(reader.readexactly(answered), 10)
                        await asyncio.sleep(0.1)
                        if reset:
                            raw = writer.get_extra_info("socket")
                            raw.setsockopt(
                                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                            )
                        writer.transport.abort() if reset else writer.close()
                await asyncio.sleep(0.5)
            finally:
                stop.set()
                await served

    with caplog.at_level(logging.INFO):
        asyncio.run(main())
    assert "Traceback" not in caplog.text
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR], caplog.text
