"""The commands about sync say clearly what is wrong: before `apply`, where readers see another
generation, where a repair takes too long, where the worker that a command runs cannot work."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from recordgate.cli import generations, verify
from recordgate.settings import Settings
from recordgate.sync_access import sync_access
from stores.errors import RecordgateError, TimeoutExceeded
from sync import durable_backlog
from sync.worker import Worker
from tests.sync_world import World, fill, shop_contract

ROOT = Path(__file__).parents[2]


def command(url: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """`recordgate …` as a process."""
    return subprocess.run(
        [sys.executable, "-m", "recordgate", *arguments],
        env={
            **os.environ,
            "RECORDGATE_CONTRACT": str(folder / "shop.odcs.yaml"),
            "RECORDGATE_POSTGRES": url,
            "RECORDGATE_DATA_DIR": str(folder),
        },
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )


def as_json(done: subprocess.CompletedProcess[bytes]) -> Any:
    assert done.stdout, done.stderr.decode()
    return orjson.loads(done.stdout)


@pytest.mark.parametrize(
    "arguments", [("status",), ("verify",), ("reload", "line"), ("rollback", "line")]
)
def test_before_apply_a_command_says_what_to_run(
    database: str, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    shop_contract(tmp_path)
    done = command(database, tmp_path, *arguments, "--json")
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert as_json(done)["error"] == {
        "code": "SETUP",
        "message": "a table is missing in canonical",
        "hint": "run `recordgate apply`",
    }


def test_verify_says_that_readers_see_another_generation(world: World) -> None:
    async def main() -> None:
        async with world.running():
            await world.synced()
        store = world.store("documents")
        await store.open(world.contract, write=True)
        await store.create_generation("line", 7)
        await store.activate("line", 7)
        await store.publish(None)
        await store.close()

    asyncio.run(main())
    ask = ("verify", "line", "--sink", "documents")
    done = command(world.url, world.folder, *ask, "--json")
    assert done.returncode == 4
    value = as_json(done)
    found = value["types"]["line"]["documents"]
    assert (found["generation"], found["expected"]) == (7, 1)
    assert (found["missing"], found["extra"], found["different"]) == (0, 0, 0)
    assert value["differences"] == 1
    done = command(world.url, world.folder, *ask)
    assert done.returncode == 4
    assert (
        "readers see generation 7, but by canonical's records 1 is active" in done.stdout.decode()
    )


def test_a_repair_that_takes_too_long_says_what_is_left(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No worker runs, so nothing of what was marked is ever taken."""
    monkeypatch.setattr(verify, "REPAIR_PATIENCE", 0.3)
    settings = Settings(postgres=world.url, data_dir=world.folder)
    fill(world)

    async def main() -> None:
        async with sync_access(settings, world.contract, ()) as access:
            await durable_backlog.add(access.conn, "documents", "line", ["1", "2"], 0)
            with pytest.raises(
                TimeoutExceeded, match="2 records still wait in the backlog"
            ) as error:
                await verify._drained(access, ("search", "documents"), world.contract, lambda: None)
            assert "status" in error.value.hint

    asyncio.run(main())


@pytest.mark.parametrize("action", ["reload", "rollback"])
def test_a_command_ends_where_its_worker_waits_for_what_nobody_mends(
    world: World, action: str
) -> None:
    """A column of the type was removed."""
    world.sql("ALTER TABLE public.lines DROP COLUMN quantity")
    done = command(world.url, world.folder, action, "line", "--json")
    assert done.returncode == 1
    error = as_json(done)["error"]
    (request,) = world.rows("SELECT state, message FROM recordgate.sync_requests")
    assert request["state"] == "failed", "no later worker does what nobody waits for"
    if action == "rollback" and error["code"] == "CONFLICT":
        # Asked before the type was set aside: its first load stands in the way.
        assert "is being built" in error["message"]
        return
    assert error["code"] == "TYPE_NOT_READABLE"
    assert "canonical cannot read line" in error["message"]
    assert "cannot read line" in request["message"]


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("run", "has ended: ZeroDivisionError"),
        ("_session", "unexpected failure: ZeroDivisionError"),
    ],
)
def test_a_command_ends_where_its_worker_dies_or_fails_at_every_try(
    world: World, monkeypatch: pytest.MonkeyPatch, method: str, said: str
) -> None:
    async def dies(worker: Worker) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(Worker, method, dies)
    settings = Settings(postgres=world.url, data_dir=world.folder)

    async def main() -> None:
        async with asyncio.timeout(30):
            await generations._ask(settings, world.contract, "reload", "line", None)

    with pytest.raises(RecordgateError, match=said):
        asyncio.run(main())
