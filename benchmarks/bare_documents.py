"""The document store's own driver without a gateway, for benchmarks/gateway.py: `python -m
benchmarks.bare_documents FILE TABLE` serves the documents of a table of the store's file by key, a
thread a read as the store has it, under the same HTTP server and with nothing else."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import uvicorn

_local = threading.local()


def read(file: str, table: str, key: str) -> bytes | None:
    connection: sqlite3.Connection | None = getattr(_local, "connection", None)
    if connection is None:
        connection = _local.connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        connection.text_factory = bytes
    row = connection.execute(f"SELECT document FROM {table} WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0]


def application(file: str, table: str) -> Any:
    threads = ThreadPoolExecutor(4)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        key = orjson.loads(body)["variables"]["id"]
        loop = asyncio.get_running_loop()
        document = await loop.run_in_executor(threads, read, file, table, key) or b"null"
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(document)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": document})

    return app


def main() -> None:
    file, table, port = sys.argv[1:]
    config = uvicorn.Config(
        application(file, table),
        port=int(port),
        http="httptools",
        lifespan="off",
        log_level="warning",
        access_log=False,
    )
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
