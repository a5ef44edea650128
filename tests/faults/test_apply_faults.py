"""`plan` and `apply` as commands, and killed in the middle: nothing is ever half done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stores.canonical.connect import connect
from stores.canonical.plan import make_plan
from stores.contract.load import load_contract

CONTRACT = """
apiVersion: v3.2.0
kind: DataContract
id: shop
name: A shop
version: 1.0.0
status: active
schema:
  - name: item
    physicalName: items
    properties:
      - {{name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}}
{more}"""
NAME = "      - {name: title, logicalType: string}\n"
COLOUR = "      - {name: colour, logicalType: string}\n"
EXTRA = """  - name: part
    physicalName: parts
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
"""


@pytest.fixture
def contract(tmp_path: Path) -> Path:
    file = tmp_path / "shop.odcs.yaml"
    file.write_text(CONTRACT.format(more=NAME))
    return file


def start(database: str, contract: Path, *arguments: str) -> subprocess.Popen[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("RECORDGATE_")}
    env |= {"RECORDGATE_POSTGRES": database, "RECORDGATE_CONTRACT": str(contract)}
    return subprocess.Popen(
        [sys.executable, "-c", "from recordgate.cli.app import main; main()", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=contract.parent,
        env=env,
    )


def command(database: str, contract: Path, *arguments: str) -> tuple[int, Any]:
    process = start(database, contract, *arguments, "--json")
    out, errors = process.communicate(timeout=60)
    assert out, errors
    return process.returncode, json.loads(out)


def test_plan_and_apply_without_a_terminal(database: str, contract: Path) -> None:
    code, planned = command(database, contract, "plan")
    assert code == 0
    assert [s["kind"] for s in planned["steps"]] == ["create_table", "create_publication"]
    code, applied = command(database, contract, "apply")
    assert (code, applied["applied"], applied["migrated"]) == (0, 2, True)
    code, again = command(database, contract, "apply")
    assert (code, again["applied"], again["migrated"]) == (0, 0, False)

    contract.write_text(CONTRACT.format(more=COLOUR))
    code, refused = command(database, contract, "apply", "--yes")
    assert (code, refused["error"]["code"]) == (1, "DESTRUCTIVE_REFUSED")
    assert "title" in refused["error"]["message"]
    code, done = command(database, contract, "apply", "--allow-destructive")
    assert (code, done["applied"], done["destructive"]) == (0, 2, 1)
    assert command(database, contract, "plan") == (
        0,
        {
            "steps": [],
            "stores": [],
            "destructive": 0,
            "blocked": 0,
            "processes": [],
            "order": "",
            "gates": {},
        },
    )


def test_killed_in_the_middle_nothing_is_done_and_the_next_does_all(
    database: str, contract: Path
) -> None:
    assert command(database, contract, "apply")[0] == 0
    contract.write_text(CONTRACT.format(more=NAME + COLOUR + EXTRA))
    with psycopg.connect(database) as reader:
        reader.execute("SELECT * FROM items")  # makes the ALTER TABLE wait, after the CREATE TABLE
        process = start(database, contract, "apply")
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND query ILIKE 'ALTER TABLE%' AND datname = current_database()"
        )
        deadline = time.monotonic() + 30
        with psycopg.connect(database, autocommit=True) as watcher:
            while watcher.execute(waiting).fetchone() != (1,):
                assert time.monotonic() < deadline
                time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        reader.rollback()
    with connect(database) as conn:
        # The killed one's session may still hold its locks for a moment.
        deadline = time.monotonic() + 30
        while conn.execute(waiting.encode()).fetchone() != (0,):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        left = {s.kind for s in make_plan(conn, load_contract(contract)).steps}
    assert left == {"create_table", "add_column", "alter_publication"}
    assert command(database, contract, "apply")[1]["applied"] == 3
    assert command(database, contract, "plan")[1]["steps"] == []
