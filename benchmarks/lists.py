"""A filtered list of 50 by documents (SQLite, an index of the contract) against the same by
canonical (Postgres, an index of the same columns), by one gateway.

100,000 generated cities in 252 countries. One request at a time, the two routes in turn, over kept
connections; the answers are compared first. A list goes to documents where the request allows an
age."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import psycopg

from benchmarks.cities import CONTRACT, fill, own_postgres
from benchmarks.gateway import gateway, load_documents
from benchmarks.results import Table
from stores.contract.load import load_contract

ROWS = 100_000
ROUNDS = 400
ROUTE = "{property: route, vendor: recordgate, value: {index: [[countryCode, population]]}}"
QUERY = (
    "query ($code: String!) { cities(filter: {countryCode: {eq: $code}}, orderBy: [{population:"
    " ASC}],"
    " first: 50) { nodes { geonameid name population countryCode timezone country { iso name } } }"
    " }"
)
NOW: dict[str, str] = {}
OLD = {"Recordgate-Max-Staleness": "1h"}


def run() -> None:
    with own_postgres() as (url, folder):
        folder.mkdir()
        text = CONTRACT.read_text("utf-8")
        embed = "      - {property: embed, vendor: recordgate"
        assert embed in text
        contract = folder / "lists.odcs.yaml"
        contract.write_text(text.replace(embed, f"      - {ROUTE}\n{embed}", 1), "utf-8")
        fill(url, ROWS)
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("CREATE INDEX ON public.cities (country_code, population, geonameid)")
            conn.execute("VACUUM ANALYZE public.cities")
        asyncio.run(load_documents(url, load_contract(contract), folder))
        with gateway(url, folder, contract) as side:
            measure(side.address)


def measure(address: str) -> None:
    table = Table(
        "lists", f"A list of 50 of {ROWS:,} cities", ["", "median ms", "p95 ms", "rate ratio"]
    )
    with asked(address) as ask:
        took: dict[str, list[float]] = {"canonical": [], "documents": []}
        for number in range(ROUNDS):
            code = chr(65 + number % 252 // 26) + chr(65 + number % 252 % 26)
            answers = {}
            for store, headers in (("canonical", NOW), ("documents", OLD)):
                began = time.perf_counter()
                answer = ask(code, headers)
                took[store].append(time.perf_counter() - began)
                answers[store] = answer["data"]
                found = answer["extensions"]["recordgate"]["fields"]["cities"]["store"]
                if found != store:
                    raise RuntimeError(f"the list was answered by {found}")
            if answers["canonical"] != answers["documents"]:
                raise RuntimeError("the answers differ")
    base = median(took["canonical"])
    for store, times in took.items():
        times.sort()
        table.row(
            store, median(times) * 1000, times[len(times) * 95 // 100] * 1000, base / median(times)
        )
    table.save()


@contextmanager
def asked(address: str) -> Iterator[Callable[[str, dict[str, str]], Any]]:
    parts = urlsplit(address)
    assert parts.hostname is not None
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)) as connection:

        def ask(code: str, headers: dict[str, str]) -> Any:
            body = json.dumps({"query": QUERY, "variables": {"code": code}})
            connection.request(
                "POST", parts.path, body, {"Content-Type": "application/json", **headers}
            )
            return json.loads(connection.getresponse().read())

        yield ask
