"""`recordgate demo --check`: the tour. Real processes, real data; each step says what it saw, and a
step that sees anything else than it must ends the tour with exit code 1."""

from __future__ import annotations

import csv
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from recordgate.demo.data import COUNTRIES
from recordgate.demo.leftovers import remove_connector
from recordgate.demo.processes import Commands
from recordgate.demo.queries import PARIS, Client
from recordgate.demo.servers import Server
from recordgate.demo.stage import Stage
from recordgate.demo.traffic import Traffic
from stores.errors import RecordgateError
from stores.lsn import parse_lsn

AWAY = 2.0
"""Seconds after which a killed server is started again."""

DOCUMENT = "query($id: ID!) { city(id: $id) { geonameid name population country { name } } }"
SEARCH = (
    "query($q: String!) { searchCities(query: $q, first: 5) "
    "{ totalCount edges { node { geonameid name population } } } }"
)
CANONICAL = (
    "query($id: Int!) { cities(filter: {geonameid: {eq: $id}}, orderBy: [{latitude: ASC}]) "
    "{ edges { node { geonameid name population } } } }"
)


class Unexpected(AssertionError):
    """A step saw something else than it must."""


def must(condition: object, saw: str) -> None:
    if not condition:
        raise Unexpected(saw)


@dataclass
class TourStep:
    name: str
    saw: str = ""
    ok: bool = False
    seconds: float = 0.0


