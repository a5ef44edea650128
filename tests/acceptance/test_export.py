"""An export is whole, from one snapshot, resumable, flat in memory, and gives its connection back."""

from __future__ import annotations

import asyncio
import csv
import io
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest

from gateway import app_guard
from gateway.export import Export, stream
from stores.canonical.connect import connect_async
from tests.acceptance.gateway_rig import Rig, gateway

MANY = """
INSERT INTO countries (iso, iso3, name, continent) VALUES ('FR', 'FRA', 'France', 'EU');
INSERT INTO cities (geonameid, name, country_code, latitude, longitude, population, alternate_names)
SELECT i, repeat('x', 100), 'FR', 0, 0, i, ARRAY['a"b', E'c\\\\d', E'e\\nf', NULL]
FROM generate_series(1, 50000) i;
"""


def test_every_record_is_there_once_in_the_order_of_keys(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        answer = await rig.client.get("/export/city")
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert 'filename="cities.ndjson"' in answer.headers["content-disposition"]
        rows = [orjson.loads(line) for line in answer.content.splitlines()]
        assert [r["geonameid"] for r in rows] == list(range(1, 50_001))
        assert rows[0]["alternateNames"] == ['a"b', "c\\d", "e\nf", None]
        answer = await rig.client.get(
            "/export/city?format=csv&fields=geonameid,alternateNames,admin1"
        )
        table = list(csv.reader(io.StringIO(answer.text)))
        assert table[0] == ["geonameid", "alternateNames", "admin1"]
        assert len(table) == 50_001
        assert orjson.loads(table[1][1]) == rows[0]["alternateNames"]
        params = {"filter": '{"population": {"gte": 100, "lt": 103}}', "fields": "population"}
        answer = await rig.client.get("/export/city", params=params)
        assert answer.content == b'{"population":100}\n{"population":101}\n{"population":102}\n'
        answer = await rig.client.get("/export/city?after=49998&fields=geonameid")
        assert answer.content == b'{"geonameid":49999}\n{"geonameid":50000}\n'

    run(database, tmp_path, go)


def test_what_is_written_meanwhile_is_not_in_it(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        contract = rig.services.contract
        conn = await connect_async(database)
        blocks = stream(conn, contract, Export(contract.types["city"]))
        first = await anext(blocks)
        with psycopg.connect(database) as other:
            other.execute("UPDATE cities SET name = 'changed'")
            other.execute("DELETE FROM cities WHERE geonameid > 40000")
        whole = first + b"".join([block async for block in blocks])
        assert len(whole.splitlines()) == 50_000
        assert b"changed" not in whole
        await conn.close()

    run(database, tmp_path, go)


SCOPE = {
    "type": "http", "method": "GET", "path": "/export/city", "query_string": b"", "headers": [],
    "http_version": "1.1", "scheme": "http", "root_path": "", "server": ("g", 80),
    "client": ("c", 1), "asgi": {"version": "3.0"},
}  # fmt: skip


class Reader:
    """Takes the first part of an answer, then goes away, or stays and takes no more."""

    def __init__(self, *, leaves: bool) -> None:
        self.leaves = leaves
        self.asked = False
        self.parts = 0
        self.gone = asyncio.Event()

    async def receive(self) -> Any:
        if not self.asked:
            self.asked = True
            return {"type": "http.request", "body": b""}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.parts += message["type"] == "http.response.body"
        if self.parts == 2:
            if self.leaves:
                self.gone.set()
            await asyncio.sleep(30)


def test_a_reader_that_goes_away_frees_the_connection(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_guard, "STALL", 0.3)

    async def go(rig: Rig) -> None:
        app = rig.client._transport.app  # type: ignore[attr-defined]
        leaving, stopping = Reader(leaves=True), Reader(leaves=False)
        await asyncio.wait_for(app(SCOPE, leaving.receive, leaving.send), 5)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(app(SCOPE, stopping.receive, stopping.send), 5)
        assert leaving.parts == stopping.parts == 2
        assert (await rig.client.get("/export/city?after=49999")).status_code == 200
        stats = rig.services.pool.get_stats()
        assert stats["pool_available"] == stats["pool_size"]

    run(database, tmp_path, go)


def run(database: str, folder: Path, go: Any) -> None:
    async def main() -> None:
        async with gateway(database, folder, rows=MANY, published=False) as rig:
            await go(rig)

    asyncio.run(main())
