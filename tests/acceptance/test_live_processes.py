"""Processes that run while the contract changes: who is alive with which contract, what may be
applied under them, and on what canonical an older one still starts."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from gateway.context.tokens import read_token, sign_token
from recordgate.cli.app import build
from recordgate.migrations.run import migrate
from recordgate.presence import Presence
from recordgate.readiness import make_ready
from recordgate.runtime import Role, Runtime
from recordgate.settings import load_settings
from stores.canonical.apply import apply_plan
from stores.canonical.connect import connect
from stores.canonical.plan import make_plan
from stores.canonical.publication import kafka_slot_name
from stores.contract.load import load_contract
from stores.contract.model import Contract
from stores.errors import InputError, SetupError

HEAD = """apiVersion: v3.2.0
kind: DataContract
id: things
name: Things
version: {version}
status: active
schema:
  - name: thing
    physicalName: things
    properties:
      - {{name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}}
"""
NAME = "      - {name: name, logicalType: string}\n"
SIZE = "      - {name: size, logicalType: integer}\n"
SIZE_TEXT = "      - {name: size, logicalType: string}\n"
AREA = "      - {name: area, logicalType: string}\n"
COLOR = "      - {{name: color, logicalType: string, enum: [{}]}}\n"
ONE_COLOR, TWO_COLORS = COLOR.format("{value: red}"), COLOR.format("{value: red}, {value: blue}")
OTHER_TYPE = """  - name: note
    physicalName: notes
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
"""


@dataclass
class Product:
    """A database and a folder; `write` makes the contract's file, `run` a command of recordgate
    with it."""

    url: str
    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "things.odcs.yaml"

    def write(self, version: str, *parts: str) -> Contract:
        self.file.write_text(HEAD.format(version=version) + "".join(parts), "utf-8")
        return load_contract(self.file)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "RECORDGATE_CONTRACT": str(self.file),
            "RECORDGATE_POSTGRES": self.url,
            "RECORDGATE_DATA_DIR": str(self.folder / "data"),
            "RECORDGATE_PORT": "0",
            "RECORDGATE_ANONYMOUS": "write",
        }

    def apply(self, contract: Contract) -> None:
        """As `recordgate apply --allow-destructive --break-live` does."""
        migrate(self.url)
        with connect(self.url) as conn:
            apply_plan(conn, contract, make_plan(conn, contract), allow_destructive=True)

    def run(self, *command: str, code: int = 0) -> dict[str, Any]:
        done = CliRunner().invoke(build(), [*command, "--json"], env=self.environment)
        assert done.exit_code == code, done.output
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def text(self, *command: str) -> str:
        return CliRunner().invoke(build(), command, env=self.environment).stdout

    def sql(self, *statements: str) -> list[Any]:
        with psycopg.connect(self.url, autocommit=True) as conn:
            cursor = [conn.execute(s.encode()) for s in statements][-1]
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def alive(self, contract: Contract, role: str = "serve", **more: Any) -> Iterator[Presence]:
        """A process of that contract, as far as canonical hears of it."""
        presence = Presence(self.url, contract, role, **more)
        asyncio.run(_once(presence))
        try:
            yield presence
        finally:
            asyncio.run(presence.leave())


async def _once(presence: Presence) -> None:
    await presence.enter()
    assert presence._task is not None
    presence._task.cancel()
    presence._task = None


@pytest.fixture
def product(database: str, tmp_path: Path) -> Product:
    return Product(database, tmp_path)


# An older process on a newer canonical ------------------------------------------------------------


def test_a_process_of_the_older_contract_starts_after_an_additive_apply(
    product: Product, caplog: pytest.LogCaptureFixture
) -> None:
    old = product.write("1.0.0", NAME, ONE_COLOR)
    product.apply(old)
    product.apply(product.write("1.1.0", NAME, TWO_COLORS, AREA, OTHER_TYPE))
    for role_may_apply in (False, True):
        with caplog.at_level(logging.WARNING, "recordgate"):
            make_ready(product.url, old, may_apply=role_may_apply)
    assert "the contract that was applied last is 1.1.0" in caplog.text
    assert "area" in {row[0] for row in product.sql(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'things'::regclass AND attnum > 0"
    )}  # fmt: skip
    product.write("1.0.0", NAME, ONE_COLOR)
    found = product.run("doctor")["checks"]
    tables = next(c for c in found if c["name"] == "tables")
    assert tables["ok"], tables
    assert "1.1.0" in tables["saw"]


def test_what_a_process_lacks_keeps_it_from_starting_and_no_hint_leads_to_dropping(
    product: Product,
) -> None:
    first = product.write("1.0.0", NAME)
    product.apply(first)
    newer = product.write("1.1.0", NAME, ONE_COLOR)
    with pytest.raises(SetupError, match="add column color") as lacks:
        make_ready(product.url, newer, may_apply=False)
    assert lacks.value.hint == "run `recordgate apply`"
    # A rule that was never applied is needed, too.
    product.apply(newer)
    stricter = product.write("1.2.0", NAME, TWO_COLORS)
    with pytest.raises(SetupError, match="check"):
        make_ready(product.url, stricter, may_apply=False)
    # One that was applied before, and lost a column since.
    product.apply(product.write("2.0.0", ONE_COLOR, AREA))
    with pytest.raises(SetupError, match="add column name") as older:
        make_ready(product.url, first, may_apply=False)
    assert "applied last, 2.0.0" in older.value.hint
    assert "do not apply this one over it" in older.value.hint
    # One that nobody has applied, beside what it does not know.
    unknown = product.write("0.9.0", SIZE)
    with pytest.raises(SetupError, match="add column size") as stranger:
        make_ready(product.url, unknown, may_apply=False)
    assert "run `recordgate apply`" not in stranger.value.hint


# Under processes that are alive -------------------------------------------------------------------


def test_apply_refuses_what_would_break_a_live_process_and_never_what_adds(
    product: Product,
) -> None:
    old = product.write("1.0.0", NAME, SIZE)
    product.apply(old)
    with product.alive(old), product.alive(old, "sync", changes="pgoutput"):
        product.write("1.1.0", NAME, SIZE, AREA)
        planned = product.run("plan")
        assert [p["breaks"] for p in planned["processes"]] == [[], []]
        assert planned["order"].startswith("the safe order: `recordgate apply`, then")
        product.run("apply", "--yes")
        product.write("2.0.0", NAME, SIZE_TEXT, AREA)
        planned = product.run("plan")
        for process in planned["processes"]:
            assert process["breaks"] == ["column size of public.things becomes text"]
            assert process["contractVersion"] == "1.0.0"
        assert "serve on" in product.text("plan")
        refused = product.run("apply", "--yes", "--allow-destructive", code=1)["error"]
        assert refused["code"] == "LIVE_PROCESSES"
        assert "safe" in refused["hint"]
        kind = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attname = 'size'"
        assert ("bigint",) in product.sql(f"{kind} AND attrelid = 'things'::regclass")
        only_drops = product.write("1.2.0", NAME, AREA)
        planned = product.run("plan")
        assert "restart the worker, then the gateways, with this contract" in planned["order"]
        # As it says: with the new contract they start before it is applied.
        make_ready(product.url, only_drops, may_apply=False)
        product.run("apply", "--yes", "--allow-destructive", code=1)
        product.run("apply", "--yes", "--allow-destructive", "--break-live")
    with product.alive(only_drops):
        product.write("1.3.0", NAME)
        product.run("apply", "--yes", "--allow-destructive", code=1)
    product.run("apply", "--yes", "--allow-destructive")
    assert product.run("plan")["processes"] == []


def test_a_process_that_says_nothing_any_more_keeps_nobody_waiting(product: Product) -> None:
    old = product.write("1.0.0", NAME, SIZE)
    product.apply(old)
    with product.alive(old):
        product.write("2.0.0", NAME)
        silent = (
            "UPDATE recordgate.processes SET heartbeat_at = now() - interval '{} s', host = 'far'"
        )
        product.sql(silent.format(25))
        product.run("apply", "--yes", "--allow-destructive", code=1)
        product.sql(silent.format(31))
        product.run("apply", "--yes", "--allow-destructive")


def test_a_gateway_is_among_the_processes_while_it_runs_and_one_that_was_killed_is_gone_at_once(
    product: Product,
) -> None:
    product.apply(product.write("1.0.0", NAME))
    gateway = subprocess.Popen(
        [sys.executable, "-m", "recordgate", "serve"],
        env={**os.environ, **product.environment},
        stdout=subprocess.PIPE,
    )
    try:
        assert gateway.stdout is not None
        assert b"listening" in gateway.stdout.readline()
        deadline = time.monotonic() + 10
        while not (processes := product.run("status")["processes"]):
            assert time.monotonic() < deadline
        (process,) = processes
        assert (process["role"], process["pid"]) == ("serve", gateway.pid)
        assert process["contractVersion"] == "1.0.0"
        assert process["sameContract"]
        assert f"process    serve on {process['host']}" in product.text("status")
    finally:
        gateway.kill()
        gateway.wait()
    assert product.run("status")["processes"] == []
    assert product.sql("SELECT count(*) FROM recordgate.processes") == [(1,)]


def test_a_clean_stop_takes_the_row_away(product: Product) -> None:
    contract = product.write("1.0.0", NAME)
    product.apply(contract)
    settings = load_settings(
        None, contract=product.file, postgres=product.url, data_dir=product.folder / "d", port=0
    )

    async def main() -> None:
        async with Runtime(settings, contract, Role.SERVE):
            await asyncio.sleep(0)
            assert product.sql("SELECT role FROM recordgate.processes") == [("serve",)]

    asyncio.run(main())
    assert product.sql("SELECT role FROM recordgate.processes") == []


# Tokens of several gateways -----------------------------------------------------------------------


def test_gateways_with_different_secrets_are_named_and_the_error_names_the_setting(
    product: Product, caplog: pytest.LogCaptureFixture
) -> None:
    contract = product.write("1.0.0", NAME)
    product.apply(contract)
    one, other = b"a secret of sixteen", b"another secret, too"
    with pytest.raises(InputError, match="not signed by this gateway") as refused:
        read_token(sign_token("1/1", 7, one), "1/1", other)
    assert "token_secret_file" in refused.value.hint
    with product.alive(contract, secret=one), product.alive(contract, secret=one):
        assert not any(p["otherSecret"] for p in product.run("status")["processes"])
        assert "another secret" not in caplog.text
        with caplog.at_level(logging.WARNING, "recordgate"), product.alive(contract, secret=other):
            assert "token_secret_file" in caplog.text
            assert all(p["otherSecret"] for p in product.run("status")["processes"])
            found = product.run("doctor", code=1)["checks"]
            processes = next(c for c in found if c["name"] == "processes")
            assert not processes["ok"]
            assert "token_secret_file" in processes["hint"]


# The other change source's slot -------------------------------------------------------------------


def test_a_slot_that_the_other_change_source_has_left_is_named_and_then_dropped(
    product: Product,
) -> None:
    contract = product.write("1.0.0", NAME)
    product.apply(contract)
    name = kafka_slot_name(contract, psycopg.conninfo.conninfo_to_dict(product.url)["dbname"])
    product.sql(f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')")
    there = f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{name}'"
    left = product.run("status")["leftSlot"]
    assert (left["name"], left["source"], left["active"]) == (name, "kafka", False)
    assert name in product.text("status")
    found = next(c for c in product.run("doctor", code=1)["checks"] if c["name"] == "left slot")
    assert not found["ok"]
    assert "pg_drop_replication_slot" in found["hint"]
    # No worker says which of the two is the one that is used: it is told, and left.
    assert "apply` drops it" in product.run("apply", "--yes")["leftSlot"]
    with product.alive(contract, "sync", changes="kafka"):
        product.run("apply", "--yes")
        assert product.sql(there) == [(1,)]
    with product.alive(contract, "sync", changes="pgoutput"):
        assert "is dropped" in product.run("apply", "--yes")["leftSlot"]
        assert product.sql(there) == [(0,)]
        assert "leftSlot" not in product.run("apply", "--yes")
    assert product.run("status")["leftSlot"] is None
