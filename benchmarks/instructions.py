"""Instructions that a request takes, counted by Valgrind's callgrind: the same on a busy machine as
on a quiet one.

`make bench ONLY=instructions`. Q1 to Q3 are those of benchmarks/gateway.py, asked of the
application itself, without a server and a network; Postgres' own work is not counted.
RECORDGATE_BEFORE names a checkout of an earlier version to compare with (and RECORDGATE_BEFORE_PATH
a folder of libraries that it needs in other versions).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg

from benchmarks.gateway import QUERIES
from benchmarks.results import Table
from recordgate.embedded import EmbeddedPostgres

ROOT = Path(__file__).parents[1]
TIMES = {"Q1": 200, "Q1 by documents": 200, "Q2": 60, "Q3": 30}
ROWS = """
INSERT INTO countries (iso, iso3, name, capital, continent, population, area_km2, currency, languages)
SELECT chr(65 + i / 26) || chr(65 + i % 26), chr(65 + i / 26) || chr(65 + i % 26) || 'X', 'Country ' || i, 'Capital ' || i,
       'EU', 1000 * i, 10 * i, 'EUR', '{fr}' FROM generate_series(0, 119) i;
INSERT INTO cities (geonameid, name, alternate_names, country_code, admin1, latitude, longitude, population, timezone)
SELECT i, 'City ' || i, '{}', chr(65 + i % 120 / 26) || chr(65 + i % 120 % 26), '11', 48, 2, i, 'Europe/Paris'
FROM generate_series(1, 1200) i;
"""
CHILD = """
import asyncio, importlib, json, os, pathlib, subprocess, sys
from tests.acceptance.gateway_rig import GEONAMES, gateway

for module in ("gateway.context.freshness", "gateway.freshness"):
    try:
        freshness = importlib.import_module(module)
        break
    except ModuleNotFoundError:
        pass
# Under Valgrind a request takes longer than these live: each would ask the store anew, as none does otherwise.
freshness._POSITION_TTL = freshness._GENERATION_TTL = 5.0

url, folder, asked = sys.argv[1], pathlib.Path(sys.argv[2]), json.loads(sys.argv[3])
lean = folder / "lean.odcs.yaml"
text = GEONAMES.read_text("utf-8")
lean.write_text("\\n".join(l for l in text.splitlines() if "property: embed" not in l))

def control(what):
    subprocess.run(["callgrind_control", what, str(os.getpid())], check=True, capture_output=True)

async def ask(app, body):
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
             "path": "/graphql", "raw_path": b"/graphql", "query_string": b"", "root_path": "",
             "headers": [(b"host", b"x"), (b"content-type", b"application/json")],
             "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2)}
    sent, parts = False, []
    async def receive():
        nonlocal sent
        if sent:
            await asyncio.sleep(3600)
        sent = True
        return {"type": "http.request", "body": body}
    async def send(message):
        parts.append(message.get("body", b""))
    await app(scope, receive, send)
    return b"".join(parts)

async def main():
    for number, (contract, queries) in enumerate(((lean, asked["lean"]), (GEONAMES, asked["whole"]))):
        place = folder / str(number)
        place.mkdir()
        async with gateway(url + f"_{number}" + asked["query"], place, contract=contract, rows=asked["rows"]) as rig:
            for name, query, times in queries:
                body = json.dumps({"query": query, "variables": {"id": "77"}}).encode()
                for _ in range(20):
                    answer = await ask(rig.app, body)
                assert b'"errors"' not in answer and b"City" in answer, answer
                control("-z")
                for _ in range(times):
                    await ask(rig.app, body)
                control("-d")
                print(name, flush=True)

asyncio.run(main())
"""


def counted(tree: Path, more: str, server: str, mark: str) -> dict[str, float]:
    """Instructions a request by query, of the checkout `tree`."""
    import json

    head, _, query = server.partition("?")
    base = f"{head.rpartition('/')[0]}/{mark}"
    with psycopg.connect(server, autocommit=True) as conn:
        for number in (0, 1):
            conn.execute(f"CREATE DATABASE {mark}_{number}".encode())
    asked = {
        "rows": ROWS,
        "query": f"?{query}" if query else "",
        "lean": [(n, QUERIES[n][0], TIMES[n]) for n in ("Q1", "Q2", "Q3")],
        "whole": [("Q1 by documents", QUERIES["Q1"][0], TIMES["Q1 by documents"])],
    }
    path = os.pathsep.join(filter(None, (more, str(tree))))
    with tempfile.TemporaryDirectory(prefix="recordgate-instructions-") as folder:
        done = subprocess.run(
            [
                "valgrind", "--tool=callgrind", "--combine-dumps=no", f"--callgrind-out-file={folder}/out",
                sys.executable, "-c", CHILD, base, folder, json.dumps(asked),
            ],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        names = done.stdout.splitlines()
        dumps = [Path(folder, f"out.{i + 1}") for i in range(len(names))]
        totals = [
            int(re.findall(r"^(?:summary|totals): (\d+)", d.read_text(), re.M)[-1]) for d in dumps
        ]
    return {name: total / TIMES[name] for name, total in zip(names, totals, strict=True)}


def run() -> None:
    if not shutil.which("valgrind"):
        print("valgrind is not installed")
        return
    before = os.environ.get("RECORDGATE_BEFORE")
    table = Table(
        "instructions",
        "Instructions a request, in thousands",
        ["query", "now", *(["before", "now / before"] if before else [])],
    )
    folder = Path(tempfile.mkdtemp(prefix="recordgate-instructions-"))
    folder.chmod(0o711)
    server = EmbeddedPostgres(folder, {})
    try:
        url = server.start()
        now = counted(ROOT, "", url, "now")
        old = (
            counted(Path(before), os.environ.get("RECORDGATE_BEFORE_PATH", ""), url, "before")
            if before
            else {}
        )
        for name, count in now.items():
            more = [old[name] / 1000, count / old[name]] if old else []
            table.row(name, count / 1000, *more)
        table.save()
    finally:
        server.release()
        server.wait_stopped()
        server.remove()
        shutil.rmtree(folder, ignore_errors=True)
