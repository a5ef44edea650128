"""Quality rules, measured on a real Postgres: what each metric counts, what a bad rule does, the
gate, the schedule."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from recordgate.cli.schema import gate_lines
from recordgate.migrations.run import migrate
from recordgate.monitoring.quality import due_now, last_results, run_rules
from recordgate.monitoring.schedule import QualityMetrics, QualitySchedule
from stores.canonical.apply import apply_plan
from stores.canonical.connect import Connection, connect
from stores.canonical.importing import ImportOptions, ImportReport, Mode, run_import
from stores.canonical.plan import make_plan
from stores.contract.gates import whole_type_rules
from stores.contract.load import load_contract
from stores.contract.model import Contract
from stores.errors import ConflictError
from tests.conftest import drop_database, url_of

HEAD = """
apiVersion: v3.2.0
kind: DataContract
id: measured
version: 1.0.0
status: active
schema:
  - name: item
    physicalName: items
"""
RULES = r"""
    quality:
      - {id: enough, metric: rowCount, mustBeGreaterThan: 3}
      - {id: twins, metric: duplicateValues, arguments: {properties: [name, kind]}, mustBe: 1}
      - {id: none-below, type: sql, query: "SELECT count(*) FROM {object} WHERE price < 0", mustBe: 1}
    properties:
      - {name: id, logicalType: integer, primaryKey: true}
      - name: name
        logicalType: string
        quality:
          - {id: named, metric: missingValues, arguments: {missingValues: [null, "", "N/A"]}, mustBeLessThan: 50, unit: percent}
          - {id: upper, metric: invalidValues, arguments: {pattern: "^[A-Z]+$"}, mustBeBetween: [0, 2]}
          - {id: same, metric: duplicateValues, mustBeLessOrEqualTo: 2}
      - name: kind
        logicalType: string
        quality:
          - {id: kinds, metric: invalidValues, arguments: {validValues: [a, b]}, mustBeLessThan: 1, severity: error}
      - name: price
        logicalType: number
        quality:
          - {id: priced, metric: nullValues, mustNotBe: 0, severity: warning}
          - {id: most, type: sql, query: "SELECT max(${column}) FROM ${table};", mustBeGreaterOrEqualTo: 10}
      - name: tags
        logicalType: array
        items:
          name: tag
          logicalType: string
          quality: [{id: tags, metric: invalidValues, arguments: {validValues: [x, y]}, mustBeLessThan: 2}]
"""
ROWS = """
INSERT INTO items (id, name, kind, price, tags) VALUES
  (1, 'A', 'a', 10, '{x,y}'), (2, 'A', 'a', -1, '{z}'), (3, 'b', 'b', 'NaN', '{}'), (4, '', 'a', NULL, NULL),
  (5, 'N/A', 'c', 2, '{x,NULL}')
