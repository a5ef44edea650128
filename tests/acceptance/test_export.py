"""An export is whole, from one snapshot, resumable, flat in memory, and gives its connection
back."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, date, datetime
from datetime import time as dtime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pyarrow.parquet as pq
import pytest

from gateway.export import spool as export_spool
from gateway.export.rows import Export, Written, stream
from gateway.export.spool import Spool
from gateway.http import guard as app_guard
from stores.canonical.connect import connect_async
from tests.acceptance.gateway_rig import Rig, gateway

EVERY_TYPE = Path(__file__).parent / "every_type.odcs.yaml"
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
        blocks = stream(conn, contract, Export(contract.types["city"]), Written())
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


def test_a_reader_that_goes_away_or_stops_keeps_no_snapshot(
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
        async with asyncio.timeout(60):
            while app.state.spool.running:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        stats = rig.services.pool.get_stats()
        assert stats["pool_available"] == stats["pool_size"]

    run(database, tmp_path, go)


def test_an_export_that_waits_for_its_reader_ends_with_it(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        app = rig.client._transport.app  # type: ignore[attr-defined]
        app.state.spool.room = 1_000_000  # so that it waits, with its snapshot open
        slow = Reader(leaves=False)
        answer = asyncio.ensure_future(app(SCOPE, slow.receive, slow.send))
        async with asyncio.timeout(60):
            while slow.parts < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert snapshots(database) == 1
            slow.gone.set()
            while snapshots(database) or app.state.spool.running:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.gather(answer, return_exceptions=True)

    run(database, tmp_path, go)


def test_a_caller_that_leaves_before_the_first_byte_leaves_no_snapshot(
    database: str, tmp_path: Path
) -> None:
    async def go(rig: Rig) -> None:
        app = rig.client._transport.app  # type: ignore[attr-defined]
        with psycopg.connect(database) as lock:
            lock.execute("LOCK TABLE cities")
            leaving = Reader(leaves=True)
            answer = asyncio.ensure_future(app(SCOPE, leaving.receive, leaving.send))
            async with asyncio.timeout(60):
                while not snapshots(database):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                leaving.gone.set()
                while snapshots(database) or app.state.spool.running:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await asyncio.gather(answer, return_exceptions=True)

    run(database, tmp_path, go)


def test_what_nobody_reads_any_more_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_spool, "ABANDONED", 0.2)

    async def main() -> None:
        freed = asyncio.Event()

        async def endless(_: Written) -> AsyncGenerator[bytes, None]:
            try:
                yield b"first"
                await asyncio.sleep(60)
            finally:
                freed.set()

        spool = Spool(tmp_path)
        spooled = await spool.begin("0" * 32, endless, lambda _: {})
        async with aclosing(spooled.read()) as reading:
            assert await anext(reading) == b"first"
            await asyncio.sleep(0.5)
            assert not freed.is_set()
        await asyncio.wait_for(freed.wait(), 20)
        async with asyncio.timeout(60):
            while spool.running:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert not list(tmp_path.iterdir())  # noqa: ASYNC240

    asyncio.run(main())


def snapshots(database: str) -> int:
    with psycopg.connect(database, autocommit=True) as conn:
        row = conn.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY (%' AND state = 'active'"
            " AND datname = current_database()"
        ).fetchone()
        assert row is not None
        return int(row[0])


def test_a_cut_export_is_gone_on_with_the_same_bytes(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        for form in ("ndjson", "csv", "parquet"):
            whole = await rig.client.get(f"/export/city?format={form}")
            etag, place = whole.headers["etag"], whole.headers["content-location"]
            size = len(whole.content)
            with psycopg.connect(database, autocommit=True) as other:
                other.execute("UPDATE cities SET name = name || '!' WHERE geonameid < 100")
            url = f"/export/city?format={form}"
            half = {"Range": f"bytes={size // 2}-", "If-Range": etag}
            rest = await rig.client.get(url, headers=half)
            assert rest.status_code == 206
            assert rest.headers["content-range"] == f"bytes {size // 2}-{size - 1}/{size}"
            assert rest.content == whole.content[size // 2 :]
            some = await rig.client.get(place, headers={"Range": "bytes=10-19"})
            assert (some.status_code, some.content) == (206, whole.content[10:20])
            tail = await rig.client.get(place, headers={"Range": "bytes=-5"})
            assert tail.content == whole.content[-5:]
            beyond = await rig.client.get(place, headers={"Range": f"bytes={size}-"})
            assert beyond.status_code == 416
            assert beyond.json()["code"] == "RANGE_NOT_SATISFIABLE"
            assert (await rig.client.get(place)).content == whole.content
            other_query = await rig.client.get(f"{url}&fields=name", headers=half)
            assert other_query.status_code == 200
            if form != "parquet":
                assert other_query.content != whole.content
            anew = await rig.client.get(url, headers={"Range": "bytes=10-19"})
            assert anew.status_code == 200
            assert anew.headers["etag"] != etag
        gone = await rig.client.get(place.replace("snapshot=", "snapshot=0"))
        assert gone.status_code == 404

    run(database, tmp_path, go)


def test_another_process_serves_what_is_whole_and_nothing_of_what_is_not(
    database: str, tmp_path: Path
) -> None:
    async def go(rig: Rig) -> None:
        app = rig.client._transport.app  # type: ignore[attr-defined]
        first: Spool = app.state.spool
        whole = await rig.client.get("/export/city")
        (first.folder / f"{'0' * 32}-{'1' * 16}.part").write_bytes(b"half")
        app.state.spool = Spool(first.folder)
        again = await rig.client.get(whole.headers["content-location"])
        assert again.content == whole.content
        id = whole.headers["etag"].strip('"')
        (first.folder / f"{id}.data").write_bytes(b"cut")
        app.state.spool = Spool(first.folder)
        assert (await rig.client.get(whole.headers["content-location"])).status_code == 404

    run(database, tmp_path, go)


def test_beyond_the_spools_room_an_export_is_whole_but_not_kept(
    database: str, tmp_path: Path
) -> None:
    async def go(rig: Rig) -> None:
        app = rig.client._transport.app  # type: ignore[attr-defined]
        app.state.spool.room = 1_000_000
        answer = await rig.client.get("/export/city")
        assert len(answer.content.splitlines()) == 50_000
        assert len(answer.content) > 3_000_000
        assert (await rig.client.get(answer.headers["content-location"])).status_code == 404
        assert sum(p.stat().st_size for p in app.state.spool.folder.iterdir()) <= 1_000_000

    run(database, tmp_path, go)


@pytest.mark.parametrize(
    "query", ["/export/city", "/export/country?format=csv", "/export/country?format=parquet"]
)
@pytest.mark.parametrize("why", ["no room", "no folder"])
def test_without_a_spool_an_export_is_whole_all_the_same(
    database: str, tmp_path: Path, query: str, why: str
) -> None:
    async def go(rig: Rig) -> None:
        app = rig.client._transport.app  # type: ignore[attr-defined]
        kept = (await rig.client.get(query)).content
        if why == "no room":
            app.state.spool = Spool(tmp_path / "another", room=0)
        else:
            (tmp_path / "a file").touch()
            app.state.spool = Spool(tmp_path / "a file")
        answer = await asyncio.wait_for(rig.client.get(query), 30)
        assert answer.status_code == 200
        if "parquet" in query:
            assert pq.read_table(io.BytesIO(answer.content)).num_rows == 1
        else:
            assert answer.content == kept
        assert "content-length" not in answer.headers
        assert not app.state.spool.running

    run(database, tmp_path, go)


def test_no_more_exports_run_at_once_than_may(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        answers = await asyncio.gather(*(rig.client.get("/export/city") for _ in range(20)))
        codes = sorted(a.status_code for a in answers)
        assert codes[:2] == [200, 200]
        assert codes[-10:] == [503] * 10
        assert {a.json()["code"] for a in answers if a.status_code == 503} == {"OVERLOADED"}

    run(database, tmp_path, go)


def test_the_manifest_counts_what_was_sent(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        for form in ("ndjson", "csv", "parquet"):
            params = {"format": form, "filter": '{"population": {"lt": 1001}}'}
            answer = await rig.client.get("/export/city", params=params)
            link = answer.headers["link"].partition("<")[2].partition(">")[0]
            found = (await rig.client.get(link)).json()
            assert found["complete"] is True
            assert found["rows"] == 1000
            assert found["bytes"] == len(answer.content)
            assert found["sha256"] == hashlib.sha256(answer.content).hexdigest()
            assert found["filtered"] is True
            assert found["fields"][0]["name"] == "geonameid"
            position, at = found["snapshot"]["position"], found["snapshot"]["at"]
            assert re.fullmatch("[0-9A-F]+/[0-9A-F]+", position)
            assert abs(at - time.time()) < 600
        assert (await rig.client.get("/export/city?manifest=1")).status_code == 400

    run(database, tmp_path, go)


PEOPLE = """
INSERT INTO teams (id, code) VALUES (1, 'a');
INSERT INTO people (id, team_id, plain, fixed, picture, small, large, unsigned, float4, float8, price, exact, flag,
  born, seen, local, opens, extra, tags, scores, rank)
