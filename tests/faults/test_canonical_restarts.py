"""Canonical restarts, or ends a connection: the next write is sent on a connection that lives, and
never twice."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest

from compose.local.process import free_port
from recordgate.embedded import EmbeddedPostgres
from stores.canonical.connect import Pool
from tests.acceptance.gateway_rig import Rig, gateway

SIZE = 4
"""Of the rig's pool."""
CREATE = """
mutation { createCity(input: {geonameid: %d, name: "New", countryCode: "FR", latitude: 0, longitude: 0, population: 1})
  { city { geonameid } } }
"""


async def writes(rig: Rig, numbers: range) -> None:
    """One write a number, all at once; each must be answered without an error."""
    answers = await asyncio.gather(*(rig.graphql(CREATE % n) for n in numbers))
    assert [a.get("errors") for a in answers] == [None] * len(answers)


def created(url: str) -> int:
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT count(*) FROM cities WHERE name = 'New'").fetchone()
    assert row is not None
    return int(row[0])


def terminate(url: str) -> int:
    """End all sessions but our own, as a failover or an administrator would."""
    with psycopg.connect(url, autocommit=True) as conn:
        row = conn.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_no_write_fails_once_a_restarted_canonical_is_back(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="recordgate-test-"))
    folder.chmod(0o711)
    port = free_port()
    # By the network, so that it comes back under the same address.
    options = {"fsync": "off", "listen_addresses": "127.0.0.1", "port": str(port)}
    running = EmbeddedPostgres(folder, options)

    async def go(url: str) -> None:
        nonlocal running
        async with gateway(url, tmp_path, published=False) as rig:
            await writes(rig, range(1, 21))
            running.release()
            running.wait_stopped()
            running = EmbeddedPostgres(folder, options)
            running.start()
            for number in range(21, 31):
                await writes(rig, range(number, number + 1))
            await writes(rig, range(31, 51))
            assert created(url) == 50

    try:
        with psycopg.connect(running.start()) as conn:
            conn.execute("CREATE ROLE tester SUPERUSER LOGIN PASSWORD 'of the tests'")
        asyncio.run(go(f"postgresql://tester:of%20the%20tests@127.0.0.1:{port}/postgres"))
    finally:
        running.release()
        running.wait_stopped()
        running.remove()
        shutil.rmtree(folder, ignore_errors=True)


def test_connections_that_the_server_ended_are_found_before_a_write_is_sent(
    database: str, tmp_path: Path
) -> None:
    async def go() -> None:
        async with gateway(database, tmp_path, published=False) as rig:
            for round_ in range(3):
                await writes(rig, range(100 * round_ + 1, 100 * round_ + 11))
                assert terminate(rig.url) >= 2
                for number in range(100 * round_ + 11, 100 * round_ + 16):
                    await writes(rig, range(number, number + 1))
            assert created(rig.url) == 45

    asyncio.run(go())


def test_a_connection_is_asked_only_where_one_was_lost(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every request would pay for a question that is nearly always answered with yes."""
    asked: Counter[int] = Counter()
    execute = psycopg.AsyncConnection.execute

    async def counting(self: Any, query: Any, *args: Any, **options: Any) -> Any:
        asked[id(self)] += query == b""
        return await execute(self, query, *args, **options)

    monkeypatch.setattr(psycopg.AsyncConnection, "execute", counting)

    async def go() -> None:
        async with gateway(database, tmp_path, published=False) as rig:
            pool = rig.services.pool
            assert isinstance(pool, Pool)
            await writes(rig, range(1, 11))
            assert asked.total() == 0
            pool.lost()
            await writes(rig, range(11, 31))
            assert 0 < asked.total() <= SIZE
            assert set(asked.values()) <= {0, 1}

    asyncio.run(go())


def test_a_write_whose_end_is_not_known_is_said_to_be_so_and_not_sent_again(
    database: str, tmp_path: Path
) -> None:
    """The session is ended by a trigger that runs at the commit: nobody but the server knows what
    came of it."""

    async def go() -> None:
        async with gateway(database, tmp_path, published=False) as rig:
            with psycopg.connect(rig.url, autocommit=True) as conn:
                conn.execute(
                    "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                    " PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
                )
                conn.execute(
                    "CREATE CONSTRAINT TRIGGER cut AFTER INSERT ON cities DEFERRABLE INITIALLY DEFERRED"
                    " FOR EACH ROW EXECUTE FUNCTION cut()"
                )
            answer = await rig.graphql(CREATE % 1)
            (error,) = answer["errors"]
            assert error["extensions"]["code"] == "STORE_UNAVAILABLE"
            assert "not known" in error["message"]
            assert "read the record" in error["extensions"]["hint"]
            assert created(rig.url) == 0

    asyncio.run(go())
