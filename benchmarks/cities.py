"""The stage of the benchmarks that follow changes: generated cities in a Postgres of its own, and a
worker that takes them into both embedded stores."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from recordgate.embedded import EmbeddedPostgres
from recordgate.migrations.run import migrate
from stores.canonical.apply import apply_plan
from stores.canonical.connect import connect
from stores.canonical.plan import make_plan
from stores.contract.load import load_contract
from stores.contract.model import Contract
from stores.protocols import Store
from stores.registry import open_store
from sync.sources.registry import open_source
from sync.worker import Worker

CONTRACT = Path(__file__).parents[1] / "recordgate" / "demo" / "geonames.odcs.yaml"
SINKS = {"search": "tantivy:", "documents": "sqlite:"}

ROWS = """
INSERT INTO public.countries (iso, iso3, name, continent, languages)
SELECT chr(65 + i / 26) || chr(65 + i % 26), 'X' || chr(65 + i / 26) || chr(65 + i % 26), 'Country ' || i, 'EU',
       '{en,fr}'
FROM generate_series(0, 251) i;
INSERT INTO public.cities (geonameid, name, alternate_names, country_code, latitude, longitude, population, timezone)
SELECT i, 'City of ' || md5(i::text), ARRAY['Town ' || i, 'Stadt ' || i % 1000],
       chr(65 + i % 252 / 26) || chr(65 + i % 252 % 26), i % 90, i % 180, i % 100000, 'Europe/Paris'
FROM generate_series(1, ROW_COUNT) i;
ANALYZE
"""


@contextmanager
def own_postgres() -> Iterator[tuple[str, Path]]:
    """The URL of a server that is removed afterwards, and a folder for stores."""
    with tempfile.TemporaryDirectory(prefix="recordgate-bench-") as made:
        folder = Path(made)
        folder.chmod(0o711)
        server = EmbeddedPostgres(folder / "postgres")
        try:
            yield server.start(), folder / "stores"
        finally:
            server.release()
            server.wait_stopped()
            server.remove()


def fill(url: str, rows: int) -> None:
    """The contract's tables, with `rows` cities."""
    contract = load_contract(CONTRACT)
    migrate(url)
    with connect(url) as conn:
        apply_plan(conn, contract, make_plan(conn, contract))
        for statement in ROWS.replace("ROW_COUNT", str(rows)).split(";"):
            conn.execute(statement.encode())


def run_worker(contract: Contract, url: str, sinks: Mapping[str, Store]) -> None:
    """In the worker's process, until SIGTERM."""
    logging.basicConfig(
        level=os.environ.get("BENCH_LOG", "WARNING"), format="%(asctime)s %(message)s"
    )

    async def main() -> None:
        made = Worker(
            contract=contract,
            canonical_url=url,
            source=lambda: open_source("pgoutput:", contract, url),
            sinks=sinks,
        )
        stopping: list[asyncio.Task[None]] = []
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGTERM, lambda: stopping.append(asyncio.create_task(made.stop()))
        )
        await made.run()

    try:
        import uvloop
    except ModuleNotFoundError:
        asyncio.run(main())
    else:
        uvloop.run(main())


@contextmanager
def loaded(
    process: subprocess.Popen[bytes], url: str, folder: Path, seconds: float = 60
) -> Iterator[subprocess.Popen[bytes]]:
    """The worker's process, once both stores show what is committed; ended afterwards, within
    `seconds`."""
    try:
        wait_for(url, folder, process)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(seconds)


def wait_for(url: str, folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Until both stores have published what is committed now."""
    contract = load_contract(CONTRACT)

    async def main() -> None:
        with connect(url) as conn:
            row = conn.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").fetchone()
        assert row is not None
        for scheme in SINKS.values():
            store = open_store(scheme, folder)
            await store.open(contract, write=False)
            while (position := await store.position()) is None or position.lsn < row[0]:
                assert process.poll() is None, "the worker has ended"
                await asyncio.sleep(0.05)
            await store.close()

    asyncio.run(main())