VALUES ('00000000-0000-0000-0000-000000000001', 1, E'é"\\n', 'abc', '\\x00ff', -7, 9223372036854775807,
  18446744073709551615, 1.5, 0.1, 12.30, 1e30, true, '1969-12-31', '2024-05-01 12:00:00.000001+02', '9999-12-31 23:59:59',
  '23:59:59.999999', '{"a": [1]}', ARRAY['red'], '{1,2}', '50%'),
 ('00000000-0000-0000-0000-000000000002', 1, NULL, NULL, NULL, NULL, NULL, NULL, 'NaN', NULL, NULL, NULL, NULL,
  'infinity', '-infinity', NULL, NULL, NULL, NULL, NULL, NULL);
"""


def test_parquet_has_values_in_columns_of_their_types(database: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with gateway(
            database, tmp_path, contract=EVERY_TYPE, rows=PEOPLE, published=False
        ) as rig:
            answer = await rig.client.get("/export/person?format=parquet")
            assert answer.headers["content-type"] == "application/vnd.apache.parquet"
            first, second = pq.read_table(io.BytesIO(answer.content)).to_pylist()
            utc = UTC
            expected = {
                "plain": 'é"\n', "fixed": "abc", "picture": b"\x00\xff", "small": -7,
                "large": 2**63 - 1, "float4": 1.5, "float8": 0.1, "price": Decimal("12.30"),
                "flag": True, "born": date(1969, 12, 31),
                "seen": datetime(2024, 5, 1, 10, 0, 0, 1, utc),
                "local": datetime(9999, 12, 31, 23, 59, 59), "opens": dtime(23, 59, 59, 999999),
                "extra": '{"a": [1]}', "tags": ["red"], "scores": [1, 2], "rank": "50%",
                "exact": "1" + "0" * 30, "unsigned": Decimal(2**64 - 1),
            }  # fmt: skip
            assert {name: first[name] for name in expected} == expected
            nothing = {n: v for n, v in second.items() if n not in ("id", "teamId")}
            assert not any(nothing.values()), nothing

    asyncio.run(main())


def run(database: str, folder: Path, go: Any) -> None:
    async def main() -> None:
        async with gateway(database, folder, rows=MANY, published=False) as rig:
            await go(rig)

    asyncio.run(main())
