"""Aggregates by the gateway against the same SQL written by hand, over the table of import_csv
(1,000,000 rows).

The statement by hand gives its rows to psycopg in this process; the gateway's answer comes by HTTP.
In turn, one at a time, medians; answers are compared.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from benchmarks.gateway import gateway, post
from benchmarks.import_csv import ROWS, Bench, write
from benchmarks.results import Table
from recordgate.embedded import EmbeddedPostgres

ROUNDS = 7
CASES: dict[str, tuple[str, str]] = {
    "count all": (
        "{ itemsAggregate { count } }",
        "SELECT count(*) FROM public.items",
    ),
    "sum and average, filtered": (
        "{ itemsAggregate(filter: {quantity: {gte: 500}}) { count sum { quantity } avg { score } } }",
        "SELECT count(*), sum(quantity), avg(score) FROM public.items WHERE quantity >= 500",
    ),
    "200 groups": (
        "{ itemsAggregate(groupBy: [categoryId], first: 200) { count min { price } max { price } } }",
        "SELECT category_id, count(*), min(price), max(price) FROM public.items GROUP BY 1 LIMIT 200",
    ),
}


def run() -> None:
    with tempfile.TemporaryDirectory(prefix="recordgate-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with EmbeddedPostgres(folder / "data") as server:
            bench = Bench(folder, server.url)
            bench.psql(write(server.url, folder / "rows.csv", ROWS))
            with psycopg.connect(server.url, autocommit=True) as conn:
                conn.execute("VACUUM ANALYZE public.items")
                with gateway(server.url, folder / "gateway", folder / "bench.odcs.yaml") as side:
                    measure(conn, side.address)
        server.wait_stopped()


def measure(conn: psycopg.Connection[Any], address: str) -> None:
    table = Table(
        "aggregates", f"Aggregates over {ROWS:,} rows", ["", "SQL ms", "gateway ms", "ratio"]
    )
    for name, (query, statement) in CASES.items():
        by_hand, ours = [], []
        for number in range(ROUNDS + 1):
            began = time.perf_counter()
            rows = conn.execute(statement.encode()).fetchall()
            middle = time.perf_counter()
            answer = post(address, b'{"query": "%s"}' % query.encode())
            ended = time.perf_counter()
            groups = answer["data"]["itemsAggregate"]
            counts = sorted(g["count"] for g in groups)
            column = 1 if len(rows) > 1 else 0
            if counts != sorted(r[column] for r in rows):
                raise RuntimeError(f"{name}: the answers differ")
            if number:
                by_hand.append(middle - began)
                ours.append(ended - middle)
        sql, own = median(by_hand), median(ours)
        table.row(name, sql * 1000, own * 1000, own / sql)
    table.save()