"""


class World:
    """A database with the contract's tables, and a folder."""

    def __init__(self, url: str, folder: Path, text: str) -> None:
        self.url, self.folder = url, folder
        self.contract = self.load(text)
        with connect(url) as conn:
            migrate(conn)
            apply_plan(conn, self.contract, make_plan(conn, self.contract), allow_destructive=False)

    def load(self, text: str) -> Contract:
        path = self.folder / "measured.odcs.yaml"
        path.write_text(HEAD + text, "utf-8")
        return load_contract(path)

    def do(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as conn:
            done = conn.execute(query.encode())
            return done.fetchall() if done.description else []

    def measure(
        self,
        contract: Contract | None = None,
        *,
        timeout: float = 10.0,
        conn: Connection | None = None,
    ) -> dict[str, dict[str, Any]]:
        contract = contract or self.contract
        record = contract.types["item"]
        with connect(self.url) as own:
            run = run_rules(
                conn or own,
                contract,
                record,
                record.rules,
                started_by="command",
                timeout=timeout,
                wait=0.2,
            )
        return {rule["rule"]: rule for rule in run.as_value()["rules"]}

    def load_rows(
        self, text: str, contract: Contract | None = None, **options: Any
    ) -> ImportReport:
        path = self.folder / "rows.csv"
        path.write_text(text, "utf-8")
        return run_import(
            self.url, contract or self.contract, "item", [path], ImportOptions(workers=1, **options)
        )


@contextmanager
def new_world(postgres: str, folder: Path, text: str) -> Iterator[World]:
    name = "quality_" + folder.name.replace("-", "_").lower()[:30]
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(f'CREATE DATABASE "{name}"')
    try:
        yield World(url_of(postgres, name), folder, text)
    finally:
        drop_database(postgres, name)


@pytest.fixture(scope="module")
def world(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with new_world(postgres, tmp_path_factory.mktemp("measured"), RULES) as made:
        yield made


@pytest.fixture(autouse=True)
def _clean(world: World) -> None:
    world.do(
        "TRUNCATE items; TRUNCATE recordgate.quality_runs CASCADE; TRUNCATE"
        " recordgate.import_batches"
    )


def test_every_metric_counts_what_it_says_in_one_scan(world: World) -> None:
    world.do(ROWS)
    found = world.measure()
    values = {rule: (r["state"], r["value"]) for rule, r in found.items()}
    assert values == {
        "enough": ("passed", 5),
        "twins": ("passed", 1),
        "none-below": ("passed", 1),
        "named": ("passed", 40),
        "upper": ("broken", 3),
        "same": ("passed", 1),
        "kinds": ("broken", 1),
        "priced": ("passed", 1),
        "most": ("failed", None),  # NaN is the greatest
        "tags": ("passed", 1),
    }
    assert found["kinds"]["examples"] == [{"id": 5}]
    assert {e["id"] for e in found["upper"]["examples"]} == {3, 4, 5}
    assert "NaN" in found["most"]["problem"]


def test_an_empty_type_has_no_percentage_and_no_maximum(world: World) -> None:
    found = world.measure()
    assert (found["named"]["state"], found["named"]["value"]) == ("unknown", None)
    assert (found["most"]["state"], found["most"]["value"]) == ("unknown", None)
    assert (found["enough"]["state"], found["enough"]["value"]) == ("broken", 0)


PROPERTIES = """
    properties:
      - {name: id, logicalType: integer, primaryKey: true}
      - {name: name, logicalType: string}
      - {name: kind, logicalType: string}
      - {name: price, logicalType: number}
      - {name: tags, logicalType: array, items: {name: tag, logicalType: string}}
"""
BAD_QUERIES = {
    "SELECT 1/0": "divides by zero",
    "SELECT pg_sleep(60)": "pg_sleep",
    "SELECT count(*) FROM pg_terminate_backend(1)": "pg_terminate_backend",
    "SELECT set_config('role', 'postgres', false)": "set_config",
    "SELECT pg_advisory_lock(1)": "pg_advisory_lock",
    "SELECT nextval('s')": "nextval",
    "SELECT lo_creat(1)": "lo_creat",
    "SELECT random()": "random",
    "SELECT count(*) FROM recordgate.import_batches": "may not",
    "SELECT count(*) FROM pg_authid": "may not",
    "SELECT id FROM {object} FOR SHARE": "may not",
    'SELECT "pg_sleep" (60)': "pg_sleep",
    "SELECT count(*) FROM generate_series(1, 1000000000) a": "longer",
    "SELECT id FROM {object}": "more than one row",
    "SELECT 1 WHERE false": "no row",
    "SELECT 1, 2": "more than one column",
    "SELECT 'text'": "no number",
    "SELECT true": "no number",
    "SELECT 'NaN'::float": "NaN",
    "SELECT 'infinity'::float8": "infinity",
    "SELECT NULL::int": "null",
    "SELECT gone FROM {object}": "column",
    "SELECT 1 FROM nowhere": "table",
    "SELECT 1 +": "cannot read",
    "SELECT '{object}' = 'x;y' OR count(*) > 0 FROM {object} -- ; the end": "no number",
}


def test_a_bad_query_is_its_own_failure_and_shows_nothing_of_itself(world: World) -> None:
    world.do(ROWS)
    rules = "".join(
        f"      - {{id: r{i}, type: sql, query: {json.dumps(q)}, mustBe: 0}}\n"
        for i, q in enumerate(BAD_QUERIES)
    )
    good = "      - {id: good, type: sql, query: 'SELECT count(*) FROM items', mustBe: 5}\n"
    contract = world.load(f"    quality:\n{rules}{good}{PROPERTIES}")
    found = world.measure(contract, timeout=0.3)
    for i, (query, said) in enumerate(BAD_QUERIES.items()):
        result = found[f"r{i}"]
        assert result["state"] in ("failed", "unknown"), query
        assert said in result["problem"], (query, result["problem"])
        assert query not in result["problem"]
    assert found["good"]["state"] == "passed"


def test_a_rule_on_a_dropped_column_or_table_fails_alone(
    world: World, tmp_path: Path, postgres: str
) -> None:
    with new_world(postgres, tmp_path, RULES) as own:
        own.do(ROWS)
        own.do("ALTER TABLE items DROP COLUMN kind; ALTER TABLE items ALTER price TYPE text")
        found = own.measure()
        assert found["kinds"]["state"] == "failed"
        assert "kind is not there" in found["kinds"]["problem"]
        assert (found["enough"]["state"], found["named"]["state"]) == ("passed", "passed")
        own.do("DROP TABLE items")
        assert {r["state"] for r in own.measure().values()} == {"failed"}


def test_a_redefined_rule_has_another_history(world: World) -> None:
    world.do(ROWS)
    world.measure()
    other = world.load(RULES.replace("validValues: [a, b]", "validValues: [a, b, c]"))
    with connect(world.url) as conn:
        before = {found.rule.id for found in last_results(conn, other.types["item"])}
    assert "kinds" not in before
    assert "upper" in before
    assert world.measure(other)["kinds"]["state"] == "passed"


def test_two_processes_do_not_measure_a_type_at_once(world: World) -> None:
    with connect(world.url) as holder:
        holder.execute(
            "SELECT pg_advisory_lock(hashtextextended('recordgate.quality:public.items', 0))"
        )
        with pytest.raises(ConflictError):
            world.measure()
    assert world.measure()["enough"]["state"] == "broken"


def test_the_schedule_measures_once_whoever_asks_and_shows_the_same_value(world: World) -> None:
    world.do(ROWS)
    registry = CollectorRegistry()
    schedules = [
        QualitySchedule(world.contract, world.url, QualityMetrics(r), interval=3600, timeout=10)
        for r in (registry, CollectorRegistry())
    ]
    record = world.contract.types["item"]

    def one(schedule: QualitySchedule) -> None:
        with connect(world.url) as conn:
            schedule.one(conn, record)

    threads = [threading.Thread(target=one, args=(s,)) for s in schedules]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one(schedules[0])
    assert world.do("SELECT count(*), min(started_by) FROM recordgate.quality_runs") == [
        (1, "schedule")
    ]

    def shown(metric: str, rule: str, **more: str) -> float | None:
        return registry.get_sample_value(metric, {"type": "item", "rule": rule, **more})

    assert shown("recordgate_quality_value", "named") == 40
    assert shown("recordgate_quality_bad_ratio", "kinds") == 0.2
    assert shown("recordgate_quality_passed", "kinds", severity="error") == 0
    assert shown("recordgate_quality_value", "most") is None
    stored = world.do("SELECT value FROM recordgate.quality_results WHERE rule = 'named'")
    assert stored == [(Decimal(40),)]


async def _stopped_in_the_middle(world: World, contract: Contract) -> float:
    schedule = QualitySchedule(
        contract, world.url, QualityMetrics(CollectorRegistry()), interval=1, timeout=60, look=0.05
    )
    task = asyncio.create_task(schedule.run())
    running = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'recordgate quality' AND query LIKE '%generate_series%' AND state = 'active'"
    while world.do(running) == [(0,)]:
        await asyncio.sleep(0.05)
        assert not task.done()
    began = time.monotonic()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return time.monotonic() - began


def test_a_schedule_that_is_ended_in_a_run_leaves_nothing_and_is_due_again(world: World) -> None:
    slow = "SELECT count(*) FROM generate_series(1, 1000000000) a"
    contract = world.load(
        f"    quality:\n      - {{id: slow, type: sql, query: '{slow}', mustBe: 0}}\n{PROPERTIES}"
    )
    assert asyncio.run(_stopped_in_the_middle(world, contract)) < 5
    assert world.do("SELECT count(*) FROM recordgate.quality_runs") == [(0,)]
    with connect(world.url) as conn:
        assert [r.id for r in due_now(conn, contract.types["item"], 3600)] == ["slow"]


def test_a_run_whose_process_is_killed_frees_the_type(world: World) -> None:
    """The lock is the connection's, so that nothing of a dead process has to be tidied up."""
    dead = connect(world.url)
    dead.execute("SELECT pg_advisory_lock(hashtextextended('recordgate.quality:public.items', 0))")
    world.do(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <>"
        " pg_backend_pid()"
    )
    dead.close()
    for _ in range(50):
        if not world.do("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'"):
            break
        time.sleep(0.05)
    assert world.measure()["enough"]["state"] == "broken"


# The gate --------------------------------------------------------------------------------------------

GATED = r"""
    customProperties: [{property: gate, vendor: recordgate, value: error}]
    quality:
      - {id: few, metric: rowCount, mustBeLessThan: 6}
      - {id: below, type: sql, query: "SELECT count(*) FROM {object} WHERE price < 0", mustBe: 0}
    properties:
      - {name: id, logicalType: integer, primaryKey: true}
      - name: name
        logicalType: string
        quality:
          - {id: named, metric: missingValues, mustBeLessThan: 1}
          - {id: light, metric: nullValues, mustBeLessThan: 1, severity: info}
      - name: kind
        logicalType: string
        quality: [{id: share, metric: nullValues, unit: percent, mustBeLessThan: 50}]
      - {name: price, logicalType: number}
      - {name: tags, logicalType: array, items: {name: tag, logicalType: string}}
"""


def test_the_gate_refuses_what_breaks_a_rule_and_nothing_changes(world: World) -> None:
    contract = world.load(GATED)
    fine = world.load_rows("id,name,kind,price\n1,A,a,1\n2,B,b,2\n", contract)
    assert (fine.state, fine.inserted) == ("done", 2)
    assert {rule["state"] for rule in fine.gate} == {"passed"}
    before = world.do("SELECT * FROM items ORDER BY id")
    for rows, rule, value, keys in (
        ('id,name,kind,price\n1,"",a,1\n3,"",c,1\n', "named", 2, [1, 3]),
        ("id,name,kind,price\n3,C,a,-1\n", "below", 1, []),
        ("id,name,kind,price\n3,C,,1\n4,D,,1\n", "share", 50, [3, 4]),
        ("id,name,kind,price\n3,C,c,1\n4,C,c,1\n5,C,c,1\n6,C,c,1\n", "few", 6, []),
    ):
        report = world.load_rows(rows, contract)
        assert report.state == "refused", rule
        assert f"the rule {rule} is broken: it came to {value}" in report.problem
        broken = {r["rule"]: r for r in report.gate if r["state"] == "broken"}
        assert list(broken) == [rule]
        assert sorted(e["id"] for e in broken[rule]["examples"]) == keys
        assert world.do("SELECT * FROM items ORDER BY id") == before
    assert world.do("SELECT count(*) FROM recordgate.import_batches WHERE state = 'refused'") == [
        (4,)
    ]


def test_no_gate_is_written_down_and_what_is_bad_already_does_not_stop_others(world: World) -> None:
    contract = world.load(GATED)
    bad = 'id,name,kind,price\n1,"",a,1\n'
    assert world.load_rows(bad, contract).state == "refused"
    assert world.load_rows(bad, contract, gate=False).state == "done"
    noted = world.do("SELECT options->>'no_gate', options->>'no_gate_by' <> '' FROM"
                     " recordgate.import_batches WHERE state = 'done'")  # fmt: skip
    assert noted == [("true", True)]
    assert world.load_rows("id,name,kind,price\n2,B,b,1\n", contract).state == "done"
    # A file without the column is held to what its rows are in the table.
    assert world.load_rows("id,kind\n1,b\n", contract).state == "refused"
    assert world.load_rows("id\n1\n2\n", contract, mode=Mode.DELETE).state == "done"
    assert world.do("SELECT count(*) FROM items") == [(0,)]


def test_a_dry_run_asks_the_gate_and_changes_nothing(world: World) -> None:
    contract = world.load(GATED)
    bad = world.load_rows('id,name,kind,price\n1,"",a,1\n', contract, dry_run=True)
    good = world.load_rows("id,name,kind,price\n1,A,a,1\n", contract, dry_run=True)
    assert (bad.state, good.state, good.inserted) == ("refused", "dry-run", 1)
    assert world.do("SELECT count(*) FROM items") == [(0,)]
    assert world.do("SELECT count(*) FROM recordgate.import_batches") == [(0,)]


def test_a_gate_rule_that_cannot_be_measured_keeps_the_gate_shut(world: World) -> None:
    contract = world.load(GATED.replace("WHERE price < 0", "WHERE price / (price - price) < 0"))
    report = world.load_rows("id,name,kind,price\n1,A,a,1\n", contract)
    assert report.state == "refused"
    assert "below could not be measured: it divides by zero" in report.problem
    assert world.do("SELECT count(*) FROM items") == [(0,)]


def test_gate_check_metric_and_answer_are_one_value(world: World) -> None:
    """The share of rows without a kind, at the gate, by `quality run`, and in the metric."""
    contract = world.load(GATED)
    report = world.load_rows("id,name,kind,price\n1,A,a,1\n2,B,,1\n3,C,,1\n", contract, gate=True)
    at_gate = next(r for r in report.gate if r["rule"] == "share")
    world.load_rows("id,name,kind,price\n1,A,a,1\n2,B,,1\n3,C,,1\n", contract, gate=False)
    checked = world.measure(contract)["share"]
    registry = CollectorRegistry()
    with connect(world.url) as conn:
        QualitySchedule(
            contract, world.url, QualityMetrics(registry), interval=3600, timeout=10
        ).one(conn, contract.types["item"])
    metric = registry.get_sample_value(
        "recordgate_quality_value", {"type": "item", "rule": "share"}
    )
    assert at_gate["value"] == checked["value"] == pytest.approx(metric)
    assert (at_gate["state"], checked["state"]) == ("broken", "broken")


def test_plan_names_what_a_gate_counts_over_the_whole_type(world: World) -> None:
    contract = world.load(GATED)
    assert [r.id for r in whole_type_rules(contract.types["item"])] == ["few", "below", "share"]
    (line,) = gate_lines({"item": ["few", "below", "share"]})
    assert "few, below, share" in line


KINDS = {
    "flag": ("logicalType: boolean", "[true]", "true", "false"),
    "day": ("logicalType: date", "[2024-02-29]", "2024-02-29", "2024-03-01"),
    "moment": ("logicalType: timestamp", '["2024-02-29T10:00:00Z"]', "2024-02-29 11:00+01", "2024-02-29 11:00+00"),
    "clock": ("logicalType: time", '["10:00:00"]', "10:00", "10:01"),
    "code": ("logicalType: string, physicalType:"
             " uuid", "[a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11]",
             "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12"),
    "money": ('logicalType: number, physicalType: "numeric(10,2)"', "[1.5, 2]", "1.50", "3"),
    "ratio": ("logicalType: number, physicalType: double precision", "[1.5, 2]", "2.0", "NaN"),
    "big": ("logicalType: integer, physicalType:"
            " bigint", "[9007199254740993]", "9007199254740993", "9007199254740992"),
    "fixed": ('logicalType: string, physicalType: "char(4)"', "[ab, cd]", "ab", "abc"),
    "odd name": ("logicalType: string, physicalName: 'Select"
                 " from'", "[\"it's\", 'per%cent', '{object}']", "it''s", "x"),
    "words": ("logicalType: array, items: {name: w, logicalType:"
              " string}", "[a, b]", "{a,b}", "{a,c}"),
    "numbers": ("logicalType: array, items: {name: n, logicalType:"
                " integer}", "[1, 2]", "{1}", "{3}"),
}  # fmt: skip


def test_valid_and_missing_values_of_each_type_are_told_apart(
    postgres: str, tmp_path: Path
) -> None:
    lines = [
        f"      - {{name: {name.replace(' ', '_')}, {kind}, quality: ["
        f"{{id: {name.replace(' ', '-')}, metric: invalidValues, arguments: {{validValues: {valid}}}, mustBe: 1}},"
        f" {{id: gone-{name.replace(' ', '-')}, metric: missingValues, mustBe: 1}},"
        f" {{id: twice-{name.replace(' ', '-')}, metric: duplicateValues, mustBe: 1}}]}}\n"
        for name, (kind, valid, _, _) in KINDS.items()
    ]
    text = (
        "    properties:\n      - {name: id, logicalType: integer, primaryKey: true}\n"
        + "".join(lines)
    )
    with new_world(postgres, tmp_path, text) as own:
        columns = [p.column for p in own.contract.types["item"].properties]
        good = ", ".join(f"'{good}'" for _, _, good, _ in KINDS.values())
        bad = ", ".join(f"'{bad}'" for _, _, _, bad in KINDS.values())
        named = ", ".join('"' + c.replace('"', '""') + '"' for c in columns)
        nothing = ", ".join("NULL" for _ in KINDS)
        own.do(f"INSERT INTO items ({named}) VALUES (1, {good}), (2, {bad}), (3, {nothing}), (4,"
               f" {good})")  # fmt: skip
        found = own.measure()
        assert {rule: r["problem"] for rule, r in found.items() if r["state"] != "passed"} == {}
        assert len(found) == 3 * len(KINDS)


def measured_as(world: World, account: str) -> dict[str, Any]:
    """What a run by the account finds."""
    with connect(world.url) as conn:
        conn.execute(f"SET SESSION AUTHORIZATION {account}".encode())
        return world.measure(conn=conn)


def test_an_account_that_may_make_no_role_measures_the_library_and_says_what_is_missing(
    world: World,
) -> None:
    world.do(ROWS)
    world.do(
        "DROP ROLE IF EXISTS quality_plain; CREATE ROLE quality_plain LOGIN;"
        "GRANT USAGE ON SCHEMA public, recordgate TO quality_plain;"
        "GRANT SELECT ON items TO quality_plain;"
        "GRANT ALL ON recordgate.quality_runs, recordgate.quality_results TO quality_plain"
    )
    try:
        found = measured_as(world, "quality_plain")
    finally:
        world.do("DROP OWNED BY quality_plain; DROP ROLE quality_plain")
    assert (found["named"]["state"], found["named"]["value"]) == ("passed", 40)
    assert found["none-below"]["state"] == "failed"
    assert "CREATE ROLE recordgate_quality" in found["none-below"]["problem"]


def test_an_account_that_may_make_roles_makes_the_one_of_rules(world: World) -> None:
    world.do(ROWS)
    world.measure()  # so that there is one to drop
    world.do(
        "DROP OWNED BY recordgate_quality; DROP ROLE IF EXISTS recordgate_quality;"
        "CREATE ROLE quality_maker LOGIN CREATEROLE;"
        "GRANT USAGE ON SCHEMA recordgate TO quality_maker;"
        "GRANT USAGE ON SCHEMA public TO quality_maker WITH GRANT OPTION;"
        "GRANT SELECT ON items TO quality_maker WITH GRANT OPTION;"
        "GRANT ALL ON recordgate.quality_runs, recordgate.quality_results TO quality_maker"
    )
    try:
        found = measured_as(world, "quality_maker")
    finally:
        world.do(
            "DROP OWNED BY quality_maker CASCADE; DROP OWNED BY recordgate_quality;"
            "DROP ROLE recordgate_quality; DROP ROLE quality_maker"
        )
    assert (found["none-below"]["state"], found["none-below"]["value"]) == ("passed", 1)
