"""Writes and reads that go on while the tour kills servers: what was acknowledged is remembered,
and what readers saw that nobody may see."""

from __future__ import annotations

import csv
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from recordgate.demo.queries import PARIS, Client
from stores.errors import StoreUnavailable

UPDATED = 60
MADE_ANEW = 10
"""Cities that are updated, and cities that are deleted and created in turn."""
PAUSE = 0.002
PATIENCE = 60.0

UPDATE = (
    "mutation($id: ID!, $n: Int!) { updateCity(id: $id, input: {population: $n}) "
    "{ city { population } token } }"
)
DELETE = "mutation($id: ID!) { deleteCity(id: $id) { city { name } token } }"
UPSERT = "mutation($city: CityInput!) { upsertCities(input: [$city]) { cities { name } token } }"
KEPT = (
    "query($ids: [Int!]!) { cities(filter: {geonameid: {in: $ids}}, orderBy: [{latitude: ASC}], "
    "first: 100) { nodes { geonameid population } } }"
)
READ = "query($id: ID!) { city(id: $id) { name country { name } } }"


@dataclass
class Seen:
    """Counts of one stretch of traffic. `answered`: reads by the store that answered."""

    writes: int = 0
    refused: int = 0
    answered: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    wrong: list[str] = field(default_factory=list)
    """Answers without an error that are not what is in canonical."""


class Traffic:
    """`cities`: the CSV file that was imported; its first rows are written to."""

    def __init__(self, url: str, cities: Path) -> None:
        self._client = Client(url)
        rows = list(_inputs(cities, UPDATED + MADE_ANEW))
        self._updated = [row["geonameid"] for row in rows[:UPDATED]]
        self._rows = {row["geonameid"]: row for row in rows[UPDATED:]}
        self._acknowledged: dict[int, int | None] = {}
        """Id → population, None: deleted; of what is certain only."""
        self._turn = 0
        self.token = ""
        self.seen = Seen()

    @contextmanager
    def flowing(self) -> Iterator[Seen]:
        """Traffic flows inside the block; afterwards every city is there again."""
        self.seen, stop = Seen(), threading.Event()
        threads = [
            threading.Thread(target=work, args=(stop,), daemon=True)
            for work in (self._write, self._read)
        ]
        for thread in threads:
            thread.start()
        try:
            yield self.seen
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self._restore()

    def lost(self) -> list[str]:
        """Acknowledged writes that canonical does not hold."""
        ids = [*self._updated, *self._rows]
        answer = self._client.query(KEPT, {"ids": ids})
        if answer.errors:
            raise StoreUnavailable(f"{answer.errors}", store="gateway")
        held = {n["geonameid"]: n["population"] for n in answer.data["cities"]["nodes"]}
        return [
            f"{key}: {held.get(key)} instead of {value}"
            for key, value in self._acknowledged.items()
            if held.get(key) != value
        ]

    # Writing --------------------------------------------------------------------------------------

    def _write(self, stop: threading.Event) -> None:
        while not stop.wait(PAUSE):
            self._turn += 1
            if self._turn % 8:
                key = self._updated[self._turn % len(self._updated)]
                self._mutate(key, self._turn, UPDATE, {"id": str(key), "n": self._turn})
                continue
            key = list(self._rows)[self._turn // 8 % len(self._rows)]
            if self._acknowledged.get(key) is None:
                self._make_anew(key)
            else:
                self._mutate(key, None, DELETE, {"id": str(key)})

    def _make_anew(self, key: int) -> bool:
        row = self._rows[key]
        return self._mutate(key, row["population"], UPSERT, {"city": row})

    def _mutate(self, key: int, value: int | None, text: str, variables: dict[str, Any]) -> bool:
        """Send a write; return whether it was acknowledged. A write without an answer may have been
        made, or may not: then nothing is certain of the record."""
        self._acknowledged.pop(key, None)
        try:
            answer = self._client.query(text, variables)
        except StoreUnavailable:
            answer = None
        if answer is None or answer.errors:
            self.seen.refused += 1
            return False
        [payload] = answer.data.values()
        self.token = payload["token"]
        self._acknowledged[key] = value
        self.seen.writes += 1
        return True

    def _restore(self) -> None:
        """Every record that was deleted, or may have been, is there again."""
        deadline = time.monotonic() + PATIENCE
        for key in self._rows:
            while self._acknowledged.get(key) is None and not self._make_anew(key):
                if time.monotonic() > deadline:
                    raise StoreUnavailable(
                        f"canonical has taken no write for {PATIENCE:.0f} s", store="gateway"
                    )
                time.sleep(0.2)

    # Reading --------------------------------------------------------------------------------------

    def _read(self, stop: threading.Event) -> None:
        while not stop.wait(PAUSE):
            try:
                answer = self._client.query(READ, {"id": str(PARIS)})
            except StoreUnavailable:
                self.seen.unanswered += 1
                continue
            if answer.errors:
                self.seen.unanswered += 1
                continue
            self.seen.answered[answer.store("city")] += 1
            if answer.data != {"city": {"name": "Paris", "country": {"name": "France"}}}:
                self.seen.wrong.append(f"{answer.data} from {answer.store('city')}")


def _inputs(cities: Path, number: int) -> Iterator[dict[str, Any]]:
    """The first rows of the file as inputs of createCity; Paris is left alone."""
    kinds = {"geonameid": int, "population": int, "latitude": float, "longitude": float}
    with cities.open(newline="", encoding="utf-8") as file:
        rows = (row for row in csv.DictReader(file) if row["geonameid"] != str(PARIS))
        for row in islice(rows, number):
            yield {
                name: json.loads(text) if name == "alternateNames" else kinds.get(name, str)(text)
                for name, text in row.items()
                if text
            }
