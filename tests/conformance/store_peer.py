"""Another process that has the same store open: answers questions asked on stdin, one JSON a line;
or, as `write`, writes rounds of records until it is killed."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from stores.protocols import Position, Store, Write
from stores.query import SearchQuery
from stores.registry import open_store
from tests.conformance.store_backends import documents, held, searches
from tests.conformance.store_contract import CONTRACT, author

ROUND = 1000
"""Versions of a round: its number times this, and on from there."""
KEYS = 30


async def answer(store: Store, question: dict[str, Any]) -> Any:
    match question["ask"]:
        case "position":
            position = await store.position()
            return None if position is None else position.lsn
        case "held":
            return await held(store, question["type"], question.get("generation", 1))
        case "get":
            found = await documents(store).get(question["type"], question["keys"])
            return {k: v.decode() for k, v in found.items()}
        case "search":
            found = await searches(store).search(SearchQuery(question["type"], question["text"]))
            return [h.document.decode() for h in found.hits]
        case unknown:
            raise ValueError(unknown)


async def read(url: str, folder: Path) -> None:
    store = open_store(url, folder)
    await store.open(CONTRACT, write=False)
    loop = asyncio.get_running_loop()
    print(json.dumps("ready"), flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await answer(store, json.loads(line))), flush=True)
    await store.close()


async def write(url: str, folder: Path) -> None:
    """Round after round, each key of the round's a third deleted; says each round it has
    published."""
    store = open_store(url, folder)
    await store.open(CONTRACT, write=True)
    await store.create_generation("author", 1)
    await store.activate("author", 1)
    start = await store.position()
    number = start.lsn if start else 0
    while True:
        number += 1
        writes = []
        for k in range(KEYS):
            key = f"k{k:02}"
            gone = (number + k) % 3 == 0
            body = None if gone else author(key, f"round {number} " + "x" * 500)
            writes.append(Write(key, number * ROUND + k, body))
        for half in (writes[: KEYS // 2], writes[KEYS // 2 :]):
            await store.write("author", 1, half)
        await store.publish(Position("system/1", number, float(number)))
        print(number, flush=True)


if __name__ == "__main__":
    work = {"read": read, "write": write}[sys.argv[1]]
    asyncio.run(work(sys.argv[2], Path(sys.argv[3])))
