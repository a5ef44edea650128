"""Memory of a thousand idle subscriptions: a gateway with its worker in one process, measured
before they come and while they are open, over Server-Sent Events and over WebSocket; and that one
change then reaches each of them.

    python -m benchmarks.subscriptions [NUMBER]
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import orjson
import psutil
from websockets.asyncio.client import connect

CONTRACT = Path(__file__).parents[1] / "recordgate/demo/geonames.odcs.yaml"
QUERY = "subscription { countryChanged { kind id country { name } } }"
BOUND = 100 * 2**20


def resident(pid: int) -> int:
    process = psutil.Process(pid)
    return int(process.memory_full_info().uss)


async def over_sse(url: str, number: int, opened: asyncio.Semaphore, told: list[float]) -> None:
    """One client with `number` streams."""

    async def one(client: httpx.AsyncClient) -> None:
        headers = {"accept": "text/event-stream"}
        async with client.stream(
            "POST", f"{url}/graphql", json={"query": QUERY}, headers=headers
        ) as answer:
            async for line in answer.aiter_lines():
                if line == ":":
                    opened.release()
                elif line.startswith("data: {"):
                    told.append(time.perf_counter())
                    return

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=None, limits=limits) as client:
        await asyncio.gather(*(one(client) for _ in range(number)))


async def over_socket(url: str, number: int, opened: asyncio.Semaphore, told: list[float]) -> None:
    async def one() -> None:
        address = url.replace("http", "ws") + "/graphql"
        async with connect(
            address,
            subprotocols=["graphql-transport-ws"],  # type: ignore[list-item]
            compression=None,
        ) as socket:
            await socket.send('{"type":"connection_init"}')
            await socket.recv()
            message = {"type": "subscribe", "id": "1", "payload": {"query": QUERY}}
            await socket.send(orjson.dumps(message).decode())
            opened.release()
            await socket.recv()
            told.append(time.perf_counter())

    async with asyncio.TaskGroup() as group:
        for count in range(1, number + 1):
            group.create_task(one())
            if count % 100 == 0:  # a server's queue of connections is not endless
                await asyncio.sleep(0.3)


async def measure(url: str, pid: int, number: int, transport: str) -> dict[str, object]:
    opened, told = asyncio.Semaphore(0), list[float]()
    before = resident(pid)
    carry = over_sse if transport == "sse" else over_socket
    clients = asyncio.ensure_future(carry(url, number, opened, told))
    for _ in range(number):
        await asyncio.wait_for(opened.acquire(), 120)
    await asyncio.sleep(5)
    idle = resident(pid)
    async with httpx.AsyncClient(timeout=60) as client:
        query = 'mutation { updateCountry(id: "FR", input: {name: "Frankreich %d"}) { token } }'
        began = time.perf_counter()
        answer = await client.post(f"{url}/graphql", json={"query": query % time.time_ns()})
        assert "errors" not in answer.json(), answer.text
    await asyncio.wait_for(clients, 120)
    return {
        "transport": transport,
        "subscriptions": number,
        "bytes_before": before,
        "bytes_more": idle - before,
        "bytes_each": (idle - before) // number,
        "all_told_after_s": round(max(told) - began, 3),
        "met": idle - before < BOUND,
    }


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory(prefix="recordgate-bench-") as folder:
        os.chmod(folder, 0o711)
        config = Path(folder) / "recordgate.toml"
        config.write_text(
            f"contract = {json.dumps(str(CONTRACT))}\ndata_dir = 'data'\nport = 0\n"
            f"concurrent_requests = {number + 100}\n"
        )
        log = (Path(folder) / "log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "recordgate", "--config", str(config), "up"],
            stdout=subprocess.PIPE,
            stderr=log,
        )
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], 120)
            line = process.stdout.readline().decode().strip() if ready else ""
            assert line.startswith("listening on "), (Path(folder) / "log").read_text()
            url = line.removeprefix("listening on ")
            made = httpx.post(
                f"{url}/graphql",
                json={
                    "query": 'mutation { createCountry(input: {iso: "FR", iso3: "FRA", name: "France", continent: "EU"}) { token } }'
                },
                timeout=60,
            )
            assert "errors" not in made.json(), made.text
            for transport in ("sse", "websocket"):
                found = asyncio.run(measure(url, process.pid, number, transport))
                print(json.dumps(found), flush=True)
        finally:
            process.terminate()
            process.wait(60)
            log.close()


if __name__ == "__main__":
    main()