@dataclass
class Tour:
    """Runs the steps in order; `report` is called after each. `servers` are killed in its
    course."""

    stage: Stage
    commands: Commands
    report: Callable[[TourStep], None]
    port: int = 0
    servers: Sequence[Server] = ()
    steps: list[TourStep] = field(default_factory=list)
    client: Client = field(init=False)
    worker: Any = None
    token: str = ""
    generation: int = 1

    def __post_init__(self) -> None:
        self.cities = self.stage.cities
        self.left_out = min(1_000, self.cities // 200)
        self.changed = self.left_out // 2
        self.many = min(50_000, self.cities - 1)

    def run(self) -> bool:
        """True where every step saw what it must."""
        plan: list[tuple[str, Callable[[], str]]] = [
            ("contract lint", self.lint),
            ("apply: tables, publication", self.apply),
            ("import countries and cities", self.import_all),
            ("start gateway and worker", self.start),
            ("first load into both stores", self.first_load),
            ("Paris by key", self.by_key),
            ('search "pariz"', self.by_search),
            ("an ordering only SQL can do", self.by_canonical),
            ("import the same again", self.import_again),
            ("update one, see it everywhere", self.update_one),
            ("delete one, gone everywhere", self.delete_one),
            ("replace with a changed file", self.replace),
            ("reload while reading", self.reload),
            ("kill -9 the worker, go on", self.kill_worker),
            *((f"kill -9 {s.name}, go on", partial(self.kill_server, s)) for s in self.servers),
            ("verify", self.verify),
            ("status", self.status),
        ]
        try:
            for name, action in plan:
                step = TourStep(name)
                self.steps.append(step)
                started = time.monotonic()
                try:
                    step.saw, step.ok = action(), True
                except Unexpected as unexpected:
                    step.saw = f"UNEXPECTED: {unexpected}"
                except RecordgateError as error:
                    step.saw = f"FAILED: {error}"
                step.seconds = time.monotonic() - started
                self.report(step)
                if not step.ok:
                    return False
            return True
        finally:
            self.commands.stop_all()
            remove_connector(self.stage.config)

    # Steps ----------------------------------------------------------------------------------------

    def lint(self) -> str:
        result = self.commands.run("contract", "lint", str(self.stage.contract))
        return f"{self.stage.contract.name}: no findings (exit {result.code})"

    def apply(self) -> str:
        result = self.commands.run("apply", "--yes")
        again = self.commands.run("plan")
        must(not again.output["steps"], f"a second plan has {len(again.output['steps'])} steps")
        return f"{len(result.output['steps'])} steps; a second plan is empty"

    def import_all(self) -> str:
        countries = self._import("country", self.stage.data.countries)
        cities = self._import("city", self.stage.data.cities)
        must(countries["rejected"] == 0 and cities["rejected"] == 0, f"rejected: {cities}")
        must((countries["read"], cities["read"]) == (COUNTRIES, self.cities), f"{cities}")
        rate = cities["read"] / max(cities["seconds"], 0.001)
        return f"{countries['read']:,} countries, {cities['read']:,} cities, {rate:,.0f} rows/s"

    def start(self) -> str:
        self.worker = self._start_worker()
        _, url = self.commands.start_gateway(
            "serve", "--port", str(self.port), log=self.stage.log("gateway")
        )
        self.client = Client(url)
        return f"gateway at {url}, worker in a process of its own (pid {self.worker.pid})"

    def first_load(self) -> str:
        started = time.monotonic()
        self._wait_for_sync()
        seconds = time.monotonic() - started
        self._all_there(self.cities)
        return f"{self.cities:,} cities and {COUNTRIES} countries in {seconds:.1f} s"

    def by_key(self) -> str:
        answer = self.client.query(DOCUMENT, {"id": str(PARIS)})
        city = (answer.data or {}).get("city") or {}
        must(city.get("name") == "Paris" and city["country"]["name"] == "France", f"{answer}")
        must(answer.store("city") == "documents", f"answered by {answer.field('city')}")
        field = answer.field("city")
        return (
            f"{city['name']}, {city['country']['name']}, {city['population']:,} from "
            f"{field['store']},"
            f" generation {field['generation']}, at most {field['stalenessMs']:.0f} ms old"
        )

    def by_search(self) -> str:
        answer = self.client.query(SEARCH, {"q": "pariz"})
        edges = ((answer.data or {}).get("searchCities") or {}).get("edges") or []
        names = [f"{e['node']['name']} ({e['node']['population']:,})" for e in edges[:3]]
        must(
            any(e["node"]["geonameid"] == PARIS for e in edges),
            f"first hits: {names} {answer.errors}",
        )
        must(answer.store("searchCities") == "search", f"{answer.field('searchCities')}")
        return f"{', '.join(names)} from search"

    def by_canonical(self) -> str:
        answer = self.client.query(
            "{ cities(filter: {population: {gte: 1000000}}, orderBy: [{country: {areaKm2: DESC}}, "
            "{latitude: ASC}], first: 3) { totalCount edges { node { name country { name } } } } }"
        )
        found = (answer.data or {}).get("cities") or {}
        names = [
            f"{e['node']['name']}, {e['node']['country']['name']}" for e in found.get("edges", [])
        ]
        must(len(names) == 3, f"{answer.errors}")
        must(answer.store("cities") == "canonical", f"{answer.field('cities')}")
        return f"{found['totalCount']} of a million; {'; '.join(names)} from canonical"

    def import_again(self) -> str:
        report = self._import("city", self.stage.data.cities)
        touched = report["inserted"] + report["updated"] + report["deleted"]
        must(touched == 0 and report["unchanged"] == self.cities, f"{report}")
        return f"{report['unchanged']:,} unchanged, nothing written"

    def update_one(self) -> str:
        answer = self.client.query(
            "mutation($id: ID!) { updateCity(id: $id, input: {population: 2138552}) "
            "{ city { population } token } }",
            {"id": str(PARIS)},
        )
        must(not answer.errors, f"{answer.errors}")
        self.token = answer.data["updateCity"]["token"]
        started = time.monotonic()
        seen = self._paris_everywhere()
        milliseconds = (time.monotonic() - started) * 1000
        must(set(seen.values()) == {2138552}, f"{seen}")
        return f"2,138,552 in {', '.join(seen)} within {milliseconds:.0f} ms of the commit"

    def delete_one(self) -> str:
        answer = self.client.query(
            "mutation($id: ID!) { deleteCity(id: $id) { city { name } token } }", {"id": str(PARIS)}
        )
        must(not answer.errors, f"{answer.errors}")
        self.token = answer.data["deleteCity"]["token"]
        seen = self._paris_everywhere()
        must(set(seen.values()) == {None}, f"still there: {seen}")
        self._wait_for_sync()
        self._all_there(self.cities - 1)
        return f"gone from {', '.join(seen)}; {self.cities - 1:,} left in each"

    def replace(self) -> str:
        changed = self.stage.folder / "data" / "cities-changed.csv"
        write_changed(self.stage.data.cities, changed, left_out=self.left_out, changed=self.changed)
        refused = self.commands.run(
            "import", "city", str(changed), "--mode", "replace", "--max-deletes", "10", expect=(1,)
        )
        code = (refused.output or {}).get("error", {}).get("code")
        must(code == "LIMIT_EXCEEDED", f"the cap said: {refused.output}")
        report = self._import("city", changed, "--mode", "replace", "--max-deletes", "1%")
        must(
            (report["inserted"], report["updated"], report["deleted"])
            == (1, self.changed, self.left_out),
            f"{report}",
        )
        self._wait_for_sync()
        self._all_there(self.cities - self.left_out)
        return (
            f"{report['updated']} updated, {report['deleted']:,} deleted, Paris back; refused "
            "before "
            "with a cap of 10 deletes"
        )

    def reload(self) -> str:
        before = self._generation()
        seen: list[tuple[int, int]] = []
        problems: list[str] = []
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                answer = self.client.query(
                    '{ searchCities(query: "san", first: 1) { totalCount } '
                    "city(id: 2988507) { name } }"
                )
                if answer.errors or not answer.data.get("city"):
                    problems.append(f"{answer.errors or answer.data}")
                else:
                    field = answer.field("searchCities")
                    seen.append((field["generation"], answer.data["searchCities"]["totalCount"]))

        reader = threading.Thread(target=read)
        reader.start()
        try:
            self.commands.run("reload", "city")
        finally:
            done.set()
            reader.join()
        must(not problems, f"{len(problems)} failed reads: {problems[:1]}")
        must(len({count for _, count in seen}) == 1, f"counts seen: {sorted(set(seen))}")
        generation = self._generation()
        must(generation > before, f"still generation {generation}")
        return (
            f"generation {before} → {generation}; {len(seen)} reads meanwhile,"
            f" each saw {seen[0][1]:,} hits"
        )

    def kill_worker(self) -> str:
        """The worker is stopped while the changes are made, so that it cannot be done before it is
        killed."""
        many = self.stage.folder / "data" / "cities-many-changed.csv"
        write_changed(self.stage.data.cities, many, left_out=0, changed=self.many)
        self.worker.send_signal(signal.SIGSTOP)
        try:
            report = self._import("city", many)
            target = self._committed()
        finally:
            self.worker.send_signal(signal.SIGCONT)
        time.sleep(0.1)
        self.commands.kill(self.worker)
        seen = self._watermarks()
        must(any(lsn < target for lsn in seen.values()), "the worker was done before it was killed")
        answer = self.client.query(CANONICAL, {"id": PARIS})
        must(answer.store("cities") == "canonical" and not answer.errors, f"{answer.errors}")
        self.worker = self._start_worker()
        self._wait_for_sync()
        self._all_there(self.cities)
        touched = report["inserted"] + report["updated"]
        behind = ", ".join(f"{name} {max(0, target - lsn):,} B" for name, lsn in seen.items())
        return (
            f"killed with {touched:,} changes under way ({behind} behind);"
            f" all {self.cities:,} in both"
        )

    def kill_server(self, server: Server) -> str:
        """Killed with writes and reads going on, which go on while it is away and when it is
        back."""
        traffic = Traffic(self.client.url, self.stage.data.cities)
        with traffic.flowing() as seen:
            self._until(lambda: seen.writes >= 200, f"{seen.writes} writes only")
            before = replace(seen)
            pid = server.kill()
            killed = time.monotonic()
            time.sleep(AWAY)
            server.restart()
            away = time.monotonic() - killed
            meanwhile = seen.writes - before.writes
            written = seen.writes
            self._until(lambda: seen.writes >= written + 200, "nothing is written any more")
        back = time.monotonic()
        lost = traffic.lost()
        must(not lost, f"acknowledged and not there: {lost[:3]}")
        must(not seen.wrong, f"read: {seen.wrong[:3]}")
        self._wait_for_sync()
        self.verify()
        self._all_there(self.cities)
        return (
            f"pid {pid} away for {away:.1f} s; {seen.writes:,} writes acknowledged, {meanwhile:,} "
            "of them"
            f" then; reads answered by {_counts(seen.answered)}, {seen.unanswered} unanswered; 0 "
            "differences"
            f" {time.monotonic() - back:.1f} s after the last write"
        )

    def verify(self) -> str:
        report = self.commands.run("verify").output
        must(report["differences"] == 0, f"{report}")
        return "0 differences in both stores"

    def status(self) -> str:
        status = self.commands.run("status").output
        sinks = status["sinks"]
        parts = [
            f"{name}: position {sink['position']}, lag {sink['lagBytes']} B / "
            f"{sink['lagSeconds']:.1f} s"
            for name, sink in sinks.items()
        ]
        must(len(parts) == 2 and not any(s["deadLetters"] for s in sinks.values()), f"{status}")
        return "; ".join(parts)

    # What the steps share -------------------------------------------------------------------------

    def _import(self, type_name: str, file: Path, *options: str) -> dict[str, Any]:
        report: dict[str, Any] = self.commands.run("import", type_name, str(file), *options).output
        return report

    def _start_worker(self) -> Any:
        return self.commands.start("sync", log=self.stage.log("worker"))

    def _generation(self) -> int:
        """The number of the cities' generation that the search store's readers see."""
        answer = self.client.query('{ searchCities(query: "san", first: 1) { totalCount } }')
        return int(answer.field("searchCities")["generation"])

    def _committed(self) -> int:
        """Canonical's position now."""
        return int(self.commands.run("status").output["canonical"]["lsnBytes"])

    def _watermarks(self) -> dict[str, int]:
        """Return the position that readers of each store see; -1 before the first load."""
        stores = self.client.get("/console/state")["stores"]
        return {
            name: parse_lsn(stores[name]["watermark"]) if stores[name].get("watermark") else -1
            for name in ("documents", "search")
        }

    def _wait_for_sync(self, timeout: float = 240) -> None:
        """Wait until each store's readers see what is committed now."""
        target = self._committed()
        deadline = time.monotonic() + timeout
        while min((seen := self._watermarks()).values()) < target:
            must(time.monotonic() < deadline, f"{seen} of {target} after {timeout:.0f} s")
            time.sleep(0.1)

    def _until(self, condition: Callable[[], bool], otherwise: str, timeout: float = 120) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            must(time.monotonic() < deadline, f"{otherwise} after {timeout:.0f} s")
            time.sleep(0.05)

    def _paris_everywhere(self) -> dict[str, int | None]:
        """Return Paris's population in each store (None: missing), read with the token of the last
        write."""
        seen: dict[str, int | None] = {}
        document = self.client.query(DOCUMENT, {"id": str(PARIS)}, token=self.token)
        must(not document.errors, f"{document.errors}")
        seen[document.store("city")] = (document.data["city"] or {}).get("population")
        search = self.client.query(SEARCH, {"q": "Paris Lutetia"}, token=self.token)
        must(not search.errors, f"{search.errors}")
        nodes = [e["node"] for e in search.data["searchCities"]["edges"]]
        found: dict[str, Any] = next((n for n in nodes if n["geonameid"] == PARIS), {})
        seen[search.store("searchCities")] = found.get("population")
        canonical = self.client.query(CANONICAL, {"id": PARIS})
        must(not canonical.errors, f"{canonical.errors}")
        edges = canonical.data["cities"]["edges"]
        seen[canonical.store("cities")] = edges[0]["node"]["population"] if edges else None
        must(set(seen) == {"documents", "search", "canonical"}, f"answered by {seen}")
        return seen

    def _all_there(self, cities: int) -> None:
        """Each store holds exactly `cities` cities: canonical by count, the others by their own."""
        answer = self.client.query(
            "{ cities(orderBy: [{latitude: ASC}], first: 1) { totalCount } }"
        )
        counts = {"canonical": answer.data["cities"]["totalCount"]}
        search = self.client.query('{ searchCities(query: "", first: 1) { totalCount } }')
        counts["search"] = search.data["searchCities"]["totalCount"]
        for sink, state in self.commands.run("status").output["sinks"].items():
            counts[sink] = state["types"]["city"]["records"]
        must(set(counts.values()) == {cities}, f"{counts}, expected {cities}")


def _counts(answered: Mapping[str, int]) -> str:
    return ", ".join(f"{store} {count:,}" for store, count in sorted(answered.items())) or "nobody"


def write_changed(source: Path, target: Path, *, left_out: int, changed: int) -> None:
    """`source` without its first `left_out` cities, and the `changed` next ones with one inhabitant
    more; Paris stays as it is."""
    with (
        source.open(newline="", encoding="utf-8") as file,
        target.open("w", newline="", encoding="utf-8") as out,
    ):
        reader, writer = csv.reader(file), csv.writer(out)
        header = next(reader)
        writer.writerow(header)
        population, key = header.index("population"), header.index("geonameid")
        seen = 0
        for row in reader:
            if row[key] != str(PARIS):
                seen += 1
                if seen <= left_out:
                    continue
                if seen <= left_out + changed:
                    row[population] = str(int(row[population]) + 1)
            writer.writerow(row)
