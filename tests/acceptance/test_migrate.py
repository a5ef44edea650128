"""`recordgate migrate`: what it asks before it begins, whom it waits for, and what it leaves."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import psycopg
import pytest

from recordgate.migrating import one_at_a_time
from stores.canonical.apply import apply_plan
from stores.canonical.connect import connect
from stores.canonical.plan import make_plan
from tests.acceptance.test_live_processes import AREA, NAME, SIZE, Product

REQUIRED = "      - {name: size, logicalType: integer, required: true}\n"


@pytest.fixture
def product(database: str, tmp_path: Path) -> Product:
    return Product(database, tmp_path)


def columns(product: Product) -> set[str]:
    return {
        name
        for (name,) in product.sql(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'things'::regclass AND attnum > 0"
            " AND NOT attisdropped"
        )
    }


def test_it_sets_up_what_is_new_and_has_nothing_to_do_a_second_time(product: Product) -> None:
    product.write("1.0.0", NAME, SIZE)
    said = product.text("migrate", "--dry-run")
    assert "+ create table public.things with 3 columns" in said
    assert product.sql("SELECT to_regclass('things')") == [(None,)]
    assert "contract 1.0.0 is everywhere" in product.text("migrate")
    assert columns(product) == {"id", "name", "size"}
    assert product.run("migrate")["done"] == []
    assert product.text("migrate", "--dry-run") == "nothing to do\n"


def test_data_is_lost_only_where_somebody_said_yes(product: Product) -> None:
    product.apply(product.write("1.0.0", NAME, SIZE))
    product.write("2.0.0", NAME, AREA)
    refused = product.run("migrate", code=1)
    assert refused["error"]["code"] == "DESTRUCTIVE_REFUSED"
    assert "drop column size" in refused["error"]["message"]
    assert columns(product) == {"id", "name", "size"}
    product.run("migrate", "--yes")
    assert columns(product) == {"id", "name", "area"}


def test_what_breaks_callers_is_said_of_the_contract_before(product: Product) -> None:
    product.apply(product.write("1.0.0", NAME, SIZE))
    before = product.folder / "before.yaml"
    product.file.rename(before)
    product.write("2.0.0", NAME)
    said = product.text("migrate", "--dry-run", "--old", str(before))
    assert "callers of the contract before see:" in said
    assert "  ! thing.size: " in said


def test_a_gateway_that_keeps_the_contract_before_keeps_what_it_needs(product: Product) -> None:
    """It cannot take the contract while it runs: what adds is done, what takes away is not."""
    old = product.write("1.0.0", NAME, SIZE)
    product.apply(old)
    with product.alive(old):
        product.write("2.0.0", NAME, AREA)
        for _ in range(2):  # and again, it says the same
            refused = product.run("migrate", "--yes", code=1)
            assert refused["error"]["code"] == "LIVE_PROCESSES"
            assert "column size of public.things is dropped" in refused["error"]["message"]
            assert columns(product) == {"id", "name", "size", "area"}
        assert "restart it with this contract" in product.text("migrate", "--dry-run")
    product.run("migrate", "--yes")  # it has ended
    assert columns(product) == {"id", "name", "area"}


def test_a_gateway_that_can_go_on_refuses_nothing_but_is_named(product: Product) -> None:
    old = product.write("1.0.0", NAME)
    product.apply(old)
    with product.alive(old):
        product.write("1.1.0", NAME, AREA)
        refused = product.run("migrate", code=1)
        assert "not everybody has taken the contract" in refused["error"]["message"]
        assert columns(product) == {"id", "name", "area"}
        done = product.run("migrate", "--break-live")["done"]
        assert any("restart it" in line for line in done)


def test_one_migrate_at_a_time_and_a_killed_one_is_in_nobodys_way(product: Product) -> None:
    product.write("1.0.0", NAME)
    with connect(product.url) as conn:
        with one_at_a_time(conn):
            refused = product.run("migrate", code=1)
            assert refused["error"]["code"] == "MIGRATE_RUNS"
        conn.execute("SELECT pg_advisory_lock(%s)", (0x7265_636F_7264_0003,))
        with psycopg.connect(product.url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", (conn.info.backend_pid,))
    product.run("migrate")


def test_a_required_column_that_goes_later_is_in_no_ones_way_until_then(product: Product) -> None:
    """Between the two, a process with the new contract writes rows without it."""
    product.apply(product.write("1.0.0", NAME, REQUIRED))
    newer = product.write("2.0.0", NAME)
    with connect(product.url) as conn:
        plan = make_plan(conn, newer)
        apply_plan(conn, newer, plan, chosen=lambda step: step.kind != "drop_column")
        assert make_plan(conn, newer) == plan  # only the drop is left
    product.sql("INSERT INTO things (id, name) VALUES (1, 'one')")
    product.run("migrate", "--yes")
    assert columns(product) == {"id", "name"}


def test_a_contract_that_is_wrong_changes_nothing(product: Product) -> None:
    product.apply(product.write("1.0.0", NAME))
    product.file.write_text(product.file.read_text() + "x: [")
    assert product.run("migrate", code=1)["error"]["code"] == "CONTRACT_INVALID"
    assert columns(product) == {"id", "name"}


def test_a_connection_that_is_lost_is_an_error_of_ours(product: Product) -> None:
    product.apply(product.write("1.0.0", NAME))
    product.write("1.1.0", NAME, AREA)
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {} AND wait_event_type = 'Lock'"
    found: list[str] = []
    with psycopg.connect(product.url) as holder:
        holder.execute("LOCK TABLE things IN ACCESS EXCLUSIVE MODE")
        run = threading.Thread(
            target=lambda: found.append(product.run("migrate", code=1)["error"]["code"])
        )
        run.start()
        ours = "application_name = 'recordgate migrate'"
        end = time.monotonic() + 20
        while not product.sql(kill.format(ours)) and time.monotonic() < end:
            time.sleep(0.05)
        run.join()
    assert found == ["STORE_UNAVAILABLE"]
    assert columns(product) == {"id", "name"}
