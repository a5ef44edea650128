"""A running process takes another contract and keys; what is wrong is refused, and what runs goes
on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from recordgate.http_server import url_of
from recordgate.presence import Presence
from recordgate.readiness import make_ready
from recordgate.reloading import Terminal, takes_hangup
from recordgate.runtime import Role, Runtime
from recordgate.settings import load_settings
from stores.canonical.processes import Reloaded
from tests.acceptance.access_rig import bearer, keys_for
from tests.acceptance.test_live_processes import AREA, NAME, SIZE, Product

ASKED = {"query": "{ things { nodes { id name } } }"}


@pytest.fixture
def product(database: str, tmp_path: Path) -> Product:
    return Product(database, tmp_path)


@dataclass
class Running:
    runtime: Runtime
    client: httpx.AsyncClient

    async def graphql(self, query: str) -> Any:
        return (await self.client.post("/graphql", json={"query": query})).json()

    async def hang_up(self) -> Reloaded:
        """SIGHUP, and what came of it."""
        presence = self.runtime._presence
        before = presence.process
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: presence.process is not before)
        found = Reloaded.of(presence.process)
        assert found is not None
        return found


async def until(met: Callable[[], Any], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


@asynccontextmanager
async def running(product: Product, role: Role, **settings: Any) -> AsyncIterator[Running]:
    given = load_settings(
        None,
        contract=product.file,
        postgres=product.url,
        data_dir=product.folder / "data",
        port=0,
        worker_port=0,
        **settings,
    )
    contract = product.write("1.0.0", NAME, SIZE)
    async with Runtime(given, contract, role) as runtime:
        answers = asyncio.Event()
        work = asyncio.ensure_future(runtime.run(lambda _: answers.set()))
        await answers.wait()
        assert runtime._socket is not None
        async with httpx.AsyncClient(base_url=url_of(runtime._socket), timeout=20) as client:
            yield Running(runtime, client)
        runtime._stop.set()
        await work


def test_up_takes_another_contract_and_goes_on_with_the_one_before_where_it_is_wrong(
    product: Product,
) -> None:
    async def main() -> None:
        async with running(product, Role.UP) as up:
            product.sql("INSERT INTO things (id, name) VALUES (1, 'one')")
            good = product.file.read_text("utf-8")
            for broken, said in (
                (good + "x: [", "YAML_SYNTAX"),
                (good.replace("primaryKey: true, ", ""), "NO_PRIMARY_KEY"),
                (good.replace("id: things", "id: others"), "id is 'others'"),
                (good + AREA, "add column area"),
                ("", "SCHEMA"),
                (good + "version: 9\n", "YAML_DUPLICATE_KEY"),
                (good + "x: &a [*a]\n", "YAML_SYNTAX"),
            ):
                product.file.write_text(broken, "utf-8")
                outcome = await up.hang_up()
                assert not outcome.ok
                assert said in outcome.said, outcome
                assert (await up.client.post("/graphql", json=ASKED)).status_code == 200
                if said.startswith("add column"):
                    status = await asyncio.to_thread(product.text, "status")
                    assert "it has refused another one: canonical does not match" in status
            product.file.unlink()
            assert not (await up.hang_up()).ok
            os.mkfifo(product.file)  # nobody writes to it
            assert "is not a file" in (await up.hang_up()).said
            product.file.unlink()
            newer = product.write("1.1.0", NAME, SIZE, AREA)
            product.apply(newer)
            text = product.file.read_bytes()
            product.file.write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
            outcome = await up.hang_up()
            assert (outcome.ok, outcome.said) == (True, "contract 1.1.0")
            found = await up.graphql('{ thing(id: "1") { name area } }')
            assert found["data"]["thing"] == {"name": "one", "area": None}
            product.sql("INSERT INTO things (id, name, area) VALUES (2, 'two', 'wide')")
            ready = (
                "SELECT count(*) FROM recordgate.generations WHERE state = 'active' AND number = 2"
            )
            await until(lambda: product.sql(ready) == [(2,)])  # by the worker of the new contract
            metrics = (await up.client.get("/metrics")).text
            assert "recordgate_sink_lag_seconds" in metrics
            assert "recordgate_gc_pause_seconds" in metrics
            outcome = await up.hang_up()
            assert outcome.said == "contract 1.1.0, which it has already"
            assert product.sql("SELECT count(*), min(contract_version) FROM recordgate.processes") == [(1, "1.1.0")]  # fmt: skip

    product.apply(product.write("1.0.0", NAME, SIZE))
    asyncio.run(main())
    assert product.sql("SELECT count(*) FROM recordgate.processes") == [(0,)]


def test_what_has_begun_ends_by_the_contract_before_and_what_comes_is_of_the_new_one(
    product: Product,
) -> None:
    async def main() -> None:
        async with running(product, Role.SERVE) as serve:
            product.sql("INSERT INTO things (id, name) VALUES (1, 'one')")
            before = serve.runtime._gateway
            assert before is not None
            lock = psycopg.connect(product.url)
            lock.execute("LOCK TABLE things IN ACCESS EXCLUSIVE MODE")
            begun = asyncio.ensure_future(serve.client.post("/graphql", json=ASKED))
            await until(lambda: before.drain.running)
            product.write("1.1.0", NAME)
            assert (await serve.hang_up()).ok
            refused = await serve.graphql("{ things { nodes { size } } }")
            assert "Cannot query field 'size'" in refused["errors"][0]["message"]
            assert not begun.done()
            assert len(serve.runtime._leaving) == 1
            lock.close()
            answer = await begun
            assert answer.json()["data"]["things"]["nodes"] == [{"id": "1", "name": "one"}]
            await until(lambda: not serve.runtime._leaving)

    product.apply(product.write("1.0.0", NAME, SIZE))
    asyncio.run(main())


def test_a_keys_file_is_taken_when_it_is_whole_and_refused_half_written(product: Product) -> None:
    async def main() -> None:
        async with running(product, Role.SERVE, api_keys_file=path) as serve:

            async def status(text: str) -> int:
                answer = await serve.client.post("/graphql", json=ASKED, headers=bearer(text))
                return answer.status_code

            assert [await status(t) for t in (one, two)] == [200, 401]
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) // 2])
            outcome = await serve.hang_up()
            assert not outcome.ok
            assert "holds no API keys" in outcome.said
            assert [await status(t) for t in (one, two)] == [200, 401]
            path.unlink()
            os.mkfifo(path)
            assert "are not a file" in (await serve.hang_up()).said
            assert [await status(t) for t in (one, two)] == [200, 401]
            path.unlink()
            path.write_bytes(other.read_bytes())
            assert (await serve.hang_up()).ok
            assert [await status(t) for t in (one, two)] == [401, 200]

    path, (one,) = keys_for(product.folder, ())
    (product.folder / "other").mkdir()
    other, (two,) = keys_for(product.folder / "other", ())
    product.apply(product.write("1.0.0", NAME, SIZE))
    asyncio.run(main())


def test_keys_that_come_to_be_close_the_door_to_those_without(product: Product) -> None:
    async def main() -> None:
        async with running(product, Role.SERVE) as serve:
            assert (await serve.client.post("/graphql", json=ASKED)).status_code == 200
            made, (text,) = keys_for(product.folder, ())
            made.rename(product.folder / "data" / "api_keys.json")
            assert (await serve.hang_up()).ok
            assert (await serve.client.post("/graphql", json=ASKED)).status_code == 401
            answer = await serve.client.post("/graphql", json=ASKED, headers=bearer(text))
            assert answer.status_code == 200

    product.apply(product.write("1.0.0", NAME, SIZE))
    asyncio.run(main())


def test_reload_config_says_what_each_process_did(product: Product) -> None:
    contract = product.write("1.0.0", NAME, SIZE)
    product.apply(contract)
    assert "no gateway and no worker" in product.text("reload-config")

    async def main() -> None:
        async with running(product, Role.SYNC):
            product.apply(product.write("1.1.0", NAME, SIZE, AREA))
            with_old = asyncio.to_thread(_with_an_older_one, product, contract)
            found = await with_old
            by_role = {p["role"]: p for p in found["processes"]}
            assert by_role["sync"]["ok"]
            assert by_role["sync"]["contractVersion"] == "1.1.0"
            assert not by_role["serve"]["ok"]
            assert "restart it" in by_role["serve"]["said"]
            product.file.write_text("a: [", "utf-8")
            found = await asyncio.to_thread(product.run, "reload-config", code=1)
            assert "refused: " in found["processes"][0]["said"]
            assert "YAML_SYNTAX" in found["processes"][0]["said"]

    asyncio.run(main())


def _with_an_older_one(product: Product, contract: Any) -> Any:
    with _alive(product, contract):
        return product.run("reload-config", code=1)


def _alive(product: Product, contract: Any) -> Any:
    """A process that has no handler for SIGHUP, and does not say that it could."""
    return product.alive(contract)


def test_only_who_has_a_handler_is_woken_by_the_signal() -> None:
    async def main() -> None:
        assert not takes_hangup(os.getpid())
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: None)
        assert takes_hangup(os.getpid())
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
        assert not takes_hangup(os.getpid())
        assert not takes_hangup(2**22 + 1)

    asyncio.run(main())


def test_a_terminal_that_is_closed_ends_the_process_and_a_signal_alone_does_not() -> None:
    leader, follower = os.openpty()
    pid = os.fork()
    if not pid:
        os.setsid()
        os.dup2(follower, 0)
        import fcntl
        import termios

        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        os.close(leader)
        os.close(follower)
        terminal = Terminal()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        before = terminal.is_gone()
        end = time.monotonic() + 10
        while not terminal.is_gone() and time.monotonic() < end:
            time.sleep(0.02)
        os._exit(0 if not before and terminal.is_gone() else 1)
    os.close(follower)
    time.sleep(0.3)
    os.close(leader)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_request_that_nobody_sends_a_signal_for_is_heard_at_the_next_sign_of_life(
    product: Product,
) -> None:
    contract = product.write("1.0.0", NAME)
    product.apply(contract)
    heard: list[int] = []

    async def main() -> None:
        presence = Presence(product.url, contract, "serve", beat=0.1, asked=lambda: heard.append(1))
        await presence.enter()
        assert not heard
        product.sql("UPDATE recordgate.processes SET asked = asked + 1")
        await until(lambda: heard)
        await presence.became(contract, Reloaded(await presence.asked(), True, "done"))
        said = product.sql("SELECT detail -> 'reload' FROM recordgate.processes")
        assert said == [({"asked": 1, "ok": True, "said": "done"},)]
        await presence.leave()

    asyncio.run(main())


def test_a_process_that_is_starting_does_not_end_by_the_signal(product: Product) -> None:
    product.apply(product.write("1.0.0", NAME))
    gateway = subprocess.Popen(
        [sys.executable, "-m", "recordgate", "serve"],
        env={**os.environ, **product.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert gateway.stdout is not None
        mask = Path(f"/proc/{gateway.pid}/status")
        end = time.monotonic() + 30
        while time.monotonic() < end:
            signals = dict(
                line.split(":\t") for line in mask.read_text().splitlines() if line[:3] == "Sig"
            )
            if int(signals["SigIgn"], 16) & 1 or int(signals["SigCgt"], 16) & 1:
                break  # before, only Python itself has started
            time.sleep(0.005)
        for _ in range(10):
            gateway.send_signal(signal.SIGHUP)
            time.sleep(0.05)
        assert b"listening" in gateway.stdout.readline()
        gateway.send_signal(signal.SIGHUP)
        gateway.send_signal(signal.SIGTERM)
        gateway.send_signal(signal.SIGHUP)
        assert gateway.wait(30) == 0
    finally:
        gateway.kill()
        gateway.wait()


def test_a_process_is_known_before_it_looks_at_what_it_needs(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else somebody could take it away between its look and its first sign of life."""
    seen: list[Any] = []

    def looked(*arguments: Any, **named: Any) -> Any:
        seen.append(product.sql("SELECT role FROM recordgate.processes"))
        return make_ready(*arguments, **named)

    async def main() -> None:
        async with running(product, Role.SERVE):
            pass

    monkeypatch.setattr("recordgate.runtime.make_ready", looked)
    product.apply(product.write("1.0.0", NAME, SIZE))
    asyncio.run(main())
    assert seen == [[("serve",)]]
    assert product.sql("SELECT count(*) FROM recordgate.processes") == [(0,)]
